"""What the benchmark's figures are held against, and what random choice costs."""

from __future__ import annotations

from collections.abc import Callable

from bench import medians
from bench.trials import Run, Trial

_SAME, _DOCUMENTED = "served", "plain_pillow"


def images_hz(trial: Trial) -> float:
    """Photographs recognised a second."""
    return trial.images_hz


def p99_ms(trial: Trial) -> float:
    """Milliseconds to the last byte from when a request was due, at the 99th percentile."""
    return trial.response_ms(0.99)


def what_random_costs(run: Run) -> str:
    """Say in one line, with one number, what a choice that looks at queues brings over random choice."""
    gain = medians.ratio(run, "random_two", "random", "closed-4", images_hz)
    return f"At 4 users `POLICY=random_two` answers {gain.text(2)} × as many requests as random, the default."


def waiting_well(run: Run) -> str:
    """Say what random choice costs, and how one listener for all processes does."""
    late = medians.ratio(run, "random", "random_two", "open-0.5", p99_ms)
    shared = medians.ratio(run, "listener", "random", "closed-4", images_hz)
    return (
        "## Waiting well\n"
        f"**{what_random_costs(run)}**\n\n"
        "- Random may choose a busy worker while another one is idle. `random_two` draws two and takes the one with\n"
        "  fewer requests.\n"
        f"- One listener for all processes of a host: {shared.text(2)} × random at 4 users.\n"
        f"- Poisson arrivals at half the limit: p99 of random is {late.text(2)} × that of `random_two`."
    )


def aims(run: Run) -> str:
    """Return the table of aims: what was asked for, what this run reached."""
    lines = [
        _line(run, "one listener, of the limit, 16 users", 0.95, "listener", "limit served", "closed-16"),
        _line(run, "one listener, of the limit, 4 users", 0.90, "listener", "limit served", "closed-4"),
        _line(run, "random, of the limit, 16 users", 0.92, "random", "limit served", "closed-16"),
    ]
    mosec, documented, fastapi = f"mosec {_SAME}", f"mosec {_DOCUMENTED}", f"fastapi {_DOCUMENTED}"
    lines += [
        _line(run, "one listener, over mosec with our decoder, 4 users", 1.03, "listener", mosec, "closed-4"),
        _line(run, "one listener, over mosec with our decoder, 16 users", 1.03, "listener", mosec, "closed-16"),
        _line(run, "random, over mosec with our decoder, 16 users", 0.95, "random", mosec, "closed-16"),
        _line(run, "random, over mosec as documented, 16 users", 1.15, "random", documented, "closed-16"),
        _line(run, "random, over FastAPI as documented, 16 users", 1.3, "random", fastapi, "closed-16"),
        _line(run, "one listener, over the course project, 16 users", 20, "listener", "keras", "closed-16"),
    ]
    for share in (0.5, 0.8):
        for key, name in (("listener", "one listener"), ("random_two", "random_two")):
            title = f"p99 of {name} at {share:.0%} of the limit, over mosec's with our decoder"
            lines.append(_line(run, title, 1.0, key, mosec, f"open-{share:g}", p99_ms, at_most=True))
    return "\n".join(["## Aims", "| figure | aim | reached | |", "|---|---|---|---|", *filter(None, lines)])


def _line(  # noqa: PLR0917  a row of a table
    run: Run,
    title: str,
    aim: float,
    one: str,
    other: str,
    load: str,
    value: Callable[[Trial], float] = images_hz,
    *,
    at_most: bool = False,
) -> str:
    if not run.of(other, load):
        return ""
    reached = medians.ratio(run, one, other, load, value)
    met = reached.value <= aim if at_most else reached.value >= aim
    return f"| {title} | {'≤' if at_most else '≥'} {aim:g} | {reached.text(2)} | {'met' if met else 'not met'} |"
