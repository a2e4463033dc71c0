"""The command `loadtest`: attack, begin, run, summarize, plot … bench; `loadtest --help` lists them all."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadtest import __version__
from loadtest.analyse.cli import add_plan
from loadtest.arguments import Parser
from loadtest.compare.cli import add_compare
from loadtest.errors import LoadtestError, UsageError
from loadtest.experiments.design import Design, find_design
from loadtest.experiments.folder import RunFolder, levels_to_run, run_to_continue
from loadtest.experiments.provenance import measured_source, read_facts
from loadtest.experiments.reader import load_design
from loadtest.experiments.record import now_utc, refuse_moved
from loadtest.find.cli import add_find
from loadtest.generate.cli import add_generate
from loadtest.simulate.cli import add_simulate


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 when it did what was asked, 1 with one message when it could not, 2 for wrong arguments."""
    options = argparse.Namespace()
    try:
        _parser().parse_args(arguments, options)
        code: int = options.command(options)
    except LoadtestError as error:
        print(f"loadtest: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        resume = ", and --resume goes on from there" if "resume" in options else ""
        print(f"loadtest: interrupted; what was recorded is kept{resume}", file=sys.stderr)
        return 130
    return code


def _begin(options: argparse.Namespace) -> int:
    RunFolder.resume(options.out, _design(options), now_utc(), find_design(options.design).parent)
    return 0


def _run(options: argparse.Namespace) -> int:
    from loadtest.experiments.execute import run_level  # noqa: PLC0415 — aiohttp takes a third of a second

    design = _design(options)
    levels = [design.level(options.level)] if options.level else list(design.levels)
    if len(levels) > 1:
        raise LoadtestError(
            f"the design {design.name} has {len(levels)} deployment levels ({', '.join(one.id for one in levels)}): "
            "run one with --level once the service is deployed so, or let `make experiment` do both for each"
        )
    begin = RunFolder.resume if options.resume else RunFolder.create
    folder = begin(options.out, design, now_utc(), find_design(options.design).parent)
    facts = read_facts(options.facts)
    done = run_level(folder, levels[0], options.target, facts, options.images, dirty=options.dirty)
    print(f"{options.out}: {done} trials run, level {levels[0].id} is complete")
    return 0


def _show(options: argparse.Namespace) -> int:
    design = _design(options)
    if options.json:
        content: dict[str, Any] = {"file": str(find_design(options.design).resolve()), "design": design.resolved()}
        if options.runs:
            content["run"] = options.run or run_to_continue(options.runs, design, now_utc())
            content["levels"] = levels_to_run(options.runs / content["run"], design)
            if (options.runs / content["run"] / "run.json").exists():
                refuse_moved(RunFolder.open(options.runs / content["run"]), measured_source()["commit"])
        print(json.dumps(content, indent=1))
        return 0
    trials = sum(len(design.trials(level)) for level in design.levels)
    about = "at most" if design.precision else "about"
    print(f"{design.name}: {design.goal}\n{trials} trials, {about} {design.minutes:.0f} minutes, seed {design.seed}")
    print("levels: " + ", ".join(level.id for level in design.levels))
    print("cells:  " + ", ".join(cell.id for cell in design.cells))
    return 0


def _summarize(options: argparse.Namespace) -> int:
    from loadtest.analyse.summary import summarize  # noqa: PLC0415 — the client host has no scipy

    def summarized(run: Path) -> str:
        summary = summarize(RunFolder.open(run))
        summary.write(run / "summary")
        cells, trials = ([row for row in rows if not row["image"]] for rows in (summary.cells, summary.trials))
        invalid = sum(bool(trial["invalid"]) for trial in trials)
        return f"{run}/summary: {len(cells)} cells, {len(trials)} trials, {invalid} of them invalid"

    return _each(options.runs, summarized)


def _plot(options: argparse.Namespace) -> int:
    from loadtest.draw import draw  # noqa: PLC0415 — the client host has no matplotlib
    from loadtest.draw.report import write_report  # noqa: PLC0415

    def drawn(run: Path) -> str:
        folder = RunFolder.open(run)
        names = draw(folder)
        write_report(folder, names)
        return f"{run}/report.html: {', '.join(names)}"

    return _each(options.runs, drawn)


def _each(runs: list[Path], work: Callable[[Path], str]) -> int:
    """Do it for each run and print what came of it; 1 where it failed for one, which keeps no other back."""
    code = 0
    for run in runs:
        try:
            print(work(run))
        except LoadtestError as error:
            print(f"loadtest: {error}", file=sys.stderr)
            code = 1
    return code


def _table(options: argparse.Namespace) -> int:
    from loadtest.draw.model_table import model_table, write_between  # noqa: PLC0415

    text = model_table(RunFolder.open(options.run))
    if options.into is None:
        print(text)
    else:
        changed = write_between(options.into, text)
        print(f"{options.into}: the table of models {'is new' if changed else 'stands already'}")
    return 0


def _design(options: argparse.Namespace) -> Design:
    design = load_design(find_design(options.design))
    return design if options.scale == 1 else design.scaled(options.scale)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="loadtest", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, what: str, command: Callable[[argparse.Namespace], int], *examples: str) -> Any:
        one = commands.add_parser(
            name,
            help=what,
            description=what[0].upper() + what[1:] + ".",
            epilog="examples:\n" + "\n".join(f"  loadtest {example}" for example in examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        one.set_defaults(command=command)
        return one

    begin = add(
        "begin",
        "write down which design a run measures, so that `show --runs` names it and `run --resume` goes on with it",
        _begin,
        "begin scaling --out results/runs/scaling",
    )
    _design_arguments(begin)
    begin.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="the run's folder")

    run = add(
        "run",
        "run one deployment level of a design and record every request",
        _run,
        "run rtt --target http://127.0.0.1:8080 --out results/runs/rtt",
        "run accuracy --target http://127.0.0.1:8080 --out results/runs/accuracy --images imagenet-sample/",
        "run scaling --level pool2-random --target http://10.10.1.1 --out runs/scaling --resume",
    )
    _design_arguments(run)
    run.add_argument("--target", required=True, metavar="URL", help="the service, such as http://127.0.0.1:8080")
    run.add_argument("--out", required=True, type=Path, metavar="FOLDER", help="the run's folder; never overwritten")
    run.add_argument("--level", metavar="LEVEL", help="deployment level; needed where the design has several")
    run.add_argument("--resume", action="store_true", help="go on with the run in --out, or begin it")
    run.add_argument("--images", type=Path, metavar="FOLDER", help="labelled images: n01440764/ or n01440764_*.jpg")
    run.add_argument("--facts", type=Path, metavar="FILE", help="JSON of what is known of the deployment")
    run.add_argument("--dirty", action="store_true", help="measure a checkout with changes that are in no commit")

    show = add(
        "show", "show what a design would run", _show, "show scaling", "show policies --json --runs results/runs"
    )
    _design_arguments(show)
    show.add_argument("--json", action="store_true", help="the whole resolved design")
    show.add_argument(
        "--runs", type=Path, metavar="FOLDER", help="with --json: name the run there to continue or begin"
    )

    show.add_argument("--run", metavar="NAME", help="with --runs: this run there, not the newest unfinished one")

    summarize = add(
        "summarize", "summarize raw samples as CSV, JSON and Parquet", _summarize, "summarize results/runs/*"
    )
    summarize.add_argument("runs", nargs="+", type=Path, metavar="RUN")

    plot = add("plot", "draw a run's figures and write its report.html", _plot, "plot results/runs/*")
    plot.add_argument("runs", nargs="+", type=Path, metavar="RUN")

    table = add(
        "table",
        "write the table of models that a run measured, for a Markdown file",
        _table,
        "table results/reference/models",
        "table results/reference/models --into README.md",
    )
    table.add_argument("run", type=Path, metavar="RUN")
    table.add_argument("--into", type=Path, metavar="FILE", help="replace the table between its marks in this file")

    add_compare(add)

    add_plan(add)
    add_simulate(add)
    add_find(add)
    add_generate(add)
    return parser


def _design_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("design", metavar="DESIGN", help="a file, or the name of one that comes with loadtest")
    parser.add_argument("--scale", type=float, default=1.0, metavar="FACTOR", help="lengthen every trial so many times")
