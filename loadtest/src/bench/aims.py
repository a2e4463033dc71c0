"""What the benchmark's figures are held against, and what random choice costs."""

from __future__ import annotations

import math

from bench import cost, means, tails
from bench.layout import images_hz, systems
from bench.trials import Run

_SAME, _DOCUMENTED = "served", "plain_pillow"
MOST_FAILED = 0.01
OVER_MOSEC = 1.03
APART = "not told apart"


def what_random_costs(run: Run) -> str:
    """Say in one line, with one number, what a choice that looks at queues brings over random choice."""
    gain = means.ratio(run, "random_two", "random", "closed-4", images_hz)
    apart = "" if gain.low > 1 or gain.high < 1 else f"; the two are {APART}"
    return f"At 4 users `POLICY=random_two` answers {gain.text(2)} × as many requests as random, the default{apart}."


def verdict(reached: means.Mean, aim: float, *, at_most: bool = False) -> str:
    """Say whether an aim is met: only where the whole interval is on one side of it."""
    better, worse = reached.low >= aim, reached.high < aim
    if at_most:
        better, worse = reached.high <= aim, reached.low > aim
    return "met" if better else "not met" if worse else APART


def aims(run: Run) -> list[list[str]]:
    """Return the rows of the table of aims: what was asked for, what this run reached."""
    mosec, documented, fastapi = f"mosec {_SAME}", f"mosec {_DOCUMENTED}", f"fastapi {_DOCUMENTED}"
    rows = [
        _rate(run, "one listener, of the limit", 0.95, "listener", "limit served", "closed-16"),
        _rate(run, "one listener, of the limit", 0.90, "listener", "limit served", "closed-4"),
        _rate(run, "random, of the limit", 0.92, "random", "limit served", "closed-16"),
        _rate(run, "one listener, over mosec with our decoder", OVER_MOSEC, "listener", mosec, "closed-4"),
        _rate(run, "one listener, over mosec with our decoder", OVER_MOSEC, "listener", mosec, "closed-16"),
        _rate(run, "random, over mosec with our decoder", 0.95, "random", mosec, "closed-16"),
        _rate(run, "random, over mosec as documented", 1.15, "random", documented, "closed-16"),
        _rate(run, "random, over FastAPI as documented", 1.3, "random", fastapi, "closed-16"),
        _rate(run, "one listener, over one written like the course project", 20, "listener", "keras", "closed-16"),
    ]
    for load in ("open-0.5", "open-0.8"):
        for key, name in (("listener", "one listener"), ("random_two", "random_two")):
            rows.append(_late(run, name, key, mosec, load))
    for key, name in (("listener", "one listener"), ("random", "random")):
        rows.append(_cpu(run, f"nginx before {name}", 0.4, key, cost.nginx(run, key)))
        rows.append(_cpu(run, f"{name}, beyond decoding, inference and nginx", 0.7, key, cost.own(run, key)))
    return [row for row in rows if row]


def _rate(  # noqa: PLR0917  a row of a table
    run: Run, title: str, aim: float, one: str, other: str, load: str
) -> list[str] | None:
    name = f"{title}{_form(run, other)}, {load.removeprefix('closed-')} users"
    return _row(run, name, aim, (one, other), load, means.ratio(run, one, other, load, images_hz))


def _late(run: Run, name: str, one: str, other: str, load: str) -> list[str] | None:
    share, reached = tails.ratio(run, one, other, load)
    at = f"{float(load.removeprefix('open-')):.0%}"
    title = f"{tails.name(share)} of {name} at {at} of the limit, over mosec's with our decoder{_form(run, other)}"
    return _row(run, title, 1.0, (one, other), load, reached, at_most=True)


def _cpu(run: Run, name: str, aim: float, key: str, reached: means.Mean) -> list[str] | None:
    if math.isnan(reached.value):  # an older run
        return None
    title = f"CPU ms a request of {name}, 16 users"
    return _row(run, title, aim, (key, "limit served"), "closed-16", reached, at_most=True)


def _row(  # noqa: PLR0917  a row of a table
    run: Run, title: str, aim: float, sides: tuple[str, str], load: str, reached: means.Mean, *, at_most: bool = False
) -> list[str] | None:
    if not run.pairs(*sides, load) or any(side in run.facts["lost"] for side in sides):
        return None
    sign = f"{'≤' if at_most else '≥'} {aim:g}"
    if any(run.failed_share(side, load) > MOST_FAILED for side in sides):
        return [title, sign, "–", "requests failed"]
    return [title, sign, reached.text(2), verdict(reached, aim, at_most=at_most)]


def _form(run: Run, key: str) -> str:
    """Say how a peer was asked; the limits were asked nothing."""
    if key not in systems(run):
        return ""
    return " (a browser's form)" if key in run.facts["forms"] else " (raw body)"
