"""What bombs cost is measured at a real process, and the page says what was recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imagerec_worker.bundle import Bundle
from tests import bombs
from tests.bombs_page import MEMORY_BAR_BYTES, page
from tests.conftest import REPOSITORY
from tests.unit.worker.bomb_files import BOMBS

MARKS = f"before\n{bombs.BEGIN}\nold\n{bombs.END}\nafter\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A page with the marks."""
    (tmp_path / "README.md").write_text(MARKS)
    return tmp_path / "README.md"


def between(path: Path) -> str:
    return path.read_text().partition(f"{bombs.BEGIN}\n")[2].partition(f"\n{bombs.END}")[0]


@pytest.mark.long
def test_a_bomb_and_a_scrape_are_measured_at_a_real_process(colours: Bundle, place: Path) -> None:
    names = ["gif-claims-7071", "webp-lossless-4180"]
    assert bombs.main([str(colours.path), "--into", str(place), "--only", *names, "--ended", "20"]) == 0
    kept = json.loads((place.parent / bombs.RECORD).read_text())
    claimed, decoded = kept["bombs"]
    assert (claimed["name"], claimed["status"], decoded["name"], decoded["status"]) == (names[0], 200, names[1], 200)
    assert 20e6 < decoded["memory_bytes"] < MEMORY_BAR_BYTES
    assert decoded["cpu_s"] > claimed["cpu_s"]
    assert kept["model"] == "colours 1.0"
    assert kept["scrape"]["ended"] == 20
    assert 0 < kept["scrape"]["median_ms"] <= kept["scrape"]["p99_ms"]
    assert between(place) == page(kept)
    assert place.read_text().startswith("before\n")


def record(**changes: Any) -> dict[str, Any]:
    bomb = {"name": "png-a", "bytes": 2_000_000, "status": 413, "memory_bytes": 9_000_000, "cpu_s": 0.25, "tries": 1}
    scrape = {"ended": 10_000, "scrapes": 300, "median_ms": 1.5, "p99_ms": 2.5, "cpu_ms": 1.0}
    source = {"commit": "0123456789", "dirty": False}
    where = {"source": source, "machine": "a machine", "load": 0.1, "model": "m 1"}
    return where | {"beside": bombs.beside_bombs(), "bombs": [bomb | changes], "scrape": scrape | changes}


def test_the_page_says_what_is_above_a_bar_and_where_it_was_measured() -> None:
    good = page(record())
    assert good.startswith("At 0123456, a clean checkout: a machine; load before 0.1. Model: m 1. ")
    assert "| png a | 2,000,000 | 413 | 9 | 0.25 |" in good
    assert "Above a bar: 0 of 1. Most memory: 9 MB. Longest time: 0.25 s." in good
    assert "| 10,000 | 300 | 1.50 | 2.50 | 1.00 | 5 |" in good
    bad = page(record(memory_bytes=151_000_000, cpu_s=1.01, median_ms=5.1))
    assert "| png a | 2,000,000 | 413 | **151** | **1.01** |" in bad
    assert "Above a bar: 1 of 1." in bad
    assert "| 10,000 | 300 | **5.10** | 2.50 | 1.00 | 5 |" in bad
    second = list(BOMBS)[1]
    one_is_missing = record()
    one_is_missing["bombs"] = [record(name=name)["bombs"][0] for name in BOMBS if name != second]
    assert f"Not measured yet: {second.replace('-', ' ')}." in page(one_is_missing)
    one_is_missing["bombs"].append(record(name=second)["bombs"][0])
    assert "Not measured yet" not in page(one_is_missing)
    assert "a checkout with changes" in page({**record(), "source": {"commit": None, "dirty": True}})


def test_bombs_that_are_measured_later_stand_beside_the_others() -> None:
    first, second, third = list(BOMBS)[:3]
    kept, later = record(name=second), record(name=first, cpu_s=0.5)
    later["source"] = {"commit": "abcdef0123", "dirty": False}
    both = bombs.added(kept, later)
    assert [(each["name"], each["cpu_s"]) for each in both["bombs"]] == [(first, 0.5), (second, 0.25)]
    text = " ".join(page(both).split())
    assert "load before 0.1. 1 of the bombs later, at abcdef0. Model: m 1." in text
    again = bombs.added(both, record(name=first, cpu_s=0.75))
    assert [(each["name"], each["cpu_s"]) for each in again["bombs"]] == [(first, 0.75), (second, 0.25)]
    with pytest.raises(SystemExit, match="another machine"):
        bombs.added(kept, record(name=third) | {"machine": "another"})


def test_the_page_says_what_was_recorded() -> None:
    folder = REPOSITORY / "results/requests"
    kept = json.loads((folder / bombs.RECORD).read_text())
    names = [each["name"] for each in kept["bombs"]]
    assert names == [name for name in BOMBS if name in names]
    assert not any(each["source"]["dirty"] for each in [kept, *kept["bombs"]] if "source" in each)
    assert kept["scrape"]["ended"] == bombs.ENDED
    assert between(folder / "README.md") == page(kept)
