"""Run the host's own programs, and say plainly what went wrong."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class SliceError(Exception):
    """The slice cannot be made, kept or removed; the message names the reason and the remedy."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system: where, of which kind, and its own options."""

    point: Path
    kind: str
    options: str


def run(command: Sequence[str | Path], *, timeout_s: float = 120) -> str:
    """Run a program, without a shell, and return what it printed.

    Raises:
        SliceError: it is missing, failed or took too long; the message holds its last words.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(  # noqa: S603  every word is ours; none is a shell's
            words, input="", capture_output=True, text=True, timeout=timeout_s, check=False
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


def read_mounts(table: bytes | None = None) -> list[Mount]:
    """Read what is mounted from proc(5)'s mountinfo, by default this process' own."""
    lines = (Path("/proc/self/mountinfo").read_bytes() if table is None else table).split(b"\n")
    found = []
    for line in filter(None, lines):
        left, _, right = line.partition(b" - ")
        words = right.split()
        found.append(Mount(Path(_unescaped(left.split()[4])), os.fsdecode(words[0]), _unescaped(words[-1])))
    return found


def _unescaped(word: bytes) -> str:
    """A word of the table: the kernel writes blanks as three octal digits, and every other byte as it is."""
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8) & 255]), word))


def mount_points_below(folder: Path) -> list[Path]:
    """Every mount point at or below a folder, innermost first."""
    points = [mount.point for mount in read_mounts()]
    found = [point for point in points if point == folder or folder in point.parents]
    return sorted(found, key=lambda point: len(point.parts), reverse=True)
