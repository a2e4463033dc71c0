"""What hypothesis draws in this tier, what its processes have to look through for garbage, and where they keep memory.

What is drawn is the same in every run, at whatever speed, so that a run fails by no chance.
"""

import ctypes
import gc
import os
from collections.abc import Generator

import hypothesis
import pytest

hypothesis.settings.register_profile(
    "unit", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unit")

# A worker's process has one heap, as `wsgi` says, and so have those of the tests.
_M_ARENA_MAX = -8
ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
# Those of pytest-xdist have threads, and so heaps, before they come here: only a variable is early enough.
_VARIABLE = "MALLOC_ARENA_MAX"
os.environ.pop(_VARIABLE, None)  # the servers that tests start have to see to it by themselves


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Give the processes that begin now one heap."""
    os.environ[_VARIABLE] = "1"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while modules are loaded, and never again through them: a trial does so before it begins."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
