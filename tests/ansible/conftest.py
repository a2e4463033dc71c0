"""The order of the modules: those that take longest come first."""

from __future__ import annotations

import pytest

from tests.conftest import longest_first

# By the tasks that they run. One that is not named comes after these.
LONGEST = (
    "test_in_front",
    "test_awake",
    "test_supervised",
    "test_releases",
    "test_balancer",
    "test_hops",
    "test_rendering",
    "test_virtual_address",
    "test_ipv6",
    "test_autoscaler",
    "test_monitoring",
    "test_own_units",
    "test_pool",
    "test_logs",
    "test_choices",
    "test_unknown_names",
    "test_build_apps",
    "test_unfit_hosts",
    "test_lock",
    "test_drain",
    "test_make",
    "test_seal",
    "test_addresses",
    "test_playbooks",
    "test_build_examples",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    longest_first(items, "ansible", LONGEST)
