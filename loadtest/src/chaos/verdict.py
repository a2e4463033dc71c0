"""From what the client and the balancer saw of a fault to one row of the table: lost, wrong, how slow."""

from __future__ import annotations

import collections
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtest.analyse.statistics import percentile
from loadtest.generate.samples import Sample

SETTLE_S = 2.0  # from the first request: connections, caches, the CPU's frequency


def answered(sample: Sample) -> bool:
    """It got its answer."""
    return sample.status == 200


def refused(sample: Sample) -> bool:
    """It was told to come back, and when."""
    return sample.status == 429 and bool(sample.retry_after)


def lost(sample: Sample) -> bool:
    """Neither: an error, no answer, or a refusal that does not say when to come back."""
    return not answered(sample) and not refused(sample)


@dataclass(slots=True)
class Marks:
    """When things happened, in seconds on the sender's clock.

    Attributes:
        injected_s: the fault began; None for runs without one.
        recovered_s: its cause was gone; the machine is back, the upgrade has ended.
        drained: worker → from when to when the balancer should not have asked it.
        back: the worker that was away, whose first answer after recovered_s is waited for.
        victim: the machine that was struck, where the fault itself finds out which, or when.
        failures: what went wrong while the fault was brought about or taken away; each is a bar that was not met.
    """

    injected_s: float | None = None
    recovered_s: float | None = None
    drained: dict[str, tuple[float, float]] = field(default_factory=dict)
    back: str | None = None
    victim: str = ""
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of summary.csv; times in milliseconds but back_after_s. A figure that nothing gave is None.

    Attributes:
        worst_ms: The longest wait of a request that was accepted, of those due from the fault on.
        refused_share: Refused requests, of those due while the fault lasted.
    """

    fault: str
    requests: int
    answered: int
    refused: int
    lost: int
    wrong: int
    p50_ms: float | None
    p99_ms: float | None
    quiet_p99_ms: float | None
    back_after_s: float | None
    tries_per_request: float | None
    worst_ms: float | None
    refused_share: float | None


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


def wrong_answers(
    samples: Iterable[Sample], log: Sequence[dict[str, Any]], marks: Marks, golden: Mapping[str, str]
) -> list[str]:
    """Say of each wrong answer what is wrong: its class, that it came twice, or from whom it came."""
    logged = collections.Counter(entry["id"] for entry in log)
    seen: collections.Counter[str] = collections.Counter()
    found = []
    for sample in samples:
        if sample.request_id:
            seen[sample.request_id] += 1
            if seen[sample.request_id] > 1:
                found.append(f"{sample.seq}: the answer {sample.request_id} came before")
            if logged and logged[sample.request_id] != 1:
                found.append(f"{sample.seq}: {logged[sample.request_id]} lines in the balancer's log, not 1")
        if answered(sample) and sample.answer != golden[sample.image]:
            found.append(
                f"{sample.seq}: {sample.answer} is another label than {golden[sample.image]}, {sample.image}'s"
            )
        since, until = marks.drained.get(sample.worker or "", (math.inf, math.inf))
        if answered(sample) and since <= sample.sent_s < until:
            found.append(f"{sample.seq}: {sample.worker} answered though it was drained")
    return found


def back_after(samples: Iterable[Sample], marks: Marks) -> float | None:
    """Seconds from the end of the cause to the returned worker's first answer; None where none came."""
    if marks.recovered_s is None or marks.back is None:
        return None
    since = marks.recovered_s
    answers = [each.done_s for each in samples if answered(each) and each.worker == marks.back and each.done_s >= since]
    return min(answers) - since if answers else None


def _ms(times_s: Sequence[float], share: float) -> float | None:
    return round(percentile(times_s, share) * 1e3, 1) if times_s else None


def judge(
    fault: str,
    samples: Sequence[Sample],
    log: Sequence[dict[str, Any]],
    marks: Marks,
    golden: Mapping[str, str],
) -> Row:
    """Sum a run up.

    `quiet` are the requests from SETTLE_S to the fault, p50 and p99 are of those due from the fault on (of all after
    SETTLE_S where there is no fault). Response times count answered requests only.
    """
    injected = SETTLE_S if marks.injected_s is None else marks.injected_s
    quiet = [each.response_s for each in samples if answered(each) and SETTLE_S <= each.scheduled_s < injected]
    hit = [each.response_s for each in samples if answered(each) and each.scheduled_s >= injected]
    until = math.inf if marks.recovered_s is None else marks.recovered_s
    meanwhile = [refused(each) for each in samples if injected <= each.scheduled_s < until]
    back = back_after(samples, marks)
    stated = tries(log)
    return Row(
        fault=fault,
        requests=len(samples),
        answered=sum(map(answered, samples)),
        refused=sum(refused(each) for each in samples),
        lost=sum(lost(each) for each in samples),
        wrong=len(wrong_answers(samples, log, marks, golden)),
        p50_ms=_ms(hit, 0.5),
        p99_ms=_ms(hit, 0.99),
        quiet_p99_ms=_ms(quiet, 0.99),
        back_after_s=None if back is None else round(back, 1),
        tries_per_request=None if stated is None else round(stated, 3),
        worst_ms=_ms(hit, 1.0),
        refused_share=round(sum(meanwhile) / len(meanwhile), 5) if meanwhile else None,
    )
