"""What is kept of a fault: its raw samples, and its record with what came of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loadtest.generate.recorder import Recorder
from loadtest.generate.samples import IDENTIFIED, Sample, read_trial


def keep(folder: Path, fault: str, samples: Sequence[Sample], golden: Mapping[str, str]) -> None:
    """Write FAULT.jsonl.gz, without the ids: they have been compared with the balancer's log, which is not kept."""
    path = folder / f"{fault}.jsonl.gz"
    path.unlink(missing_ok=True)  # of a run that was interrupted: without its FAULT.json it does not count
    recorder = Recorder(path, {"fault": fault, "golden": dict(golden)}, IDENTIFIED)
    for sample in samples:
        recorder.add(dataclasses.replace(sample, request_id=None))
    recorder.close({})


def keep_record(folder: Path, fault: str, record: Mapping[str, Any]) -> None:
    """Write FAULT.json aside and rename it: a run that is cut off leaves no half of one."""
    aside = folder / f"{fault}.json.part"
    aside.write_text(json.dumps(record, indent=1) + "\n")
    aside.replace(folder / f"{fault}.json")


def record_of(folder: Path, fault: str) -> dict[str, Any] | None:
    """Read FAULT.json; None where there is none, or half of one."""
    try:
        record = json.loads((folder / f"{fault}.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return record if isinstance(record, dict) and "bar" in record else None


def read(folder: Path, fault: str) -> Sequence[Sample]:
    """Read a fault's samples.

    Raises:
        LoadtestError: They cannot be read.
    """
    return read_trial(folder / f"{fault}.jsonl.gz").samples
