"""From what the client and the balancer saw of a fault to one row of the table: lost, wrong, how slow."""

from __future__ import annotations

import collections
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

SETTLE_S = 2.0  # from the first request: connections, caches, the CPU's frequency


class Sample(NamedTuple):
    """One request as the client saw it; times in seconds on the sender's clock."""

    number: int
    picture: str
    due_s: float
    sent_s: float
    done_s: float
    status: int | None
    error: str | None
    worker: str | None
    right: bool | None
    identity: str | None
    retry_after: str | None

    @property
    def answered(self) -> bool:
        """It got its answer."""
        return self.status == 200

    @property
    def refused(self) -> bool:
        """It was told to come back, and when."""
        return self.status == 429 and bool(self.retry_after)

    @property
    def lost(self) -> bool:
        """Neither: an error, no answer, or a refusal that does not say when to come back."""
        return not self.answered and not self.refused

    @property
    def response_s(self) -> float:
        """From when it was due to its last byte."""
        return self.done_s - self.due_s


@dataclass(slots=True)
class Marks:
    """When things happened, in seconds on the sender's clock.

    Attributes:
        injected_s: the fault began; None for runs without one.
        recovered_s: its cause was gone; the machine is back, the upgrade has ended.
        drained: worker → from when to when the balancer should not have asked it.
        back: the worker that was away, whose first answer after recovered_s is waited for.
    """

    injected_s: float | None = None
    recovered_s: float | None = None
    drained: dict[str, tuple[float, float]] = field(default_factory=dict)
    back: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of summary.csv; times in milliseconds but back_after_s.

    Attributes:
        worst_ms: The longest wait of a request that was accepted, of those due from the fault on; None in records of
            runs that did not note it.
    """

    fault: str
    requests: int
    answered: int
    refused: int
    lost: int
    wrong: int
    p50_ms: float
    p99_ms: float
    quiet_p99_ms: float
    back_after_s: float | None
    tries_per_request: float | None
    worst_ms: float | None = None


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of the values do not exceed; NaN of none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def read_samples(lines: Iterable[str]) -> list[Sample]:
    """Read what sender.py printed after its first line."""
    return [Sample(*json.loads(line)) for line in lines if line.strip()]


def table_of(samples: Sequence[Sample]) -> str:
    """Write samples as CSV, without the ids: they have been compared with the balancer's log, which is not kept."""
    kept = [name for name in Sample._fields if name != "identity"]
    rows = [[getattr(sample, name) for name in kept] for sample in samples]
    lines = [kept, *(["" if value is None else str(value) for value in row] for row in rows)]
    return "".join(",".join(line) + "\n" for line in lines)


def read_row(row: Mapping[str, str]) -> Sample:
    """Read one line of a fault's table, which has no ids."""
    return Sample(
        number=int(row["number"]),
        picture=row["picture"],
        due_s=float(row["due_s"]),
        sent_s=float(row["sent_s"]),
        done_s=float(row["done_s"]),
        status=int(row["status"]) if row["status"] else None,
        error=row["error"] or None,
        worker=row["worker"] or None,
        right=row["right"] == "True" if row["right"] else None,
        identity=None,
        retry_after=row["retry_after"] or None,
    )


def read_log(text: str) -> list[dict[str, Any]]:
    """Read the balancer's access log, of /predict only; a last line cut short is left out."""
    entries = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry.get("path") == "/predict":
            entries.append(entry)
    return entries


def tries(log: Iterable[dict[str, Any]]) -> float | None:
    """Requests that reached workers, for each request of a client; None of an empty log."""
    requests = reached = 0
    for entry in log:
        requests += 1
        reached += sum(address.strip() not in ("", "-", "workers") for address in entry["upstream_addr"].split(","))
    return reached / requests if requests else None


def wrong_answers(samples: Iterable[Sample], log: Sequence[dict[str, Any]], marks: Marks) -> list[str]:
    """Say of each wrong answer what is wrong: its label, that it came twice, or from whom it came."""
    logged = collections.Counter(entry["id"] for entry in log)
    seen: collections.Counter[str] = collections.Counter()
    found = []
    for sample in samples:
        if sample.identity:
            seen[sample.identity] += 1
            if seen[sample.identity] > 1:
                found.append(f"{sample.number}: the answer {sample.identity} came before")
            if logged and logged[sample.identity] != 1:
                found.append(f"{sample.number}: {logged[sample.identity]} lines in the balancer's log, not 1")
        if sample.answered and not sample.right:
            found.append(f"{sample.number}: another label than the one for {sample.picture}")
        since, until = marks.drained.get(sample.worker or "", (math.inf, math.inf))
        if sample.answered and since <= sample.sent_s < until:
            found.append(f"{sample.number}: {sample.worker} answered though it was drained")
    return found


def back_after(samples: Iterable[Sample], marks: Marks) -> float | None:
    """Seconds from the end of the cause to the returned worker's first answer; None where none came."""
    if marks.recovered_s is None or marks.back is None:
        return None
    since = marks.recovered_s
    answers = [each.done_s for each in samples if each.answered and each.worker == marks.back and each.done_s >= since]
    return min(answers) - since if answers else None


def judge(fault: str, samples: Sequence[Sample], log: Sequence[dict[str, Any]], marks: Marks) -> Row:
    """Sum a run up.

    `quiet` are the requests from SETTLE_S to the fault, p50 and p99 are of those due from the fault on (of all after
    SETTLE_S where there is no fault). Response times count answered requests only.
    """
    injected = SETTLE_S if marks.injected_s is None else marks.injected_s
    quiet = [each.response_s for each in samples if each.answered and SETTLE_S <= each.due_s < injected]
    hit = [each.response_s for each in samples if each.answered and each.due_s >= injected]
    back = back_after(samples, marks)
    stated = tries(log)
    return Row(
        fault=fault,
        requests=len(samples),
        answered=sum(each.answered for each in samples),
        refused=sum(each.refused for each in samples),
        lost=sum(each.lost for each in samples),
        wrong=len(wrong_answers(samples, log, marks)),
        p50_ms=round(percentile(hit, 0.5) * 1e3, 1),
        p99_ms=round(percentile(hit, 0.99) * 1e3, 1),
        quiet_p99_ms=round(percentile(quiet, 0.99) * 1e3, 1),
        back_after_s=None if back is None else round(back, 1),
        tries_per_request=None if stated is None else round(stated, 3),
        worst_ms=round(max(hit) * 1e3, 1) if hit else None,
    )
