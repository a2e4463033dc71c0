"""A quick look at a service, without a design: one load, and one table of what came back."""

import asyncio
import math
import mimetypes
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from loadtest.errors import LoadtestError
from loadtest.experiments.host import HostWatch
from loadtest.experiments.precision import least_for
from loadtest.experiments.reader import DEFAULTS
from loadtest.experiments.validity import disturbed_by
from loadtest.generate import arrivals, punctual
from loadtest.generate.client import Client
from loadtest.generate.effort import raise_file_limit
from loadtest.generate.limits import Limits, in_the_way, limits_of, refusals
from loadtest.generate.payload import Payload, encode
from loadtest.generate.recording import record_load
from loadtest.generate.samples import Sample, Trial, read_trial
from loadtest.generate.view import View

_QUANTILES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999))


@dataclass(frozen=True, slots=True)
class Attack:
    """What is sent.

    Attributes:
        target: Address of the service.
        payloads: What is sent, one drawn for each request.
        rate_hz: Requests a second.
        duration_s: For how long.
        constant: Equal gaps between requests, not a Poisson process.
        seed: Of arrivals and photographs.
        timeout_s: Of a request.
    """

    target: str
    payloads: tuple[Payload, ...]
    rate_hz: float
    duration_s: float
    constant: bool = False
    seed: int = 1
    timeout_s: float = 60.0

    def header(self) -> dict[str, Any]:
        """What a samples file says of it."""
        return {
            "attack": self.target,
            "asked_hz": self.rate_hz,
            "duration_s": self.duration_s,
            "arrivals": "constant" if self.constant else "poisson",
            "seed": self.seed,
            "images": sorted({payload.key for payload in self.payloads}),
        }

    def offsets(self) -> Iterator[float]:
        """When requests leave, in seconds."""
        if self.constant:
            return arrivals.constant(self.rate_hz, self.duration_s)
        return arrivals.poisson(self.rate_hz, self.duration_s, self._draws()[0])

    def bodies(self) -> Iterator[Payload]:
        """What is sent, in order, without end."""
        choose, count = self._draws()[1], len(self.payloads)
        while True:
            yield self.payloads[int(choose.integers(count))]

    def _draws(self) -> list[np.random.Generator]:
        return [np.random.default_rng(seed) for seed in np.random.SeedSequence(self.seed).spawn(2)]


def read_payloads(files: Sequence[Path]) -> tuple[Payload, ...]:
    """Read photographs to send as they are, as the body of a request.

    Raises:
        LoadtestError: A file cannot be read, or its name is not that of a photograph.
    """
    payloads = []
    for file in files:
        media_type = mimetypes.guess_type(file)[0] or ""
        if not media_type.startswith("image/"):
            raise LoadtestError(f"{file} is no photograph by its name; give a .jpg, .png, .webp or .gif file")
        try:
            payloads.append(encode(file.name, file.read_bytes(), media_type, multipart=False))
        except OSError as error:
            raise LoadtestError(f"cannot read the photograph {file}: {error.strerror}") from error
    return tuple(payloads)


def ask_limits(attack: Attack, commands: Sequence[str] = ()) -> Limits | None:
    """Ask the service who it is and for its limits; None where it does not say them.

    Args:
        attack: What will be sent.
        commands: For each client what starts it; those of one command share an address, and each sends an equal part.

    Raises:
        LoadtestError: It does not answer, or is another service.
    """

    async def ask() -> Limits | None:
        async with Client(attack.target, timeout_s=attack.timeout_s) as client:
            return limits_of((await client.describe())["status"])

    limits = asyncio.run(ask())
    share = max(Counter(commands).values()) / len(commands) if commands else 1.0
    if warning := in_the_way(limits, share * attack.rate_hz):
        print(f"loadtest: {warning}", file=sys.stderr)  # noqa: T201 — for the user, before the load
    return limits


