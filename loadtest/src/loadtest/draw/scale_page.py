"""`docs/scale.md`: runs its commands and writes what they print, and the tables between its marks.

python -m loadtest.draw.scale_page docs/scale.md results/reference/scaling results
"""

import argparse
import contextlib
import csv
import io
import json
import math
import re
import shlex
import statistics
import sys
import textwrap
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from loadtest.analyse.foretold import ASKED, WITHIN, Forecast, foretell
from loadtest.draw.model_table import write_between
from loadtest.draw.results_page import Runs
from loadtest.draw.wording import milliseconds
from loadtest.errors import LoadtestError
from loadtest.experiments.checks import POLICIES
from loadtest.experiments.folder import RunFolder
from loadtest.simulate.cases import Question, answer
from loadtest.simulate.measured import of_run
from loadtest.simulate.service import Service

_BLOCK = re.compile(r"```console\n\$ loadtest (.*)\n((?:.*\n)*?)```")
_COST = "--utilisation 0.3,"  # of the block that the table of costs is made from
_RHO, _FILLED, _CORES = 0.8, 0.6, 8
_SERVED = "as it is"  # of the ways that `make hotpath` records
_PHOTOGRAPH_BYTES = 120e3
_QUICK_MS = 7.0
_COLUMNS = 120
_TIMED = (10, 1000)  # workers of the cases whose CPU time is taken


class Spent(NamedTuple):
    """What nginx spends on a request, by a record of `make hotpath`.

    Attributes:
        ms: CPU milliseconds, the median of the rounds.
        rounds: How many there were.
        commit: At which it was measured.
        photographs: Which were sent.
    """

    ms: float
    rounds: int
    commit: str
    photographs: str


