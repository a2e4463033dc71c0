"""`make batching`: milliseconds a photograph when the network runs for 1, 2, 4, 8 or 16 at once, without HTTP.

Each round measures every setting once, in an order of its own, over the same number of photographs; one run before
is not counted. Where a GPU is, `ENGINE=tensorflow` or `jax` measures it by the same command.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.batch_engines import BATCHES, ENGINES, Setting
from bench.machine import facts_here
from imagerec_model.errors import ModelError
from imagerec_worker.bundle import BundleError
from loadtest.arguments import whole_of
from loadtest.experiments import checks

COLUMNS = ("model", "threads", "batch", "round", "wall_ms", "cpu_ms")
_PICTURES = 2 * max(BATCHES)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write the raw times; or write the page and the figure of what is recorded."""
    options = _parser().parse_args(arguments)
    try:
        if options.redraw:
            from bench.batching_page import redraw  # noqa: PLC0415  matplotlib is not where TensorFlow measures

            print(redraw(options.redraw))
            return 0
        with tempfile.TemporaryDirectory() as name:
            device, settings = ENGINES[options.engine](options.models.split(","), options.mirror, Path(name))
            rows = measure(settings, options.rounds)
        facts = facts_here() | {"device": device, "rounds": options.rounds, "pictures": _PICTURES}
        write(options.record, options.engine, facts, rows)
    except (ModelError, BundleError, OSError, ValueError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def measure(settings: Sequence[Setting], rounds: int, pictures: int = _PICTURES) -> list[dict[str, Any]]:
    """Measure every setting once a round.

    Returns:
        Rows with the :data:`COLUMNS`; times are milliseconds a photograph, `cpu_ms` those of all the process's threads.
    """
    rows = []
    for number in range(1, rounds + 1):
        sys.stderr.write(f"round {number} of {rounds}\n")
        for setting in random.Random(number).sample(list(settings), len(settings)):  # noqa: S311  an order, no secret
            setting.run()
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            for _ in range(pictures // setting.batch):
                setting.run()
            wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
            times = [round(1e3 * spent_s / pictures, 5) for spent_s in (wall_s, cpu_s)]
            rows.append(
                dict(zip(COLUMNS, (setting.model, setting.threads, setting.batch, number, *times), strict=True))
            )
    return rows


def write(folder: Path, name: str, facts: dict[str, Any], rows: Sequence[dict[str, Any]]) -> None:
    """Write raw times, all with the same columns, and what is known of them, as NAME.csv and NAME.json."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (folder / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make batching", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--engine", choices=sorted(ENGINES), default="litert", help="what computes (%(default)s)")
    parser.add_argument("--models", default="imagenet,lite0", help="for litert, with commas (%(default)s)")
    parser.add_argument("--mirror", default="", help="folder or URL that a model is looked for before the network")
    rounds = whole_of(checks.whole(1, 10_000))
    parser.add_argument("--rounds", type=rounds, default=25, help="interleaved rounds (%(default)s)")
    parser.add_argument("--record", type=Path, metavar="FOLDER", default=Path("results/runs/batching"))
    parser.add_argument("--redraw", type=Path, metavar="FOLDER", help="only make page and figure of FOLDER again")
    return parser


if __name__ == "__main__":
    sys.exit(main())
