"""What the planner would spend on a load that changes: at each moment as few workers as are enough for its rate."""

from collections.abc import Mapping

from loadtest.analyse.plan import Sizing
from loadtest.generate.shapes import Shape
from loadtest.simulate.measured import Measured

# Of ρ, to which the highest load of each number of workers is searched.
_STEP = 0.01
_EACH_S = 1.0


def highest_rates(
    measured: Measured, workers: range, objective_s: float, policy: str, *, max_conns: int, seed: int
) -> dict[int, float]:
    """The highest rate at which so many workers keep an objective in the steady state, as `plan` decides it.

    Args:
        measured: What a run says of its workers.
        workers: Numbers of workers.
        objective_s: 99 of 100 requests shall be answered within it, in seconds.
        policy: A balancer's policy.
        max_conns: Requests that the balancer lets a worker have at a time, for each of its processes; 0 for no limit.
        seed: Seed of the simulation.

    Returns:
        Requests a second, by number of workers; 0 where no rate will do.
    """
    found = {}
    for count in workers:
        full_hz = count * measured.processes / measured.service.mean_s
        low, high = 0, round(1 / _STEP)  # steps of ρ: the first is kept, the second is not
        while high - low > 1:
            middle = (low + high) // 2
            asked = Sizing(measured, middle * _STEP * full_hz, policy, max_conns=max_conns, seed=seed)
            low, high = (middle, high) if asked.within(objective_s, 1.0)(count) else (low, middle)
        found[count] = low * _STEP * full_hz
    return found


def least_worker_s(shape: Shape, begin_s: float, until_s: float, most: int, highest_hz: Mapping[int, float]) -> float:
    """Worker-seconds of a pool that always has the fewest workers that are enough, and wakes them without delay.

    Args:
        shape: How the rate changes.
        begin_s: From then on, in seconds since the load began.
        until_s: Until then.
        most: Workers that there are: those that serve where the rate is too high for fewer.
        highest_hz: The highest rate of each smaller number that is allowed; see `highest_rates`.
    """
    steps = max(1, round((until_s - begin_s) / _EACH_S))
    each_s = (until_s - begin_s) / steps
    rates = [shape.rate_at(begin_s + (step + 0.5) * each_s) for step in range(steps)]
    return each_s * sum(min((n for n, most_hz in highest_hz.items() if hz <= most_hz), default=most) for hz in rates)
