"""How long the tiers take: a plugin of pytest that notes it, and a command that writes it into tests/README.md.

`make test-unit` and the other tiers run with `-p tests.durations --tier NAME`; each run that passes leaves its figures
in .cache/durations. `make test-durations` writes the last ones of all tiers.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[1]
PAGE = REPOSITORY / "tests/README.md"
NOTES = REPOSITORY / ".cache/durations"
TIERS = ("unit", "ansible", "keras", "local", "slice", "manuals")
DEPTHS = ("make test", "make test-all", "make test-all LONG=1")
SLOWEST = 10
BEGIN, END = "<!-- make test-durations -->", "<!-- end -->"


def depth_of(marks: str | None) -> str:
    """Which command runs the tests that are selected by these marks."""
    if not marks:
        return DEPTHS[2]
    return DEPTHS[0] if "slow" in marks else DEPTHS[1]


class Notes:
    """Adds up what each test took."""

    def __init__(self, tier: str, depth: str) -> None:
        self.tier, self.depth = tier, depth
        self.began_s = time.monotonic()
        self.load = os.getloadavg()[0]
        self.seconds: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if exitstatus != 0:
            return
        NOTES.mkdir(parents=True, exist_ok=True)
        note = {
            "seconds": round(time.monotonic() - self.began_s),
            "tests": len(self.seconds),
            "tier": self.tier,
            "depth": self.depth,
            "cores": os.cpu_count(),
            "load": round(self.load, 1),
            "python": platform.python_version(),
            "day": time.strftime("%Y-%m-%d"),
            "slowest": [(round(took_s, 1), name) for name, took_s in self.seconds.most_common(SLOWEST)],
        }
        (NOTES / f"{self.tier}-{DEPTHS.index(self.depth)}.json").write_text(json.dumps(note, indent=1))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tier", help="note under this name how long the run takes")


def pytest_configure(config: pytest.Config) -> None:
    tier = config.getoption("--tier")
    if tier and not hasattr(config, "workerinput"):  # xdist's own processes report to this one
        config.pluginmanager.register(Notes(tier, depth_of(config.getoption("markexpr"))))


def tables(notes: list[dict[str, Any]]) -> str:
    """One row for each run that is noted, and the slowest tests of each tier in its run of most tests."""
    lines = ["| tier | run by | seconds | tests | cores | load before | Python | day |", "|" + "---|" * 8]
    columns = ("tier", "depth", "seconds", "tests", "cores", "load", "python", "day")
    lines += [f"| {' | '.join(str(note[name]) for name in columns)} |" for note in notes]
    for tier, note in {note["tier"]: note for note in notes}.items():
        lines += ["", f"### The slowest of `make test-{tier}`", "| seconds | test |", "|---|---|"]
        lines += [
            f"| {took_s} | `{name.removeprefix('tests/').replace('|', chr(92) + '|')}` |"
            for took_s, name in note["slowest"]
        ]
    return "\n".join(lines)


def main() -> None:
    """Write the tables into the page."""
    paths = [NOTES / f"{tier}-{number}.json" for tier in TIERS for number in range(len(DEPTHS))]
    notes = [json.loads(path.read_text()) for path in paths if path.exists()]
    if not notes:
        raise SystemExit(f"{NOTES} holds no run of a tier; run make test first")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{tables(notes)}\n{END}{after}")


if __name__ == "__main__":
    main()
