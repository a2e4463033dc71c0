"""Simulate every combination that was asked for, and say what each one came to."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.analyse.statistics import quantile, t_interval
from loadtest.analyse.theory.formulas import settling_s
from loadtest.errors import LoadtestError
from loadtest.simulate.arrivals import MOST_REQUESTS
from loadtest.simulate.events import Fault
from loadtest.simulate.service import Service
from loadtest.simulate.system import Outcome, System, arrive, simulate

Row = dict[str, Any]
_LEAST_REQUESTS = 300_000
_A_WORKER = 240
_PARTS = 10
_QUANTILES = {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999}


@dataclass(frozen=True, slots=True)
class Question:
    """What is simulated: every load and number of workers with every policy and number of balancers.

    Attributes:
        workers: Numbers of workers.
        policies: Policies.
        balancers: Numbers of balancers.
        utilisations: Shares of capacity asked on average.
        max_conns: Open requests of one balancer at one worker, for each of its processes; 0 for no limit.
        requests: Of each case; None for as many as it needs.
        seed: Policies see the same arrivals and service times.
        fail: Share of workers that fail, and for how many seconds; None for none.
        swing: Share and period in seconds by which the load swings; None for none.
        reloaded: Every balancer begins its turns with the first worker.
        processes: Processes of each worker.
    """

    workers: tuple[int, ...]
    policies: tuple[str, ...]
    balancers: tuple[int, ...] = (1,)
    utilisations: tuple[float, ...] = (0.8,)
    max_conns: int = 16
    requests: int | None = None
    seed: int = 1
    fail: tuple[float, float] | None = None
    swing: tuple[float, float] | None = None
    reloaded: bool = False
    processes: int = 1


def answer(question: Question, service: Service) -> list[Row]:
    """Simulate each case; one row each.

    Raises:
        LoadtestError: A fault or a period does not fit into the number of requests.
    """
    loads = [(load, workers) for load in question.utilisations for workers in question.workers]
    sizes = [_size(question, service, load, workers) for load, workers in loads]
    limit, processes = question.max_conns * question.processes, question.processes
    return [
        _case(question, service, load, System(policy, workers, balancers, limit, question.reloaded, processes), size)
        for (load, workers), size in zip(loads, sizes, strict=True)
        for balancers in question.balancers
        for policy in question.policies
    ]


def _rate_hz(service: Service, utilisation: float, workers: int) -> float:
    """Requests a second; the capacity of so many processes is n / the mean of busy service times."""
    return utilisation * workers / service.mean_s


def _size(question: Question, service: Service, utilisation: float, workers: int) -> tuple[int, float | None]:
    """Number of requests and the second from which they count; None where a third of them is cut."""
    rate_hz = _rate_hz(service, utilisation, workers * question.processes)
    if question.fail:
        begin_s = min(settling_s(service.mean_s, service.cv2, utilisation, question.processes), 100 * service.mean_s)
        what, needed_s = f"a fault of {question.fail[1]:g} s", begin_s + 2 * question.fail[1]
    elif question.swing:
        begin_s = question.swing[1]
        what, needed_s = f"a period of {begin_s:g} s", 2 * begin_s
    else:
        usual = max(_LEAST_REQUESTS, _A_WORKER * workers * question.processes)
        if utilisation < 1:  # the third that is cut is long enough for queues that are alone
            usual = max(
                usual, math.ceil(3 * rate_hz * settling_s(service.mean_s, service.cv2, utilisation, question.processes))
            )
        return question.requests or min(MOST_REQUESTS, usual), None
    needed = math.ceil(1.01 * rate_hz * needed_s)
    if needed > MOST_REQUESTS:
        raise LoadtestError(
            f"{what} with {workers} workers is {needed} requests, and {MOST_REQUESTS} are the most: give fewer "
            "seconds or fewer workers"
        )
    if question.requests and question.requests < needed:
        raise LoadtestError(f"{what} with {workers} workers needs --requests {needed}; {question.requests} are fewer")
    return question.requests or needed, begin_s


def _case(
    question: Question, service: Service, utilisation: float, system: System, size: tuple[int, float | None]
) -> Row:
    rng = np.random.default_rng([question.seed, system.workers])
    count, begin_s = size
    arrivals_s = arrive(_rate_hz(service, utilisation, system.workers * system.processes), count, rng, question.swing)
    if begin_s is None:
        begin_s = float(arrivals_s[count // 3])
    faults = []
    until_s = math.inf
    if question.fail:
        share, lasts_s = question.fail
        count = max(1, round(share * system.workers))
        dead = np.random.default_rng([question.seed, system.workers, 1]).choice(system.workers, count, replace=False)
        faults = [Fault(tuple(dead.tolist()), begin_s, lasts_s)]
        until_s = begin_s + 2 * lasts_s
    elif question.swing:
        until_s = begin_s * max(2, math.floor(float(arrivals_s[-1]) / begin_s))
    outcome = simulate(system, arrivals_s, service, rng, faults).between(begin_s, until_s)
    row: Row = {"workers": system.workers, "utilisation": utilisation, "policy": system.policy}
    row |= {"balancers": system.balancers, "max_conns": system.max_conns}
    return row | figures(outcome, apart=system.policy == "random")


def figures(outcome: Outcome, *, apart: bool = False) -> Row:
    """Mean and quantiles of the answers in milliseconds, and how many requests were not answered.

    A quantile is None where there are too few answers for it: 1,000 for p99, 10,000 for p99.9. `p99_half_ms` is half
    of the 95 % t-interval of p99 over ten parts: of the workers where their queues are `apart`, else of the time.
    """
    every = 1e3 * (outcome.ends_s - outcome.arrivals_s)
    times = every[outcome.answered]
    total = len(outcome.chosen)
    row: Row = {"requests": total, "mean_ms": float(times.mean()) if len(times) else None}
    row |= {name: quantile(times, share) for name, share in _QUANTILES.items()}
    row["p99_half_ms"] = None
    if len(times) >= 1_000 * _PARTS:
        parts = [every[part][outcome.answered[part]] for part in outcome.parts(_PARTS, apart=apart)]
        row["p99_half_ms"] = t_interval([float(np.quantile(part, 0.99)) for part in parts if len(part)])[1]
    row["refused"], row["lost"] = outcome.refused, outcome.lost
    row["refused_share"] = outcome.refused / total if total else 0.0
    row["lost_share"] = outcome.lost / total if total else 0.0
    return {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in row.items()}


def table(rows: Sequence[Row]) -> str:
    """The rows for a person: times in milliseconds, "–" where there were too few answers."""
    lost = any(row["lost"] for row in rows)
    titles = ["workers", "ρ", "policy", "balancers", "mean ms", "p50 ms", "p99 ms", "±", "p99.9 ms", "refused %"]
    lines = [
        [
            str(row["workers"]), f"{row['utilisation']:g}", row["policy"], str(row["balancers"]),
            *(_short(row[key]) for key in ("mean_ms", "p50_ms", "p99_ms", "p99_half_ms", "p999_ms")),
            f"{100 * row['refused_share']:.3f}", *([f"{100 * row['lost_share']:.3f}"] if lost else []),
        ]
        for row in rows
    ]  # fmt: skip
    filled = [titles + ["lost %"] * lost, *lines]
    widths = [max(len(line[place]) for line in filled) for place in range(len(filled[0]))]
    return "\n".join("  ".join(word.rjust(width) for word, width in zip(line, widths, strict=True)) for line in filled)


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write the rows.

    Raises:
        LoadtestError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise LoadtestError(f"cannot write {path}: {error.strerror}") from error
