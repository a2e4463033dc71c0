"""A file system of its own, and what a power cut would leave of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@contextlib.contextmanager
def _mounted(image: Path, place: Path, options: str = "loop") -> Iterator[None]:
    if not Path("/dev/loop-control").exists():
        pytest.skip("needs loop devices: this host has no /dev/loop-control")
    place.mkdir()
    done = subprocess.run(["mount", "-o", options, image, place], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"needs root, for a file system of its own: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


@dataclass(frozen=True)
class Disk:
    """A file system.

    Attributes:
        image: The file that it is in.
        folder: Where it is seen.
    """

    image: Path
    folder: Path

    @contextlib.contextmanager
    def cut(self, *, names: bool = True) -> Iterator[Path]:
        """Show what would be left if the power failed now, right after the names have reached the disk.

        They do so whenever a program asks for it, and elsewhere every five seconds. What is in the files comes later.

        Args:
            names: Whether they do; without it only those have that a program has asked for.
        """
        if names:
            with (self.folder / "asks").open("wb") as file:
                file.write(b"x")
                file.flush()
                os.fsync(file.fileno())
        left = self.image.with_suffix(".left")
        subprocess.run(["cp", "--sparse=always", self.image, left], check=True)
        with _mounted(left, left.with_suffix(".seen")):
            yield left.with_suffix(".seen")
        left.with_suffix(".seen").rmdir()

    def spoilt(self, left: Path) -> list[str]:
        """Return the files of the disk that have lost something in what is left, by their paths below it."""
        files = [path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink()]
        pairs = [(path.relative_to(self.folder), path.read_bytes()) for path in files]
        return sorted(
            str(name) for name, content in pairs if not (left / name).is_file() or (left / name).read_bytes() != content
        )


@contextlib.contextmanager
def disk(place: Path, megabytes: int = 64) -> Iterator[Disk]:
    """Make a file system in a folder, where this user may mount one; where not, the test is skipped."""
    image = place / "disk.img"
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    make = shutil.which("mkfs.ext4", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin{os.pathsep}/sbin")
    if make is None:
        pytest.skip("needs mkfs.ext4")
    subprocess.run([make, "-q", "-F", image], check=True)
    made = Disk(image, place / "disk")
    with _mounted(image, made.folder, "loop,commit=600"):  # names go there when they are asked for, not by the clock
        yield made
