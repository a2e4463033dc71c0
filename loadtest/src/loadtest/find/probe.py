"""Ask a service for a rate and see what comes back; a rung of a search."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.arrays import Floats
from loadtest.errors import LoadtestError
from loadtest.generate import arrivals, punctual
from loadtest.generate.client import Client
from loadtest.generate.effort import raise_file_limit
from loadtest.generate.images import photograph
from loadtest.generate.limits import Limits, in_the_way, limits_of
from loadtest.generate.payload import encode
from loadtest.generate.recording import Load, record_load
from loadtest.generate.samples import Trial, read_trial

_IN_FLIGHT = 20_000
_LONE = 10


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back of Poisson arrivals; both arrays have shape (m,).

    Attributes:
        due_s: When requests were due, in seconds, ascending.
        done_s: When their answers were there; infinite where none came, or a refusal.
        length_s: How long was asked, in seconds.
    """

    due_s: Floats
    done_s: Floats
    length_s: float

    @property
    def responses_s(self) -> Floats:
        """Response times in seconds; infinite where there was no answer."""
        return self.done_s - self.due_s

    def after(self, begin_s: float) -> "Answers":
        """Only requests that were due at `begin_s` or later."""
        kept = self.due_s >= begin_s
        return Answers(self.due_s[kept], self.done_s[kept], self.length_s)


Probe = Callable[[float, float], Answers]  # asks for requests a second, for seconds


class Live:
    """A service over HTTP; every rung is recorded in a file of its own.

    Args:
        target: Its address.
        folder: Where the samples go; new or empty.
        side_px: Side of the photograph that is sent, in pixels.
        seed: Seed of the arrivals.
        say: Called with a line when a rung begins, and where the balancer will refuse some of it.

    Attributes:
        limits: The balancer's, as it said them; None before it was asked, or where it says none.

    Raises:
        LoadtestError: The address is none, the folder holds something or cannot be written.
    """

    def __init__(self, target: str, folder: Path, *, side_px: int, seed: int, say: Callable[[str], None]) -> None:
        if folder.exists() and any(folder.iterdir()):
            raise LoadtestError(f"{folder} exists, and samples are never overwritten: choose another --out")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LoadtestError(f"cannot write {folder}: {error.strerror}") from error
        picture = photograph(side_px, quality=90)
        self._payload = encode(picture.key, picture.data, "image/jpeg", multipart=True)
        self._target, self._folder, self._say = target, folder, say
        self._seeds = np.random.SeedSequence(seed)
        self._number = 0
        self.limits: Limits | None = None
        self._warned = False
        raise_file_limit()

    def alone_s(self) -> float:
        """Mean response time in seconds of requests that are alone; connections and processes are warm afterwards.

        Raises:
            LoadtestError: The target is down, is another service, or answers with an error.
        """
        self.limits = limits_of(punctual.run(self._describe())["status"])
        trial = self._record("alone", lambda runner: runner.closed_loop(1, requests=2 * _LONE), {})
        good = [one.response_s for one in trial.samples[_LONE:] if one.ok]
        if not good:
            raise LoadtestError(
                f"{self._target} answers a lone request with {trial.samples[-1].error!r}; look at its log, then try "
                "again"
            )
        return float(np.mean(good))

    def __call__(self, rate_hz: float, length_s: float) -> Answers:
        """Send Poisson arrivals and wait for the last answer.

        Raises:
            LoadtestError: Samples can no longer be written.
        """
        self._number += 1
        self._say(f"{rate_hz:.1f} requests/s for {length_s:.0f} s")
        if not self._warned and (warning := in_the_way(self.limits, rate_hz)):
            self._say(warning)
            self._warned = True
        rng = np.random.default_rng(self._seeds.spawn(1)[0])
        offsets = arrivals.poisson(rate_hz, length_s, rng)
        header = {"asked_hz": rate_hz, "duration_s": length_s}
        trial = self._record(f"rung-{self._number:03d}", lambda runner: runner.open_loop(offsets), header)
        order = sorted(trial.samples, key=lambda one: one.scheduled_s)
        done = [one.done_s if one.ok else np.inf for one in order]
        return Answers(np.array([one.scheduled_s for one in order]), np.array(done), length_s)

    async def _describe(self) -> dict[str, Any]:
        async with Client(self._target) as client:
            return await client.describe()

    def _record(self, name: str, load: Load, header: dict[str, Any]) -> Trial:
        path = self._folder / f"{name}.jsonl.gz"

        async def send() -> None:
            async with Client(self._target) as client:
                await record_load(client, path, header, repeat(self._payload), load, max_in_flight=_IN_FLIGHT)

        punctual.run(send())
        return read_trial(path)
