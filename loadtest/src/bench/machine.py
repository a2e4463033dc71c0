"""What a benchmark says about where it ran: the machine, the commit, the versions of what it measured."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from loadtest.experiments.provenance import client_facts, source_state

# Those that decide how fast LiteRT computes with eight bits.
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "amx_int8")
_LIST = (
    "import importlib.metadata as m, json, platform;"
    "print(json.dumps({'python': platform.python_version()} | {d.name.lower(): d.version for d in m.distributions()}))"
)


def facts_here() -> dict[str, Any]:
    """Return what every record says of where it was measured."""
    return {"machine": machine_here(), "cpu_flags": cpu_flags_here(), "commit": commit_here()}


def machine_here() -> str:
    """Return the processor, the cores that this process may use, and the system's versions, in one line."""
    facts = client_facts()
    return f"{facts['processor']}, {facts['cores']} cores, Python {facts['python']}, Linux"


def commit_here() -> str:
    """Return the commit of the checkout, and whether files differ from it."""
    state = source_state()
    return f"{str(state['commit'])[:7]}{' with local changes' * bool(state['dirty'])}"


def cpu_flags_here() -> dict[str, bool]:
    """Return which of the processor's wide instructions there are."""
    words = set(Path("/proc/cpuinfo").read_text().split())
    return {flag: flag in words for flag in _FLAGS}


def autogroup_here() -> bool:
    """Return whether Linux shares the cores between sessions before it shares them between processes (sched(7))."""
    path = Path("/proc/sys/kernel/sched_autogroup_enabled")
    return path.exists() and path.read_text().strip() == "1"


def packages_of(python: Path) -> dict[str, str]:
    """Return the versions of all packages of a Python environment, and its own."""
    done = subprocess.run([python, "-I", "-c", _LIST], check=True, capture_output=True, text=True)  # noqa: S603  our words
    found: dict[str, str] = json.loads(done.stdout)
    return dict(sorted(found.items()))


def nginx_version(pid: int | None) -> str:
    """Return the version of a running nginx; empty for none."""
    if pid is None:
        return ""
    done = subprocess.run([f"/proc/{pid}/exe", "-v"], check=False, capture_output=True, text=True)  # noqa: S603  it runs already
    found = re.search(r"nginx/(\S+)", done.stderr)
    return found[1] if found else "unknown"
