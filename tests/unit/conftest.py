"""What hypothesis draws in this tier, what its processes have to look through for garbage, and where they keep memory.

What is drawn is the same in every run, at whatever speed, so that a run fails by no chance.
"""

import gc
import os
from collections.abc import Generator

import hypothesis
import pytest

hypothesis.settings.register_profile(
    "unit", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unit")

# A worker's process has one thread, and so one heap. Processes of pytest-xdist begin after this and have more.
# glibc reserves 64 MB of addresses for each heap, and a limit of addresses does not see what is taken of them.
os.environ["MALLOC_ARENA_MAX"] = "1"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while modules are loaded, and never again through them: a trial does so before it begins."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
