"""docs/scale.md: its tables are those of its commands and of the recorded run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from loadtest.analyse.foretold import Forecast, Foretold, foretell, pooled
from loadtest.analyse.theory.law import ServiceLaw
from loadtest.draw import scale_page
from loadtest.draw.results_page import Runs
from loadtest.errors import LoadtestError
from loadtest.experiments.folder import RunFolder
from tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs/scale.md"
RESULTS = REPOSITORY / "results"
SCALING = RESULTS / "reference/scaling"


def between(name: str, text: str) -> str:
    """What stands between two marks."""
    return text.partition(f"<!-- {name}:begin -->\n")[2].partition(f"\n<!-- {name}:end -->")[0]


def test_the_committed_tables_are_what_the_recorded_run_says() -> None:
    text = PAGE.read_text()
    for name, table in scale_page.tables(PAGE, RunFolder.open(SCALING), scale_page.nginx_spends(RESULTS)).items():
        assert between(name, text) == table


def test_few_workers_foretell_many_at_the_rates_that_were_asked() -> None:
    rows = Runs(SCALING.parent).rows("scaling")
    found = foretell(RunFolder.open(SCALING), rows)
    assert [round(one.asked_hz / found.cells[0].asked_hz) for one in found.cells] == [1, 2, 3, 4]
    assert all(one.utilisation < 0.9 for one in found.cells)
    with pytest.raises(LoadtestError, match="has no load of 4 workers that can be foretold"):
        foretell(RunFolder.open(SCALING), [])


def test_every_worker_of_the_few_counts_once() -> None:
    one = ServiceLaw(np.array([0.5, 1.5]), (0.01,), 0.001)
    two = ServiceLaw(np.array([1.0]), (0.02, 0.03), 0.003)
    law = pooled([one, two], 4, 16)
    assert law.means_s == pytest.approx((0.02,) * 4)
    assert law.capacity_hz == pytest.approx(200)
    assert law.max_conns == 16
    assert law.outside_s == pytest.approx(0.002)
    assert sorted(law.shape) == [0.5, 1.0, 1.5]
    with pytest.raises(LoadtestError, match="other numbers of processes"):
        pooled([one, ServiceLaw(one.shape, one.means_s, 0.0, processes=2)], 4, 0)


def test_the_table_says_how_many_loads_are_within_ten_per_cent() -> None:
    cells = [Foretold(50.0, 0.25, mean_s, 0.001, 0.02, 4, 5) for mean_s in (0.0219, 0.0181, 0.025)]
    text = scale_page.fit_table(Forecast(cells, 0.02, 0.021))
    assert "| 50.0 | 0.25 | 25.0 ± 1.0 | 20.0 | +25 | 4 of 5 |" in text
    assert "2 of 3 loads are within 10 %." in text
    assert "(+5.0 %)" in text


def test_what_random_costs_follows_from_the_printed_rows() -> None:
    printed = "\n".join(
        f"    100  {load}  {policy}  1  20.0  18.0  {p99}  0.7  87.5  0.000"
        for policy, points in (
            ("random", [("0.3", 50.0), ("0.6", 90.0), ("0.9", 300.0)]),
            ("random_two", [("0.3", 30.0), ("0.6", 40.0), ("0.9", 60.0)]),
        )
        for load, p99 in points
    )
    assert re.findall(r"^\| \d.*$", scale_page.cost_table(printed), re.MULTILINE) == [
        "| 50 | 0.3 | 0.75 | 2.5 |",
        "| 90 | 0.6 | 0.90 or more | 1.5 or more |",
    ]


def test_what_nginx_spends_is_of_the_record_and_says_which(tmp_path: Path) -> None:
    (tmp_path / "hotpath.json").write_text('{"commit": "abc1234", "images": "three photographs"}')
    times = {"decode and inference": [9.0], "as it is": [0.1, 0.2, 0.4], "all by Flask": [7.0]}
    rows = [f"1,{way},5.0,{ms}" for way, every in times.items() for ms in every]
    (tmp_path / "hotpath.csv").write_text("\n".join(["round,way,worker_ms,nginx_ms", *rows, ""]))
    spent = scale_page.nginx_spends(tmp_path)
    assert spent == (0.2, 3, "abc1234", "three photographs")
    text = scale_page.balancers_table(0.02, spent)
    assert "0.200 ms of CPU a request. That is the median of 3 rounds of `make hotpath` at abc1234" in text
    assert "| 10,000 | 20.00 | 400,000 | 80.0 | 17 |" in text
    (tmp_path / "hotpath.csv").write_text("round,way,worker_ms,nginx_ms\n")
    with pytest.raises(LoadtestError, match=r"holds no record of nginx's CPU time .*; make hotpath RECORD="):
        scale_page.nginx_spends(tmp_path)
    with pytest.raises(LoadtestError, match="No such file"):
        scale_page.nginx_spends(tmp_path / "none")


def test_it_is_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale_page, "_TIMED", ())
    page = tmp_path / "page.md"
    asked = "simulate --workers 2 --utilisation 0.3,0.5 --policy random,random_two --requests 2000"
    marks = "".join(f"<!-- {name}:begin -->\n<!-- {name}:end -->\n" for name in ("fit", "cost", "balancers"))
    page.write_text(f"```console\n$ loadtest {asked}\nof before\n```\n{marks}")
    assert scale_page.main([str(page), str(tmp_path), str(RESULTS)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert scale_page.main([str(page), str(SCALING), str(RESULTS)]) == 1
    assert "write <!-- speed:begin --> and <!-- speed:end -->" in capsys.readouterr().err
    text = page.read_text()
    assert "of before" not in text
    assert between("fit", text).startswith("| requests/s |")
    page.write_text(f"{text}<!-- speed:begin -->\n<!-- speed:end -->\n")
    assert scale_page.main([str(page), str(SCALING), str(RESULTS)]) == 0
    assert between("speed", page.read_text()).startswith("| policy |")
    page.write_text("```console\n$ loadtest simulate --workers 0\n```\n")
    assert scale_page.main([str(page), str(SCALING), str(RESULTS)]) == 1
    assert "loadtest simulate --workers 0 ended with 2" in capsys.readouterr().err
