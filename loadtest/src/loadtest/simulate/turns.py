"""Smooth weighted round robin, as nginx takes turns, for workers of equal weight."""

import heapq


class Turns:
    """One balancer's current weights, and the groups of workers among which it takes turns.

    nginx adds 1 to the current weight of every worker that may be chosen, takes the first one with the largest, and
    takes the number of workers that could be chosen off its weight. That costs n steps a request. Here a group holds
    its additions in one number and its workers in a heap, so a request costs log n steps and chooses the same worker.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.keys = list(range(workers))
        self.homes: list[Group | None] = [None] * workers
        self.weights = [0] * workers

    def group(self, members: range | None = None) -> "Group":
        """A group of these workers, none by default; they must be in no other group and of weight 0."""
        made = Group(self)
        for worker in members or ():
            self.homes[worker] = made
            made.heap.append(worker)
        made.size = len(made.heap)
        return made


class Group:
    """Workers among which turns are taken; a worker is in at most one group of its balancer.

    Attributes:
        size: Number of workers in it.
    """

    __slots__ = ("added", "heap", "size", "turns")

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.size = 0
        self.added = 0  # what every member's weight got since the group began
        # (added − weight)·n + worker: the smallest is the worker with the largest weight, the first of them
        self.heap: list[int] = []

    def add(self, worker: int) -> None:
        """Let a worker join with the weight that it has."""
        turns = self.turns
        key = (self.added - turns.weights[worker]) * turns.workers + worker
        turns.keys[worker] = key
        turns.homes[worker] = self
        self.size += 1
        heapq.heappush(self.heap, key)
        if len(self.heap) > 4 * self.size + 64:
            self.heap = sorted({one for one in self.heap if self._holds(one)})  # a sorted list is a heap

    def _holds(self, key: int) -> bool:
        worker = key % self.turns.workers
        return self.turns.homes[worker] is self and self.turns.keys[worker] == key

    def remove(self, worker: int) -> None:
        """Let a member leave; it keeps its weight. Its entry in the heap is passed over later."""
        turns = self.turns
        turns.weights[worker] = self.added - (turns.keys[worker] - worker) // turns.workers
        turns.homes[worker] = None
        self.size -= 1

    def take(self) -> int:
        """Choose the member whose turn it is; the group must not be empty."""
        turns, heap = self.turns, self.heap
        while True:
            key = heap[0]
            worker = key % turns.workers
            if turns.homes[worker] is self and turns.keys[worker] == key:
                break
            heapq.heappop(heap)
        self.added += 1
        key += self.size * turns.workers
        turns.keys[worker] = key
        heapq.heapreplace(heap, key)
        return worker

    def take_but(self, left_out: tuple[int, ...]) -> int:
        """Choose as if these workers were not members; -1 where nobody is left."""
        aside = [worker for worker in left_out if self.turns.homes[worker] is self]
        for worker in aside:
            self.remove(worker)
        chosen = self.take() if self.size else -1
        for worker in aside:
            self.add(worker)
        return chosen
