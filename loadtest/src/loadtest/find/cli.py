"""The commands `loadtest capacity` and `loadtest slo`: their arguments, and what they print."""

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtest.arguments import number_of, whole_of
from loadtest.errors import LoadtestError
from loadtest.experiments.checks import IMAGE_PX, number, whole
from loadtest.experiments.folder import write_json

if TYPE_CHECKING:  # the client host has no scipy
    from loadtest.find.knee import Knee

_LONGEST_SLO_S = 60.0


def add_find(add: Callable[..., Any]) -> None:
    """Add both commands; `add` makes the parser of one."""
    capacity = add(
        "capacity",
        "find the load from which the service's answers no longer follow",
        _capacity,
        "capacity --target http://127.0.0.1:8080 --out results/runs/capacity",
        "capacity --target http://10.10.1.1 --out runs/capacity --precision 0.02 --minutes 20",
    )
    _common(capacity, minutes=5.0)
    slo = add(
        "slo",
        "find the highest rate at which 99 of 100 answers come in time",
        _slo,
        "slo --p99 0.3 --target http://127.0.0.1:8080 --out results/runs/slo",
        "slo --p99 0.3 --target http://10.10.1.1 --out runs/slo --minutes 60",
    )
    slo.add_argument(
        "--p99", required=True, type=number_of(number(0, 1e6, above=True)), metavar="SECONDS", help="the objective"
    )
    _common(slo, minutes=20.0)


def _common(one: Any, *, minutes: float) -> None:
    one.add_argument("--target", required=True, metavar="URL", help="the service, such as http://127.0.0.1:8080")
    one.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="where samples and the answer go; new")
    one.add_argument(
        "--precision", type=number_of(number(0.002, 0.5)), default=0.03, metavar="SHARE",
        help="half-width of the answer's interval that is wanted (default 0.03)",
    )  # fmt: skip
    one.add_argument(
        "--minutes", type=number_of(number(0, 1440, above=True)), default=minutes, metavar="N",
        help=f"load for about so long, a third more at most; the answer is what is known by then (default {minutes:g})",
    )  # fmt: skip
    one.add_argument(
        "--most", type=number_of(number(0, 100_000, above=True)), default=5000.0, metavar="HZ",
        help="highest rate that is asked (default 5000)",
    )  # fmt: skip
    one.add_argument(
        "--image-px", type=whole_of(IMAGE_PX), default=128, metavar="N", help="side of the photograph (default 128)"
    )
    one.add_argument("--seed", type=whole_of(whole(0, 2**32)), default=1, metavar="N", help="of arrivals (default 1)")


def _capacity(options: argparse.Namespace) -> int:
    from loadtest.find.knee import find_knee  # noqa: PLC0415 — the client host has no scipy

    service = _service(options)
    alone_s = service.alone_s()
    knee = find_knee(
        service, min(0.3 / alone_s, options.most), precision=options.precision, longest_s=60 * options.minutes,
        most_hz=options.most,
    )  # fmt: skip
    print(f"{'asked/s':>9} {'sent/s':>9} {'answered/s':>11} {'±':>7} {'p50 ms':>9} {'p99 ms':>9} {'failed %':>9}")
    for rung in knee.rungs:
        half = "–" if rung.half_hz is None else f"{rung.half_hz:.1f}"
        print(
            f"{rung.asked_hz:>9.1f} {rung.sent_hz:>9.1f} {rung.answered_hz:>11.1f} {half:>7} {_ms(rung.p50_s):>9} "
            f"{_ms(rung.p99_s):>9} {100 * rung.failed:>9.2f}"
        )
    print(f"Capacity: {_said(knee, options)}")
    if knee.rungs[-1].failed > 0.01:
        print(
            f"{100 * knee.rungs[-1].failed:.0f} % of the last load got no good answer: a limit of the balancer may "
            "have refused them (balancer_max_conns, balancer_address_rate_hz)."
        )
    _write(options, {"capacity": _finite(asdict(knee))})
    return 0


def _said(knee: "Knee", options: argparse.Namespace) -> str:
    """The capacity in words, and why it is no better known."""
    last, short = knee.rungs[-1], _short(options, reached=knee.reached)
    if not math.isfinite(knee.high_hz):
        if last.follows:
            why = "the time was over before it was known from where on answers no longer follow."
            return f"at least {knee.capacity_hz:.1f} answers a second; {why}{short}"
        return f"about {knee.capacity_hz:.1f} answers a second; too few came for an interval.{short}"
    found = f"{knee.capacity_hz:.1f} answers a second, {knee.low_hz:.1f} to {knee.high_hz:.1f} (99 %)."
    if last.follows:
        return (
            f"{found} At last answers followed at {last.asked_hz:.1f} requests a second, so the service has become "
            "quicker. Measure it again."
        )
    return f"{found} Above it answers no longer follow.{short}"


def _slo(options: argparse.Namespace) -> int:
    from loadtest.find.objective import find_rate  # noqa: PLC0415 — the client host has no scipy

    if options.p99 > _LONGEST_SLO_S:
        raise LoadtestError(f"--p99 {options.p99:g} is in seconds; {options.p99:g} ms are {options.p99 / 1e3:g}")
    service = _service(options)
    found = find_rate(
        service, options.p99, service.alone_s(), precision=options.precision, longest_s=60 * options.minutes,
        most_hz=options.most,
    )  # fmt: skip
    print(f"{'asked/s':>9} {'blocks':>7} {'requests':>9} {'late':>7} {'late %':>8}")
    for asked_hz in sorted({block.asked_hz for block in found.blocks}):
        own = [block for block in found.blocks if block.asked_hz == asked_hz]
        sent, late = sum(block.sent for block in own), sum(block.late for block in own)
        print(f"{asked_hz:>9.1f} {len(own):>7} {sent:>9} {late:>7} {100 * late / max(1, sent):>8.2f}")
    high = f"{found.high_hz:.1f}" if math.isfinite(found.high_hz) else "–"
    print(
        f"p99 is within {options.p99:g} s up to {found.rate_hz:.1f} requests/s, {found.low_hz:.1f} to {high} (99 %). "
        f"Plan with {found.low_hz:.1f}." + _short(options, reached=found.reached)
    )
    _write(options, {"slo_p99_s": options.p99, "rate": _finite(asdict(found))})
    return 0


def _service(options: argparse.Namespace) -> Any:
    from loadtest.find.probe import Live  # noqa: PLC0415

    return Live(
        options.target, options.out, side_px=options.image_px, seed=options.seed,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )  # fmt: skip


def _short(options: argparse.Namespace, *, reached: bool) -> str:
    if reached:
        return ""
    return f" The interval is wider than --precision {options.precision:g}: --minutes {options.minutes:g} were too few."


def _write(options: argparse.Namespace, answer: dict[str, Any]) -> None:
    write_json(options.out / "answer.json", {"seed": options.seed, "image_px": options.image_px, **answer})
    print(f"{options.out}: samples and answer.json")


def _finite(value: Any) -> Any:
    """The same for JSON, which has no infinity."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _ms(seconds: float | None) -> str:
    return "–" if seconds is None or not math.isfinite(seconds) else f"{1e3 * seconds:.1f}"
