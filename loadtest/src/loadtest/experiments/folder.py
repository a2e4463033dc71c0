"""A run folder: where everything of a run lies, and how it is continued without overwriting anything.

- `run.json`: what is measured: the resolved design, and when it was begun;
- `levels/LEVEL.json`: where: client, hosts, versions, model, pool, settings, capacity;
- `calibration/HARDWARE.IMAGES.*`: raw samples behind the capacity;
- `cpu/LEVEL.json`: what the workers' processes had used and answered before and after, where levels name models;
- `traces/`: copies of the recorded arrivals that the design sends;
- `trials/LEVEL/CELL.rN.jsonl.gz`: raw samples;
- `summary/`, `figures/`, `report.html`: made from the above, and rebuilt identically.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadtest.errors import LoadtestError
from loadtest.experiments.cells import Cell, Level
from loadtest.experiments.design import Design, design_from_resolved
from loadtest.generate.samples import Trial, read_trial

SCHEMA = 1


class RunFolder:
    """The folder of one run.

    Attributes:
        path: Where it lies.
        design: What is measured.
        created: When it was begun, UTC, ISO 8601.
    """

    def __init__(self, path: Path, design: Design, created: str) -> None:
        self.path = path
        self.design = design
        self.created = created

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Open an existing run.

        Raises:
            LoadtestError: It is no run folder.
        """
        try:
            content = json.loads((path / "run.json").read_text(encoding="utf-8"))
            if content["schema"] != SCHEMA:
                raise LoadtestError(f"{path} was written with schema {content['schema']}, this reads {SCHEMA}")
            return cls(path, design_from_resolved(content["design"]), content["created"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LoadtestError(f"{path} is no run folder (run.json: {error}); `loadtest run` makes one") from error

    @classmethod
    def create(cls, path: Path, design: Design, created: str, traces: Path | None = None) -> "RunFolder":
        """Begin a run, or begin it again where nothing was measured yet.

        Args:
            path: Its folder.
            design: What is measured.
            created: Now, UTC, ISO 8601.
            traces: Folder that the design's traces stand in; the run keeps copies.

        Raises:
            LoadtestError: The folder holds something already, or cannot be written.
        """
        if path.exists() and {file.name for file in path.iterdir()} - {"run.json", "traces"}:
            raise LoadtestError(f"{path} exists, and a run is never overwritten: choose another --out, or add --resume")
        for name in sorted({cell.trace for cell in design.cells if cell.trace is not None}):
            assert traces is not None
            try:
                (path / "traces").mkdir(parents=True, exist_ok=True)
                (path / "traces" / name).write_bytes((traces / name).read_bytes())
            except OSError as error:
                raise LoadtestError(f"cannot keep the trace {name} in {path}: {error.strerror}") from error
        write_json(path / "run.json", {"schema": SCHEMA, "created": created, "design": design.resolved()})
        return cls(path, design, created)

    @classmethod
    def resume(cls, path: Path, design: Design, created: str, traces: Path | None = None) -> "RunFolder":
        """Continue a run of the same design, or begin it where there is none.

        Raises:
            LoadtestError: The folder holds a run of another design.
        """
        if not (path / "run.json").exists():
            return cls.create(path, design, created, traces)
        folder = cls.open(path)
        if folder.design != design:
            new, old = design.resolved(), folder.design.resolved()
            changed = [key for key in sorted({*new, *old}) if new.get(key) != old.get(key)]
            raise LoadtestError(
                f"{path} holds a run of another design (it differs in {', '.join(changed)}); choose another --out"
            )
        return folder

    def level_path(self, level: Level) -> Path:
        """Where a level's provenance lies."""
        return self.path / "levels" / f"{level.id}.json"

    def read_level(self, level: Level) -> dict[str, Any] | None:
        """A level's provenance, None where it was not begun."""
        path = self.level_path(level)
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise LoadtestError(f"cannot read {path}: {error}") from error
        return dict(content)

    def measured_levels(self) -> list[Level]:
        """Levels that were begun, in the design's order."""
        return [level for level in self.design.levels if self.level_path(level).exists()]

    def read_summary(self, name: str) -> list[dict[str, Any]]:
        """Read the rows of a table of the run's summary, such as `cells`.

        Raises:
            LoadtestError: It is missing or broken.
        """
        path = self.path / "summary" / f"{name}.json"
        try:
            return list(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise LoadtestError(f"cannot read {path} ({error}); `loadtest summarize {self.path}` makes it") from error

    def trial_path(self, level: Level, cell: Cell, repetition: int) -> Path:
        """Where a trial's samples lie."""
        return self.path / "trials" / level.id / f"{cell.id}.r{repetition}.jsonl.gz"

    def calibration_path(self, level: Level, images_id: str, kind: str) -> Path:
        """Where the samples behind a capacity lie; kind is `unloaded`, `saturated`, `idle` or `busy`."""
        return self.path / "calibration" / f"{level.hardware_id}.{images_id}.{kind}.jsonl.gz"

    def is_complete(self, path: Path) -> bool:
        """Whether a samples file is there and whole."""
        if not path.exists():
            return False
        try:
            return read_trial(path).damage is None
        except LoadtestError:
            return False

    def set_aside(self, path: Path) -> Path | None:
        """Rename a samples file that is of no use, so that its load is sent again; nothing is deleted."""
        if not path.exists():
            return None
        stem = path.name.removesuffix(".jsonl.gz")
        number = 1
        while (aside := path.with_name(f"{stem}.incomplete{number}.jsonl.gz")).exists():
            number += 1
        path.rename(aside)
        return aside

    def make_room(self, path: Path) -> None:
        """Make the folder of a samples file, and set aside an incomplete one that lies there.

        Raises:
            LoadtestError: The folder cannot be written.
        """
        self.set_aside(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LoadtestError(f"cannot write {path.parent}: {error.strerror}") from error

    def trials(self, level: Level) -> Iterator[tuple[Cell, int, Trial]]:
        """Read a level's trials that exist, whole or not, in the design's order."""
        for cell in self.design.cells:
            for repetition in self.design.numbers(cell):
                path = self.trial_path(level, cell, repetition)
                if path.exists():
                    yield cell, repetition, read_trial(path)

    def has_all(self, level: Level) -> bool:
        """Whether every trial of a level is there and whole."""
        return all(
            self.is_complete(self.trial_path(level, cell, repetition)) for cell, repetition in self.design.trials(level)
        )


def run_to_continue(runs: Path, design: Design, now: str) -> str:
    """Name the newest run of this very design that is not complete, or else a new one by design and time."""
    found = []
    for path in runs.glob("*/run.json"):
        with contextlib.suppress(LoadtestError):
            found.append(RunFolder.open(path.parent))
    for folder in sorted(found, key=lambda one: (one.created, one.path), reverse=True):
        if folder.design == design and not all(folder.has_all(level) for level in design.levels):
            return folder.path.name
    stamp = now[:19].replace("-", "").replace(":", "").replace("T", "-")
    return f"{design.name}-{stamp}"


def levels_to_run(path: Path, design: Design) -> list[dict[str, Any]]:
    """A design's levels with their factors, and whether the run at `path`, if there is one, has them already.

    Raises:
        LoadtestError: There is a run of another design.
    """
    folder = RunFolder.resume(path, design, "") if (path / "run.json").exists() else None
    return [
        {"id": level.id, **asdict(level), "complete": folder is not None and folder.has_all(level)}
        for level in design.levels
    ]


def write_json(path: Path, content: object) -> None:
    """Write JSON aside and rename it, so that a reader never sees half of it.

    Raises:
        LoadtestError: It cannot be written.
    """
    aside = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(aside, path)  # noqa: PTH105 — atomic
    except OSError as error:
        raise LoadtestError(f"cannot write {path}: {error.strerror}") from error
