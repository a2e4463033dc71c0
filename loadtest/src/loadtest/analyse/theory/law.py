"""The law of a deployment's service times: what its calibration measured, of idle workers and of busy ones."""

from dataclasses import dataclass

import numpy as np

from loadtest.analyse.theory.formulas import first_service_mgn_response
from loadtest.arrays import Floats
from loadtest.experiments.calibration import Capacity
from loadtest.experiments.regimes import LEAST, after_idleness, network_of, when_busy
from loadtest.generate.samples import Sample


@dataclass(frozen=True, slots=True)
class ServiceLaw:
    """Measured service times of a deployment; none is negative.

    Attributes:
        shape: Service times of busy processes divided by the mean of their worker, shape (k,); their mean is 1.
        means_s: Mean service time of each worker's processes while they are busy, in seconds.
        outside_s: What an answer takes besides wait and service: client, network, balancer.
        processes: Server processes of each worker. They share one queue.
        idle: Service times of processes that were idle before, divided by the busy mean of their worker, shape (i,);
            None where they were not measured, then they are as the busy ones.
        max_conns: Requests that the balancer lets a worker have at a time; 0 for no limit.
        names: Whose mean each is; empty where the law is of no workers in particular.
    """

    shape: Floats
    means_s: tuple[float, ...]
    outside_s: float
    processes: int = 1
    idle: Floats | None = None
    max_conns: int = 0
    names: tuple[str, ...] = ()

    @property
    def idle_shape(self) -> Floats:
        """Service times after idleness divided by the busy mean of their worker."""
        return self.shape if self.idle is None else self.idle

    @property
    def service_s(self) -> float:
        """Mean over the workers while they are busy, in seconds."""
        return float(np.mean(self.means_s))

    @property
    def cv2(self) -> float:
        """Squared coefficient of variation of the service times of one busy process, c²."""
        return float(np.var(self.shape))

    @property
    def capacity_hz(self) -> float:
        """Answers a second of all workers together, when every process always has work."""
        return self.processes * sum(1 / mean_s for mean_s in self.means_s)

    def steady_mean(self, rate_hz: float) -> float:
        """Mean response in seconds of Poisson arrivals split at random among the workers, in the steady state.

        A worker of one process is M/G/1 with exceptional first service, and the mean is exact. A worker of several is
        approximated (first_service_mgn_response).
        """
        share_hz = rate_hz / len(self.means_s)
        idle = float(self.idle_shape.mean())
        idle_cv2 = float(self.idle_shape.var()) / idle**2 if idle else 0.0
        times = [
            first_service_mgn_response(
                idle * mean_s, idle_cv2, mean_s, self.cv2, servers=self.processes, rate_hz=share_hz
            )
            for mean_s in self.means_s
        ]
        return float(np.mean(times)) + self.outside_s


def service_law(
    capacity: Capacity, idle: tuple[Sample, ...], busy: tuple[Sample, ...], *, max_conns: int = 0
) -> ServiceLaw:
    """Make the law of service times from a calibration.

    Args:
        capacity: What the calibration found.
        idle: Samples of a load that leaves workers idle; of an earlier run, those of its one user.
        busy: Samples of a load that leaves none idle; of an earlier run, those of the closed loop that saturates.
        max_conns: Requests that the balancer lets a worker have at a time; 0 for no limit.
    """
    processes = capacity.processes
    network_s = capacity.network_s
    if network_s is None:
        network_s = network_of(idle, processes, capacity.overhead_s)
    measured = capacity.busy.workers if capacity.busy else {}
    means = {name: measured.get(name, processes / rate) for name, rate in sorted(capacity.workers.items())}
    queued = {name: own for name, own in when_busy(busy, processes, network_s).items() if own.mean() > 0}
    shape = np.concatenate([own / own.mean() for own in queued.values()]) if queued else np.ones(1)
    alone = [own / means[name] for name, own in after_idleness(idle, processes, network_s).items() if name in means]
    relative = np.concatenate(alone) if alone else np.zeros(0)
    return ServiceLaw(
        shape if len(shape) >= LEAST else np.ones(1),
        tuple(means.values()),
        network_s,
        processes,
        relative if len(relative) >= LEAST else None,
        max_conns,
        tuple(means),
    )
