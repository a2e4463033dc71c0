"""`make hotpath`: what a worker and nginx spend on a photograph beyond decode and inference, and what parts of it buy.

A profile of Python in a loop lies about a worker: each inference empties the caches, and the same lines then cost three
to five times as much. So whole workers are measured in place, one process for each way to serve, behind nginx. All of
them run on one core, in rounds of few photographs that take turns; the kernel counts their time.
"""

from __future__ import annotations

import argparse
import csv
import json
import operator
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from bench.aims import verdict
from bench.batching import write
from bench.hotpath_ways import BARE, WAYS, Serving, Way, serving
from bench.layout import rendered
from bench.machine import facts_here
from bench.means import Mean, median
from bench.photographs import typical
from imagerec_model.errors import ModelError
from imagerec_model.get import get
from imagerec_worker.bundle import BundleError
from loadtest.arguments import whole_of
from loadtest.errors import LoadtestError
from loadtest.experiments import checks

PAGE = "hotpath.md"
_WARM_UP = 3
# The log's lines are held so long, and belong to the round.
_FOLLOWS_S = 0.3

Row = dict[str, Any]


class Question(NamedTuple):
    """Two ways, and the most that the first may take: a share of all that the other takes, or so many ms more."""

    title: str
    one: str
    other: str
    most: float
    of_all: bool = True


QUESTIONS = (
    Question("plain requests answered before Flask", "as it is", "all by Flask", 0.97),
    Question("a unix socket between nginx and worker", "through a unix socket", "as it is", 1.0),
    Question("kept connections between them", "gunicorn's gthread, connections kept", "gunicorn's gthread", 1.0),
    Question("ids, traces and log lines", "as it is", "without ids and lines", 0.1, of_all=False),
)


class Times(NamedTuple):
    """The processor milliseconds of a photograph, by round."""

    worker_ms: list[float]
    nginx_ms: list[float]

    def all_ms(self) -> list[float]:
        """Return what both take."""
        return list(map(operator.add, self.worker_ms, self.nginx_ms))


class Answer(NamedTuple):
    """What the first way takes beside the other: the median over pairs of the same round."""

    question: Question
    more_ms: Mean
    share: Mean
    verdict: str


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write the raw times, the facts and the page; or make the page of recorded times again."""
    options = _parser().parse_args(arguments)
    try:
        if not options.redraw:
            _measure(options)
        print(redraw(options.redraw or options.record))
    except (ModelError, BundleError, LoadtestError, OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make hotpath", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="imagenet", help="as MODEL= takes it (%(default)s)")
    parser.add_argument("--mirror", default="", help="folder or URL that the model is looked for before the network")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="a checkout whose worker is one more way")
    rounds = whole_of(checks.whole(1, 3600))
    parser.add_argument("--rounds", type=rounds, default=60, help="interleaved rounds (%(default)s)")
    parser.add_argument("--each", type=rounds, default=8, help="photographs of a round (%(default)s)")
    parser.add_argument("--record", type=Path, metavar="FOLDER", default=Path("results/runs/hotpath"))
    parser.add_argument("--redraw", type=Path, metavar="FOLDER", help="only make the page of FOLDER again")
    return parser


def _measure(options: argparse.Namespace) -> None:
    ways = dict(WAYS)
    if options.against:
        ways[f"as it is in {options.against.resolve().name}"] = Way(checkout=options.against)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = get(options.model, folder / "bundles", mirror=options.mirror or None)[0]
        (folder / "images").mkdir()
        described = typical(folder / "images")
        with serving(ways, bundle.path, folder / "images", folder) as running:
            count = len(list((folder / "images").iterdir()))
            rows = rounds_of(running, list(ways), count, options.rounds, options.each)
    facts = facts_here() | {
        "model": bundle.title,
        "images": described,
        "rounds": options.rounds,
        "each": options.each,
    }
    write(options.record, "hotpath", facts, rows)


def rounds_of(running: Serving, ways: Sequence[str], photographs: int, rounds: int, each: int) -> list[Row]:
    """Measure every way once a round, in an order of its own; the first rounds warm up.

    What a worker does after its last answer belongs to the round: its clock is read when each turn of its begins.
    """
    begun_ms: dict[str, list[float]] = {way: [] for way in (BARE, *ways)}
    nginx_ms: dict[str, list[float]] = {way: [] for way in (BARE, *ways)}
    for turn in range(rounds + _WARM_UP):
        numbers = [number % photographs for number in range(turn * each, (turn + 1) * each)]
        for way in random.Random(turn).sample([BARE, *ways], 1 + len(ways)):  # noqa: S311  an order, no secret
            begun_ms[way].append(running.spent_ms(way))
            nginx_ms[way].append(running.ask(way, numbers))
    time.sleep(_FOLLOWS_S)
    for way, times_ms in begun_ms.items():
        times_ms.append(running.spent_ms(way))
    return [
        {
            "round": turn - _WARM_UP + 1,
            "way": way,
            "worker_ms": round((times_ms[turn + 1] - times_ms[turn]) / each, 5),
            "nginx_ms": round(nginx_ms[way][turn] / each, 5),
        }
        for turn in range(_WARM_UP, rounds + _WARM_UP)
        for way, times_ms in begun_ms.items()
    ]


def redraw(folder: Path) -> str:
    """Write the page of recorded times beside them; return it.

    Raises:
        ValueError: Nothing is recorded there, or it cannot be read.
    """
    try:
        facts = json.loads((folder / "hotpath.json").read_text(encoding="utf-8"))
        with (folder / "hotpath.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        times = {way: _times(rows, way) for way in dict.fromkeys(row["way"] for row in rows)}
        bare_ms = times.pop(BARE).worker_ms
        ways = {
            way: (median(list(map(operator.sub, spent.worker_ms, bare_ms))), median(spent.nginx_ms))
            for way, spent in times.items()
        }
        answers = [_answer(question, times[question.one], times[question.other]) for question in QUESTIONS]
        text = rendered(PAGE, {"facts": facts, "bare": median(bare_ms), "ways": ways, "answers": answers})
    except (OSError, ValueError, KeyError, TypeError, jinja2.TemplateError) as error:
        raise ValueError(f"{folder} holds no times that can be read ({error}); make hotpath measures them") from error
    (folder / PAGE).write_text(text, encoding="utf-8")
    return text


def _times(rows: Sequence[Mapping[str, str]], way: str) -> Times:
    own = [row for row in rows if row["way"] == way]
    return Times(*([float(row[key]) for row in own] for key in ("worker_ms", "nginx_ms")))


def _answer(question: Question, one: Times, other: Times) -> Answer:
    pairs = one.all_ms(), other.all_ms()
    more_ms, share = median(list(map(operator.sub, *pairs))), median(list(map(operator.truediv, *pairs)))
    reached = share if question.of_all else more_ms
    return Answer(question, more_ms, share, verdict(reached, question.most, at_most=True))


if __name__ == "__main__":
    sys.exit(main())
