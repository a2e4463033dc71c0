"""A slice of six machines on this host, made once for the whole tier, by the commands that people use."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests
from skimage import data

from rspec.local_slice import preflight
from rspec.local_slice.host import succeeds
from rspec.local_slice.naming import Names
from tests.conftest import REPOSITORY, SHARED
from tests.slice.leftovers import leftovers
from tests.slice.probes import LOAD, jpeg

NAME = "test"
# The default model where its mirror stands beside the checkout, so that no test needs the Internet for it.
MODEL = {"model_mirror": str(SHARED / "models")} if (SHARED / "models").exists() else {"model": "lite0"}
URL = "http://10.10.1.1"  # the balancer's slice address; only the slice's own machines reach it


def missing() -> list[str]:
    """Why this host cannot carry a slice; empty where it can."""
    if os.geteuid() != 0:
        return ["tests/slice needs root"]
    found = preflight.missing_programs()
    if shutil.which("debootstrap") is None:
        found.append("debootstrap is missing")
    if not found and not succeeds(["unshare", "--net", "--mount", "true"]):
        found.append("this host makes no network namespaces")
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class Slice:
    """A slice on this host, by its name."""

    name: str

    @property
    def names(self) -> Names:
        """What the slice's things are called."""
        return Names(self.name, REPOSITORY)

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the repository; print what it said if it failed."""
        done = subprocess.run(
            words,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
            env=os.environ | {"GENI_MANIFEST": str(self.names.manifest), "ANSIBLE_STDOUT_CALLBACK": "default"},
        )
        if check and done.returncode != 0:
            print(done.stdout[-8000:], done.stderr[-8000:])
            raise AssertionError(f"{' '.join(words)} failed with {done.returncode}")
        return done

    def make(self, target: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a target of the Makefile for this slice."""
        return self.run("make", target, f"SLICE={self.name}", *arguments, check=check)

    def tool(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one step of `rspec.local_slice` for this slice."""
        command, *rest = words
        return self.run(
            ".venv/bin/python", "-m", "rspec.local_slice", command, "--slice", self.name, *rest, check=check
        )

    def deploy(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the whole of site.yml on the slice."""
        model = [f"{name.upper()}={value}" for name, value in MODEL.items()]
        return self.make("deploy", "INVENTORY=inventory/slice", *model, *arguments)

    def play(
        self, *playbooks: str, variables: dict[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run some playbooks on the slice."""
        extra = [part for key, value in (variables or {}).items() for part in ("-e", f"{key}={value}")]
        return self.run(".venv/bin/ansible-playbook", "-i", "inventory/slice", *playbooks, *extra, check=check)

    def on(self, machine: str, command: str, text: str | bytes = b"", *, check: bool = True) -> str:
        """Run a command on a machine, with something on its standard input; return what it printed."""
        done = subprocess.run(
            ["ssh", "-F", str(self.names.ssh_config), "-o", "BatchMode=yes", machine, command],
            input=text.encode() if isinstance(text, str) else text,
            capture_output=True,
            check=False,
            timeout=300,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{machine}: {command} failed: {done.stderr.decode()[-3000:]}")
        return done.stdout.decode()


def eventually(what: str, probe: object, patience_s: float = 120) -> None:
    """Wait until a probe returns something true; a failing probe counts as false."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        try:
            if probe():  # type: ignore[operator]
                return
        except (AssertionError, subprocess.TimeoutExpired, requests.RequestException):
            pass
        time.sleep(0.5)
    raise AssertionError(f"not within {patience_s:.0f} s: {what}")


@contextmanager
def load(system: Slice, rate_hz: int, url: str = URL, *, at_least: int = 50) -> Iterator[dict[str, int]]:
    """Ask at a fixed rate from the client meanwhile, and at least so often; the outcomes are there after the block.

    How many requests a block sees depends on how quick the host is, so a test states the least it needs instead of
    comparing what came.
    """
    stop = "/tmp/stop-load"
    system.on("client", f"rm -f {stop}; cat > /tmp/load.py", LOAD)
    command = f"python3 /tmp/load.py {url} {rate_hz} {stop} {at_least}"
    words = ["ssh", "-F", str(system.names.ssh_config), "client", command]
    outcomes: dict[str, int] = {}
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as asking:
        try:
            yield outcomes
        finally:
            system.on("client", f"touch {stop}")
            printed, _ = asking.communicate(timeout=120)
        outcomes.update(json.loads(printed))


@pytest.fixture(scope="session")
def slice_here() -> Iterator[Slice]:
    """Balancer, client and four workers, of which `slice-down` leaves nothing after the last test."""
    reasons = missing()
    if reasons:
        pytest.skip("; ".join(reasons))
    system = Slice(NAME)
    system.make("slice-down")
    try:
        system.make("slice-up")
        yield system
    finally:
        system.make("slice-down")
        assert leftovers(system.names) == []


@pytest.fixture(scope="session")
def deployed(slice_here: Slice) -> Slice:
    """The slice with the whole system on it, and a photograph on its client."""
    slice_here.deploy()
    photograph = data.chelsea()  # type: ignore[no-untyped-call]
    slice_here.on("client", "cat > /tmp/cat.jpg", jpeg(photograph))
    return slice_here
