"""A slice of six machines on this host, made once for the whole tier, by the commands that people use."""

from __future__ import annotations

import collections
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import requests
from PIL import Image
from skimage import data

from deployed.checkout import CommandError
from deployed.load import Load
from deployed.slice import URL, Slice
from loadtest.generate.images import jpeg
from loadtest.generate.samples import Sample
from rspec.local_slice import preflight
from rspec.local_slice.host import succeeds
from tests.slice.leftovers import leftovers

NAME = "test"
PHOTOGRAPH = "/tmp/cat.jpg"  # on the client
PLAIN = ("--path", "/predict?top=1", "--new-connections")


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


def eventually(what: str, probe: object, patience_s: float = 120) -> None:
    """Wait until a probe returns something true; a failing probe counts as false."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        try:
            if probe():  # type: ignore[operator]
                return
        except (CommandError, AssertionError, subprocess.TimeoutExpired, requests.RequestException):
            pass
        time.sleep(0.5)
    raise AssertionError(f"not within {patience_s:.0f} s: {what}")


@contextmanager
def load(system: Slice, rate_hz: int, url: str = URL, *, at_least: int = 50) -> Iterator[dict[str, int]]:
    """Ask at a fixed rate from the client meanwhile, and at least so often; the outcomes are there after the block.

    How many requests a block sees depends on how quick the host is, so a test states the least it needs instead of
    comparing what came. An outcome is a status, or the reason why there was none. Whoever signed the certificate.
    """
    rate = ("--phase", "600", str(rate_hz), "--constant", "--at-least", str(at_least), "--insecure")
    outcomes: dict[str, int] = collections.Counter()
    asking = Load(system, [PHOTOGRAPH], "--target", url, *PLAIN, *rate)
    try:
        yield outcomes
    finally:
        outcomes.update(collections.Counter(outcome(each) for each in asking.stop()))


def outcome(sample: Sample) -> str:
    """What became of a request: its status, why there was none, or that a good answer holds nothing."""
    if sample.status == 200 and not sample.answer:
        return "200 without predictions"
    return str(sample.status or sample.error)


def count(system: Slice, number: int) -> dict[str, int]:
    """How many of so many answers each worker gave, asked one after another from the client through the balancer."""
    samples = Load(system, [PHOTOGRAPH], "--target", URL, *PLAIN, "--users", "1", "--requests", str(number)).wait()
    assert {outcome(each) for each in samples} == {"200"}
    return dict(collections.Counter(each.worker or "" for each in samples))


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
    slice_here.on("client", f"cat > {PHOTOGRAPH}", jpeg(Image.fromarray(photograph)))
    return slice_here
