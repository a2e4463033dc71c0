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


def rows_of(option: str, text: str) -> dict[tuple[int, float, str, int], dict[str, float]]:
    """What the page's command with this option prints, by workers, ρ, policy and balancers."""
    block = next(found[2] for found in re.finditer(r"\$ loadtest (.*)\n((?:.*\n)*?)```", text) if option in found[1])
    found = {}
    for words in (line.split() for line in block.splitlines() if re.match(r" +\d+ +0\.\d", line)):
        workers, load, policy, balancers, mean, _, p99, _, latest, *shares = words
        found[int(workers), float(load), policy, int(balancers)] = {
            "mean": float(mean), "p99": float(p99), "p99.9": float(latest), "lost": float(shares[-1])
        }  # fmt: skip
    return found


def false_conclusions(text: str) -> list[str]:
    """Which of the page's sentences its own numbers no longer bear out."""
    idle, busy = map(float, re.findall(r"(\d+\.\d+) ms (?:after idleness|busy)", text)[:2])
    pools, loads = rows_of("--out results/scale", text), rows_of("--utilisation 0.3,", text)
    tiers, fault, at_once = rows_of("--balancers 1,8,64", text), rows_of("--fail", text), rows_of("--reloaded", text)
    turns = ("round_robin", "least_conn")
    random = [pools[count, 0.8, "random", 1]["p99"] for count in (10, 100, 1000, 10_000)]
    two = [pools[count, 0.8, "random_two", 1]["p99"] for count in (10, 100, 1000, 10_000)]
    tier = {one: [tiers[100, 0.8, one, count]["p99"] for count in (1, 8, 64)] for one in (*turns, "random_two")}
    lost = {key[2]: row["lost"] for key, row in fault.items()}
    speeds = [float(one) for one in re.findall(r"\d+(?= \|)", between("speed", text).partition("|---|")[2])]
    holds = {
        "random does not get better with more workers": max(random) < 1.2 * min(random),
        "p99 of random_two is several times lower": all(b > 2.5 * a for a, b in zip(two, random, strict=True)),
        "round_robin and least_conn leave almost no waiting on average": all(
            pools[count, 0.8, one, 1]["mean"] < 1.08 * idle for count in (1000, 10_000) for one in turns
        ),
        "p99 may be six times the service time": 5.0 < loads[100, 0.6, "random", 1]["p99"] / busy < 7.0,
        "held down by `max_conns`": loads[100, 0.9, "random", 1]["p99"] < 1.2 * 16 * busy,
        "each policy comes nearer to random": all(a < b < c < random[1] for a, b, c in tier.values()),
        "least_conn and round_robin stay better": all(tier[one][-1] < tier["random_two"][-1] for one in turns),
        "Policies that take turns then send in step": all(row["p99"] > 1.2 * random[2] for row in at_once.values()),
        "round_robin far more than least_conn": all(
            row["p99"] > 2 * random[2] for key, row in at_once.items() if key[2] == "round_robin"
        ),
        "least_conn loses the most": lost["least_conn"] == max(lost.values()),
        "round_robin loses more than random and random_two": lost["round_robin"]
        > max(lost["random"], lost["random_two"]),
        "random loses the fewest and is the slowest": lost["random"] == min(lost.values())
        and max(fault, key=lambda key: fault[key]["mean"])[2] == "random",
        "Million requests a minute of CPU": min(speeds) >= 5,
    }
    assert [words for words in holds if words not in text] == []
    return [words for words, true in holds.items() if not true]


def backwards(text: str) -> str:
    """The page with the numbers of each command from its last row to its first."""

    def turned(block: re.Match[str]) -> str:
        row = re.compile(r"^( +\d+ +0\.\d +\w+ +\d+)( .*)$", re.MULTILINE)
        numbers = iter([found[2] for found in row.finditer(block[0])][::-1])
        return row.sub(lambda one: one[1] + next(numbers), block[0])

    return re.sub(r"\$ loadtest .*\n(?:.*\n)*?```", turned, text)


def test_what_the_page_concludes_follows_from_its_numbers() -> None:
    text = PAGE.read_text()
    assert false_conclusions(text) == []
    others = re.sub(r"^\| least_conn \| \d+", "| least_conn | 3", backwards(text), flags=re.MULTILINE)
    assert len(false_conclusions(others)) >= 8


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
