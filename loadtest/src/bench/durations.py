"""`make durations`: how long the commands take that bring the system up, in a clean clone, one after the other.

On this machine: `make up` twice, with a change of the balancer, `make down`. On a slice of it, six machines:
`make slice-up` without and with its base image, `make deploy` twice. Package caches and the model are as found;
nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from bench.machine import commit_here, machine_here
from bench.record import Record
from deployed.checkout import REPOSITORY, SHARED, run
from deployed.local import local_deployment
from loadtest.errors import LoadtestError

SLICE = "durations"
MIRROR = [f"MODEL_MIRROR={SHARED / 'models'}"] if (SHARED / "models").exists() else []
_CHANGED = re.compile(r"\bchanged=(\d+)")


class Step(NamedTuple):
    """One command: what it is called, the words after `make`, and the longest it should take in seconds."""

    title: str
    words: tuple[str, ...]
    aim_s: int | None


class Timed(NamedTuple):
    """How long a step took in seconds, and the tasks that changed something, all hosts together."""

    step: Step
    seconds: float
    changed: int


def main() -> int:
    """Time everything, print, and record where asked to."""
    parser = argparse.ArgumentParser(prog="make durations", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--release", default="", help="of the machines (default: this host's)")
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="write durations.json and durations.md there")
    options = parser.parse_args()
    try:
        if options.record:
            Record(options.record)
    except LoadtestError as error:
        raise SystemExit(f"error: {error}") from error
    with tempfile.TemporaryDirectory(prefix="durations-") as name:
        clone = Path(name) / "clone"
        run("git", "clone", "-q", REPOSITORY, clone)
        inventory = str(local_deployment(Path(name)).inventory)
        try:
            timed = [_time(clone, step) for step in steps(inventory, options.release)]
        finally:
            _make(clone, ("down", f"INVENTORY={inventory}"))
            _make(clone, ("slice-down", f"SLICE={SLICE}"))
    result = {
        "commit": commit_here(),
        "machine": machine_here(),
        "release": options.release or "the host's own",
        "steps": [
            {"step": each.step.title, "aim_s": each.step.aim_s, "s": round(each.seconds, 1), "changed": each.changed}
            for each in timed
        ],
    }
    text = markdown(result)
    print(text)
    if options.record:
        (options.record / "durations.json").write_text(json.dumps(result, indent=1) + "\n")
        (options.record / "durations.md").write_text(text)
    return 0


def markdown(result: dict[str, Any]) -> str:
    """Write the result as a page."""
    rows = "\n".join(
        f"| {each['step']} | {_aim(each)} | {each['s']:.0f} s | {each['changed']} |" for each in result["steps"]
    )
    return f"""# How long it takes

`make durations` at {result["commit"]}, in a clean clone, one command after the other: {result["machine"]}.
Release of the slice's machines: {result["release"]}. Package caches and the model file were there.

| command | aim | took | tasks that changed something |
|---|---|---|---|
{rows}
"""


def _aim(step: dict[str, Any]) -> str:
    return f"≤ {step['aim_s']} s" if step["aim_s"] else "–"


def steps(inventory: str, release: str) -> list[Step]:
    """Return the commands, in their order.

    Args:
        inventory: Of the deployment on this machine.
        release: Of the slice's machines; empty for this host's.
    """
    local = ("up", f"INVENTORY={inventory}", *MIRROR)
    boot = ("slice-up", f"SLICE={SLICE}", *([f"ARGS=-e local_slice_release={release}"] if release else []))
    deploy = ("deploy", f"SLICE={SLICE}", "INVENTORY=inventory/slice", *MIRROR)
    return [
        Step("`make up`, from the clone on", local, 180),
        Step("`make up` again", local, 30),
        Step("`make up` with another setting of the balancer", (*local, "ARGS=-e balancer_max_conns=8"), 15),
        Step("`make down`", ("down", f"INVENTORY={inventory}"), 10),
        Step("`make setup-slice`", ("setup-slice",), None),
        Step("`make slice-up`, six machines, without a base image", boot, 240),
        Step("`make slice-down`", ("slice-down", f"SLICE={SLICE}"), None),
        Step("`make slice-up`, six machines, with the base image", boot, 60),
        Step("`make deploy` onto them", deploy, 240),
        Step("`make deploy` again", deploy, 60),
    ]


def _time(clone: Path, step: Step) -> Timed:
    start_s = time.monotonic()
    done = _make(clone, step.words)
    seconds = time.monotonic() - start_s
    sys.stderr.write(f"{step.title}: {seconds:.0f} s\n")
    if done.returncode != 0:
        sys.stderr.write(done.stdout[-4000:] + done.stderr[-2000:])
        raise SystemExit(f"error: make {' '.join(step.words)} failed with {done.returncode}")
    recap = done.stdout.rpartition("PLAY RECAP")[2]
    return Timed(step, seconds, sum(int(count) for count in _CHANGED.findall(recap)))


def _make(clone: Path, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return run("make", *words, folder=clone, check=False, timeout_s=1800)


if __name__ == "__main__":
    sys.exit(main())
