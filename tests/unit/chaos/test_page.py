"""results/chaos/README.md: made from the faults' records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from chaos import page
from chaos.__main__ import records
from loadtest.errors import LoadtestError
from tests.conftest import REPOSITORY

RESULTS = REPOSITORY / "results/chaos"


def record(fault: str, **changed: Any) -> dict[str, Any]:
    """A fault's record, as a run writes it."""
    return {
        "what": "SIGSTOP of a worker machine",
        "row": {"fault": fault, "requests": 5000, "lost": 1},
        "bar": {"1 lost, 0 allowed": False, "0 wrong, 0 allowed": True},
        "capacity_hz": 150.0,
        "settings": {},
        "cores": {"balancer": 1.0, "worker1": 0.3, "worker2": 0.3},
        "commit": "76bb7173bd6740273ed919c658cf3706e31178f8",
        "dirty": False,
        "deployed": {
            "version": {"model": {"name": "imagenet", "version": "1.0-int8"}},
            "status": {"limits": {"max_conns": 16}},
        },
    } | changed


def rendered(folder: Path, template: str, *told: dict[str, Any]) -> str:
    (folder / "README.md.j2").write_text(template)
    page.write(folder / "reference", told)
    return (folder / "README.md").read_text()


def test_the_committed_page_is_what_the_records_say() -> None:
    assert page.render(RESULTS / "reference", records(RESULTS / "reference")) == (RESULTS / "README.md").read_text()


def test_what_two_balancers_lose_is_that_of_their_records() -> None:
    told = [dict(one) for one in records(RESULTS / "reference")]
    for one in told:
        if one["row"]["fault"] in {"balancer-off", "balancer-cut"}:
            one["row"] = {**one["row"], "lost": 17 if one["row"]["fault"] == "balancer-off" else 0}
    assert "behind one address it is 0 to 17 (" in page.render(RESULTS / "reference", told)


def test_a_row_says_what_was_missed(tmp_path: Path) -> None:
    template = "{% for row in rows %}{{ row.fault }} {{ row.figure }} {{ row.lost }} {{ row.missed }}\n{% endfor %}"
    told = rendered(tmp_path, template, record("freeze"), record("drop", bar={"0 lost": True}))
    assert told == "freeze reference/freeze.png 1 ['1 lost, 0 allowed']\ndrop reference/drop.png 1 []\n"


def test_what_was_recorded_alike_is_one_group(tmp_path: Path) -> None:
    template = (
        "{% for group in groups %}"
        "{{ group.commit }} {{ group.model }} {{ group.cores }} {{ group.links }} {{ group.places }} "
        "{{ group.faults | join(',') }} {{ group.requests }} {{ group.least_hz }} {{ group.most_hz }}\n"
        "{% endfor %}"
    )
    told = [
        record("freeze"),
        record("drop", capacity_hz=160.0),
        record("step", settings={"balancer_max_conns": "3"}),
        record("memory", dirty=True),
        record("grey", link_kbps={"client": 1_000_000, "worker1": None}),
    ]
    assert rendered(tmp_path, template, *told).splitlines() == [
        "76bb717 imagenet 1.0-int8 0.3 100 16 freeze,drop 10000 150.0 160.0",
        "76bb717 imagenet 1.0-int8 0.3 100 3 step 5000 150.0 150.0",
        "76bb717 (changed files) imagenet 1.0-int8 0.3 100 16 memory 5000 150.0 150.0",
        "76bb717 imagenet 1.0-int8 0.3 1000, no limit 16 grey 5000 150.0 150.0",
    ]


def test_a_run_elsewhere_has_no_page(tmp_path: Path) -> None:
    page.write(tmp_path / "run", [record("freeze")])
    assert list(tmp_path.iterdir()) == []


def test_a_template_that_asks_for_more_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadtestError, match="cannot be rendered"):
        rendered(tmp_path, "{{ speed }}", record("freeze"))
