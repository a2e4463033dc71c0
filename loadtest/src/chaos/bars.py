"""The bars: what must hold for the clients of each fault. A line says its figure; one that is missing is not met."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from chaos.scene import Scene
from chaos.verdict import SETTLE_S, Row, answered, lost
from loadtest.analyse.statistics import percentile
from loadtest.generate.samples import Sample

_CONNECT_TIMEOUT_MS = 1000
_LONGEST_WAIT_MS = 2000
_REFUSED_PERCENT = 0.1
_ENOUGH = 5000
_MOVED_S = 1.5
_LATE_MS = 50
Bar = Callable[[Row, Sequence[Sample], Scene], dict[str, bool]]


def at_most(what: str, figure: float | None, most: float | None, unit: str = "", *, digits: int = 2) -> dict[str, bool]:
    """One line of a bar.

    Args:
        what: the figure's name.
        figure: what was measured; None or NaN where nothing was.
        most: what it may be; None where that could not be measured.
        unit: of both.
        digits: behind the point.
    """
    limit = "" if most is None else f", ≤ {most:.{digits}f}{unit}"
    if figure is None or math.isnan(figure):
        return {f"{what} is missing{limit}": False}
    said = f"{what} {figure:.{digits}f}{unit}"
    return (
        {f"{said}, but what it is compared with is missing": False} if most is None else {said + limit: figure <= most}
    )


def _times_quiet(row: Row, factor: float) -> dict[str, bool]:
    limit = None if row.quiet_p99_ms is None else factor * row.quiet_p99_ms
    return at_most(f"p99 within {factor:g} × quiet p99:", row.p99_ms, limit, " ms", digits=0)


def on_time(samples: Sequence[Sample]) -> dict[str, bool]:
    """The load came when it was due. Where it did not, the client had no cores left, and its waits are its own."""
    late_s = percentile([each.lag_s for each in samples], 0.99) if samples else None
    return at_most("sent late (p99) by", None if late_s is None else 1e3 * late_s, _LATE_MS, " ms", digits=0)


def nothing_lost(row: Row, _samples: Sequence[Sample], _scene: Scene) -> dict[str, bool]:
    """No request lost, none answered wrongly, and no retry storm."""
    return {
        f"{row.lost} lost, 0 allowed": row.lost == 0,
        f"{row.wrong} wrong, 0 allowed": row.wrong == 0,
    } | at_most("tries per request", row.tries_per_request, 2)


def soon(row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
    """Nothing lost, and nobody who was accepted waited longer than 2 s: the pool was told in time."""
    return nothing_lost(row, samples, scene) | at_most("longest wait", row.worst_ms, _LONGEST_WAIT_MS, " ms", digits=0)


def barely_felt(row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
    """The same, and p99 at most three times what it was before."""
    return soon(row, samples, scene) | _times_quiet(row, 3)


def one_away(row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
    """A worker is gone: at half the capacity at most one request in a thousand is refused."""
    share = None if row.refused_share is None else 100 * row.refused_share
    return soon(row, samples, scene) | at_most("refused", share, _REFUSED_PERCENT, " %")


def detected(row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
    """The same, p99 within the connect timeout and two service times, back within 15 s."""
    limit_ms = _CONNECT_TIMEOUT_MS + 2e3 * scene.service_s
    return (
        one_away(row, samples, scene)
        | at_most("p99", row.p99_ms, limit_ms, " ms", digits=0)
        | at_most("back after", row.back_after_s, 15, " s", digits=1)
    )


def rolled(row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
    """A rolling upgrade: nothing lost, nobody waits long, and p99 is nearly what it was before."""
    return soon(row, samples, scene) | _times_quiet(row, 1.5)


def of_enough(bar: Bar) -> Bar:
    """This bar, for a promise of 5,000 requests: fewer do not show it."""

    def enough(row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
        counted = {f"{row.requests:,} requests, ≥ {_ENOUGH:,}": row.requests >= _ENOUGH}
        return bar(row, samples, scene) | counted

    return enough


def stated(row: Row, _samples: Sequence[Sample], _scene: Scene) -> dict[str, bool]:
    """Without the only balancer requests are lost; what is answered must be right, and the service must be back."""
    return {f"{row.wrong} wrong, 0 allowed": row.wrong == 0}


def _most_at_once(samples: Sequence[Sample], since_s: float, until_s: float) -> int:
    """The most requests that were under way at one moment of a time."""
    met = [each for each in samples if each.sent_s <= until_s and each.done_s >= since_s]
    moments = [max(each.sent_s, since_s) for each in met]  # their number grows only where one is sent
    return max((sum(each.sent_s <= moment <= each.done_s for each in met) for moment in moments), default=0)


def moved(row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
    """The other of two balancers goes on: lost is what the first one had under way, and the address is there soon."""
    if scene.struck_s is None:
        return {"when the balancer was struck is missing": False}
    began_s, ended_s = scene.struck_s
    under_way = _most_at_once(samples, began_s, ended_s)
    late = sum(lost(each) and each.sent_s > ended_s for each in samples)
    return {
        f"{row.lost} lost, ≤ {under_way} under way": row.lost <= under_way,
        f"{late} lost of those that came later, 0 allowed": late == 0,
        f"{row.wrong} wrong, 0 allowed": row.wrong == 0,
    } | at_most("address moved in", scene.moved_s, _MOVED_S, " s")


def held(row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
    """Overload: capacity is delivered, what is accepted is quick, the rest is told to come back."""
    end = max((each.scheduled_s for each in samples), default=0.0)
    if end <= SETTLE_S:
        return {"requests are missing": False}
    delivered = sum(answered(each) and SETTLE_S <= each.done_s <= end for each in samples)
    goodput = delivered / (end - SETTLE_S) / scene.capacity_hz
    accepted = percentile([each.response_s for each in samples if answered(each)], 0.99)
    return (
        {f"goodput {goodput:.0%} of capacity, ≥ 95 %": goodput >= 0.95}
        | at_most("p99 of accepted", accepted / scene.service_s, 5, " × service time", digits=1)
        | refused_rightly(row)
    )


def refused_rightly(row: Row) -> dict[str, bool]:
    """Who has no answer was told to come back; answers are right."""
    return {
        f"{row.lost} without an answer or a 429 with Retry-After, 0 allowed": row.lost == 0,
        f"{row.wrong} wrong, 0 allowed": row.wrong == 0,
    }
