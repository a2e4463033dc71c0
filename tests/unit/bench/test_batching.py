"""`make batching`: each setting is measured once a round, and the page says no more than the rounds tell."""

from __future__ import annotations

import csv
import json
import math
import random
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest

from bench import batch_engines, batching
from bench.batch_engines import Setting
from bench.batching_page import OPEN, page, redraw, results
from bench.means import median
from imagerec_worker.bundle import Bundle
from tests.unit.worker.conftest import write_colour_bundle

FACTS = {
    "device": "the processor, by LiteRT",
    "machine": "a machine",
    "cpu_flags": {"avx2": True, "amx_int8": False},
    "commit": "abc",
    "rounds": 9,
    "pictures": 32,
}


def recorded(folder: Path, of_one: dict[int, float], rounds: int = 9, **changes: Any) -> Path:
    """Write the times of a network whose batches take so much of the time of one at a time; rounds differ by a half."""
    noise = random.Random(1)
    rows = []
    for number in range(1, rounds + 1):
        slow = 1 + noise.random() / 2
        for batch, share in of_one.items():
            times = (10 * slow * share * (1 + noise.uniform(-0.005, 0.005)), 9.0)
            rows.append(dict(zip(batching.COLUMNS, ("Net", 1, batch, number, *times), strict=True)))
    batching.write(folder, changes.pop("engine", "litert"), FACTS | changes, rows)
    return folder


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    noise = random.Random(2)
    inside = 0
    for _ in range(2000):
        found = median([noise.expovariate(1.0) for _ in range(12)])
        inside += found.low <= math.log(2) <= found.high
    assert 0.95 <= inside / 2000 < 0.975  # of 12 values the third on either side: 0.961
    assert math.isnan(median([1.0, 2.0, 3.0, 4.0, 5.0]).low)
    assert median([4.0, 1.0, 2.0, 3.0]).value == 2.5


def test_a_ratio_is_of_times_of_the_same_round(tmp_path: Path) -> None:
    _, found = results(recorded(tmp_path, {1: 1.0, 4: 0.5}))
    four = next(one for one in found if one.batch == 4)
    assert four.of_one.high - four.of_one.low < 0.02  # though rounds differ by a half
    assert four.wall_ms.high - four.wall_ms.low > 0.5


@pytest.mark.parametrize(
    ("of_one", "rounds", "says"),
    [
        pytest.param({1: 1.0, 4: 0.5, 8: 0.6}, 9, "a batch wins, +100% photographs a second with 4 at once", id="wins"),
        pytest.param({1: 1.0, 4: 1.0, 8: 1.1}, 9, "a batch wins nothing that shows, +0% photographs", id="nothing"),
        pytest.param({1: 1.0, 4: 0.5}, 5, "not told apart", id="too few rounds"),
    ],
)
def test_the_page_says_what_a_batch_wins(tmp_path: Path, of_one: dict[int, float], rounds: int, says: str) -> None:
    text = page(*results(recorded(tmp_path, of_one, rounds)))
    assert says in text.replace("-0%", "+0%").replace("+1%", "+0%")
    assert OPEN in text
    assert "avx2 yes, amx_int8 no" in text


@pytest.mark.parametrize("device", ["NVIDIA H100", "Tesla T4", "AMD Instinct MI210", "a GPU"])
def test_a_gpu_has_its_row_beside_the_processor(tmp_path: Path, device: str) -> None:
    recorded(tmp_path, {1: 1.0, 16: 1.0})
    recorded(tmp_path, {1: 1.0, 16: 0.1}, engine="tensorflow", device=f"{device}, by TensorFlow 2.20")
    text = redraw(tmp_path)
    assert OPEN not in text
    assert f"| {device}, by TensorFlow 2.20 | Net | 1 | 16 |" in text
    assert (tmp_path / "README.md").read_text() == text
    assert matplotlib.image.imread(tmp_path / "batching.png").std() > 0.1


def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert batching.main(["--redraw", str(tmp_path)]) == 1
    assert "holds no times; make batching measures them" in capsys.readouterr().err
    recorded(tmp_path, {1: 1.0})
    (tmp_path / "litert.csv").write_text("model,threads\nNet,1\n")
    assert batching.main(["--redraw", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_every_setting_is_measured_once_a_round_in_an_order_of_its_own() -> None:
    ran: list[tuple[int, int]] = []
    settings = [
        Setting("Net", threads, batch, lambda key=(threads, batch): ran.append(key))  # type: ignore[misc]
        for threads in (1, 2)
        for batch in (1, 4)
    ]
    rows = batching.measure(settings, 4, pictures=8)
    assert len(rows) == 16
    assert {(row["threads"], row["batch"], row["round"]) for row in rows} == {
        (threads, batch, number) for threads in (1, 2) for batch in (1, 4) for number in (1, 2, 3, 4)
    }
    orders = {tuple((row["threads"], row["batch"]) for row in rows if row["round"] == number) for number in range(1, 5)}
    assert len(orders) > 1
    assert ran.count((1, 1)) == 4 * (8 + 1)  # one run before is not counted
    assert ran.count((1, 4)) == 4 * (2 + 1)


def test_litert_runs_a_bundle_for_every_number_of_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle: Bundle = write_colour_bundle(tmp_path / "colours")
    monkeypatch.chdir(tmp_path)
    assert batching.main(["--models", str(bundle.path), "--rounds", "1", "--record", "here"]) == 0
    with Path("here/litert.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted((int(row["threads"]), int(row["batch"])) for row in rows) == [
        (threads, batch) for threads in batch_engines.THREADS for batch in batch_engines.BATCHES
    ]
    assert json.loads(Path("here/litert.json").read_text())["device"] == "the processor, by LiteRT"


@pytest.mark.parametrize("engine", ["tensorflow", "jax"])
def test_an_engine_that_is_not_installed_is_said_with_the_remedy(
    engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert batching.main(["--engine", engine, "--record", str(tmp_path / "none")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "make setup-keras" in said
    assert not (tmp_path / "none").exists()


def test_a_model_that_is_none_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert batching.main(["--models", "imagenett", "--record", str(tmp_path)]) == 1
    assert "did you mean imagenet?" in capsys.readouterr().err
