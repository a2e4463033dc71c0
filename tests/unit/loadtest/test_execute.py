"""Running a design: what is there already is kept, and what would spoil a run is refused."""

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from loadtest.analyse.disturbed import calibrations
from loadtest.analyse.laws import law_of
from loadtest.analyse.summary import summarize
from loadtest.cli import main
from loadtest.draw.report import write_report
from loadtest.errors import LoadtestError
from loadtest.experiments.calibration import Capacity, estimate
from loadtest.experiments.folder import RunFolder
from loadtest.generate.client import Client
from loadtest.generate.samples import Sample, read_trial
from loadtest.simulate.measured import of_run
from tests.conftest import free_ports

TINY = """
name: tiny
goal: Is it kept?
seed: 3
repetitions: 5
dirty: true
deployment: {pool_size: 2, policy: random}
cells:
  - {arrivals: closed, in_flight: 1, image_px: 16, requests: 4}
"""


@pytest.fixture
def design(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yml"
    path.write_text(TINY)
    return path


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for a reload of the balancer that never comes."""
    monkeypatch.setattr("loadtest.experiments.record._SETTLE_S", 0.2)


def run(design: Path, target: str, *options: str) -> int:
    return main(["run", str(design), "--target", target, "--out", str(design.parent / "run"), *options])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.gz")}


def test_a_run_explains_itself(measured: Path) -> None:
    folder = RunFolder.open(measured)
    (level,) = folder.measured_levels()
    record = folder.read_level(level)
    assert record is not None
    assert record["client"]["processor"]
    assert record["version"]["model"]["name"] == "none"
    assert record["images"]["64px"]["64px"]["bytes"] > 1000
    assert record["capacity"]["64px"]["service_s"] == pytest.approx(0.02, rel=0.5)
    assert folder.has_all(level)
    for cell, number, trial in folder.trials(level):
        assert trial.damage is None
        assert trial.header["cell"] == cell.id
        assert trial.header["repetition"] == number
        assert trial.header["seed"][0] == folder.design.seed
    assert json.loads((measured / "run.json").read_text())["design"]["seed"] == 7


@pytest.mark.slow
def test_calibration_runs_an_open_loop_for_each_regime(tmp_path: Path, serve: Callable[..., str]) -> None:
    design = tmp_path / "regimes.yml"
    calibration = "{unloaded_requests: 10, saturated_s: 0.4, idle_requests: 16, busy_s: 0.3}"
    cell = "{arrivals: poisson, utilisation: 0.5, image_px: 16, duration_s: 0.05}"
    design.write_text(TINY.partition("cells:")[0] + f"calibration: {calibration}\ncells: [{cell}]\n")
    assert run(design, serve("--workers", "2", "--service-ms", "5")) == 0
    (record,) = (json.loads(path.read_text()) for path in (tmp_path / "run/levels").iterdir())
    assert {"idle", "busy", "network_s", "closed_hz", "open_hz"} <= record["capacity"]["16px"].keys()
    kinds = {path.name.split(".")[-3] for path in (tmp_path / "run/calibration").iterdir()}
    assert kinds == {"unloaded", "saturated", "idle", "busy"}
    folder = RunFolder.open(tmp_path / "run")
    law = law_of(folder, folder.design.levels[0], record, folder.design.cells[0])
    assert law is not None
    assert law.idle is not None
    assert law.means_s == pytest.approx(tuple(record["capacity"]["16px"]["busy"]["workers"].values()))
    assert law.max_conns == 0
    for known in (
        {"status": {"limits": {"max_conns": 3}}},
        {"facts": {"nginx": ["server 10.1.1.1:5000 max_conns=3;"]}},
    ):
        limited = law_of(folder, folder.design.levels[0], record | known, folder.design.cells[0])
        assert limited is not None
        assert limited.max_conns == 3
    assert of_run(folder).service.mean_s == pytest.approx(record["capacity"]["16px"]["busy"]["service_s"], rel=1e-4)


BY_LOAD = TINY.partition("cells:")[0] + (
    "calibration: {unloaded_requests: 10, saturated_s: 0.6, idle_requests: 0}\n"
    "cells: [{arrivals: poisson, utilisation: 0.5, image_px: 16, duration_s: 0.05}]\n"
)


@pytest.mark.slow
def test_a_calibration_that_failed_is_measured_again(
    design: Path, serve: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    design.write_text(BY_LOAD)
    assert run(design, serve("--workers", "2", "--service-ms", "250")) == 1
    assert re.search(
        r"calibration failed: 10 and \d+ requests were answered. Look at the deployment, then run the same command "
        r"with --resume\n$",
        capsys.readouterr().err,
    )
    assert run(design, serve("--workers", "2", "--service-ms", "2"), "--resume") == 0
    folder = RunFolder.open(design.parent / "run")
    assert list(calibrations(folder)) == [f"pool2.16px.{kind}" for kind in ("saturated", "unloaded")]
    kept = sorted(path.name for path in (folder.path / "calibration").glob("*incomplete*"))
    assert kept == [f"pool2.16px.{kind}.incomplete1.jsonl.gz" for kind in ("saturated", "unloaded")]


@pytest.mark.slow
def test_batches_of_the_inventory_are_told_from_single_photographs(
    design: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The design names no batch, and the workers say theirs."""
    asked: list[int] = []
    describe = Client.describe

    async def batching(client: Client) -> dict[str, Any]:
        found = await describe(client)
        return found | {"version": found["version"] | {"batch": {"max": 8, "window_ms": 0.0}}}

    def watched(alone: Sequence[Sample], full: Sequence[Sample], batch: int) -> Capacity:
        asked.append(batch)
        return estimate(alone, full, batch)

    monkeypatch.setattr(Client, "describe", batching)
    monkeypatch.setattr("loadtest.experiments.execute.estimate", watched)
    design.write_text(BY_LOAD)
    assert run(design, serve("--workers", "2", "--service-ms", "2")) == 0
    assert asked == [8]
    folder = RunFolder.open(design.parent / "run")
    (level,) = folder.measured_levels()
    assert law_of(folder, level, folder.read_level(level) or {}, folder.design.cells[0]) is None
    with pytest.raises(LoadtestError, match="one photograph at a time"):
        of_run(folder)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 8])
