"""A server that serves several customers at once: M/D[b]/1, and runs whose length depends on how many they serve.

Customers arrive by a Poisson process, λ a second. A server that becomes free takes those that wait, at most b of them,
and serves them together; one that finds nobody starts with the next arrival. A run of k takes s(k) seconds, always the
same. With s(k) = D for every k this is M/D[b]/1, a server that computes all at once (Bailey 1954, *On queueing
processes with bulk service*; Neuts 1967, *A general class of bulk queues with Poisson input*). Times that grow with k
are those of inference servers (Inoue 2021, *Queueing analysis of GPU-based inference servers with dynamic batching*).
With b = 1 it is M/D/1, and with s(k) = k·s(1) a batch wins nothing.
"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import gammaln, xlogy

from loadtest.arrays import Floats

_STATES = (256, 512, 1024, 2048, 4096)
_NEGLIGIBLE = 1e-10


def batch_response(rate_hz: float, runs_s: Sequence[float]) -> float:
    """Mean response (wait + run) in the steady state, in seconds; infinite where the server cannot keep up.

    Let j be how many wait when a run ends, π its distribution, j' = max(j, 1), k = min(j', b). The next run serves k:

        P(j → j' − k + a) = e^(−λ s(k)) (λ s(k))^a / a!     for a = 0, 1, … arrivals during it,

    from which π follows. Between two ends pass s(k) seconds, and 1/λ more where j = 0; meanwhile the customers in the
    system add up to j' s(k) + λ s(k)²/2 customer-seconds. So with Little's law

        T = Σ π(j) (j' s(k) + λ s(k)²/2) / Σ π(j) (λ s(k) + [j = 0]).

    The number of states is finite here, enough for up to 0.99 of the capacity.

    Args:
        rate_hz: Arrivals a second, λ, above 0.
        runs_s: Seconds that a run of 1, 2, … b takes; b is its length.
    """
    most, runs = len(runs_s), np.asarray(runs_s, dtype=float)
    if rate_hz * runs[-1] >= most:
        return math.inf
    for states in _STATES:
        waiting = np.arange(states)
        started = np.maximum(waiting, 1)
        served = np.minimum(started, most)
        took_s = runs[served - 1]
        share = _stationary(rate_hz * took_s, started - served)
        if share[-most:].sum() < _NEGLIGIBLE:
            break
    customer_s = share @ (started * took_s + rate_hz * took_s**2 / 2)
    return float(customer_s / (share @ (rate_hz * took_s) + share[0]))


def _stationary(arrive: Floats, left: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> Floats:
    """The distribution of those that wait at a run's end.

    Args:
        arrive: Mean arrivals during the run that follows each state, shape (n,).
        left: Who waits in each state and is not served by it, shape (n,).
    """
    states = len(arrive)
    counts = np.arange(states)[None, :] - left[:, None]
    few = np.maximum(counts, 0)
    moves = np.exp(xlogy(few, arrive[:, None]) - gammaln(few + 1) - arrive[:, None])
    moves[counts < 0] = 0.0
    moves[:, -1] += 1 - moves.sum(axis=1)
    equations = moves.T - np.eye(states)
    equations[-1] = 1.0
    wanted = np.zeros(states)
    wanted[-1] = 1.0
    found: Floats = np.linalg.solve(equations, wanted)
    return found


def simulate_batches(arrivals_s: Floats, runs_s: Sequence[float], window_s: float = 0.0) -> Floats:
    """Response times of one server that waits for further customers, in seconds, shape (m,).

    It opens a batch when it is free and somebody is there. The run begins when the batch is full, or `window_s` later.

    Args:
        arrivals_s: Arrival times in seconds, ascending, shape (m,).
        runs_s: Seconds that a run of 1, 2, … b takes; b is its length.
        window_s: How long a batch stays open; 0 takes those that wait.
    """
    times, most = [float(one) for one in arrivals_s], len(runs_s)
    ends_s = np.empty(len(times))
    first, free_s = 0, 0.0
    while first < len(times):
        opens_s = max(free_s, times[first])
        behind = first + 1
        while behind < len(times) and behind < first + most and times[behind] <= opens_s + window_s:
            behind += 1
        full = behind == first + most
        free_s = max(opens_s, times[behind - 1]) if full else opens_s + window_s
        free_s += runs_s[behind - first - 1]
        ends_s[first:behind] = free_s
        first = behind
    responses: Floats = ends_s - np.asarray(arrivals_s)
    return responses
