"""Command line of the local slice: `python -m rspec.local_slice up|down|status|ssh|limit --slice NAME`.

`up`, `down` and `limit` answer with one JSON object, and can be repeated; the role `local_slice` calls them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from pathlib import Path

from rspec.local_slice.down import take_down
from rspec.local_slice.host import SliceError
from rspec.local_slice.naming import Names
from rspec.local_slice.options import Options, Result, positive
from rspec.local_slice.plan import need_plan
from rspec.local_slice.status import status
from rspec.local_slice.up import bring_up, limit

PROJECT = Path(__file__).resolve().parent.parent.parent


def build_parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    parser = argparse.ArgumentParser(prog="python -m rspec.local_slice", description="A slice on this machine.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--slice", default="local", metavar="NAME", help="name of the slice (%(default)s)")
        return command

    up = add("up", "boot the slice, or what is missing of it")
    Options.add_to(up)
    for command in (up, add("down", "remove everything the slice made")):
        command.add_argument("--check", action="store_true", help="only say whether it would change anything")
    add("status", "show the machines, whether they are on, and their addresses")
    ssh = add("ssh", "log in to a machine, or run a command there")
    ssh.add_argument("machine", help="a machine's name, such as worker1")
    ssh.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND", help="what to run there")
    change = add("limit", "change the CPU limit of a machine that is on")
    change.add_argument("machine")
    change.add_argument("--cores", type=positive, metavar="CORES", help="cores of this host (default: as planned)")
    change.add_argument("--slower", type=positive, default=1.0, metavar="FACTOR", help="divide the cores by this")
    return parser


def _do(options: argparse.Namespace, names: Names) -> Result | str:
    if options.command == "up":
        return bring_up(names, Options.of(options), check=options.check)
    if options.command == "down":
        return take_down(names, check=options.check)
    if options.command == "limit":
        return limit(names, options.machine, options.cores, options.slower)
    if options.command == "ssh":
        need_plan(names).machine(options.machine)
        words = ["ssh", "-F", str(names.ssh_config), options.machine, *options.words]
        os.execvp("ssh", words)  # noqa: S606, S607  this process becomes ssh
    return status(names)


_EMPTY = {"--request=", "--control-subnet=", "--release="}


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit code."""
    # An option of these that is given an empty text, as the role does, is not given.
    given = [word for word in (sys.argv[1:] if arguments is None else arguments) if word not in _EMPTY]
    options = build_parser().parse_args(given)
    started_s = time.time()
    try:
        answer = _do(options, Names(options.slice, PROJECT))
    except (SliceError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    if isinstance(answer, Result):
        answer = json.dumps(dataclasses.asdict(answer) | {"seconds": round(time.time() - started_s, 2)})
    sys.stdout.write(f"{answer}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
