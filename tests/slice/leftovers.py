"""What a slice may leave behind, looked for without its own tools."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from rspec.local_slice.naming import Names


def _processes(names: Names) -> Iterator[str]:
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if any(word.startswith(f"--machine={names.mark}.") for word in words):
                yield f"process {entry.name}: {' '.join(words)}"


def leftovers(names: Names) -> list[str]:
    """Every process, mount, namespace, interface, firewall rule, control group and file of a slice."""
    found = list(_processes(names))
    asked = ["findmnt", "--json", "--list", "--output=TARGET,FS-OPTIONS"]  # the table itself has blanks as octal digits
    table = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)["filesystems"]
    found += [f"mount {mount}" for mount in table if f"{names.state}/" in f"{mount['target']} {mount['fs-options']}"]
    ours = re.compile(rf"{re.escape(names.mark)}(\..*)?")
    for folder in (Path("/run/netns"), Path("/run/systemd/nspawn/propagate")):
        if folder.is_dir():
            found += [str(path) for path in folder.iterdir() if ours.fullmatch(path.name)]
    found += [f"interface {path.name}" for path in Path("/sys/class/net").iterdir() if path.name == names.interface]
    rules = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout.splitlines()
    found += [rule for rule in rules if re.search(rf'--comment "?{re.escape(names.mark)}"?(\s|$)', rule)]
    for groups in (f"**/imagerec-slice/{names.slice_name}", f"**/{names.mark}.*.scope"):  # without systemd, and by it
        found += [str(path) for path in Path("/sys/fs/cgroup").glob(groups)]
    files = (names.state, names.manifest, names.claim)
    return found + [str(path) for path in files if path.exists()]
