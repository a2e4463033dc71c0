"""The note of how long a tier takes, and the page that it is written into."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import durations


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "README.md"
    path.write_text(f"before\n{durations.BEGIN}\nof another day\n{durations.END}\nafter\n")
    monkeypatch.setattr(durations, "PAGE", path)
    monkeypatch.setattr(durations, "NOTES", tmp_path / "notes")
    return path


def note(exitstatus: int, marks: str = "not long and not slow") -> None:
    notes = durations.Notes("unit", durations.depth_of(marks))
    for name, took_s in (
        ("tests/unit/a.py::quick", 0.25),
        ("tests/unit/a.py::slow[a|b]", 2.0),
        ("tests/unit/a.py::slow[a|b]", 1.0),
    ):
        notes.pytest_runtest_logreport(SimpleNamespace(nodeid=name, duration=took_s))  # type: ignore[arg-type]
    notes.pytest_sessionfinish(exitstatus)


def test_the_page_shows_the_last_run_of_a_tier(page: Path) -> None:
    note(0)
    note(0, "not long")
    durations.main()
    text = page.read_text()
    assert text.startswith(f"before\n{durations.BEGIN}\n| tier |")
    assert text.endswith(f"\n{durations.END}\nafter\n")
    assert "of another day" not in text
    assert "| unit | make test | 0 | 2 |" in text
    assert "| unit | make test-all | 0 | 2 |" in text
    assert text.count("### The slowest of `make test-unit`") == 1
    assert "| 3.0 | `unit/a.py::slow[a\\|b]` |\n| 0.2 | `unit/a.py::quick` |" in text


def test_a_run_that_failed_is_not_noted(page: Path) -> None:
    note(1)
    with pytest.raises(SystemExit, match="run make test first"):
        durations.main()
    assert "of another day" in page.read_text()
