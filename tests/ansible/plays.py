"""Starts a playbook of these tests. Each start costs seconds, so one does as much as it can."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.conftest import REPOSITORY


@functools.cache
def _facts() -> tempfile.TemporaryDirectory[str]:
    # This machine's facts, gathered once for all tests of this process; the folder goes with the process.
    return tempfile.TemporaryDirectory(prefix="imagerec-facts-")


def briefly(*words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ansible-playbook in the checkout as `make` does, with the short output.

    Args:
        words: The rest of the command.
        variables: Its further environment.
    """
    return subprocess.run(
        ["ansible-playbook", *words],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"ANSIBLE_STDOUT_CALLBACK": "brief"} | variables,
    )


def play(
    playbook: str, variables: dict[str, Any], *options: str, inventory: str = "localhost,"
) -> subprocess.CompletedProcess[str]:
    """Run a playbook of tests/ansible on this machine.

    Args:
        playbook: Its name, without ending.
        variables: Extra variables.
        options: More words of the command.
        inventory: Hosts, all of them this machine.
    """
    cached = {"ANSIBLE_CACHE_PLUGIN": "jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": _facts().name}
    return subprocess.run(
        ["ansible-playbook", "-i", inventory, f"tests/ansible/{playbook}.yml", "-e", json.dumps(variables), *options],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | cached,
    )
