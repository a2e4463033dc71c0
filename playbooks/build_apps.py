"""Build what hosts are given: an archive of each application, for each kind of host, and one of the page.

Everything is named by its digest and built aside, so an interrupted run leaves nothing that looks finished, and a run
with unchanged sources and locks changes nothing. Prints one JSON line: whether anything changed, the releases with
their archives, and the error if any.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

# Newest first; pip takes a wheel only for a platform named here. 2.36 is the oldest C library among the targets.
GLIBC_MINORS = range(36, 4, -1)
# Of each archive and wheelhouse the last used stay: of this deployment, of one onto another inventory, of one before.
KEPT = 3
PAGE_SUFFIXES = {".html", ".js", ".css", ".svg"}


class BuildError(Exception):
    """A step failed; the message says which and what to do."""


def run(command: list[str], remedy: str) -> None:
    """Run a command and raise BuildError with its last lines and the remedy if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # our own commands
    if done.returncode != 0:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise BuildError(f"{' '.join(command[:6])} … failed: {tail}\n{remedy}")


def settle(aside: Path, target: Path) -> None:
    """Give what was made aside its name, once the disk has it: a power cut would otherwise leave the name alone."""
    for path in (aside, *aside.rglob("*")):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    aside.replace(target)


def build_wheel(source: Path, wheels: Path) -> tuple[Path, bool]:
    """Build a source folder's wheel into a folder; return its path there and whether it differs from before.

    A note beside the wheel says of which sources it is, so the same sources are not built again.
    """
    files = [path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    note, sources = wheels / f".{source.name}.json", digest_of(files, source)
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):  # none yet, or a power cut spoilt it
        known = json.loads(note.read_text())
        if known == noted(sources, target := wheels / known["wheel"]):
            return target, False
    with tempfile.TemporaryDirectory(dir=wheels, prefix=".building-") as aside:
        run(
            [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", aside, str(source)],
            f"Look into {source}; `make setup` installs what building needs.",
        )
        built = next(Path(aside).glob("*.whl"))
        target = wheels / built.name
        changed = not target.exists() or target.read_bytes() != built.read_bytes()
        built.replace(target)
    note.write_text(json.dumps(noted(sources, target)))
    return target, changed


def noted(sources: str, wheel: Path) -> dict[str, str]:
    """Return what is noted of a wheel."""
    return {"sources": sources, "wheel": wheel.name, "digest": digest_of([wheel])}


def pip_platform(platform: str) -> list[str]:
    """Turn a host's kind, such as ``cp311-x86_64``, into pip's options for downloading for it."""
    match = re.fullmatch(r"cp(3)(\d+)-(\w+)", platform)
    if match is None:
        raise BuildError(f"{platform} is no platform such as cp311-x86_64; the hosts' facts look wrong.")
    major, minor, machine = match.groups()
    tags = [f"manylinux_2_{glibc}_{machine}" for glibc in GLIBC_MINORS] + [f"manylinux2014_{machine}"]
    return [
        "--only-binary=:all:",
        "--implementation=cp",
        f"--python-version={major}.{minor}",
        *(f"--platform={tag}" for tag in tags),
    ]


def collect_wheelhouse(lock: Path, platform: str, folder: Path) -> bool:
    """Download every wheel that a hashed lock names, for one kind of host; return whether there was anything to do."""
    if folder.exists():
        os.utime(folder)
        return False
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"),
            *pip_platform(platform),
            *("--requirement", str(lock), "--dest", str(aside)),
        ],
        f"The package index could not give what {lock} names for {platform}; see the lines above, then run it again.",
    )
    settle(aside, folder)
    return True


def archive(files: list[Path], target: Path) -> bool:
    """Put files into one uncompressed archive, the same bytes for the same files; return whether it was made."""
    if target.exists():
        os.utime(target)
        return False
    aside = target.with_name(f".{target.name}.partial")
    with tarfile.open(aside, "w") as tar:
        for file in sorted(files, key=lambda path: path.name):
            entry = tarfile.TarInfo(file.name)
            entry.size = file.stat().st_size
            entry.mode = 0o644
            # A web server makes its ETag of age and size: the age names the content, and differs when that does.
            entry.mtime = int(hashlib.sha256(file.read_bytes()).hexdigest()[:7], 16)
            with file.open("rb") as content:
                tar.addfile(entry, content)
    settle(aside, target)
    return True