def run_attack(attack: Attack, save: Path | None, *, terminal: bool) -> Trial:
    """Send it and return what was recorded, also where the user has interrupted it; `save` keeps the samples.

    Raises:
        LoadtestError: The file exists, or cannot be written.
    """
    raise_file_limit()

    async def send(path: Path, view: View | None) -> None:
        async with Client(attack.target, timeout_s=attack.timeout_s) as client:
            host = HostWatch(attack.target, view.processes if view else [])
            await record_load(
                client,
                path,
                attack.header(),
                attack.bodies(),
                lambda runner: runner.open_loop(attack.offsets()),
                more=host.facts,
                watch=view.show if view else None,
            )

    with tempfile.TemporaryDirectory(prefix="loadtest-") as folder:
        path = save or Path(folder) / "attack.jsonl.gz"
        try:
            if terminal:
                with View() as view:
                    view.begin(attack.target, asked_hz=attack.rate_hz, length_s=attack.duration_s)
                    punctual.run(send(path, view))
            else:
                punctual.run(send(path, None))
        except KeyboardInterrupt:
            pass  # the file says that it is not whole
        return read_trial(path)


def table(trial: Trial, limits: Limits | None) -> Table:
    """What came back, for a person: counts, rates, response times, who answered, errors, the generator itself."""
    samples = trial.samples
    good = [one for one in samples if one.ok]
    wall_s = max([one.done_s for one in samples], default=0.0)
    drawn = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    drawn.add_column(style="bold", no_wrap=True)
    drawn.add_column(overflow="fold")
    drawn.add_row("requests", f"{len(samples)} sent, {len(good)} answered, {len(samples) - len(good)} failed")
    rate = f"{trial.header['asked_hz']:g}/s asked, {len(good) / wall_s if wall_s else 0.0:.1f}/s answered"
    drawn.add_row("rate", f"{rate} in {wall_s:.1f} s")
    times = [one.response_s for one in good]
    if times:
        extremes = f"mean {_ms(float(np.mean(times)))}, max {_ms(max(times))}"
        drawn.add_row("response", f"{extremes}, {_quantiles(times)}")
    for name, counts in (
        ("answered by", Counter(str(one.worker) for one in good)),
        ("errors", Counter(_error(one) for one in samples if not one.ok)),
    ):
        if counts:
            drawn.add_row(name, ", ".join(f"{who} {count}" for who, count in sorted(counts.items())))
    if refused := refusals(samples, limits):
        drawn.add_row("refused", refused)
    lags = [one.lag_s for one in samples]
    if lags:
        p99 = _ms(float(np.quantile(lags, 0.99))) if len(lags) >= least_for(0.99) else "–"
        drawn.add_row("lag", f"p50 {_ms(float(np.median(lags)))}, p99 {p99}, max {_ms(max(lags))}")
    if trial.footer:
        drawn.add_row("generator", f"{trial.footer['cpu_share']:.2f} of a core")
        if reasons := disturbed_by(trial.footer, DEFAULTS["validity"]):
            drawn.add_row("disturbed", "; ".join(reasons))
    if trial.damage:
        drawn.add_row("incomplete", trial.damage)
    return drawn


def _quantiles(times: Sequence[float]) -> str:
    known = [(name, quantile, least_for(quantile)) for name, quantile in _QUANTILES]
    words = [
        f"{name} {_ms(float(np.quantile(times, quantile))) if len(times) >= least else '–'}"
        for name, quantile, least in known
    ]
    missing = next((f" (–: {name} needs {least:,} answers)" for name, _, least in known if len(times) < least), "")
    return ", ".join(words) + missing


def _error(sample: Sample) -> str:
    reason = sample.error or "unknown"
    return (
        reason if sample.status is None else f"{sample.status} {reason.removeprefix(f'HTTP {sample.status}')}".strip()
    )


def _ms(seconds: float) -> str:
    milliseconds = seconds * 1e3
    digits = max(0, 2 - math.floor(math.log10(milliseconds))) if milliseconds > 0 else 0
    return f"{milliseconds:.{min(digits, 3)}f} ms"
