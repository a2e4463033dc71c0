"""`loadtest simulate`: figures, service times of a run, the table, its warnings, and the manual."""

import csv
import io
import itertools
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from loadtest.cli import main
from loadtest.experiments.folder import RunFolder
from loadtest.simulate.cases import figures, table
from loadtest.simulate.events import LOST, REFUSED
from loadtest.simulate.measured import of_run
from loadtest.simulate.system import Outcome

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "results"


def test_quantiles_need_enough_answers() -> None:
    def shown(count: int) -> dict[str, object]:
        return figures(Outcome(np.zeros(count), np.linspace(0, 1, count), np.zeros(count, dtype=np.int64)))

    assert shown(999)["p99_ms"] is None
    assert shown(1000)["p99_ms"] == pytest.approx(990)
    assert shown(9999)["p999_ms"] is None
    assert shown(10_000)["p999_ms"] == pytest.approx(999)
    nothing = figures(Outcome(np.zeros(2), np.zeros(2), np.array([REFUSED, LOST])))
    assert (nothing["mean_ms"], nothing["refused"], nothing["lost"], nothing["lost_share"]) == (None, 1, 1, 0.5)


def test_a_run_gives_both_regimes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "scaling"
    recorded = RESULTS / "reference/scaling"
    for part in ("calibration", "levels"):
        shutil.copytree(recorded / part, run / part)
    shutil.copy(recorded / "run.json", run)
    capacity = json.loads((run / "levels/pool4-random.json").read_text())["capacity"]["128px"]
    opened = of_run(RunFolder.open(run)).service
    assert opened.mean_s == pytest.approx(capacity["busy"]["service_s"], abs=1e-6)
    assert float(opened.idle_s.mean()) == pytest.approx(capacity["idle"]["service_s"], abs=1e-6)
    for path in itertools.chain(*((run / "calibration").glob(f"*.{kind}.*") for kind in ("idle", "busy"))):
        path.unlink()
    service = of_run(RunFolder.open(run)).service
    assert service.mean_s == pytest.approx(capacity["service_s"])
    assert float(service.idle_s.mean()) == pytest.approx(
        capacity["unloaded_total_s"] + capacity["overhead_s"], abs=1e-6
    )
    for path in (run / "calibration").glob("*unloaded*"):
        path.unlink()
    alone = of_run(RunFolder.open(run)).service
    assert "one regime" in alone.source
    assert alone.idle_s.tolist() == alone.busy_s.tolist()
    for path in (run / "calibration").glob("*saturated*"):
        path.unlink()
    assert main(["simulate", "--workers", "2", "--from", str(run)]) == 1
    assert "has no calibration of workers" in capsys.readouterr().err


def test_the_command_writes_a_table_a_file_and_a_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["simulate", "--workers", "4,8", "--policy", "random,least_conn", "--requests", "3000"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^ +8  0\.8  least_conn  +1 +\d+\.\d +\d+\.\d +\d+\.\d +– +– +0\.000$", text, re.MULTILINE)
    assert "warm-up" not in text
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out/simulated.csv").read_text())))
    assert [(row["workers"], row["policy"]) for row in rows] == [
        ("4", "random"), ("4", "least_conn"), ("8", "random"), ("8", "least_conn"),
    ]  # fmt: skip
    assert (tmp_path / "out/scale.png").stat().st_size > 10_000
    assert main([*words]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--utilisation 0.5", None),
        ("--utilisation 0.98", "the warm-up, a third, is short for random balancing"),
        ("--utilisation 1.1", "there is no steady state"),
        ("--balancers 90 --policy least_conn", "Some balancers have gone only 7.4 times round"),
        ("--fail 0.5,2 --policy least_conn", "lost %"),
        ("--swing 0.2,3", None),
    ],
)
def test_the_command_says_what_its_figures_lack(
    words: str, says: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "--workers", "3", "--requests", "3000", "--cv2", "0", *words.split()]) == 0
    text = capsys.readouterr().out
    if says is None:
        assert len(text.splitlines()) == 4
    else:
        assert says in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--workers ten", "--workers 'ten' is not a whole number"),
        ("--workers 10,0", "--workers 0 is impossible; give 1 to 10000"),
        ("--workers 2 --policy best", "--policy 'best' is not one of random, round_robin, least_conn, random_two"),
        ("--workers 2 --utilisation nan", "--utilisation nan is not a number"),
        ("--workers 2 --utilisation much", "--utilisation 'much' is not a number"),
        ("--workers 2 --service-ms 0", "--service-ms 0.0 is impossible; give more than 0 to 60000"),
        ("--workers 2 --fail 0.1", "--fail '0.1' is not SHARE,SECONDS, such as 0.1,5"),
        ("--workers 2 --fail 2,5", "--fail SHARE 2.0 is impossible; give more than 0 to 1"),
        ("--workers 2 --fail 0.1,5 --swing 0.1,5", "--fail and --swing are two questions; give one of them"),
        ("--workers 9000 --fail 0.1,50", "give fewer seconds or fewer workers"),
        ("--workers 2 --fail 0.5,5 --requests 1000", "needs --requests"),
        ("--workers 9000 --balancers 900", "8100000 views, and 2000000 fit"),
        ("--workers 2 --from . --cv2 1", "give the one or the other"),
        ("--workers 2 --from /nowhere", "/nowhere"),
    ],
)
def test_an_impossible_question_gets_one_line(words: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", *words.split()]) == (2 if says.startswith("--") else 1)
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def printed(option: str) -> tuple[list[str], str]:
    """The command of docs/scale.md that has an option, and what the page says that it prints."""
    blocks = re.findall(r"```console\n\$ loadtest (.*)\n((?:.*\n)*?)```", (ROOT / "docs/scale.md").read_text())
    return next((shlex.split(command), text) for command, text in blocks if option in command)


def test_the_manual_shows_the_rows_that_are_kept() -> None:
    rows = [
        {key: value if key == "policy" else float(value) if value else None for key, value in row.items()}
        for row in csv.DictReader(io.StringIO((RESULTS / "scale/simulated.csv").read_text()))
    ]
    whole = [row | {key: int(row[key]) for key in ("workers", "balancers")} for row in rows]  # type: ignore[call-overload]
    assert printed("--out results/scale")[1].startswith(table(whole) + "\n")


def test_the_manual_shows_what_the_command_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words, text = printed("--fail")
    monkeypatch.chdir(ROOT)
    assert main(words) == 0
    assert capsys.readouterr().out == text
