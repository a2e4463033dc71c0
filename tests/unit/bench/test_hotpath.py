"""`make hotpath`: its page says what was measured of two ways, and the ways are real."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest

from bench import batching, hotpath
from bench.hotpath_ways import BARE, WAYS
from tests.conftest import REPOSITORY
from tests.unit.worker.conftest import write_colour_bundle

FACTS = {
    "machine": "a machine",
    "cpu_flags": {"avx2": True},
    "commit": "abc",
    "model": "a network",
    "images": "20 photographs",
    "rounds": 20,
    "each": 8,
}


def recorded(folder: Path, rounds: int = 20, **worker_ms: float) -> Path:
    """Write times of rounds that differ by a half: each way takes 7 ms, 0.3 of them in nginx, but for who is named."""
    noise = random.Random(1)
    rows = []
    for number in range(1, rounds + 1):
        slow = 1 + noise.random() / 2
        for way in (BARE, *WAYS):
            taken_ms = 6.0 if way == BARE else worker_ms.get(way.replace(" ", "_"), 6.7)
            rows.append(
                {"round": number, "way": way, "worker_ms": slow * taken_ms, "nginx_ms": slow * 0.3 * (way != BARE)}
            )
    batching.write(folder, "hotpath", FACTS, rows)
    return folder


def test_two_ways_are_compared_in_the_same_round(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded(tmp_path, all_by_Flask=7.7, without_ids_and_lines=6.69, through_a_unix_socket=6.72)
    assert hotpath.main(["--redraw", str(tmp_path)]) == 0
    page = (tmp_path / hotpath.PAGE).read_text()
    assert capsys.readouterr().out == page + "\n"
    (layer,) = (line for line in page.splitlines() if line.startswith("| plain requests answered before Flask |"))
    assert layer.endswith("| 0.875 (0.875 to 0.875) | ≤ 0.97 | met |")  # 7 of 8 ms, in rounds that differ by a half
    (socket,) = (line for line in page.splitlines() if line.startswith("| a unix socket"))
    assert socket.endswith("| 1.003 (1.003 to 1.003) | ≤ 1.0 | not met |")
    (lines,) = (line for line in page.splitlines() if line.startswith("| ids, traces and log lines |"))
    assert lines.startswith("| ids, traces and log lines | 0.01")  # 0.01 ms, up to a half more
    assert lines.endswith("| ≤ 0.1 ms | met |")


def test_few_rounds_tell_nothing_apart(tmp_path: Path) -> None:
    assert "| 0.875 | ≤ 0.97 | not told apart |" in hotpath.redraw(recorded(tmp_path, rounds=5, all_by_Flask=7.7))


def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for damage in (None, "round,way\n1,x\n", ""):
        if damage is not None:
            (recorded(tmp_path) / "hotpath.csv").write_text(damage)
        assert hotpath.main(["--redraw", str(tmp_path)]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"error: {tmp_path} holds no times that can be read (")
        assert said.count("\n") == 1


def test_a_model_that_is_none_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert hotpath.main(["--model", "imagenett", "--record", str(tmp_path)]) == 1
    assert "did you mean imagenet?" in capsys.readouterr().err


@pytest.mark.long
def test_every_way_serves_and_is_measured_once_a_round(tmp_path: Path) -> None:
    bundle = write_colour_bundle(tmp_path / "colours")
    here = tmp_path / "record"
    words = ["--model", str(bundle.path), "--rounds", "2", "--each", "2", "--record", str(here)]
    assert hotpath.main([*words, "--against", str(REPOSITORY)]) == 0
    with (here / "hotpath.csv").open() as file:
        rows = list(csv.DictReader(file))
    other = f"as it is in {REPOSITORY.name}"
    assert sorted((int(row["round"]), row["way"]) for row in rows) == sorted(
        (number, way) for number in (1, 2) for way in (BARE, *WAYS, other)
    )
    assert all(float(row["worker_ms"]) > 0 for row in rows)
    assert all((float(row["nginx_ms"]) > 0) == (row["way"] != BARE) for row in rows)
    assert f"| {other} |" in (here / hotpath.PAGE).read_text()
