"""Predict what a trial should have measured, from the service times that a calibration measured."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loadtest.analyse.theory.formulas import mg1_response
from loadtest.analyse.theory.simulation import Floats, lindley, simulate
from loadtest.experiments.calibration import Capacity
from loadtest.generate.samples import Sample

_REPLAYS = 30


@dataclass(frozen=True, slots=True)
class ServiceLaw:
    """Measured service times of a deployment.

    Attributes:
        shape: Service times divided by the mean of their worker, shape (k,); their mean is 1.
        means_s: Mean service time of each server process, S, in seconds.
        outside_s: What an answer takes besides wait and service: network, balancer. It is the unloaded response less
            the mean service, and may be negative where an idle worker is faster than a busy one.
        processes: Server processes of each worker.
    """

    shape: Floats
    means_s: tuple[float, ...]
    outside_s: float
    processes: int = 1

    @property
    def service_s(self) -> float:
        """Mean over the processes, S in seconds."""
        return float(np.mean(self.means_s))

    @property
    def cv2(self) -> float:
        """Squared coefficient of variation of one process's service times, c²."""
        return float(np.var(self.shape))

    def mg1_mean(self, rate_hz: float) -> float:
        """Mean response in seconds of Poisson arrivals split at random: S + wait by Pollaczek–Khinchine, + outside."""
        share_hz = rate_hz / len(self.means_s)
        times = [mg1_response(mean_s, self.cv2, share_hz * mean_s) for mean_s in self.means_s]
        return float(np.mean(times)) + self.outside_s


@dataclass(frozen=True, slots=True)
class Prediction:
    """Mean and quantiles of response times in seconds, averaged over simulated trials."""

    mean_s: float
    p50_s: float
    p99_s: float


def service_law(capacity: Capacity, saturated: tuple[Sample, ...]) -> ServiceLaw:
    """Make the law of service times from a calibration.

    Args:
        capacity: What the calibration found; each worker's mean is the reciprocal of its answers a second.
        saturated: Samples of the saturated loop; the shape is that of the workers' own totals.
    """
    shapes = []
    for name in sorted(capacity.workers):
        own = np.array([one.total_s for one in saturated if one.ok and one.worker == name and one.total_s is not None])
        if len(own) > 1 and own.mean() > 0:
            shapes.append(own / own.mean())
    shape = np.concatenate(shapes) if shapes else np.ones(1)
    means = [
        capacity.processes / rate for _, rate in sorted(capacity.workers.items()) for _ in range(capacity.processes)
    ]
    return ServiceLaw(shape, tuple(means), capacity.unloaded_response_s - float(np.mean(means)), capacity.processes)


def replay(law: ServiceLaw, samples: Sequence[Sample], warmup_s: float, rng: np.random.Generator) -> float | None:
    """Mean response in seconds that the law gives for a trial's own arrivals and its own choices of workers.

    Each worker is a FIFO queue (Lindley's recursion) and service times are drawn from the law, so what is left between
    this and the measured mean is neither luck with arrivals nor an unfinished queue, but a service that is not as the
    law says. None where nothing was answered, or a worker has more than one process.

    Args:
        law: Measured service times; one mean for each worker, in the order of the workers' names.
        samples: The trial's samples.
        warmup_s: Requests due before it are simulated, and not counted.
        rng: Source of the service times.
    """
    good = sorted((one for one in samples if one.ok and one.worker is not None), key=lambda one: one.scheduled_s)
    names = sorted({str(one.worker) for one in good})
    if not good or len(names) > len(law.means_s) or law.processes != 1:
        return None
    responses = []
    for name, mean_s in zip(names, law.means_s, strict=False):
        own = np.array([one.scheduled_s for one in good if one.worker == name])
        services = rng.choice(law.shape, (_REPLAYS, len(own))) * mean_s
        responses += [(lindley(own, drawn) + drawn)[own >= warmup_s] for drawn in services]
    return float(np.mean(np.concatenate(responses))) + law.outside_s


def predict(
    law: ServiceLaw,
    policy: str,
    rate_hz: float,
    *,
    duration_s: float,
    warmup_s: float = 0.0,
    seed: int,
    trials: int = 40,
) -> Prediction:
    """Simulate trials of Poisson arrivals under a policy: the same length and warm-up as the measured ones.

    So it holds in overload too, where there is no steady state and the answer depends on the length.
    """
    rng = np.random.default_rng(seed)
    base_s = min(law.means_s)
    slowness = np.array(law.means_s) / base_s
    means, medians, tails = [], [], []
    for _ in range(trials):
        count = int(rng.poisson(rate_hz * duration_s))
        arrivals_s = np.sort(rng.uniform(0.0, duration_s, count))
        services_s = rng.choice(law.shape, count) * base_s
        responses, _ = simulate(policy, arrivals_s, services_s, len(slowness), rng, slowness=slowness)
        kept = responses[arrivals_s >= warmup_s] + law.outside_s
        if len(kept):
            means.append(kept.mean())
            medians.append(np.quantile(kept, 0.5))
            tails.append(np.quantile(kept, 0.99))
    return Prediction(float(np.mean(means)), float(np.mean(medians)), float(np.mean(tails)))
