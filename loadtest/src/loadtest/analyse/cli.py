"""The command `loadtest plan`: its arguments, and what it prints."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadtest.arguments import number_of, whole_of, word_of
from loadtest.experiments.checks import POLICIES, number, one_of, whole
from loadtest.experiments.folder import RunFolder


def add_plan(add: Callable[..., Any]) -> None:
    """Add the command; `add` makes the parser of one."""
    one = add(
        "plan",
        "say how many workers a rate needs, from measured service times",
        _plan,
        "plan --rate 50 --slo-p99 0.3 --from results/reference/scaling",
        "plan --rate 50 --slo-p99 0.3 --from results/reference/scaling --policy least_conn",
    )
    some, limit, seed = number_of(number(0, 1e6, above=True)), whole_of(whole(0, 65_535)), whole_of(whole(0, 2**32))
    policy = word_of(one_of(*POLICIES))
    one.add_argument("--rate", required=True, type=some, metavar="HZ", help="requests a second, Poisson arrivals")
    one.add_argument(
        "--slo-p99", required=True, type=some, metavar="SECONDS", help="99 of 100 answers within this time"
    )
    one.add_argument("--from", required=True, type=Path, dest="source", metavar="RUN", help="a run with a calibration")
    one.add_argument("--policy", type=policy, default="random", help="balancing policy (default random)")
    one.add_argument(
        "--max-conns", type=limit, default=16, metavar="N",
        help="as balancer_max_conns, for each process of a worker; 0: no limit (default 16)",
    )  # fmt: skip
    one.add_argument("--seed", type=seed, default=1, help="seed of the simulation (default 1)")


def _plan(options: argparse.Namespace) -> int:
    from loadtest.analyse.plan import plan  # noqa: PLC0415 — the client host has no scipy
    from loadtest.analyse.plan_text import text  # noqa: PLC0415
    from loadtest.simulate.measured import of_run  # noqa: PLC0415

    run = of_run(RunFolder.open(options.source))
    found = plan(run, options.rate, options.slo_p99, options.policy, seed=options.seed, max_conns=options.max_conns)
    print(text(found))
    if run.caveat:
        print(
            f"Too many workers, since {run.caveat}. A level with fewer workers (ARGS='-e possible_only=true' with "
            "DESIGN=scaling), or a slice, measures what a worker needs."
        )
    return 0