def nginx_spends(folder: Path) -> Spent:
    """Read the record of `make hotpath`: hotpath.csv and hotpath.json in a folder.

    Raises:
        LoadtestError: There is none, or it cannot be read.
    """
    try:
        facts = json.loads((folder / "hotpath.json").read_text(encoding="utf-8"))
        with (folder / "hotpath.csv").open(encoding="utf-8", newline="") as file:
            times = [float(row["nginx_ms"]) for row in csv.DictReader(file) if row["way"] == _SERVED]
        return Spent(statistics.median(times), len(times), str(facts["commit"]), str(facts["images"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LoadtestError(
            f"{folder} holds no record of nginx's CPU time ({error}); make hotpath RECORD={folder} makes it"
        ) from error


def fit_table(forecast: Forecast) -> str:
    """Four workers, measured and foretold from one and two."""
    lines = [
        "| requests/s | ρ by the fit | measured, ms | foretold, ms | measured is off, % | trials that count |",
        "|---|---|---|---|---|---|",
        *(
            f"| {one.asked_hz:.1f} | {one.utilisation:.2f} | {milliseconds(one.measured_s, one.half_s)} "
            f"| {milliseconds(one.foretold_s)} | {100 * one.off:+.0f} | {one.valid} of {one.trials} |"
            for one in forecast.cells
        ),
    ]
    near = sum(abs(one.off) <= WITHIN for one in forecast.cells)
    own, fitted = (milliseconds(value, digits=2) for value in (forecast.own_s, forecast.fitted_s))
    note = (
        f"{near} of {len(forecast.cells)} loads are within {100 * WITHIN:.0f} %. A busy worker of {ASKED} took "
        f"{own} ms a request, of fewer {fitted} ms ({100 * (forecast.own_s / forecast.fitted_s - 1):+.1f} %). The "
        "forecast does not know this difference."
    )
    return "\n".join([*lines, "", *textwrap.wrap(note, _COLUMNS)])


def cost_table(printed: str) -> str:
    """What random costs: workers that it needs for a p99, times random_two's; between two loads by a straight line."""
    rows = [line.split() for line in printed.splitlines() if line.split()[:1] and line.split()[0].isdigit()]
    p99 = {policy: [(float(row[1]), float(row[6])) for row in rows if row[2] == policy] for policy in POLICIES}
    loads, reached = zip(*p99["random_two"], strict=True)
    lines = [
        "| p99 asked, ms at the worker | random holds it up to ρ | random_two up to ρ | workers, times random_two's |",
        "|---|---|---|---|",
    ]
    for load, asked in p99["random"][:-1]:  # the last is held down by max_conns
        other = float(np.interp(asked, reached, loads))
        more = " or more" if asked >= reached[-1] else ""
        lines.append(f"| {asked:.0f} | {load:g} | {other:.2f}{more} | {other / load:.1f}{more} |")
    return "\n".join(lines)


def balancers_table(service_s: float, spent: Spent) -> str:
    """Balancers for so many workers of a service time in seconds, and for the most of them with a quicker one."""
    source = (
        f"nginx takes {spent.ms:.3f} ms of CPU a request. That is the median of {spent.rounds} rounds of `make "
        f"hotpath` at {spent.commit} ([hotpath.md](../results/hotpath.md)): {spent.photographs}, one at a time."
    )
    lines = [
        *textwrap.wrap(source, _COLUMNS),
        "",
        f"| n | S, ms | requests/s at ρ = {_RHO:g} | nginx's cores | balancers of {_CORES} cores at {_FILLED:.0%} |",
        "|---|---|---|---|---|",
    ]
    most = 10_000
    for workers, own_s in [(100, service_s), (1000, service_s), (most, service_s), (most, _QUICK_MS / 1e3)]:
        hz = _RHO * workers / own_s
        lines.append(
            f"| {workers:,} | {milliseconds(own_s, digits=2)} | {hz:,.0f} | {_cores(hz, spent):.1f} "
            f"| {_balancers(hz, spent):,} |"
        )
    each = [math.floor(_CORES * _FILLED * 1e3 / spent.ms * own_s / _RHO) for own_s in (service_s, _QUICK_MS / 1e3)]
    hz = _RHO * most / service_s
    gigabits, needed = 8e-9 * _PHOTOGRAPH_BYTES * hz, _balancers(hz, spent)
    note = (
        f"So one balancer of {_CORES} cores serves about {each[0]} workers of {milliseconds(service_s)} ms, or "
        f"{each[1]} of {_QUICK_MS:g} ms. Links are not in this table: {hz:,.0f} photographs of "
        f"{_PHOTOGRAPH_BYTES / 1e3:.0f} kB a second are {gigabits:.0f} Gbit/s, {gigabits / needed:.1f} Gbit/s "
        f"for each of {needed} balancers."
    )
    return "\n".join([*lines, "", *textwrap.wrap(note, _COLUMNS)])


def speed_table(service: Service) -> str:
    """Million requests a minute of CPU, timed now; the only table that differs from one time to the next."""
    lines = [
        "| policy | " + " | ".join(f"{workers:,} workers" for workers in _TIMED) + " |",
        "|---|" + "---|" * len(_TIMED),
    ]
    for policy in POLICIES:
        speeds = []
        for workers in _TIMED:
            began = time.process_time()
            (row,) = answer(Question((workers,), (policy,), utilisations=(_RHO,), requests=300_000), service)
            played = row["requests"] * 3 / 2  # two thirds of them count
            speeds.append(f"{60e-6 * played / (time.process_time() - began):.0f}")
        lines.append(f"| {policy} | " + " | ".join(speeds) + " |")
    return "\n".join(lines)


def printed_by(words: str) -> str:
    """What a command of the page prints.

    Raises:
        LoadtestError: It fails.
    """
    from loadtest.cli import main as loadtest  # noqa: PLC0415 — which imports this package

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        status = loadtest(shlex.split(words))
    if status:
        raise LoadtestError(f"loadtest {words} ended with {status}")
    return said.getvalue()


def write(page: Path, folder: RunFolder, results: Path) -> None:
    """Write the page anew, from a run of scaling and the record of `make hotpath`; minutes of CPU.

    Raises:
        LoadtestError: A command of it fails, a mark is missing, or the run or the record lacks what it needs.
    """
    spent = nginx_spends(results)
    text = _BLOCK.sub(
        lambda block: f"```console\n$ loadtest {block[1]}\n{printed_by(block[1])}```", page.read_text(encoding="utf-8")
    )
    page.write_text(text, encoding="utf-8")
    service = of_run(folder).service
    for name, table in (*tables(page, folder, spent).items(), ("speed", speed_table(service))):
        write_between(page, table, f"<!-- {name}:begin -->", f"<!-- {name}:end -->")


def tables(page: Path, folder: RunFolder, spent: Spent) -> dict[str, str]:
    """The tables that follow from the page's blocks, the run and nginx's CPU time, by the name of their marks."""
    costs = next((block[2] for block in _BLOCK.finditer(page.read_text(encoding="utf-8")) if _COST in block[1]), None)
    if costs is None:
        raise LoadtestError(f"{page} has no command with {_COST}…, from which the table of costs is made")
    rows = Runs(folder.path.parent).rows(folder.path.name)
    return {
        "fit": fit_table(foretell(folder, rows)),
        "cost": cost_table(costs),
        "balancers": balancers_table(of_run(folder).service.mean_s, spent),
    }


def _cores(hz: float, spent: Spent) -> float:
    return hz * spent.ms / 1e3


def _balancers(hz: float, spent: Spent) -> int:
    return math.ceil(_cores(hz, spent) / (_CORES * _FILLED))


def main(arguments: list[str] | None = None) -> int:
    """Write the page; 0 when it is written, 1 with one message when it cannot be."""
    parser = argparse.ArgumentParser(prog="scale_page", description="write the figures of docs/scale.md")
    parser.add_argument("page", type=Path, help="holds the commands and the marks")
    parser.add_argument("run", type=Path, help="a run of the design scaling")
    parser.add_argument("results", type=Path, help="holds the record of make hotpath")
    options = parser.parse_args(arguments)
    try:
        write(options.page, RunFolder.open(options.run), options.results)
    except LoadtestError as error:
        sys.stderr.write(f"scale: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"scale: cannot write {options.page}: {error.strerror}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
