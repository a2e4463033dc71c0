"""What hypothesis draws in this tier, and what its processes have to look through for garbage.

What is drawn is the same in every run, at whatever speed, so that a run fails by no chance.
"""

import gc
from collections.abc import Generator

import hypothesis
import pytest

hypothesis.settings.register_profile(
    "unit", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("unit")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while modules are loaded, and never again through them: a trial does so before it begins."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
