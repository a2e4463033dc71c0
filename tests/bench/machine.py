"""What a benchmark says about where it ran: the machine and the commit."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from deployed.checkout import REPOSITORY


def machine_here() -> str:
    """Return the processor, the cores that this process may use, and the system's versions, in one line."""
    described = (line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line)
    model = next(described, platform.machine()).rpartition(":")[2].strip()
    return f"{model}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, Linux"


def commit_here() -> str:
    """Return the commit of the checkout, and whether files differ from it."""
    git = ["git", "-C", str(REPOSITORY)]
    commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    return commit.strip() + (" with local changes" if dirty else "")
