"""What a design is made of: deployment levels, load cells, and the seeds that pair them."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

# What makes a rate change during a trial, with the letters that stand for it in a cell's name.
CHANGES = {"factor": "x", "at_s": "from", "until_s": "to", "amplitude": "a", "period_s": "p"}
# What stands before each factor in a name, in this order.
_OF_A_LEVEL = {
    "model": "",
    "pool_size": "pool",
    "policy": "",
    "cpu_share": "share",
    "slow_worker": "slow",
    "batch": "batch",
    "batch_window_ms": "window",
    "workers_awake": "awake-",
}
_OF_A_CELL = {"rate_hz": "r", "interval_s": "i", "utilisation": "u", "in_flight": "c", "jitter": "j"}
_OF_A_CELL |= CHANGES | {"measured_every": "k"}


def _parts(named: object, letters: dict[str, str]) -> list[str]:
    """Write each factor that applies, and says more than that all workers are alike."""
    given = {key: getattr(named, key) for key in letters}
    return [
        f"{letters[key]}{value:g}" if isinstance(value, float) else f"{letters[key]}{value}"
        for key, value in given.items()
        if value is not None and (key, value) != ("slow_worker", 1)
    ]


@dataclass(frozen=True, slots=True)
class Level:
    """One deployment, set up by a playbook before its cells run.

    Attributes:
        pool_size: Number of workers the balancer uses; None: as deployed.
        policy: How it balances; None: as deployed.
        cpu_share: CPU cores' worth of time each worker gets; None: as deployed.
        slow_worker: Factor by which the last worker of the pool is slower; 1: all alike.
        model: Name of the model that is deployed, as MODEL= takes it; None: the one that is deployed already.
        batch: Most photographs of a run of the network (the role worker's worker_batch_max); None: as deployed.
        batch_window_ms: How long a run waits for further photographs, in milliseconds; None: as deployed.
        workers_awake: How many workers serve where there is an autoscaler: it decides (auto), as few as it may keep
            (least), or all; None: as deployed.
    """

    pool_size: int | None = None
    policy: str | None = None
    cpu_share: float | None = None
    slow_worker: float = 1.0
    model: str | None = None
    batch: int | None = None
    batch_window_ms: float | None = None
    workers_awake: str | None = None

    @property
    def id(self) -> str:
        """A name for folders and the command line, such as `pool4-random-slow3`."""
        return "-".join(_parts(self, _OF_A_LEVEL)) or "as-deployed"

    @property
    def hardware_id(self) -> str:
        """The level without its policy and without who sleeps: levels that share it share its calibration.

        The policy does not change a capacity, and a load is a share of what all workers can do, also where some sleep.
        """
        return replace(self, policy=None, workers_awake=None).id


@dataclass(frozen=True, slots=True)
class Cell:
    """One load, repeated a number of times at each level; None where a factor does not apply.

    Attributes:
        arrivals: The law, or `closed`, or `original`.
        images: Sides in pixels with their weights, which sum to 1.
        rate_hz: Requests a second.
        interval_s: The same as a mean interval, in the original's terms.
        utilisation: The same as a share ρ of the measured capacity.
        in_flight: Users of a closed loop.
        jitter: Half-width of jittered gaps, as a share of the mean gap.
        trace: File of arrival offsets, beside the design and in the run's folder of traces.
        trace_digest: SHA-256 of its content.
        trace_s: When the last of its requests comes.
        sized: Requests have the sizes of the trace; images say what that makes of the photograph.
        factor: Of step and ramp: so many times the rate that it begins with.
        at_s: When the step or the ramp begins, in seconds since the trial's start.
        until_s: When it ends; None: with the trial.
        amplitude: Swing of a sine as a share of its mean rate.
        period_s: Length of its period.
        measured_every: The original's k: it waits for, and measures, every k-th request.
        requests: Length of a trial as a number of requests.
        every_image: The trial sends each labelled image once.
        duration_s: Length of a trial in seconds.
        min_duration_s: No trial whose length is given in requests is shorter.
        max_duration_s: … or longer.
        warmup_s: Samples due before it are recorded, but cut from summaries.
        repetitions: Trials of this cell; None: as many as the design says.
        only_awake: It is run at levels with this workers_awake alone; None: at all.
    """

    arrivals: str
    images: tuple[tuple[int, float], ...]
    rate_hz: float | None = None
    interval_s: float | None = None
    utilisation: float | None = None
    in_flight: int | None = None
    jitter: float | None = None
    trace: str | None = None
    trace_digest: str | None = None
    trace_s: float | None = None
    sized: bool | None = None
    factor: float | None = None
    at_s: float | None = None
    until_s: float | None = None
    amplitude: float | None = None
    period_s: float | None = None
    measured_every: int | None = None
    requests: int | None = None
    every_image: bool = False
    duration_s: float | None = None
    min_duration_s: float | None = None
    max_duration_s: float | None = None
    warmup_s: float = 0.0
    repetitions: int | None = None
    only_awake: str | None = None

    @property
    def id(self) -> str:
        """A name for files, such as `poisson-u0.8-128px`."""
        trace = [f"t{zlib.crc32(self.trace.encode()):08x}"] if self.trace is not None else []
        return "-".join([self.arrivals, *_parts(self, _OF_A_CELL), *trace, self.images_id])

    @property
    def images_id(self) -> str:
        """A name of what is sent, such as `128px` or `mix-64-224`."""
        if len(self.images) == 1:
            return f"{self.images[0][0]}px"
        return "mix-" + "-".join(str(side) for side, _ in self.images)

    @property
    def open_loop(self) -> bool:
        """Whether requests leave without regard to answers."""
        return self.arrivals not in ("closed", "original")

    @property
    def may_end_early(self) -> bool:
        """Whether a design's precision may end its trials: not where the load changes, or is a list."""
        return self.arrivals in ("poisson", "constant", "jittered", "closed") and not self.every_image

    def scaled(self, factor: float) -> "Cell":
        """The same load for `factor` times as long."""

        def longer(value: float | None) -> float | None:
            return None if value is None else value * factor

        return replace(
            self,
            requests=None if self.requests is None else max(1, round(self.requests * factor)),
            duration_s=longer(self.duration_s),
            min_duration_s=longer(self.min_duration_s),
            max_duration_s=longer(self.max_duration_s),
            at_s=longer(self.at_s),
            until_s=longer(self.until_s),
            period_s=longer(self.period_s),
        )

    def rate(self, capacity_hz: float | None) -> float | None:
        """Requests a second that are asked for, given the measured capacity; None for a closed loop or a trace."""
        if self.rate_hz is not None:
            return self.rate_hz
        if self.interval_s is not None:
            return 1.0 / self.interval_s
        if self.utilisation is not None:
            if capacity_hz is None:
                raise ValueError("a rate in utilisation needs the measured capacity")
            return self.utilisation * capacity_hz
        return None

    @property
    def given_s(self) -> float | None:
        """Seconds for which a trial sends, where the design says it; a trace ends with its last request."""
        if self.trace_s is None:
            return self.duration_s
        return min(self.trace_s, self.duration_s or self.trace_s)

    def expected_s(self, answer_s: float, labelled: int) -> float:
        """Roughly how long a trial lasts, in seconds.

        Args:
            answer_s: How long an answer takes.
            labelled: How many labelled images there are, for a trial that sends each once.
        """
        if self.given_s is not None:
            return self.given_s
        if self.max_duration_s is not None:
            return self.max_duration_s
        count = labelled if self.every_image else self.requests or 0
        gap_s = self.interval_s or (1 / self.rate_hz if self.rate_hz else answer_s)
        return max(count * gap_s, self.min_duration_s or 0.0)

    def length_s(self, rate_hz: float) -> float:
        """Seconds that an open-loop trial lasts at this rate."""
        if self.duration_s is not None:
            return self.duration_s
        assert self.requests is not None
        wanted = self.requests / rate_hz
        if self.min_duration_s is not None:
            wanted = max(wanted, self.min_duration_s)
        if self.max_duration_s is not None:
            wanted = min(wanted, self.max_duration_s)
        return wanted

    @property
    def shortest_s(self) -> float | None:
        """How short a trial may be, in seconds, as far as the design says; None where answers or a capacity decide."""
        if self.trace_s is not None:
            return self.expected_s(0.0, 0)
        rate_hz = self.rate(None) if self.open_loop and self.utilisation is None else None
        if rate_hz is not None:
            return self.length_s(rate_hz)
        known = (self.duration_s, self.min_duration_s, self.max_duration_s)
        return next((seconds for seconds in known if seconds is not None), None)


def trial_seed(design_seed: int, cell: Cell, repetition: int) -> np.random.SeedSequence:
    """The seed of one trial; the level is no part of it, so all levels see the same arrivals (paired seeds)."""
    return np.random.SeedSequence([design_seed, zlib.crc32(cell.id.encode()), repetition])


def in_order(levels: Sequence[Level], design_seed: int) -> tuple[Level, ...]:
    """Levels in the order to run them: random, but first those with all workers awake, which calibrate the others."""
    mixed = [levels[index] for index in shuffled(len(levels), design_seed, "levels")]
    return tuple(sorted(mixed, key=lambda level: level.workers_awake not in (None, "all")))


def shuffled(count: int, design_seed: int, what: str) -> list[int]:
    """A random order of `count` things, the same for the same seed and name."""
    rng = np.random.default_rng([design_seed, zlib.crc32(what.encode())])
    return [int(index) for index in rng.permutation(count)]
