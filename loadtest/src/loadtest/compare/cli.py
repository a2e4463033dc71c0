"""The command `loadtest compare`: its arguments, what it prints, and how it ends."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadtest.arguments import whole_of
from loadtest.errors import LoadtestError
from loadtest.experiments.checks import whole
from loadtest.experiments.folder import RunFolder

_KINDS = ("machines", "models", "payloads", "commits", "dirty", "capacities", "rates")


def add_compare(add: Callable[..., Any]) -> None:
    """Add the command; `add` makes the parser of one."""
    one = add(
        "compare",
        "say in what two runs differ; ends with 1 where the second is worse, with 2 where they do not compare",
        _compare,
        "compare results/runs/before results/runs/after",
        "compare results/runs/before results/runs/after --allow commits",
    )
    one.add_argument("one", type=Path, metavar="RUN", help="what to compare with")
    one.add_argument("other", type=Path, metavar="OTHER", help="what may be worse")
    one.add_argument(
        "--allow", default="", metavar="KIND,…", help=f"compare although these differ: {', '.join(_KINDS)}"
    )
    one.add_argument("--seed", type=whole_of(whole(0, 2**32)), default=1, help="seed of the bootstrap (default 1)")


def _compare(options: argparse.Namespace) -> int:
    from loadtest.compare.runs import compare  # noqa: PLC0415 — the client host has no scipy

    allowed = {kind.strip() for kind in options.allow.split(",")} - {""}
    try:
        if unknown := allowed - set(_KINDS):
            raise LoadtestError(f"--allow {', '.join(sorted(unknown))} is not one of {', '.join(_KINDS)}")
        found = compare(RunFolder.open(options.one), RunFolder.open(options.other), allowed, seed=options.seed)
    except LoadtestError as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 2
    print(found.text())
    return 1 if found.worse else 0
