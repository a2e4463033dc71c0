"""The checkout that systems are deployed from, and how its commands are run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
# Models and labelled photographs that some sites have; nothing needs them.
SHARED = Path(os.environ.get("IMAGEREC_SHARED", REPOSITORY.parent / "shared"))
# What make hands on is not for the commands that a program runs: they would take it for their own.
_MAKES = ("MAKE", "MFLAGS", "ARGS", "ANSIBLE")


class CommandError(RuntimeError):
    """A command failed; the message holds its last words."""


def environment() -> dict[str, str]:
    """The environment of a command: without what make has set, and with this interpreter's own programs first."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_MAKES)}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"}


def run(
    *words: str | Path, folder: Path = REPOSITORY, check: bool = True, timeout_s: float = 900, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in the checkout, or in a copy of it.

    Args:
        words: The command; no shell is involved.
        folder: The checkout.
        check: Whether it has to succeed.
        timeout_s: Seconds after which it is ended.
        variables: Its further environment; Ansible counts what was changed unless they say otherwise.

    Raises:
        CommandError: It failed, though it had to succeed.
    """
    done = subprocess.run(  # noqa: S603  every word is ours; none is a shell's
        words,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        env=environment() | {"ANSIBLE_STDOUT_CALLBACK": "default"} | variables,
    )
    if check and done.returncode != 0:
        said = f"{done.stdout[-8000:]}{done.stderr[-8000:]}"
        raise CommandError(f"{' '.join(map(str, words))} failed with {done.returncode}: {said}")
    return done
