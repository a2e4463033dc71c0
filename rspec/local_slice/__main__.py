"""Command line of the local slice.

`python -m rspec.local_slice status --slice local` and `... ssh --slice local worker1` are for people; the other
commands are the steps of the role `local_slice`, and answer with one JSON object.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import sys
import time
from pathlib import Path

from rspec.local_slice import steps
from rspec.local_slice.down import take_down
from rspec.local_slice.host import SliceError
from rspec.local_slice.naming import Names
from rspec.local_slice.plan import need_plan
from rspec.local_slice.status import status

PROJECT = Path(__file__).resolve().parent.parent.parent


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from error
    return text


def build_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = argparse.ArgumentParser(prog="python -m rspec.local_slice", description="A slice on this machine.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--slice", default="local", metavar="NAME", help="name of the slice (%(default)s)")
        command.add_argument("--check", action="store_true", help="only say whether it would change anything")
        return command

    add("status", "show the machines, whether they are on, and their addresses")
    ssh = add("ssh", "log in to a machine, or run a command there")
    ssh.add_argument("machine", help="a machine's name, such as worker1")
    ssh.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND", help="what to run there")
    plan = add("plan", "check the request and this host, and save what is to be made")
    plan.add_argument("--request", type=Path, metavar="FILE", help="a request RSpec (default: the profile's)")
    plan.add_argument(
        "--parameter",
        type=_parameter,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of the profile, for a request that is written",
    )
    plan.add_argument("--cpu-scale", type=_positive, default=1.0, metavar="SHARE", help="host cores per RSpec core")
    plan.add_argument("--cpu-scaled", type=_expression, default=".*", metavar="REGEX", help="machines that are scaled")
    plan.add_argument("--control-subnet", metavar="NET/24", help="control network (default: from the name)")
    plan.add_argument("--release", metavar="NAME", help="the machines' release (default: the host's)")
    add("base", "build the base image, once")
    add("network", "lay the links")
    add("disks", "make the machines' disks")
    boot = add("boot", "switch one machine on")
    boot.add_argument("machine")
    wait = add("wait", "wait until one machine is ready")
    wait.add_argument("machine")
    wait.add_argument("--timeout", type=_positive, default=120.0, metavar="SECONDS")
    limit = add("limit", "change the CPU limit of a machine that is on")
    limit.add_argument("machine")
    limit.add_argument("--cores", type=_positive, metavar="CORES", help="cores of this host (default: as planned)")
    limit.add_argument("--slower", type=_positive, default=1.0, metavar="FACTOR", help="divide the cores by this")
    add("manifest", "write the manifest RSpec")
    add("down", "remove everything the slice made")
    return parser


def _step(options: argparse.Namespace, names: Names) -> steps.Result:
    if options.command == "plan":
        wishes = steps.Wishes(
            request=options.request,
            parameters=dict(options.parameter),
            cpu_scale=options.cpu_scale,
            cpu_scaled=options.cpu_scaled,
            control_subnet=options.control_subnet,
            release=options.release,
        )
        return steps.plan_slice(names, wishes, check=options.check)
    if options.check:
        return steps.outlook(names, options.command, getattr(options, "machine", None))
    if options.command == "boot":
        return steps.boot(names, options.machine)
    if options.command == "limit":
        return steps.limit(names, options.machine, options.cores, options.slower)
    if options.command == "wait":
        return steps.wait(names, options.machine, options.timeout)
    plain = {
        "base": steps.build_base,
        "network": steps.lay_network,
        "disks": steps.make_disks,
        "manifest": steps.hand_over,
        "down": take_down,
    }
    return plain[options.command](names)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit code."""
    options = build_parser().parse_args(arguments)
    started_s = time.time()
    try:
        names = Names(options.slice, PROJECT)
        if options.command == "status":
            sys.stdout.write(status(names) + "\n")
            return 0
        if options.command == "ssh":
            need_plan(names).machine(options.machine)
            words = ["ssh", "-F", str(names.ssh_config), options.machine, *options.words]
            os.execvp("ssh", words)  # noqa: S606, S607  this process becomes ssh
        result = _step(options, names)
    except (SliceError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    answer = dataclasses.asdict(result) | {"started_s": started_s, "seconds": round(time.time() - started_s, 2)}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
