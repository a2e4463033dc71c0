"""A trial of the benchmark and a whole run of trials: on disk a JSON file, and a table with every request."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from loadtest.errors import LoadtestError

Microseconds = npt.NDArray[np.int64]
FACTS, REQUESTS = "throughput.json", "throughput.csv.gz"
_COLUMNS = ("scheduled_us", "lag_us", "service_us", "status")


@dataclass(frozen=True, slots=True)
class Load:
    """How photographs are sent: by so many users in turn, or as a Poisson process at a share of the limit.

    Attributes:
        users: Of a closed loop; 0 in an open one.
        share: Of the limit, in an open loop; 0 in a closed one.
    """

    users: int = 0
    share: float = 0.0

    @property
    def name(self) -> str:
        """Its name in files."""
        return f"closed-{self.users}" if self.users else f"open-{self.share:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One load on one system in one round.

    Attributes:
        system: Its key.
        load: Name of the load.
        number: Of the round, from 1.
        position: In the order of the round under this load, from 1.
        wall_s: From the first request to the last answer.
        images: Photographs that were recognised; a wrong class or an answer other than 200 is none.
        wrong: Answers of 200 with another class than the network finds.
        cpu_s: Processor seconds of the serving processes.
        nginx_cpu_s: Those of nginx among them; None where there is none, or an older run did not record it.
        client_cpu_s: Of the generator.
        others_cores: Cores that neither the serving processes nor the generator kept busy.
        rate_hz: Asked for in an open loop.
        requests: `int64 [requests, 4]`: when it was due, how late it was sent, how long its answer took, each in µs,
            and the HTTP status, 0 without an answer. Empty where no HTTP is involved.
    """

    system: str
    load: str
    number: int
    position: int
    wall_s: float
    images: int
    wrong: int
    cpu_s: float
    client_cpu_s: float
    others_cores: float
    rate_hz: float
    requests: Microseconds
    nginx_cpu_s: float | None = None

    @property
    def images_hz(self) -> float:
        """Photographs recognised a second."""
        return self.images / self.wall_s

    @property
    def cpu_ms(self) -> float:
        """Processor milliseconds of the serving processes for each photograph."""
        return 1e3 * self.cpu_s / max(self.images, 1)

    @property
    def nginx_ms(self) -> float:
        """Processor milliseconds of nginx for each photograph; NaN where it is not known."""
        return math.nan if self.nginx_cpu_s is None else 1e3 * self.nginx_cpu_s / max(self.images, 1)

    @property
    def failed(self) -> int:
        """Requests that were not answered 200."""
        return int((self.requests[:, 3] != 200).sum())

    @property
    def waiting(self) -> int:
        """Requests that waited for their answers when the last one was due: the queue that the trial left."""
        done = self.requests[:, :3].sum(axis=1)
        return int((done > self.requests[:, 0].max()).sum())

    @property
    def response_ms(self) -> npt.NDArray[np.float64]:
        """Milliseconds from when each request was due to its last byte; infinity for one that failed."""
        times_ms = (self.requests[:, 1] + self.requests[:, 2]) / 1e3
        return np.where(self.requests[:, 3] == 200, times_ms, np.inf)

    def lag_ms(self, quantile: float) -> float:
        """Milliseconds by which the generator was late."""
        return float(np.quantile(self.requests[:, 1], quantile)) / 1e3


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that the page is made from: what was measured where, and the trials."""

    facts: dict[str, Any]
    trials: tuple[Trial, ...]

    def of(self, system: str, load: str) -> list[Trial]:
        """Return the trials of a system under a load, by round."""
        found = [trial for trial in self.trials if (trial.system, trial.load) == (system, load)]
        return sorted(found, key=lambda trial: trial.number)

    def pairs(self, one: str, other: str, load: str) -> list[tuple[Trial, Trial]]:
        """Return the trials of two systems under a load, of the rounds that have both."""
        others = {trial.number: trial for trial in self.of(other, load)}
        return [(trial, others[trial.number]) for trial in self.of(one, load) if trial.number in others]

    def failed_share(self, system: str, load: str) -> float:
        """Return the share of a system's requests under a load that failed or were answered wrong."""
        found = self.of(system, load)
        bad = sum(trial.failed + trial.wrong for trial in found)
        return bad / max(1, sum(len(trial.requests) for trial in found))


def keep(run: Run, folder: Path) -> None:
    """Write a run into a folder; each file is there whole or as it was.

    Raises:
        LoadtestError: It cannot be written.
    """
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for trial in run.trials:
        writer.writerows(trial.requests.tolist())
    text = json.dumps(run.facts | {"trials": "TRIALS"}, indent=1)
    listed = ",\n  ".join(json.dumps(_row(trial)) for trial in run.trials)  # a line for each trial
    write(folder / REQUESTS, gzip.compress(table.getvalue().encode(), mtime=0))
    whole = text.replace('"TRIALS"', f"[\n  {listed}\n ]") + "\n"
    write(folder / FACTS, whole.encode())


def _row(trial: Trial) -> dict[str, Any]:
    """Return a trial without its requests, but with their number."""
    values = {one.name: getattr(trial, one.name) for one in fields(trial) if one.name != "requests"}
    rounded = {name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()}
    return rounded | {"sent": len(trial.requests)}


def write(path: Path, content: bytes) -> None:
    """Write a file aside and put it in place.

    Raises:
        LoadtestError: It cannot be written.
    """
    aside = path.with_name(f".{path.name}")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    except OSError as error:
        raise LoadtestError(f"{path} cannot be written ({error.strerror}); name another folder by RECORD") from error


def read(folder: Path) -> Run:
    """Read a run.

    Raises:
        LoadtestError: The folder holds none, or its two files do not belong together.
    """
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        rows = facts.pop("trials")
        requests = _requests(gzip.decompress((folder / REQUESTS).read_bytes()).decode())
        counts = [row.pop("sent") for row in rows]
        if sum(counts) != len(requests):
            raise LoadtestError(f"{folder / REQUESTS} has {len(requests)} requests where {FACTS} has {sum(counts)}")
        parts = np.split(requests, np.cumsum(counts)[:-1])
        return Run(facts, tuple(Trial(**row, requests=part) for row, part in zip(rows, parts, strict=True)))
    except (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zlib.error) as error:
        raise LoadtestError(
            f"{folder} holds no recorded run of make bench ({error}); make bench RECORD={folder} makes one"
        ) from error


def _requests(text: str) -> Microseconds:
    lines = csv.reader(io.StringIO(text))
    if tuple(next(lines, ())) != _COLUMNS:
        raise ValueError(f"{REQUESTS} has other columns")
    return table([int(value) for value in line] for line in lines)


def table(rows: Iterable[Iterable[int]]) -> Microseconds:
    """Make the array of requests from rows of four integers."""
    return np.array([tuple(row) for row in rows], np.int64).reshape(-1, len(_COLUMNS))
