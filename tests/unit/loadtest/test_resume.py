"""Going on with a run: only where all is as it was begun, and nothing that was measured is touched."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from loadtest.experiments.cells import Level
from loadtest.experiments.provenance import deployment_signature, differences
from tests.unit.loadtest.test_execute import TINY, contents, run

AS_DEPLOYED = TINY.replace("deployment: {pool_size: 2, policy: random}\n", "")
FACTS = {
    "gunicorn": {"worker1": ["workers = 1", "timeout = 30"]},
    "cpu_cores": {"worker1": 0.3},
    "releases": {"worker": "first"},
}


@pytest.fixture
def on(tmp_path: Path, serve: Callable[..., str]) -> Callable[..., int]:
    """Run the design in tmp_path, or go on with it, against a service that is deployed so."""
    facts, design = tmp_path / "facts.json", tmp_path / "design.yml"

    def go(*options: str, known: dict[str, Any] | None = None, level: str = "as-deployed") -> int:
        facts.write_text(json.dumps(FACTS | (known or {})))
        words = ["--facts", str(facts), "--level", level, "--resume"]
        return run(design, serve("--workers", "2", *options), *words)

    return go


@pytest.mark.parametrize(
    ("options", "known", "says"),
    [
        pytest.param(("--policy", "least_conn"), {}, "(policy: 'random' and 'least_conn')", id="policy"),
        pytest.param(("--workers", "1"), {}, "(workers: ['worker1', 'worker2'] and ['worker1'])", id="pool"),
        pytest.param(("--max-conns", "4"), {}, "(limits: None and {'max_conns': 4})", id="limits"),
        pytest.param(
            (),
            {"gunicorn": {"worker1": ["workers = 2", "timeout = 30"]}},
            "(worker1 gunicorn workers: '1' and '2')",
            id="processes",
        ),
        pytest.param((), {"cpu_cores": {"worker1": 0.5}}, "(cores of worker1: 0.3 and 0.5)", id="share"),
        pytest.param((), {"releases": {"worker": "next"}}, "(release of the workers: 'first' and 'next')", id="code"),
    ],
)
def test_a_run_does_not_go_on_on_another_deployment(
    on: Callable[..., int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    options: tuple[str, ...],
    known: dict[str, Any],
    says: str,
) -> None:
    (tmp_path / "design.yml").write_text(AS_DEPLOYED)
    assert on() == 0
    next((tmp_path / "run/trials").rglob("*.gz")).unlink()
    before = contents(tmp_path)
    assert on(*options, known=known) == 1
    assert f"as-deployed of run was measured on another deployment {says}" in capsys.readouterr().err
    assert contents(tmp_path) == before
    assert on() == 0
    assert contents(tmp_path).keys() > before.keys()


def test_levels_of_a_run_share_the_deployment_but_for_what_they_name(
    on: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "design.yml").write_text(TINY.replace("pool_size: 2, policy: random", "pool_size: [1, 2]"))
    assert on("--workers", "1", level="pool1") == 0
    assert on("--policy", "least_conn", level="pool2") == 1
    error = capsys.readouterr().err
    assert "pool1 of run was measured on another deployment (policy: 'random' and 'least_conn')" in error
    assert on(level="pool2") == 0


@pytest.mark.parametrize(
    ("factors", "decides"),
    [
        ({"batch": 4}, {"version": {"batch": {"max": 4, "window_ms": 0}}}),
        ({"slow_worker": 3.0}, {"facts": {"cpu_cores": {"worker1": 0.1}}}),
        ({"workers_awake": "least"}, {"autoscaler": {"minimum": 1, "maximum": 1, "objective_s": 0.2}}),
    ],
    ids=lambda given: next(iter(given)),
)
def test_what_a_level_decides_is_no_other_deployment(factors: dict[str, Any], decides: dict[str, Any]) -> None:
    """A batch has a worker class of its own, which the facts tell of whichever level came before."""
    record = {
        "status": {"policy": "random"},
        "version": {},
        "facts": {"cpu_cores": {"worker1": 0.3}},
        "autoscaler": {"minimum": 1, "maximum": 2, "objective_s": 0.2},
    }
    other = record | decides
    other["facts"] = other["facts"] | {"gunicorn": {"worker1": ['worker_class = "batch"']}}
    assert differences(deployment_signature(record), deployment_signature(other)) != []
    levels = (Level(), Level(**factors))
    assert deployment_signature(record, levels) == deployment_signature(other, levels)


def test_a_run_does_not_go_on_with_other_photographs(
    serve: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    design = tmp_path / "design.yml"
    design.write_text(AS_DEPLOYED.replace("requests: 4", "requests: all") + "images: {labelled: true}\n")
    for folder, picture in (("first", Image.new("RGB", (20, 20))), ("next", Image.effect_noise((20, 20), 90))):
        (tmp_path / folder).mkdir()
        picture.save(tmp_path / folder / "n01440764_tench.png")
    target = serve("--workers", "2")

    def go(folder: str) -> int:
        return run(design, target, "--resume", "--images", str(tmp_path / folder))

    assert go("first") == 0
    next((tmp_path / "run/trials").rglob("*.gz")).unlink()
    before = contents(tmp_path)
    assert go("next") == 1
    assert "run was begun with other photographs (16px), and one cell would mix both" in capsys.readouterr().err
    assert contents(tmp_path) == before
    assert go("first") == 0
