"""The command `loadtest simulate`: its arguments, what is wrong with them, and what it prints."""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadtest.analyse.theory.formulas import settling_s
from loadtest.arguments import number_of, several, share_and_seconds, whole_of, word_of
from loadtest.errors import LoadtestError, UsageError
from loadtest.experiments.checks import POLICIES, number, one_of, whole
from loadtest.experiments.folder import RunFolder
from loadtest.simulate.arrivals import MOST_REQUESTS

_MOST_VIEWS = 2_000_000  # workers × balancers: each balancer remembers each worker
_LEAST_ROUNDS = 20
_SERVICE_MS, _CV2 = 7.0, 0.05


def add_simulate(add: Callable[..., Any]) -> None:
    """Add the command; `add` makes the parser of one."""
    one = add(
        "simulate",
        "simulate 1 to 10,000 workers behind the balancer's policies",
        _simulate,
        "simulate --workers 10,100,1000,10000 --utilisation 0.8 --policy random,random_two",
        "simulate --workers 100 --balancers 1,8 --policy least_conn --from results/reference/scaling",
        "simulate --workers 100 --policy random,least_conn --fail 0.1,5 --out runs/fault",
    )
    policies, load = several(word_of(one_of(*POLICIES))), number(0, 2, above=True)
    pair = share_and_seconds(number(0, 1, above=True), number(0, 86_400, above=True))

    def option(name: str, read: Callable[[str], Any], default: Any, metavar: str, what: str) -> None:
        one.add_argument(name, type=read, default=default, metavar=metavar, help=what)

    workers = several(whole_of(whole(1, 10_000)))
    one.add_argument("--workers", required=True, type=workers, metavar="N,N…", help="numbers of workers")
    option("--policy", policies, ("random",), "NAME,NAME…", ", ".join(POLICIES))
    option("--balancers", several(whole_of(whole(1, 1000))), (1,), "N,N…", "balancers that share the load (default 1)")
    option("--utilisation", several(number_of(load)), (0.8,), "SHARE,…", "of the workers' capacity (default 0.8)")
    option("--processes", whole_of(whole(1, 256)), None, "N", "of each worker (default 1, or as the run had)")
    ms = number_of(number(0, 60_000, above=True))
    option("--service-ms", ms, None, "MS", f"mean service time of a process (default {_SERVICE_MS})")
    option("--cv2", number_of(number(0, 100)), None, "C2", f"its squared coefficient of variation (default {_CV2})")
    option("--from", Path, None, "RUN", "service times that a run measured")
    max_conns = "as balancer_max_conns, for each process of a worker; 0: no limit (default 16)"
    option("--max-conns", whole_of(whole(0, 65_535)), 16, "N", max_conns)
    requests = whole_of(whole(1000, MOST_REQUESTS))
    option("--requests", requests, None, "N", "requests of each case (default: as many as it needs)")
    option("--fail", pair, None, "SHARE,SECONDS", "so many workers die, and are back after so long")
    option("--swing", pair, None, "SHARE,SECONDS", "the load swings by so much, with this period")
    one.add_argument("--reloaded", action="store_true", help="all balancers begin with the first worker")
    option("--seed", whole_of(whole(0, 2**32)), 1, "N", "seed of the simulation (default 1)")
    option("--out", Path, None, "FOLDER", "write simulated.csv and scale.png there")


def _simulate(options: argparse.Namespace) -> int:
    from loadtest.simulate.cases import Question, answer, table, write_csv  # noqa: PLC0415 — needs scipy
    from loadtest.simulate.measured import of_run  # noqa: PLC0415
    from loadtest.simulate.service import supposed  # noqa: PLC0415

    source: Path | None = getattr(options, "from")
    if options.fail and options.swing:
        raise UsageError("--fail and --swing are two questions; give one of them")
    if (views := max(options.workers) * max(options.balancers)) > _MOST_VIEWS:
        raise LoadtestError(
            f"{max(options.workers)} workers behind {max(options.balancers)} balancers are {views} views, and "
            f"{_MOST_VIEWS} fit: give fewer --workers or fewer --balancers"
        )
    if source and (options.service_ms is not None or options.cv2 is not None):
        raise LoadtestError("--from measures what --service-ms and --cv2 suppose; give the one or the other")
    processes = options.processes or 1
    if source:
        measured = of_run(RunFolder.open(source))
        service, processes = measured.service, options.processes or measured.processes
    else:
        cv2 = _CV2 if options.cv2 is None else options.cv2
        service = supposed((options.service_ms or _SERVICE_MS) / 1e3, cv2, options.seed)
    question = Question(
        options.workers, options.policy, options.balancers, utilisations=options.utilisation,
        max_conns=options.max_conns, requests=options.requests, seed=options.seed, fail=options.fail,
        swing=options.swing, reloaded=options.reloaded, processes=processes,
    )  # fmt: skip

    began = time.process_time()
    rows = answer(question, service)
    took_s = time.process_time() - began
    about = f"Limit: max_conns {question.max_conns or 'none'}; seed {question.seed}. Service times {service.source}."
    if processes > 1:
        about += f" A worker has {processes} processes, and {processes} times the limit."
    print(f"{table(rows)}\n{about}")
    print("A time is wait and service at the worker, without network and balancer; ±: 95 % interval of p99.")
    if not (question.fail or question.swing):
        for load in question.utilisations:
            if load >= 1:
                print(f"ρ = {load:g}: there is no steady state; the more --requests, the longer they wait.")
                continue
            own = min(row["requests"] / row["workers"] / processes for row in rows if row["utilisation"] == load)
            # the warm-up is half of what is counted
            if own / 2 * service.mean_s / load < settling_s(service.mean_s, service.cv2, load, processes):
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
