"""What networks cost and buy: the joined rows, the front, the figure, and the table in a Markdown file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import matplotlib.image
import pytest

from loadtest.analyse.models import pareto
from loadtest.analyse.statistics import wilson
from loadtest.analyse.summary import summarize
from loadtest.cli import main
from loadtest.draw import models
from loadtest.draw.model_table import BEGIN, END, model_table
from loadtest.experiments.cells import Level
from loadtest.experiments.folder import RunFolder, write_json
from loadtest.experiments.reader import load_design
from loadtest.generate.recorder import Recorder
from loadtest.generate.samples import Sample

DESIGN = """
name: nets
goal: Are the rows right?
seed: 1
repetitions: 5
images: {labelled: true}
deployment: {model: [imagenet, lite0-160, lite0, lite2-float32]}
cells:
  - {arrivals: closed, in_flight: 1, image_px: 64, requests: all, repetitions: 1}
  - {arrivals: closed, in_flight: 4, image_px: 64, duration_s: 4, warmup_s: 1}
figures: [models]
"""
WNIDS = [f"n{number:08d}" for number in range(1, 11)]
# Photographs right of ten, images a second, CPU ms: lite0 is beaten by imagenet, the others are on the front.
NETWORKS = {
    "imagenet": (8, 100, 9.0),
    "lite0-160": (7, 200, 5.0),
    "lite0": (8, 80, 10.0),
    "lite2-float32": (9, 40, 30.0),
}


def record(path: Path, header: dict[str, object], samples: list[Sample], wall_s: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    recorder = Recorder(path, header)
    for sample in samples:
        recorder.add(sample)
    in_flight = sum(one.service_s for one in samples) / wall_s
    recorder.close({"wall_s": wall_s, "cpu_share": 0.1, "not_sent": 0, "mean_in_flight": in_flight})


def fill(run: RunFolder, level: Level) -> None:
    assert level.model is not None
    right, rate_hz, cpu_ms = NETWORKS[level.model]
    served = {"name": level.model, "version": "1", "digest": level.model, "title": f"Net {level.model}, ImageNet, int8",
              "input_size": 160, "quantisation": "float32" if "float32" in level.model else "int8"}  # fmt: skip
    deployed = {"bytes": 5_250_000, "source": "https://example.org/net.tflite" if right == 8 else "a-net 1.0, net.pth"}
    client = {"machine": "m", "processor": "p", "cores": 2}
    write_json(run.level_path(level), {"client": client, "facts": {"model": deployed}, "version": {"model": served}})
    once, busy = run.design.cells
    answers = [f"{wnid} n9" if number < right else f"n9 {wnid}" for number, wnid in enumerate(WNIDS)]
    record(
        run.trial_path(level, once, 1),
        {"repetition": 1},
        [
            Sample(seq, seq / 50, seq / 50, seq / 50 + 0.02, 200, "worker1", None, f"{wnid}/a@64", answer=answer)
            for seq, (wnid, answer) in enumerate(zip(WNIDS, answers, strict=True))
        ],
        0.2,
    )
    for number in range(1, 6):
        samples = [Sample(seq, seq / rate_hz, seq / rate_hz, (seq + 0.9) / rate_hz, 200, "worker1", None, "x/a@64")
                   for seq in range(4 * rate_hz)]  # fmt: skip
        record(run.trial_path(level, busy, number), {"duration_s": 4.0, "repetition": number}, samples, 4.0)
    before, after = {"cpu_s": 7.0, "answers": 100}, {"cpu_s": 7.0 + cpu_ms, "answers": 1100}
    write_json(run.path / "cpu" / f"{level.id}.json", {name: {"before": before, "after": after} for name in ("a", "b")})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("models")
    (folder / "nets.yml").write_text(DESIGN)
    made = RunFolder.create(folder / "run", load_design(folder / "nets.yml"), "2026-01-01T00:00:00+00:00")
    for level in made.design.levels:
        fill(made, level)
    assert main(["summarize", str(made.path)]) == 0
    return made


def test_a_row_joins_accuracy_throughput_processor_time_and_size(run: RunFolder) -> None:
    rows = {row["model"]: row for row in summarize(run).models}
    assert list(rows) == ["lite0-160", "imagenet", "lite0", "lite2-float32"]  # fastest first
    for name, (right, rate_hz, cpu_ms) in NETWORKS.items():
        row = rows[name]
        assert (row["photographs"], row["top1"], row["top5"]) == (10, pytest.approx(right / 10), 1.0)
        assert (row["top1_low"], row["top1_high"]) == pytest.approx(wilson(right, 10))
        assert row["answered_hz"] == pytest.approx(rate_hz, rel=0.02)
        assert row["cpu_ms"] == pytest.approx(cpu_ms)
        assert (row["cpu_answers"], row["size_mb"], row["valid_trials"]) == (2000, 5.25, 5)
    assert [row["front_hz"] for row in rows.values()] == [True, True, False, True]
    assert [row["front_cpu"] for row in rows.values()] == [True, True, False, True]
    assert json.loads((run.path / "summary" / "models.json").read_text())[0]["model"] == "lite0-160"
    assert (run.path / "summary" / "models.csv").read_text().startswith("level,model,version,")


def test_the_front_keeps_what_no_other_point_beats() -> None:
    assert pareto([(1, 1), (2, 0), (0, 2), (1, 0), (2, 0)]) == {(1, 1), (2, 0), (0, 2)}
    assert pareto([]) == set()


def test_a_network_without_processor_time_has_none(run: RunFolder) -> None:
    path = run.path / "cpu" / "lite0.json"
    text = path.read_text()
    path.unlink()
    try:
        row = next(row for row in summarize(run).models if row["model"] == "lite0")
        assert (row["cpu_ms"], row["front_cpu"]) == (None, False)
        assert row["answered_hz"] > 0
    finally:
        path.write_text(text)


def test_a_run_without_models_has_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nets.yml").write_text(DESIGN)
    RunFolder.create(tmp_path / "run", load_design(tmp_path / "nets.yml"), "2026-01-01T00:00:00+00:00")
    assert main(["table", str(tmp_path / "run")]) == 1
    assert "make experiment DESIGN=models" in capsys.readouterr().err


@pytest.mark.slow
def test_the_figure_is_drawn_the_same_each_time(run: RunFolder) -> None:
    figures = run.path / "figures"
    assert main(["plot", str(run.path)]) == 0
    first = {path.name: path.read_bytes() for path in figures.iterdir()}
    assert first.keys() == {"models.png", "models.svg"}
    assert main(["plot", str(run.path)]) == 0
    assert {path.name: path.read_bytes() for path in figures.iterdir()} == first
    picture = matplotlib.image.imread(figures / "models.png")
    assert picture.shape[1] > picture.shape[0] > 500  # two panels side by side


def test_the_table_stands_between_its_marks(run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- models:begin -->\nstale figures\n<!-- models:end -->\nafter\n")
    assert main(["table", str(run.path), "--into", str(readme)]) == 0
    text = readme.read_text()
    assert text.startswith("before\n<!-- models:begin -->\n| `MODEL=` |")
    assert text.endswith("\n<!-- models:end -->\nafter\n")
    assert "stale" not in text
    assert "over 5 trials; no trial was invalid and left out" in " ".join(text.split())
    assert "The order of networks whose intervals overlap may be chance" in " ".join(text.split())
    assert "| **`lite0-160`** | Net lite0-160, int8 | 160 | 70.0 (40–89) | 100.0 | 200 ± " in text
    assert "| 5.0 | 5.2 | a-net 1.0 |" in text
    assert "| `lite0` |" in text
    assert "[a pinned file](https://example.org/net.tflite)" in text
    assert main(["table", str(run.path), "--into", str(readme)]) == 0
    assert "stands already" in capsys.readouterr().out
    readme.write_text("no marks")
    assert main(["table", str(run.path), "--into", str(readme)]) == 1
    assert "write <!-- models:begin --> and <!-- models:end --> where it belongs" in capsys.readouterr().err


def test_workers_of_machines_of_their_own_share_no_cores(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table and the caption said so of every run, and gave the cores of the client."""
    shutil.copytree(run.path, tmp_path / "run")
    apart = RunFolder.open(tmp_path / "run")
    hosts = {"client": {"cores": 2, "processor": "p"}, "worker1": {"cores": 8, "processor": "q"}}
    for level in apart.design.levels:
        record = apart.read_level(level)
        assert record is not None
        share = 0.25 if level.model == "imagenet" else None
        record["facts"] |= {"one_machine": False, "hosts": hosts, "cpu_cores": {"worker1": share}}
        write_json(apart.level_path(level), record)
    said = "Load generator, balancer and workers were not on one machine; cores of a worker: 0.25 (q) or 8 (q)"
    assert f"{said}." in " ".join(model_table(apart).split())
    captions: list[str] = []
    monkeypatch.setattr(models, "save", lambda *told: captions.append(told[3]))
    models.draw(apart, [])
    assert captions[0].endswith(f"{said}; seed 1.")
    assert "Load generator, balancer and workers shared 2 cores (p)." in " ".join(model_table(run).split())


@pytest.mark.slow
def test_the_readme_holds_the_figures_of_the_recorded_run(repository: Path, tmp_path: Path) -> None:
    run = RunFolder.open(repository / "results/reference/models")
    summarize(run).write(tmp_path)
    assert (tmp_path / "models.csv").read_text() == (run.path / "summary/models.csv").read_text()
    text = (repository / "README.md").read_text()
    assert text.partition(BEGIN)[2].partition(END)[0].strip("\n") == model_table(run)
