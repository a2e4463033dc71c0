"""The command `loadtest simulate`: its arguments, what is wrong with them, and what it prints."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadtest.errors import LoadtestError
from loadtest.experiments.checks import POLICIES, Check, number, one_of, whole
from loadtest.experiments.folder import RunFolder
from loadtest.simulate.arrivals import MOST_REQUESTS

_MOST_VIEWS = 2_000_000  # workers × balancers: each balancer remembers each worker
_LEAST_ROUNDS = 20
_SERVICE_MS, _CV2 = "7.0", "0.05"
LOAD = number(0, 2, above=True)


def add_simulate(add: Callable[..., Any]) -> None:
    """Add the command; `add` makes the parser of one."""
    one = add(
        "simulate",
        "simulate 1 to 10,000 workers behind nginx's policies",
        _simulate,
        "simulate --workers 10,100,1000,10000 --utilisation 0.8 --policy random,random_two",
        "simulate --workers 100 --balancers 1,8 --policy least_conn --from results/reference/scaling",
        "simulate --workers 100 --policy random,least_conn --fail 0.1,5 --out runs/fault",
    )
    one.add_argument("--workers", required=True, metavar="N,N…", help="numbers of workers")
    one.add_argument("--policy", default="random", metavar="NAME,NAME…", help=", ".join(POLICIES))
    one.add_argument("--balancers", default="1", metavar="N,N…", help="balancers that share the load (default 1)")
    one.add_argument("--utilisation", default="0.8", metavar="SHARE,…", help="of the workers' capacity (default 0.8)")
    one.add_argument("--service-ms", metavar="MS", help=f"mean service time (default {_SERVICE_MS})")
    one.add_argument("--cv2", metavar="C2", help=f"its squared coefficient of variation (default {_CV2})")
    one.add_argument("--from", type=Path, dest="source", metavar="RUN", help="service times that a run measured")
    one.add_argument("--max-conns", default="16", metavar="N", help="as balancer_max_conns; 0: no limit (default 16)")
    one.add_argument("--requests", metavar="N", help="requests of each case (default: as many as it needs)")
    one.add_argument("--fail", metavar="SHARE,SECONDS", help="so many workers die, and are back after so long")
    one.add_argument("--swing", metavar="SHARE,SECONDS", help="the load swings by so much, with this period")
    one.add_argument("--reloaded", action="store_true", help="all balancers begin with the first worker")
    one.add_argument("--seed", default="1", metavar="N", help="seed of the simulation (default 1)")
    one.add_argument("--out", type=Path, metavar="FOLDER", help="write simulated.csv and scale.png there")


def _simulate(options: argparse.Namespace) -> int:
    from loadtest.simulate.cases import Question, answer, settling_s, table, write_csv  # noqa: PLC0415 — needs scipy
    from loadtest.simulate.service import of_run, supposed  # noqa: PLC0415

    question = Question(
        tuple(_whole("--workers", text, whole(1, 10_000)) for text in _words(options.workers)),
        tuple(_checked("--policy", text, one_of(*POLICIES)) for text in _words(options.policy)),
        tuple(_whole("--balancers", text, whole(1, 1000)) for text in _words(options.balancers)),
        utilisations=tuple(_float("--utilisation", text, LOAD) for text in _words(options.utilisation)),
        max_conns=_whole("--max-conns", options.max_conns, whole(0, 65_535)),
        requests=_whole("--requests", options.requests, whole(1000, MOST_REQUESTS)) if options.requests else None,
        seed=_whole("--seed", options.seed, whole(0, 2**32)),
        fail=_pair("--fail", options.fail),
        swing=_pair("--swing", options.swing),
        reloaded=options.reloaded,
    )
    if question.fail and question.swing:
        raise LoadtestError("--fail and --swing are two questions; give one of them")
    if (views := max(question.workers) * max(question.balancers)) > _MOST_VIEWS:
        raise LoadtestError(
            f"{max(question.workers)} workers before {max(question.balancers)} balancers are {views} views, and "
            f"{_MOST_VIEWS} fit: give fewer --workers or fewer --balancers"
        )
    if options.source and (options.service_ms or options.cv2):
        raise LoadtestError("--from measures what --service-ms and --cv2 suppose; give the one or the other")
    mean_ms = _float("--service-ms", options.service_ms or _SERVICE_MS, number(0, 60_000, above=True))
    cv2 = _float("--cv2", options.cv2 or _CV2, number(0, 100))
    service = of_run(RunFolder.open(options.source)) if options.source else supposed(mean_ms / 1e3, cv2, question.seed)

    began = time.process_time()
    rows = answer(question, service)
    took_s = time.process_time() - began
    about = f"Limit: max_conns {question.max_conns or 'none'}; seed {question.seed}. Service times {service.source}."
    print(f"{table(rows)}\n{about}")
    print("A time is wait and service at the worker, without network and balancer; ±: 95 % interval of p99.")
    if not (question.fail or question.swing):
        for load in question.utilisations:
            if load >= 1:
                print(f"ρ = {load:g}: there is no steady state; the more --requests, the longer they wait.")
                continue
            own = min(row["requests"] / row["workers"] for row in rows if row["utilisation"] == load)
            if own / 2 * service.mean_s / load < settling_s(service, load):  # the warm-up is half of what is counted
                print(f"ρ = {load:g}: the warm-up, a third, is short for random balancing; give more --requests.")
    rounds = [
        row["requests"] / row["workers"] / row["balancers"]
        for row in rows
        if row["balancers"] > 1 and row["policy"] in ("round_robin", "least_conn")
    ]
    if rounds and min(rounds) < _LEAST_ROUNDS:
        print(
            f"Some balancers have gone only {min(rounds):.1f} times round their workers: where they began still shows. "
            f"Give more --requests, or fewer workers; {_LEAST_ROUNDS} times are enough."
        )
    if options.out:
        from loadtest.draw.scale import draw_scale  # noqa: PLC0415 — the client host has no matplotlib

        write_csv(rows, options.out / "simulated.csv")
        draw_scale(rows, options.out, about)
    requests = sum(row["requests"] for row in rows)
    print(f"{requests} requests counted in {took_s:.0f} s of CPU", file=sys.stderr)
    return 0


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _checked(name: str, value: Any, check: Check) -> Any:
    if wrong := check(value):
        raise LoadtestError(f"{name} {wrong}")
    return value


def _float(name: str, text: str, check: Check) -> float:
    try:
        value = float(text)
    except ValueError:
        raise LoadtestError(f"{name} {text!r} is not a number") from None
    return float(_checked(name, value, check))


def _whole(name: str, text: str, check: Check) -> int:
    try:
        value = int(text)
    except ValueError:
        raise LoadtestError(f"{name} {text!r} is not a whole number") from None
    return int(_checked(name, value, check))


def _pair(name: str, text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    words = _words(text)
    if len(words) != 2:
        raise LoadtestError(f"{name} {text!r} is not SHARE,SECONDS, such as 0.1,5")
    return (
        _float(f"{name}: SHARE", words[0], number(0, 1, above=True)),
        _float(f"{name}: SECONDS", words[1], number(0, 86_400, above=True)),
    )
