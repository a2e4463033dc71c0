"""More load than the pool has capacity for."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.bars import at_most, held, refused_rightly
from chaos.fault import Fault, nothing
from chaos.scene import Scene
from chaos.verdict import Row, answered
from loadtest.analyse.statistics import percentile
from loadtest.generate.samples import Sample

# What is accepted waits for two others at the most; with the product's 16 places it is late, and none is refused early.
_PLACES = {"balancer_max_conns": "3"}


def _long_enough_s(rate_hz: float) -> float:
    return max(20.0, 5000 / rate_hz)


def _overload(factor: float) -> Fault:
    return Fault(
        name=f"overload-{factor:g}x".replace(".", "_"),
        what=f"{factor:g} × the capacity is asked for",
        inject=nothing,
        bar=held,
        phases=lambda scene: [(_long_enough_s(factor * scene.capacity_hz), factor * scene.capacity_hz)],
        settings=_PLACES,
    )


_STEPS = (0.7, 1.4, 0.7)


def _step_s(scene: Scene) -> float:
    return _long_enough_s(sum(_STEPS) * scene.capacity_hz)


def _steps(scene: Scene) -> list[tuple[float, float]]:
    return [(_step_s(scene), factor * scene.capacity_hz) for factor in _STEPS]


def _recovered(row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
    late = [each.response_s for each in samples if answered(each) and each.scheduled_s >= 2 * _step_s(scene) + 2]
    p99 = percentile(late, 0.99)
    what = "p99 of accepted from 2 s after the step down"
    return at_most(what, p99 / scene.service_s, 4, " × service time", digits=1) | refused_rightly(row)


FAULTS = (
    _overload(1.5),
    _overload(3),
    _overload(10),
    Fault("step", "0.7 × → 1.4 × → 0.7 × the capacity", nothing, bar=_recovered, phases=_steps, settings=_PLACES),
)
