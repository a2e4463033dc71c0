"""`make chaos`: break a deployed slice in every way there is, under load, and say what its clients felt.

Each fault gets a Poisson load from the client machine (half the pool's capacity unless the fault is a load), a quiet
part first; then it happens, lasts, ends. Every request has an id and a right label; afterwards each must have had
exactly one answer. Writes summary.csv, the raw samples and a timeline for each fault into one folder; a fault that is
there already is not repeated, so an interrupted run goes on, and counts with its bar. The plan is printed first.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from chaos import bars, figure, page, recorded
from chaos.fault import Fault, nothing
from chaos.faults import ALL
from chaos.planned import divide, measured, quiet_s, seconds, told
from chaos.scene import Scene
from chaos.verdict import Marks, Row, judge, read_log
from deployed.checkout import REPOSITORY
from deployed.slice import Slice
from loadtest.errors import LoadtestError
from loadtest.experiments.provenance import source_state
from loadtest.generate.samples import Sample

# What a command, a wait or a connection that fails ends with, and a machine that went before it had said its words.
_FAILURES = (RuntimeError, LoadtestError, OSError, ValueError, subprocess.SubprocessError)
_LONGEST_S = 1800.0
_COLUMNS = [field.name for field in dataclasses.fields(Row)] + ["met", "bar"]


def main(arguments: list[str] | None = None) -> int:
    """Run the faults that are asked for; return 1 where a bar was not met."""
    parser = argparse.ArgumentParser(prog="make chaos", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--slice", default="local", help="a slice that is up and deployed (%(default)s)")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "results/runs/chaos", metavar="FOLDER",
                        help="of the records, which pass by a fault that has one (results/runs/chaos)")  # fmt: skip
    parser.add_argument("--requests", type=int, default=5000, help="at least so many for each fault (%(default)s)")
    parser.add_argument("--virtual-address", default="", metavar="ADDRESS/PREFIX", help="what two balancers share")
    parser.add_argument("--autoscaler", action="store_true", help="the pool follows its load: only faults of that")
    parser.add_argument("--seed", type=int, default=1, help="of the arrivals (%(default)s)")
    parser.add_argument("--faults", nargs="*", metavar="FAULT", choices=[each.name for each in ALL], help="only these")
    parser.add_argument("--redraw", action="store_true", help="only draw again what FOLDER holds")
    options = parser.parse_args(arguments)
    if options.redraw:
        redraw(options.out)
        return 0
    faults, passed = divide(ALL, options.faults, options.out, options.virtual_address, autoscaler=options.autoscaler)
    missed = [name for name in measured(passed) if not _met(recorded.record_of(options.out, name))]
    if not faults:
        sys.stderr.write(told(faults, passed, lambda _: 0.0))
        return _ended([], missed)
    scene = Scene(Slice(options.slice), options.seed, options.virtual_address, options.autoscaler)
    try:
        scene.need()
    except _FAILURES as error:
        return _cannot(options, error)
    failed, restored = None, True
    try:
        failed = _measure(scene, faults, passed, options)
    finally:
        try:
            scene.deploy_balancers({})
        except _FAILURES as error:
            sys.stderr.write(f"error: the balancers keep this run's settings: {_reason(error)}; run make deploy\n")
            restored = False
    return 2 if failed is None else _ended(failed, missed) or int(not restored)


def _measure(
    scene: Scene, faults: Sequence[Fault], passed: dict[str, str], options: argparse.Namespace
) -> list[str] | None:
    """Let the faults happen; return those whose bar was not met, None where the slice cannot be measured at all."""
    try:
        scene.balance()
        facts = scene.prepare()
        scene.calibrate()
    except _FAILURES as error:
        _cannot(options, error)
        return None
    sys.stderr.write(told(faults, passed, lambda fault: seconds(fault, scene, options.requests)))
    options.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for fault in faults:
        try:
            bar = run(scene, fault, options.requests, options.out, facts)
        except _FAILURES as error:  # on a slice that the fault before may have left broken
            sys.stderr.write(f"{fault.name}: not measured: {_reason(error)}\n")
            failed.append(fault.name)
            continue
        failed += [] if all(bar.values()) else [fault.name]
        write_summary(options.out)
    return failed


def _cannot(options: argparse.Namespace, error: Exception) -> int:
    """Say why the slice cannot be measured; return the exit status."""
    follows = " ARGS='-e autoscaler=true'" if options.autoscaler else ""
    sys.stderr.write(
        f"error: the slice {options.slice} cannot be measured ({_reason(error)}); is it up and deployed? Run "
        f"make slice-up, then make deploy INVENTORY=inventory/slice{follows}, both with SLICE={options.slice}\n"
    )
    return 2


def _met(record: dict[str, Any] | None) -> bool:
    """Whether a fault met its bar, as far as it was measured."""
    return record is None or all(record["bar"].values())


def _ended(failed: Sequence[str], missed: Sequence[str]) -> int:
    """Say which bars were not met, now and before; return the exit status."""
    names = [*failed, *(f"{name} (measured before)" for name in missed)]
    if names:
        sys.stderr.write(f"bars not met: {', '.join(names)}\n")
    return int(bool(names))


def run(scene: Scene, fault: Fault, requests: int, out: Path, facts: dict[str, Any]) -> dict[str, bool]:
    """Let one fault happen; write what came of it and return its bar."""
    scene.suit(fault.settings)
    scene.calibrate()
    places = scene.log_places()
    marks = Marks(back=fault.victim)
    samples = _under_load(scene, fault, requests, marks)
    log = read_log(scene.log_since(places))
    row = judge(fault.name, samples, [] if fault.name == "reboot-balancer" else log, marks, scene.golden)
    bar = fault.bar(row, samples, scene) | bars.on_time(samples) | dict.fromkeys(marks.failures, False)
    rate = "" if fault.phases else f" at {_rate_hz(scene, fault):.0f} a second, {fault.utilisation:g} of the capacity"
    model = facts["version"]["model"]
    origin = f"Poisson arrivals{rate}; seed {scene.seed}; model {model['name']} {model['version']}."
    recorded.keep(out, fault.name, samples, scene.golden)
    figure.draw(out, samples, marks, row, what=fault.what, origin=origin)
    record = {
        "what": fault.what,
        "origin": origin,
        "row": dataclasses.asdict(row),
        "bar": bar,
        "marks": dataclasses.asdict(marks) | {"drained": sorted(marks.drained)},
        "capacity_hz": round(scene.capacity_hz, 1),
        "seed": scene.seed,
        "settings": scene.settings,
        "cores": {machine.name: machine.cores for machine in scene.plan.machines},
        "link_kbps": {port.machine: port.sends.rate_kbps for link in scene.plan.wirings for port in link.ports},
        **source_state("roles", "services", "playbooks", "loadtest"),
        "deployed": facts,
    }
    recorded.keep_record(out, fault.name, record)
    missed = [text for text, met in bar.items() if not met]
    sys.stderr.write(f"{row}\n  {'bar met' if not missed else 'NOT met: ' + '; '.join(missed)}\n")
    return bar


def _rate_hz(scene: Scene, fault: Fault) -> float:
    return fault.utilisation * scene.capacity_hz


def _under_load(scene: Scene, fault: Fault, requests: int, marks: Marks) -> list[Sample]:
    if fault.phases:
        scene.load = scene.send_phases(fault.phases(scene))
        if fault.inject is not nothing:
            _happens(scene, fault, marks)
        return scene.load.wait()
    rate_hz = _rate_hz(scene, fault)
    needed_s = requests / rate_hz
    scene.load = scene.send_phases([(_LONGEST_S, rate_hz)], at_least=requests)
    try:
        time.sleep(quiet_s(needed_s))
        _happens(scene, fault, marks)
        time.sleep(max(fault.tail_s, needed_s - scene.load.now()))
    finally:
        samples = scene.load.stop()
    return samples


def _happens(scene: Scene, fault: Fault, marks: Marks) -> None:
    marks.injected_s = scene.load.now()
    try:
        with _noted("the fault", marks):
            fault.inject(scene, marks)
            time.sleep(fault.hold_s)
    finally:
        with _noted("its end", marks):
            fault.recover(scene, marks)
        marks.recovered_s = scene.load.now()


@contextlib.contextmanager
def _noted(what: str, marks: Marks) -> Iterator[None]:
    """Note what failed, for the bar, and go on."""
    try:
        yield
    except _FAILURES as error:
        marks.failures.append(f"{what} went wrong: {_reason(error)}")


def _reason(error: Exception) -> str:
    return textwrap.shorten(str(error), 300)


def write_summary(out: Path) -> None:
    """Write summary.csv from the faults' own files, in the order of the table."""
    with (out / "summary.csv").open("w", newline="") as target:
        table = csv.DictWriter(target, _COLUMNS, lineterminator="\n")
        table.writeheader()
        for record in records(out):
            met = _met(record)
            bar = "; ".join(text if held else f"NOT {text}" for text, held in record["bar"].items())
            table.writerow(record["row"] | {"met": "yes" if met else "no", "bar": bar})


def redraw(out: Path) -> None:
    """Make the summary, the page and every figure again, from the records and the raw samples."""
    write_summary(out)
    page.write(out, records(out))
    for record in records(out):
        row = Row(**record["row"])
        marks = Marks(record["marks"]["injected_s"], record["marks"]["recovered_s"])
        figure.draw(out, recorded.read(out, row.fault), marks, row, what=record["what"], origin=record["origin"])


def records(out: Path) -> Iterator[dict[str, Any]]:
    """Read the records of the faults that a folder has, in the order of the table."""
    for fault in ALL:
        record = recorded.record_of(out, fault.name)
        if record is not None:
            yield record


if __name__ == "__main__":
    sys.exit(main())
