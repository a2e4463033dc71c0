"""The command: help with examples, one message for what is wrong, plan and compare."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.cli import main
from loadtest.experiments.design import find_design
from loadtest.experiments.folder import RunFolder, run_to_continue
from loadtest.experiments.reader import load_design

COMMANDS = [
    "attack",
    "begin",
    "bench",
    "capacity",
    "compare",
    "plan",
    "plot",
    "run",
    "show",
    "simulate",
    "slo",
    "summarize",
    "table",
    "trace",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    assert re.search(rf"examples:\n  loadtest {command} \S", capsys.readouterr().out)


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = re.findall(r"^    (\w+)(?: |$)", capsys.readouterr().out, re.MULTILINE)
    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize(
    ("words", "resumed"),
    [(["run", "rtt", "--target", "http://127.0.0.1:9", "--out", "new"], True), (["bench"], False)],
    ids=["run", "bench"],
)
def test_ctrl_c_names_resume_where_there_is_one(
    words: list[str], resumed: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("loadtest.cli._run", interrupted)
    monkeypatch.setattr("loadtest.generate.cli._bench", interrupted)
    assert main(words) == 130
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("loadtest: interrupted")
    assert ("--resume" in said) == resumed


def test_commands_that_send_nothing_wait_for_no_library_that_does() -> None:
    """Each of these takes some tenths of a second to load."""
    code = "import sys, loadtest.cli; print(sorted({'aiohttp', 'matplotlib', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_show_tells_which_run_to_continue(measured: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def show() -> dict[str, object]:
        assert main(["show", str(measured.parent / "small.yml"), "--json", "--runs", str(tmp_path)]) == 0
        return dict(json.loads(capsys.readouterr().out))

    fresh = show()
    assert re.fullmatch(r"small-\d{8}-\d{6}", str(fresh["run"]))
    shutil.copytree(measured, tmp_path / "small-1")
    assert show()["run"] != "small-1"  # it is complete
    next((tmp_path / "small-1" / "trials").rglob("*.gz")).unlink()
    unfinished = show()
    assert unfinished["run"] == "small-1"
    assert unfinished["levels"] == [
        {
            "id": "pool2-random",
            "pool_size": 2,
            "policy": "random",
            "cpu_share": None,
            "slow_worker": 1.0,
            "model": None,
            "batch": None,
            "batch_window_ms": None,
            "workers_awake": None,
            "complete": False,
        }
    ]


def test_the_run_to_continue_is_the_newest_whatever_its_name(tmp_path: Path) -> None:
    design = load_design(find_design("rtt"))
    for name, day in (("zeta", "01"), ("rtt-1", "03"), ("alpha", "02")):
        RunFolder.create(tmp_path / name, design, f"2026-01-{day}T00:00:00+00:00")
    (tmp_path / "zz").mkdir()
    (tmp_path / "zz/run.json").write_text("{}")
    assert run_to_continue(tmp_path, design, "2026-02-01T00:00:00+00:00") == "rtt-1"


def test_a_run_that_was_only_begun_is_continued(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its samples may lie on the client: the controller knows the run by what was written at its beginning."""
    run = tmp_path / "runs/rtt-1"
    assert main(["begin", "rtt", "--out", str(run)]) == 0
    assert RunFolder.open(run).design == load_design(find_design("rtt"))
    assert main(["show", "rtt", "--json", "--runs", str(run.parent)]) == 0
    assert json.loads(capsys.readouterr().out)["run"] == "rtt-1"
    written = (run / "run.json").read_bytes()
    assert main(["begin", "rtt", "--out", str(run)]) == 0
    assert (run / "run.json").read_bytes() == written
    assert main(["begin", "scaling", "--out", str(run)]) == 1
    assert "holds a run of another design" in capsys.readouterr().err


def test_show_describes_a_design(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "policies"]) == 0
    text = capsys.readouterr().out
    assert "pool4-random_two-slow3" in text
    assert str(load_design(find_design("policies")).seed) in text


def test_plan_answers_with_workers_utilisation_and_assumptions(
    measured: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadtest.analyse.plan._COUNTED", 10_000)
    assert main(["plan", "--rate", "150", "--slo-p99", "0.3", "--from", str(measured)]) == 0
    text = capsys.readouterr().out
    workers = int(re.match(r"(\d+) workers answer 150 requests/s", text)[1])  # type: ignore[index]
    assert workers >= 3  # 150/s of 20 ms is three workers' whole time, and a short calibration is not exact
    assert "Assumed: Poisson arrivals" in text
    assert "worker-seconds for a million good answers" in text
    assert re.search(r"Interval, 95 %: \d+( to \d+)?\.", text)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        pytest.param(["--rate", "0", "--slo-p99", "0.3"], "--rate 0.0 is impossible; give more than 0", id="no-rate"),
        pytest.param(["--rate", "5", "--slo-p99", "0.001"], "no number of workers", id="faster-than-service"),
        pytest.param(
            ["--rate", "5", "--slo-p99", "1", "--policy", "best"], "--policy 'best' is not one of random", id="policy"
        ),
    ],
)
def test_an_impossible_plan_is_refused(
    measured: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    assert main(["plan", *options, "--from", str(measured)]) == (2 if says.startswith("--") else 1)
    assert says in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate_hz", "p99"),
    [(100, r"– \(needs 1,000 requests\)"), (1200, r"\d+\.\d\d ms")],
    ids=["few-requests", "enough-requests"],
)
def test_the_generator_measures_itself(capsys: pytest.CaptureFixture[str], rate_hz: int, p99: str) -> None:
    assert main(["bench", "--rate", str(rate_hz), "--seconds", "1"]) == 0
    text = capsys.readouterr().out
    assert "0 failed" in text
    assert re.search(rf"lag p50 \d+\.\d\d ms, p99 {p99}, max \d+\.\d\d ms", text)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--bytes", "-5"], "--bytes -5 is impossible; give 0 to 100000000"),
        (["--rate", "0"], "--rate 0.0 is impossible; give more than 0 to 100000"),
        (["--seconds", "nan"], "--seconds nan is not a number"),
    ],
)
def test_an_impossible_bench_is_refused(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *words]) == 2
    assert says in capsys.readouterr().err


def test_a_bench_in_which_nothing_was_due_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--rate", "0.001", "--seconds", "0.01"]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert "no request was due in so short a time; give a higher --rate or more --seconds" in said


def test_an_objective_in_milliseconds_is_refused(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--from", str(measured), "--rate", "50", "--slo-p99", "300"]) == 1
    assert "--slo-p99 300 is in seconds; 300 ms are 0.3" in capsys.readouterr().err


def test_a_run_that_met_no_service_can_be_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing was measured, so there is nothing that a second try could overwrite."""
    words = ["run", "rtt", "--target", "http://127.0.0.1:9", "--out", str(tmp_path / "run")]
    for _ in range(2):
        assert main(words) == 1
        assert "exists" not in capsys.readouterr().err
