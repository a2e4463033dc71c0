"""One load on one address of this machine, sent by the product's generator as a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.trials import Load
from loadtest.errors import LoadtestError
from loadtest.generate.samples import Sample, trial_of

_TIMEOUT_S = 60
CORES = os.cpu_count() or 1  # all that /proc/stat counts, also those that this process may not use


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of a load.

    Attributes:
        samples: Every request, in the order of sending.
        wall_s: From the first request to the last answer.
        cpu_s: Processor seconds of the generator in that time.
        busy_cores: Cores of the machine that anybody kept busy in that time.
    """

    samples: Sequence[Sample]
    wall_s: float
    cpu_s: float
    busy_cores: float


def send(
    port: int,
    path: str,
    photographs: Sequence[Path],
    load: Load,
    *,
    rate_hz: float,
    seconds: float,
    seed: int,
    form: bool,
) -> Sent:
    """Send photographs to a port of the loopback; the same seed draws the same photographs and the same arrivals.

    Raises:
        LoadtestError: The generator failed, or its samples are not whole.
    """
    words = [sys.executable, "-m", "loadtest.generate.send", *map(str, photographs)]
    words += ["--target", f"http://127.0.0.1:{port}", "--path", path, "--seed", str(seed), "--timeout", str(_TIMEOUT_S)]
    words += ["--form"] if form else []
    words += ["--users", str(load.users), "--seconds", str(seconds)] if load.users else []
    words += ["--phase", str(seconds), str(rate_hz)] if load.share else []
    with subprocess.Popen(  # noqa: S603  our words
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # where Linux shares cores by session, the generator has its own part beside any system
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        recorded = process.stdout.read()
    if process.returncode != 0 or b'"origin"' not in first:
        raise LoadtestError(f"the load generator failed with {process.returncode}; its reason stands above")
    trial = trial_of(recorded, Path("the generator's samples"))
    if trial.damage or trial.footer is None:
        raise LoadtestError(f"the generator's samples are not whole: {trial.damage}")
    wall_s, busy = float(trial.footer["wall_s"]), trial.footer["machine_busy"]
    if busy is None:
        raise LoadtestError(f"/proc/stat does not say what the machine did in {wall_s:.3f} s; measure longer, on Linux")
    samples = sorted(trial.samples, key=lambda sample: sample.seq)
    return Sent(samples, wall_s, float(trial.footer["cpu_share"]) * wall_s, busy * CORES)
