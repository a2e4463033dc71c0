"""A pool in simulated time: Poisson arrivals, a balancer at random, workers that need a while to start, and the law."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from imagerec_autoscaler.law import Rules, Seen, State, decide

# As nginx has: requests that may be at a worker for each of its processes.
PLACES = 16


def changes(targets: list[int]) -> int:
    """How often a number of workers was changed."""
    return sum(a != b for a, b in pairwise(targets))


@dataclass
class Course:
    """What happened: the target of each second, when each answer came and how long it took, and what was refused."""

    targets: list[int] = field(default_factory=list)
    serving: list[int] = field(default_factory=list)
    answers: list[tuple[float, float]] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    @property
    def changes(self) -> int:
        """How often the number of workers was changed."""
        return changes(self.targets)

    def p99_s(self, since_s: float, until_s: float) -> float:
        """Response time that 99 of 100 requests of a time stayed below."""
        return float(np.quantile([taken for came, taken in self.answers if since_s <= came < until_s], 0.99))


def run(
    rules: Rules,
    rate_hz: Callable[[int], float],
    seconds: int,
    *,
    service_s: float,
    processes: tuple[int, ...],
    seed: int,
    start: int = 1,
    start_s: int = 2,
) -> Course:
    """Let the law decide each second about a pool whose workers take requests one by one and at random."""
    rng = np.random.default_rng(seed)
    state = State(start)
    course = Course()
    free = [[0.0] * count for count in processes]
    full = [PLACES * count for count in processes]
    under_way: list[deque[float]] = [deque() for _ in processes]
    ready_s = [0.0 if number < start else np.inf for number in range(len(processes))]
    done: list[tuple[float, float, float]] = []  # when, waited, came
    for second in range(seconds):
        serving = [number for number, at_s in enumerate(ready_s) if at_s <= second]
        came = np.sort(second + rng.random(rng.poisson(rate_hz(second))))
        refused = 0
        for at_s, first in zip(came.tolist(), rng.integers(0, len(serving), len(came)).tolist(), strict=True):
            for number in serving[first:] + serving[:first]:
                waiting = under_way[number]
                while waiting and waiting[0] <= at_s:
                    waiting.popleft()
                if len(waiting) < full[number]:
                    break
            else:
                refused += 1
                course.refused.append(at_s)
                continue
            queues = free[number]
            process = min(range(len(queues)), key=queues.__getitem__)
            begun_s = max(at_s, queues[process])
            queues[process] = begun_s + service_s
            waiting.append(begun_s + service_s)
            done.append((begun_s + service_s, begun_s - at_s, at_s))
        finished = [each for each in done if each[0] < second + 1]
        done = [each for each in done if each[0] >= second + 1]
        course.answers += [(at_s, when_s - at_s) for when_s, _, at_s in finished]
        seen = Seen(
            now_s=second + 1.0,
            arrivals=len(came),
            answers=len(finished),
            busy_s=len(finished) * service_s,
            waited_s=sum(waited_s for _, waited_s, _ in finished),
            refused=refused,
            in_flight=len(done),
            serving=len(serving),
            processes=processes,
        )
        state, decision = decide(state, seen, rules)
        for number in range(len(processes)):
            if number >= decision.target:
                ready_s[number] = np.inf
            elif ready_s[number] == np.inf:
                ready_s[number] = second + 1 + start_s
        course.targets.append(decision.target)
        course.serving.append(len(serving))
    return course


def constant(
    rules: Rules, rate_hz: float, seconds: int, *, service_s: float, processes: tuple[int, ...], seed: int, start: int
) -> Course:
    """The same for a rate that stays: whole hours at once, computed anew from each change of the pool on.

    Service times are equal, so the k-th request of a worker with p processes follows the (k - p)-th into its process.
    """
    rng = np.random.default_rng(seed)
    came = np.sort(rng.random(rng.poisson(rate_hz * seconds)) * seconds)
    worker = rng.random(len(came))
    state, course, second, size = State(start), Course(), 0, start
    while second < seconds:
        later = came >= second
        begun_s = _begun_s(came[later], (worker[later] * size).astype(int), processes[:size], service_s)
        done_s = begun_s + service_s
        waited_s = np.bincount(done_s.astype(int), begun_s - came[later], seconds + 1)
        finished = np.bincount(done_s.astype(int), minlength=seconds + 1)
        arrived = np.bincount(came[later].astype(int), minlength=seconds + 1)
        in_flight = np.cumsum(arrived) - np.cumsum(finished[: seconds + 1])[: len(arrived)]
        for now in range(second, seconds):
            seen = Seen(
                now_s=now + 1.0,
                arrivals=int(arrived[now]),
                answers=int(finished[now]),
                busy_s=float(finished[now]) * service_s,
                waited_s=float(waited_s[now]),
                in_flight=int(in_flight[now]),
                serving=size,
                processes=processes,
            )
            state, decision = decide(state, seen, rules)
            course.targets.append(decision.target)
            if decision.target != size:
                size = decision.target
                break
        second = now + 1
    return course


def _begun_s(came: np.ndarray, worker: np.ndarray, processes: tuple[int, ...], service_s: float) -> np.ndarray:
    begun_s = np.empty_like(came)
    for number, count in enumerate(processes):
        own = np.flatnonzero(worker == number)
        for process in range(count):
            at = own[process::count]
            turns = np.arange(len(at)) * service_s
            begun_s[at] = np.maximum.accumulate(came[at] - turns) + turns if len(at) else 0
    return begun_s