def test_a_trial_is_judged_while_it_runs_as_in_the_summary(
    design: Path, serve: Callable[..., str], monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """Lag is held against one service time: a trial that the run calls INVALID is no other in its figures."""
    judged: dict[str, list[float | None]] = {"experiments.execute": [], "analyse.summary": []}
    describe = Client.describe

    def by(name: str) -> Callable[..., list[str]]:
        def judge(_samples: object, _footer: object, service_s: float | None, _limits: object) -> list[str]:
            judged[name].append(service_s)
            return []

        return judge

    async def batching(client: Client) -> dict[str, Any]:
        found = await describe(client)
        return found | {"version": found["version"] | {"batch": {"max": batch, "window_ms": 0.0}}}

    monkeypatch.setattr(Client, "describe", batching)
    for name in judged:
        monkeypatch.setattr(f"loadtest.{name}.invalid_because", by(name))
    design.write_text(BY_LOAD)
    assert run(design, serve("--workers", "2", "--service-ms", "2")) == 0
    summarize(RunFolder.open(design.parent / "run"))
    assert judged["experiments.execute"] == judged["analyse.summary"]
    assert len(judged["analyse.summary"]) == 5
    assert (None in judged["analyse.summary"]) == (batch > 1)


@pytest.mark.slow
def test_theory_is_of_the_policy_that_was_deployed(design: Path, serve: Callable[..., str]) -> None:
    design.write_text(BY_LOAD.replace(", policy: random", ""))
    assert run(design, serve("--workers", "2", "--service-ms", "2", "--policy", "least_conn")) == 0
    (row,) = summarize(RunFolder.open(design.parent / "run")).cells
    assert row["policy"] == "least_conn"
    assert row["mg1_mean_s"] is None
    assert row["simulated_mean_s"] is not None


@pytest.mark.slow
def test_a_calibration_beside_which_another_program_ran_is_told(
    tmp_path: Path, serve: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    """During the run, and in its report."""
    design = tmp_path / "disturbed.yml"
    cell = "{arrivals: poisson, utilisation: 0.5, image_px: 16, duration_s: 0.05}"
    calibration = "calibration: {unloaded_requests: 10, saturated_s: 0.4, idle_requests: 0}"
    validity = "validity: {other_cpu: 0.0001, steal: 1}"  # what a hypervisor takes is no other program's
    design.write_text(f"{TINY.partition('cells:')[0]}{calibration}\n{validity}\ncells: [{cell}]\n")
    with subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE) as hog:
        assert hog.stdout is not None
        hog.stdout.readline()
        assert run(design, serve("--workers", "2", "--service-ms", "5")) == 0
        hog.kill()
    error = capsys.readouterr().err
    names = [f"pool2.16px.{kind}" for kind in ("saturated", "unloaded")]
    assert all(f"do not trust {name}.jsonl.gz, nor the loads and the theory made of it: " in error for name in names)
    folder = RunFolder.open(tmp_path / "run")
    found = calibrations(folder)
    assert list(found) == names
    assert all("other programs used" in reason for (reason,) in found.values())
    summarize(folder).write(folder.path / "summary")
    write_report(folder, [])
    page = (folder.path / "report.html").read_text()
    assert "<h2>Calibrations not to trust: 2 of 2</h2>" in page
    assert f"<p class=bad>{names[0]}: other programs used" in page


def test_provenance_names_no_path_and_no_host_of_this_machine(measured: Path) -> None:
    told = "".join(path.read_text() for path in measured.rglob("*.json"))
    assert socket.gethostname() not in told or len(socket.gethostname()) < 4
    assert str(Path.home()) not in told
    assert str(measured.parent) not in told


@pytest.mark.slow
def test_a_second_run_overwrites_nothing(
    design: Path, serve: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    target = serve("--workers", "2")
    assert run(design, target) == 0
    before = contents(design.parent)
    assert run(design, target) == 1
    assert "never overwritten: choose another --out, or add --resume" in capsys.readouterr().err
    assert run(design, target, "--resume") == 0
    assert "0 trials run" in capsys.readouterr().out
    assert contents(design.parent) == before


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_keeps_what_was_cut_short(design: Path, serve: Callable[..., str]) -> None:
    target = serve("--workers", "2")
    assert run(design, target) == 0
    trials = sorted((design.parent / "run" / "trials").rglob("*.gz"))
    whole, cut, lost = trials[0], trials[1], trials[2]
    cut.write_bytes(cut.read_bytes()[:-20])
    part = cut.read_bytes()
    lost.unlink()
    kept = whole.read_bytes()
    assert run(design, target, "--resume") == 0
    assert whole.read_bytes() == kept
    assert cut.with_name(cut.name.replace(".jsonl.gz", ".incomplete1.jsonl.gz")).read_bytes() == part
    assert read_trial(cut).damage is None
    assert read_trial(lost).damage is None


def test_a_resumed_run_sends_what_it_would_have_sent(measured: Path, tmp_path: Path, serve: Callable[..., str]) -> None:
    again = tmp_path / "run"
    shutil.copytree(measured, again)
    victim = next((again / "trials").rglob("poisson-i0.05-64px.r2.jsonl.gz"))
    before = [one.scheduled_s for one in sorted(read_trial(victim).samples, key=lambda one: one.seq)]
    victim.unlink()
    design = measured.parent / "small.yml"
    target = serve("--workers", "2", "--service-ms", "20")
    assert main(["run", str(design), "--target", target, "--out", str(again), "--resume"]) == 0
    assert [one.scheduled_s for one in sorted(read_trial(victim).samples, key=lambda one: one.seq)] == before
    assert len(before) > 2


def test_another_design_does_not_continue_a_run(
    design: Path, serve: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    target = serve("--workers", "2")
    assert run(design, target) == 0
    design.write_text(TINY.replace("seed: 3", "seed: 4"))
    assert run(design, target, "--resume") == 1
    assert "it differs in seed" in capsys.readouterr().err


def test_other_machines_do_not_continue_a_run(
    design: Path, serve: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    target = serve("--workers", "2")
    assert run(design, target) == 0
    path = next((design.parent / "run" / "levels").glob("*.json"))
    record = json.loads(path.read_text())
    record["client"]["processor"] = "Another 9000"
    path.write_text(json.dumps(record))
    assert run(design, target, "--resume") == 1
    assert "samples of unlike machines do not merge" in capsys.readouterr().err


@pytest.mark.slow
def test_levels_of_several_models_make_one_run(
    design: Path, serve: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    design.write_text(TINY.replace("policy: random", "model: [lite0, imagenet]"))
    servers = {model: serve("--workers", "2", "--model", model) for model in ("lite0", "imagenet")}
    for model, target in servers.items():
        assert run(design, target, "--level", f"{model}-pool2", "--resume") == 0, capsys.readouterr().err
    folder = RunFolder.open(design.parent / "run")
    assert all(folder.has_all(level) for level in folder.design.levels)
    # Another model is no other machine: those still do not merge.
    path = folder.level_path(folder.design.level("lite0-pool2"))
    record = json.loads(path.read_text())
    record["client"]["processor"] = "Another 9000"
    path.write_text(json.dumps(record))
    folder.level_path(folder.design.level("imagenet-pool2")).unlink()
    assert run(design, servers["imagenet"], "--level", "imagenet-pool2", "--resume") == 1
    assert "samples of unlike machines do not merge" in capsys.readouterr().err


def test_a_level_may_name_its_model_in_full(design: Path, serve: Callable[..., str], tmp_path: Path) -> None:
    """`lite0-224` is `lite0`: the facts of the deployment say what the bundle is called."""
    design.write_text(TINY.replace("policy: random", "policy: random, model: lite0-224"))
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps({"model": {"name": "lite0"}}))
    assert run(design, serve("--workers", "2", "--model", "lite0"), "--facts", str(facts)) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "says"),
    [
        pytest.param(("--workers", "3"), "its pool has 3 workers, not 2", id="pool"),
        pytest.param(("--workers", "2", "--policy", "least_conn"), "policy is least_conn, not random", id="policy"),
        pytest.param(("--workers", "2", "--model", "lite0"), "its model is lite0, not lite0-160", id="model"),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_a_service_that_is_deployed_otherwise_is_refused(
    design: Path,
    serve: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    says: str,
) -> None:
    if "--model" in options:
        design.write_text(TINY.replace("policy: random", "policy: random, model: lite0-160"))
    assert run(design, serve(*options)) == 1
    error = capsys.readouterr().err
    assert says in error
    assert "make experiment" in error
    assert not list((design.parent / "run").rglob("*.gz"))


def test_a_target_that_is_down_is_one_message(design: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(design, f"http://127.0.0.1:{free_ports(1)[0]}") == 1
    error = capsys.readouterr().err
    assert "does not answer" in error
    assert "make up" in error


def test_a_design_of_several_levels_asks_for_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = main(["run", "scaling", "--target", "http://127.0.0.1:1", "--out", str(tmp_path / "run")])
    assert code == 1
    assert "run one with --level" in capsys.readouterr().err


def test_labelled_images_are_asked_for_and_checked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, serve: Callable[..., str]
) -> None:
    target = serve()
    out = str(tmp_path / "run")
    assert main(["run", "accuracy", "--target", target, "--out", out]) == 1
    assert "give their folder with --images" in capsys.readouterr().err
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "cat.jpg").write_bytes(b"")
    images = ["--images", str(tmp_path / "images"), "--resume"]
    assert main(["run", "accuracy", "--target", target, "--out", out, *images]) == 1
    assert "holds no labelled image (1 without a label)" in capsys.readouterr().err


LABELLED = """
name: labelled
goal: Is every photograph sent once, and then as often as the trial lasts?
seed: 3
repetitions: 5
dirty: true
images: {labelled: true}
validity: {lag_of_service: 50, client_cpu: 64, other_cpu: 1, steal: 1}
cells:
  - {arrivals: closed, in_flight: 1, image_px: 16, requests: all, repetitions: 1}
  - {arrivals: closed, in_flight: 2, image_px: 16, duration_s: 0.5}
"""


@pytest.mark.slow
def test_labelled_photographs_are_sent_once_or_as_long_as_a_trial_lasts(
    design: Path, serve: Callable[..., str], tmp_path: Path
) -> None:
    design.write_text(LABELLED)
    names = ("n01440764_tench", "n01443537_goldfish", "n01484850_shark")
    for name in names:
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.new("RGB", (20, 20)).save(tmp_path / "images" / f"{name}.png")
    target = serve("--workers", "2", "--service-ms", "5")
    assert run(design, target, "--images", str(tmp_path / "images")) == 0
    folder = RunFolder.open(tmp_path / "run")
    (level,) = folder.measured_levels()
    assert folder.has_all(level)
    found = {(cell.in_flight, number): trial for cell, number, trial in folder.trials(level)}
    assert found.keys() == {(1, 1), *((2, number) for number in range(1, 6))}
    keys = {f"{name[:9]}/{name}@16" for name in names}
    once = [one.image for one in found[1, 1].samples]
    assert (len(once), set(once)) == (3, keys)
    for number in range(1, 6):
        samples, footer = found[2, number].samples, found[2, number].footer
        assert len(samples) > len(names)
        assert {one.image for one in samples} == keys
        assert footer is not None
        assert footer["wall_s"] >= 0.5


@pytest.mark.slow
def test_a_service_that_only_fails_stops_the_run(
    design: Path, serve: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    together = TINY.replace("in_flight: 1", "in_flight: 2").replace("requests: 4", "requests: 2")
    design.write_text(together + "client: {timeout_s: 3, warmup_requests: 0}\n")
    assert run(design, serve("--workers", "2", "--service-ms", "6000")) == 1
    error = capsys.readouterr().err
    assert "was answered (timeout); its samples are kept in" in error
    kept = list((design.parent / "run" / "trials").rglob("*.incomplete1.jsonl.gz"))
    assert len(kept) == 1
    assert len(read_trial(kept[0]).samples) == 2


def test_a_trial_that_chance_leaves_empty_does_not_stop_the_run(
    design: Path, serve: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Its seed is that of its cell and number, so that it would be as empty whenever it is run again."""
    design.write_text(BY_LOAD.replace("utilisation: 0.5", "rate_hz: 0.01"))
    assert run(design, serve("--workers", "2", "--service-ms", "2")) == 0
    said = capsys.readouterr().err
    assert said.count("n 0, errors 0, mean –; INVALID: no request was due: lengthen it or raise its rate") == 5
    folder = RunFolder.open(design.parent / "run")
    assert folder.has_all(folder.design.levels[0])
    assert main(["summarize", str(folder.path)]) == 0
    (row,) = folder.read_summary("cells")
    assert (row["trials"], row["valid_trials"], row["simulated_mean_s"]) == (5, 0, None)
    assert "NaN" not in (folder.path / "summary/cells.json").read_text()
    assert main(["plot", str(folder.path)]) == 0


CHANGING = """
name: changing
goal: Does the load change when the design says so?
seed: 3
repetitions: 5
dirty: true
calibration: {unloaded_requests: 10, saturated_s: 0.3, idle_requests: 0}
validity: {lag_of_service: 50, client_cpu: 64, other_cpu: 1, steal: 1}
cells:
  - {arrivals: step, rate_hz: 30, factor: 6, at_s: 0.2, until_s: 0.4, image_px: 16, duration_s: 0.6}
figures: [timeseries]
"""


@pytest.mark.slow
def test_a_load_that_changes_is_sent_and_drawn(design: Path, serve: Callable[..., str]) -> None:
    """What is due is drawn by the seed, so that the counts are no matter of the clock."""
    design.write_text(CHANGING)
    assert run(design, serve()) == 0
    folder = RunFolder.open(design.parent / "run")
    (level,) = folder.measured_levels()
    trials = [trial for _, _, trial in folder.trials(level)]
    assert [trial.header["asked_hz"] for trial in trials] == [pytest.approx(80)] * 5
    due = [one.scheduled_s for trial in trials for one in trial.samples]
    within = sum(0.2 <= offset < 0.4 for offset in due)
    # 5 × 36 and 5 × 12 are expected; beyond these bounds is one seed in a million
    assert 115 < within < 250
    assert 25 < len(due) - within < 100
    assert main(["summarize", str(folder.path)]) == 0
    assert main(["plot", str(folder.path)]) == 0
    assert (folder.path / "figures" / "timeseries.png").stat().st_size > 10_000


@pytest.fixture
def facts(tmp_path: Path) -> Callable[[str, bool], list[str]]:
    """What a playbook tells of the checkout, as an option of the command."""

    def told(commit: str, dirty: bool) -> list[str]:
        path = tmp_path / "facts.json"
        path.write_text(json.dumps({"commit": commit * 40, "dirty": dirty}))
        return ["--facts", str(path)]

    return told


@pytest.mark.slow
def test_what_is_in_no_commit_is_measured_only_when_told(
    design: Path,
    serve: Callable[..., str],
    facts: Callable[[str, bool], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    target, changed = serve("--workers", "2"), facts("a", True)
    design.write_text(TINY.replace("dirty: true\n", ""))
    assert run(design, target, *changed) == 1
    assert "changes that are in no commit, so nobody could repeat the run: commit them" in capsys.readouterr().err
    assert not list((design.parent / "run").rglob("*.gz"))
    assert run(design, target, *changed, "--dirty") == 0
    design.write_text(TINY)
    shutil.rmtree(design.parent / "run")
    assert run(design, target, *changed) == 0  # a design for trying


@pytest.mark.slow
def test_all_levels_of_a_run_share_one_commit(
    design: Path,
    serve: Callable[..., str],
    facts: Callable[[str, bool], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    design.write_text(TINY.replace("pool_size: 2", "pool_size: [1, 2]"))
    first, second = (serve("--workers", str(count)) for count in (1, 2))
    assert run(design, first, "--level", "pool1-random", *facts("a", False)) == 0
    before = contents(design.parent)
    assert run(design, second, "--level", "pool2-random", "--resume", *facts("b", False)) == 1
    error = capsys.readouterr().err
    assert "was begun at commit aaaaaaaaaaaa, and now it is bbbbbbbbbbbb: all levels of a run share one commit" in error
    assert "git switch --detach aaaaaaaaaaaa" in error
    assert contents(design.parent) == before
    assert run(design, second, "--level", "pool2-random", "--resume", *facts("a", False)) == 0
    # the controller sees it before anything is deployed
    runs = ["show", str(design), "--json", "--runs", str(design.parent), "--run", "run"]
    assert main(runs) == 1
    assert "all levels of a run share one commit" in capsys.readouterr().err


@pytest.mark.slow
def test_a_level_that_is_cut_short_while_it_calibrates_goes_on_as_it_was_begun(
    design: Path,
    serve: Callable[..., str],
    facts: Callable[[str, bool], list[str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    design.write_text(BY_LOAD)
    target = serve("--workers", "2", "--service-ms", "2")

    def cut_short(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as once:
        once.setattr("loadtest.experiments.execute.estimate", cut_short)
        assert run(design, target, *facts("a", False)) == 130
    measured = contents(design.parent)
    assert run(design, target, "--resume", *facts("b", False)) == 1
    assert "was begun at commit aaaaaaaaaaaa, and now it is bbbbbbbbbbbb" in capsys.readouterr().err
    assert run(design, target, "--resume", *facts("a", False)) == 0
    assert measured.items() < contents(design.parent).items()
