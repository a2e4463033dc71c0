"""What a fault is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from chaos.bars import Bar, detected, one_away
from chaos.scene import Scene
from chaos.verdict import Marks

VICTIM = "worker2"
Act = Callable[[Scene, Marks], None]
Phases = Callable[[Scene], list[tuple[float, float]]]


def nothing(_scene: Scene, _marks: Marks) -> None:
    """Leave everything as it is."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        what: said on the figure.
        inject: brings it about; may take its time, as an upgrade does.
        recover: takes the cause away, and returns when the machine itself is back.
        bar: what must hold.
        takes_s: seconds of inject and recover, about; for the plan.
        hold_s: seconds from inject's end to recover.
        tail_s: seconds of load after recover.
        victim: the worker whose return is timed.
        phases: [seconds, requests a second], under which it happens; a share of the capacity for as long as needed
            where not given.
        utilisation: that share.
        pair: whether it takes two balancers that share an address.
        scaled: whether it takes a pool that follows its load.
        settings: of the balancers, beside the scene's.
    """

    name: str
    what: str
    inject: Act
    recover: Act = nothing
    bar: Bar = one_away
    takes_s: float = 10.0
    hold_s: float = 10.0
    tail_s: float = 15.0
    victim: str | None = None
    phases: Phases | None = None
    utilisation: float = 0.5
    pair: bool = False
    scaled: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)


def loss(name: str, what: str, inject: Act, recover: Act) -> Fault:
    """A worker that is gone, whose return is timed."""
    return Fault(name, what, inject, recover, detected, hold_s=20, tail_s=25, victim=VICTIM)
