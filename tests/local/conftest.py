"""The order of the modules: `--dist loadfile` hands them out one by one, so those that take longest come first."""

from __future__ import annotations

import pytest

# By the playbooks that they run. One that is not named comes after these.
LONGEST = (
    "test_places",
    "test_experiment",
    "test_deployment",
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
    """Begin with the longest modules; the tests of each keep their order."""
    place = {f"local/{name}.py": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get("/".join(item.path.parts[-2:]), len(place)))
