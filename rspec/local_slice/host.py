"""Run the host's own programs, and say plainly what went wrong."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class SliceError(Exception):
    """The slice cannot be made, kept or removed; the message names the reason and the remedy."""


def run(command: Sequence[str | Path], *, timeout_s: float = 120, text: str | None = None) -> str:
    """Run a program and return what it printed.

    Args:
        command: the program and its arguments; no shell is involved.
        timeout_s: seconds after which it counts as failed.
        text: what it reads from standard input.

    Raises:
        SliceError: it is missing, failed or took too long; the message holds its last words.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(  # noqa: S603  every word is ours; none is a shell's
            words, input=text or "", capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except FileNotFoundError:
        raise SliceError(f"the program {words[0]} is missing") from None
    except subprocess.TimeoutExpired:
        raise SliceError(f"no answer within {timeout_s:.0f} s from: {shlex.join(words)}") from None
    if done.returncode != 0:
        reason = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}")[-2000:]
        raise SliceError(f"{shlex.join(words)}: {reason}")
    return done.stdout


def succeeds(command: Sequence[str | Path]) -> bool:
    """Whether a program exists and ends with exit code 0."""
    try:
        run(command)
    except SliceError:
        return False
    return True


def run_json(command: Sequence[str | Path]) -> Any:
    """Run a program that prints JSON and return what it means; nothing printed counts as an empty list."""
    return json.loads(run(command) or "[]")


def write(path: Path, text: str, mode: int = 0o644) -> bool:
    """Make a file hold this text and have this mode; return whether that changed it.

    A reader never sees half of it: the text is written aside and renamed.
    """
    if path.is_file() and not path.is_symlink() and path.read_text() == text:
        changed = path.stat().st_mode & 0o7777 != mode
        path.chmod(mode)
        return changed
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    aside.touch(mode=mode)
    aside.chmod(mode)
    aside.write_text(text)
    aside.replace(path)
    return True


def give_to_owner_of(project: Path, *paths: Path) -> None:
    """Hand files that root wrote to the owner of the checkout, who uses them without root."""
    owner = project.stat()
    for path in paths:
        os.chown(path, owner.st_uid, owner.st_gid)


def mount_points_below(folder: Path) -> list[Path]:
    """Every mount point at or below a folder, innermost first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        # Field 5 of proc(5)'s mountinfo; blanks are written as octal escapes.
        point = Path(line.split()[4].encode().decode("unicode_escape"))
        if point == folder or folder in point.parents:
            found.append(point)
    return sorted(found, key=lambda point: len(point.parts), reverse=True)
