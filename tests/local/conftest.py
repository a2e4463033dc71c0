"""The order of the modules: those that take longest come first."""

from __future__ import annotations

import pytest

from tests.conftest import longest_first

# By the playbooks that they run. One that is not named comes after these.
LONGEST = (
    "test_places",
    "test_experiment",
    "test_deployment",
    "test_moved",
    "test_ipv6",
    "test_killed",
    "test_fallback",
    "test_autoscaler",
    "test_monitoring",
    "test_unchanged",
    "test_transactions",
    "test_bench",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    longest_first(items, "local", LONGEST)
