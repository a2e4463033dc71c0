"""Load on a slice, sent from its client by the generator that is deployed there."""

from __future__ import annotations

import contextlib
import json
import shlex
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from deployed.checkout import CommandError
from deployed.slice import Slice
from loadtest.generate.samples import Sample, trial_of

_STARTS_S = 120
_ENDS_S = 3600
CLIENT_PYTHON = "/opt/imagerec-loadtest/current/venv/bin/python"


class Load:
    """A load of images on the client, which is being sent; see `python -m loadtest.generate.send --help`.

    Raises:
        CommandError: It does not start.
    """

    def __init__(self, system: Slice, images: Sequence[str], *options: str) -> None:
        command = f"{CLIENT_PYTHON} -m loadtest.generate.send {shlex.join([*images, *options])}"
        self._process = system.start("client", command)
        assert self._process.stdout is not None
        with self._limited(_STARTS_S):
            first = self._process.stdout.readline()
        if not first:
            with self._process:
                self._process.kill()
            raise CommandError("the load generator on the client does not start; its reason stands above")
        # The machines share this host's clock.
        self.origin = float(json.loads(first)["origin"])

    @contextlib.contextmanager
    def _limited(self, seconds: float) -> Iterator[None]:
        """Kill the process, and with it the connection, where this takes longer."""
        timer = threading.Timer(seconds, self._process.kill)
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def now(self) -> float:
        """Seconds on the clock of the samples."""
        return time.time() - self.origin

    def stop(self) -> list[Sample]:
        """End it, and return every request that was sent, in the order of sending, once the last has its answer."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.stdin = None
        return self.wait()

    def wait(self) -> list[Sample]:
        """Return every request that was sent, in the order of sending, once the load has ended by itself.

        Raises:
            CommandError: The generator failed.
        """
        assert self._process.stdout is not None
        with self._process, self._limited(_ENDS_S):
            recorded = self._process.stdout.read()
        if self._process.returncode != 0:
            raise CommandError("the load generator on the client failed; its reason stands above")
        trial = trial_of(recorded, Path("the client's samples"))
        if trial.damage:
            raise CommandError(f"the client's samples are not whole: {trial.damage}")
        return sorted(trial.samples, key=lambda sample: sample.seq)