def prune(folder: Path) -> None:
    """Remove what was used longest ago, beyond KEPT of those whose names differ in their digest alone."""
    kinds: dict[str, list[Path]] = {}
    for path in folder.iterdir():
        kinds.setdefault(re.sub(r"-[0-9a-f]{16}(?=[-.])", "", path.name), []).append(path)
    for paths in kinds.values():
        for path in sorted(paths, key=lambda each: each.stat().st_mtime, reverse=True)[KEPT:]:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def digest_of(files: list[Path], folder: Path | None = None) -> str:
    """Return one sha256 over the names and contents of files; their names within a folder, where one is given."""
    names = {file: file.relative_to(folder) if folder else file.name for file in files}
    sums = [f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}" for file, name in names.items()]
    return hashlib.sha256("\n".join(sorted(sums)).encode()).hexdigest()


def build_page(folder: Path, examples: Path, dist: Path) -> tuple[dict[str, object], bool]:
    """Archive the page and its example photographs; return what is deployed of it and whether anything changed."""
    files = [path for path in folder.iterdir() if path.suffix in PAGE_SUFFIXES] + list(examples.iterdir())
    if not (folder / "index.html").is_file():
        raise BuildError(f"{folder} has no index.html; name the folder of the page.")
    digest = digest_of(files)
    target = dist / "releases" / f"page-{digest[:16]}.tar"
    changed = archive(files, target)
    return {"archive": str(target), "digest": digest}, changed


def build_app(name: str, source: Path, platforms: list[str], dist: Path) -> tuple[dict[str, object], bool]:
    """Build one application; return what is deployed of it and whether anything changed."""
    lock = source / "requirements.txt"
    wheel, changed = build_wheel(source, dist / "wheels")
    digest = digest_of([wheel, lock])
    lock_digest = digest_of([lock])
    archives: dict[str, str] = {}
    for platform in platforms:
        wheelhouse = dist / "wheelhouse" / f"{name}-{lock_digest[:16]}-{platform}"
        changed |= collect_wheelhouse(lock, platform, wheelhouse)
        target = dist / "releases" / f"{name}-{digest[:16]}-{platform}.tar"
        changed |= archive([*wheelhouse.iterdir(), wheel, lock], target)
        archives[platform] = str(target)
    return {"digest": digest, "archives": archives}, changed


def main() -> int:
    """Build what the command line names; 0 when everything is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dist", type=Path, required=True, help="folder for everything that is built")
    parser.add_argument("--platform", action="append", required=True, help="kind of host, such as cp311-x86_64")
    parser.add_argument("--page", type=Path, required=True, help="folder of the page")
    parser.add_argument("--examples", type=Path, required=True, help="folder that build_examples.py names")
    parser.add_argument("apps", nargs="+", metavar="NAME=FOLDER", help="distribution and its source folder")
    arguments = parser.parse_args()
    for folder in ("wheels", "wheelhouse", "releases"):
        (arguments.dist / folder).mkdir(parents=True, exist_ok=True)
    with (arguments.dist / ".building").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # a deployment onto another inventory may be building as well
        try:
            releases, changed = build_all(arguments)
        except BuildError as error:
            print(json.dumps({"changed": False, "releases": {}, "error": str(error)}))
            return 1
    print(json.dumps({"changed": changed, "releases": releases, "error": None}))
    return 0


def with_earlier(apps: dict[str, Any], earlier: dict[str, Any]) -> dict[str, Any]:
    """Add what another deployment has built and is still there: it may be on its way to other hosts just now.

    Args:
        apps: What this run has built, by name, each with `digest` and most with `archives` by platform.
        earlier: What stands in the list.
    """
    joined = dict(apps)
    for name, app in earlier.items():
        there = {kind: path for kind, path in app.get("archives", {}).items() if Path(path).exists()}
        if name in apps and apps[name]["digest"] == app["digest"] and "archives" in apps[name]:
            joined[name] = apps[name] | {"archives": there | apps[name]["archives"]}
        elif name not in apps and there:
            joined[name] = app | {"archives": there}
    return joined


def build_all(arguments: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """Build what the command line names; return what is deployed of it, by name, and whether anything changed."""
    apps: dict[str, Any] = {}
    apps["page"], changed = build_page(arguments.page, arguments.examples, arguments.dist)
    for pair in arguments.apps:
        name, _, source = pair.partition("=")
        apps[name], app_changed = build_app(name, Path(source), sorted(set(arguments.platform)), arguments.dist)
        changed |= app_changed
    listing = arguments.dist / "releases.json"
    try:
        earlier = json.loads(listing.read_text())
    except (OSError, ValueError):
        earlier = {}
    text = json.dumps(with_earlier(apps, earlier), indent=2, sort_keys=True) + "\n"
    if not listing.exists() or listing.read_text() != text:
        aside = listing.with_name(f".{listing.name}.partial")
        aside.write_text(text)
        settle(aside, listing)
        changed = True
    for folder in ("wheelhouse", "releases"):
        prune(arguments.dist / folder)
    return apps, changed


if __name__ == "__main__":
    sys.exit(main())
