"""How one balancer chooses a worker, by what it knows itself: its own open requests."""

from collections.abc import Callable, Iterator

import numpy as np

from loadtest.simulate.turns import Group, Turns

_TRIES = 20  # of nginx's random module, before it takes turns instead


def draws(workers: int, rng: np.random.Generator) -> Iterator[int]:
    """Yield random workers without end."""
    while True:
        yield from rng.integers(0, workers, 8192).tolist()


class Balancer:
    """Take turns: the policy round_robin, and what the random policies do where their draws find nobody.

    Args:
        workers: Number of workers n.
        max_conns: Open requests of this balancer at one worker, above which it gets no more; 0 for no limit.
        draw: Gives a random worker.
    """

    def __init__(self, workers: int, max_conns: int, draw: Callable[[], int]) -> None:
        self.workers = workers
        self.full = max_conns or 1 << 60
        self.draw = draw
        self.open = [0] * workers
        self.out = [False] * workers  # the pool's watch has taken it out
        self.turns = Turns(workers)
        self.fair = self.turns.group(range(workers))

    def choose(self, tried: tuple[int, ...]) -> int:
        """A worker for a request that these workers did not answer; -1 where none may be chosen."""
        if tried:
            return self.fair.take_but(tried)
        return self.fair.take() if self.fair.size else -1

    def begin(self, worker: int) -> None:
        """A request of this balancer goes to a worker."""
        self.open[worker] += 1
        if self.open[worker] == self.full and not self.out[worker]:
            self.fair.remove(worker)

    def end(self, worker: int) -> None:
        """A request of this balancer at a worker has ended."""
        if self.open[worker] == self.full and not self.out[worker]:
            self.fair.add(worker)
        self.open[worker] -= 1

    def take_out(self, worker: int) -> None:
        """Choose a worker no more."""
        if self.open[worker] < self.full:
            self.fair.remove(worker)
        self.out[worker] = True

    def put_back(self, worker: int) -> None:
        """Choose a worker again."""
        self.out[worker] = False
        if self.open[worker] < self.full:
            self.fair.add(worker)

    def may(self, worker: int, tried: tuple[int, ...]) -> bool:
        """Whether a worker may be chosen."""
        return self.open[worker] < self.full and not self.out[worker] and worker not in tried


class Random(Balancer):
    """The policy random."""

    def choose(self, tried: tuple[int, ...]) -> int:
        """Draw until a worker may be chosen, at most 20 times."""
        for _ in range(_TRIES):
            worker = self.draw()
            if self.may(worker, tried):
                return worker
        return super().choose(tried)


class RandomTwo(Balancer):
    """The policy random_two: the one of two different random workers with fewer open requests, or the second."""

    def choose(self, tried: tuple[int, ...]) -> int:
        """Draw until two workers may be chosen, at most 20 times."""
        if self.workers == 1:
            return super().choose(tried)
        first = -1
        for _ in range(_TRIES):
            worker = self.draw()
            if worker != first and self.may(worker, tried):
                if first >= 0:
                    return first if self.open[first] < self.open[worker] else worker
                first = worker
        return super().choose(tried)


class LeastConn(Balancer):
    """The policy least_conn: a worker with the fewest open requests; where there are several they take turns."""

    def __init__(self, workers: int, max_conns: int, draw: Callable[[], int]) -> None:
        super().__init__(workers, max_conns, draw)
        self.levels: list[Group] = [self.fair]  # by number of open requests
        self.least = 0  # no level below it has a member

    def _level(self, number: int) -> Group:
        while len(self.levels) <= number:
            self.levels.append(self.turns.group())
        return self.levels[number]

    def choose(self, tried: tuple[int, ...]) -> int:
        """The worker whose turn it is among those with the fewest open requests."""
        levels = self.levels
        while self.least < len(levels) - 1 and not levels[self.least].size:
            self.least += 1
        if not tried:
            return levels[self.least].take() if levels[self.least].size else -1
        for level in levels[self.least :]:
            if (worker := level.take_but(tried)) >= 0:
                return worker
        return -1

    def begin(self, worker: int) -> None:
        """Move a worker one level up; above the limit it is in none."""
        if not self.out[worker]:
            self.levels[self.open[worker]].remove(worker)
        self.open[worker] += 1
        self._enter(worker)

    def end(self, worker: int) -> None:
        """Move a worker one level down."""
        if not self.out[worker] and self.open[worker] < self.full:
            self.levels[self.open[worker]].remove(worker)
        self.open[worker] -= 1
        self._enter(worker)

    def take_out(self, worker: int) -> None:
        """Choose a worker no more."""
        if self.open[worker] < self.full:
            self.levels[self.open[worker]].remove(worker)
        self.out[worker] = True

    def put_back(self, worker: int) -> None:
        """Choose a worker again."""
        self.out[worker] = False
        self._enter(worker)

    def _enter(self, worker: int) -> None:
        number = self.open[worker]
        if self.out[worker] or number >= self.full:
            return
        self._level(number).add(worker)
        self.least = min(self.least, number)


BALANCERS: dict[str, type[Balancer]] = {
    "random": Random,
    "round_robin": Balancer,
    "least_conn": LeastConn,
    "random_two": RandomTwo,
}
