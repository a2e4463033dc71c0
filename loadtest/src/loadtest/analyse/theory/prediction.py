"""Predict what a trial should have measured, from the service times that a calibration measured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np

from loadtest.analyse.theory.law import ServiceLaw
from loadtest.generate.samples import Sample
from loadtest.simulate.service import Service
from loadtest.simulate.steps import serve
from loadtest.simulate.system import System, simulate

_REPLAYS = 30


@dataclass(frozen=True, slots=True)
class Prediction:
    """Mean and p99 of response times in seconds, averaged over simulated trials; NaN where none had an answer."""

    mean_s: float
    p99_s: float


def replay(law: ServiceLaw, samples: Sequence[Sample], warmup_s: float, rng: np.random.Generator) -> float | None:
    """Mean response in seconds that the law gives for a trial's own arrivals and its own choices of workers.

    Each worker is one FIFO queue before its processes. Service times are drawn from the law: from those after idleness
    where a request finds a process idle, else from the busy ones. So what is left between this and the measured mean
    is neither luck with arrivals nor an unfinished queue, but a service that is not as the law says. None where
    nothing was answered, or by a worker that the law does not name.

    Args:
        law: Measured service times, with the workers' names.
        samples: The trial's samples.
        warmup_s: Requests due before it are simulated, and not counted.
        rng: Source of the service times.
    """
    good = sorted((one for one in samples if one.ok and one.worker is not None), key=lambda one: one.scheduled_s)
    names = sorted({str(one.worker) for one in good})
    known = dict(zip(law.names, law.means_s, strict=False))
    if not good or not known.keys() >= set(names):
        return None
    # every replay has workers of its own, and all are served at once
    workers = len(names)
    place = {name: number for number, name in enumerate(names)}
    who = np.array([place[str(one.worker)] for one in good])
    due = np.tile(np.array([one.scheduled_s for one in good]), _REPLAYS)
    chosen = np.concatenate([who + number * workers for number in range(_REPLAYS)])
    mean_s = np.array([known[name] for name in names])[chosen % workers]
    idle_s, busy_s = (rng.choice(shape, len(due)) * mean_s for shape in (law.idle_shape, law.shape))
    ends = serve(due, idle_s, busy_s, chosen, workers * _REPLAYS, processes=law.processes)
    counted = due >= warmup_s
    return float(np.mean((ends - due)[counted])) + law.outside_s if counted.any() else None


def predict(
    law: ServiceLaw,
    policy: str,
    rate_hz: float,
    spans: Sequence[tuple[float, float]],
    *,
    seed: int,
    trials: int = 40,
) -> Prediction:
    """Simulate trials of Poisson arrivals under a policy: the same lengths and warm-ups as the measured ones.

    So it holds in overload too, where there is no steady state and the answer depends on the length. The balancer
    chooses as nginx does, with its limit of requests at a worker; what it refuses is in no figure, as in those that
    were measured.

    Args:
        law: Measured service times.
        policy: The balancer's.
        rate_hz: Requests a second.
        spans: Of each measured trial its length and its warm-up in seconds; simulated trials take them in turn.
        seed: Of the simulation.
        trials: How many are simulated.
    """
    rng = np.random.default_rng(seed)
    base_s = min(law.means_s)
    service = Service(law.idle_shape * base_s, law.shape * base_s, "")
    system = System(policy, len(law.means_s), max_conns=law.max_conns, processes=law.processes)
    slowness = np.array(law.means_s) / base_s
    means, tails = [], []
    for duration_s, warmup_s in islice(cycle(spans), trials):
        arrivals_s = np.sort(rng.uniform(0.0, duration_s, int(rng.poisson(rate_hz * duration_s))))
        outcome = simulate(system, arrivals_s, service, rng, slowness=slowness)
        counted = outcome.answered & (arrivals_s >= warmup_s)
        kept = (outcome.ends_s - arrivals_s)[counted] + law.outside_s
        if len(kept):
            means.append(kept.mean())
            tails.append(np.quantile(kept, 0.99))
    return Prediction(*(float(np.mean(one)) if one else math.nan for one in (means, tails)))
