"""The processes of the in-process limit, and what they did."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from bench.sender import CORES
from deployed.checkout import REPOSITORY
from loadtest.errors import LoadtestError
from loadtest.generate.effort import busy_share, machine_times


class Ran(NamedTuple):
    """What the in-process limit did.

    Attributes:
        images: Of all processes.
        wall_s: In which they would have made so many: each has its own time, a little longer than what was asked for.
        cpu_s: Processor seconds of all processes.
        others_cores: Cores that others kept busy.
    """

    images: int
    wall_s: float
    cpu_s: float
    others_cores: float


class Limit:
    """Pinned processes without HTTP, one for each core."""

    def __init__(self, bundle: Path, images: Path) -> None:
        self._processes = [
            subprocess.Popen(  # noqa: S603  our own program
                [sys.executable, "-m", "bench.limit", str(bundle), str(images), str(core)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=REPOSITORY,
            )
            for core in sorted(os.sched_getaffinity(0))
        ]
        for process in self._processes:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                raise LoadtestError("a process of the in-process limit did not start; its reason stands above")

    def run(self, decoder: str, seconds: float) -> Ran:
        """Run all processes at once with a decoder for so many seconds.

        Raises:
            LoadtestError: One of them has ended.
        """
        before = machine_times()
        try:
            for process in self._processes:
                assert process.stdin is not None
                process.stdin.write(f"{decoder} {seconds}\n")
                process.stdin.flush()
            answers = [process.stdout.readline().split() for process in self._processes if process.stdout]
            counts = [(int(count), float(wall_s), float(cpu_s)) for count, wall_s, cpu_s in answers]
        except (OSError, ValueError) as error:
            raise LoadtestError("a process of the in-process limit ended; its reason stands above") from error
        busy = busy_share(before, machine_times()) or 0.0
        images, cpu_s = sum(count for count, *_ in counts), sum(cpu_s for *_, cpu_s in counts)
        wall_s = images / sum(count / wall_s for count, wall_s, _ in counts)
        return Ran(images, wall_s, cpu_s, busy * CORES - cpu_s / wall_s)

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            with contextlib.suppress(OSError):
                process.communicate()
