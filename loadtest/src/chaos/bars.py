"""The bars: what must hold for the clients of each fault."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chaos.scene import Scene
from chaos.verdict import SETTLE_S, Row, answered, lost
from loadtest.analyse.statistics import percentile
from loadtest.generate.samples import Sample

_CONNECT_TIMEOUT_MS = 1000
_LONGEST_WAIT_MS = 2000
_MOVED_S = 1.5
Bar = Callable[[Row, Sequence[Sample], Scene], dict[str, bool]]


def nothing_lost(row: Row, _samples: Sequence[Sample], _scene: Scene) -> dict[str, bool]:
    """No request lost, none answered wrongly, and no retry storm."""
    return {
        "0 lost": row.lost == 0,
        "0 wrong": row.wrong == 0,
        "tries per request ≤ 2": row.tries_per_request is None or row.tries_per_request <= 2,
    }


def barely_felt(row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
    """Nothing lost, and p99 at most three times what it was before."""
    return nothing_lost(row, samples, scene) | {"p99 ≤ 3 × quiet p99": row.p99_ms <= 3 * row.quiet_p99_ms}


def soon(row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
    """Nothing lost, and nobody who was accepted waited longer than 2 s: the pool was told in time."""
    return nothing_lost(row, samples, scene) | {
        "longest wait ≤ 2 s": row.worst_ms is not None and row.worst_ms <= _LONGEST_WAIT_MS
    }


def detected(row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
    """Nothing lost, p99 within the connect timeout and two service times, back within 15 s."""
    limit_ms = _CONNECT_TIMEOUT_MS + 2e3 * scene.service_s
    return soon(row, samples, scene) | {
        f"p99 ≤ {limit_ms:.0f} ms": row.p99_ms <= limit_ms,
        "back ≤ 15 s": row.back_after_s is not None and row.back_after_s <= 15,
    }


def stated(row: Row, _samples: Sequence[Sample], _scene: Scene) -> dict[str, bool]:
    """Without the only balancer requests are lost; what is answered must be right, and the service must be back."""
    return {"0 wrong": row.wrong == 0}


def stood_in(row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
    """The other of two balancers goes on: lost is what the first one had under way, and nothing that came later."""
    under_way = sum(each.sent_s <= scene.struck_s <= each.done_s for each in samples)
    return {
        f"lost ≤ {under_way} under way": row.lost <= under_way,
        "0 lost of those that came later": not any(lost(each) and each.sent_s > scene.struck_s for each in samples),
        "0 wrong": row.wrong == 0,
    }


def moved(row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
    """The same, and the address was with the other one soon."""
    took_s = scene.moved_s
    said = "address moved" if took_s is None else f"address moved in {took_s:.2f} s"
    return stood_in(row, samples, scene) | {f"{said}, ≤ {_MOVED_S} s": took_s is not None and took_s <= _MOVED_S}


def held(row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
    """Overload: capacity is delivered, what is accepted is quick, the rest is told to come back."""
    end = max(each.scheduled_s for each in samples)
    delivered = sum(answered(each) and SETTLE_S <= each.done_s <= end for each in samples)
    goodput = delivered / (end - SETTLE_S) / scene.capacity_hz
    accepted = percentile([each.response_s for each in samples if answered(each)], 0.99)
    return {
        f"goodput {goodput:.0%} of capacity, ≥ 95 %": goodput >= 0.95,
        f"p99 of accepted {accepted / scene.service_s:.1f} × service time, ≤ 5": accepted <= 5 * scene.service_s,
        "every refusal a 429 with Retry-After": row.lost == 0,
        "0 wrong": row.wrong == 0,
    }
