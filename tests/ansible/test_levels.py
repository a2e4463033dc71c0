"""What a level of an experiment makes of the hosts, and what its run says of them, evaluated without a host."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ansible.evaluation import evaluated, load, tasks_named
from tests.conftest import REPOSITORY

LEVEL: dict[str, Any] = {"id": "one", "pool_size": None, "policy": None, "cpu_share": None, "slow_worker": 1}
LEVEL |= {"model": None, "batch": None, "batch_window_ms": None, "workers_awake": None}
WORKERS = ["w1", "w2", "w3"]
DEFAULTS = load("roles/balancer/defaults/main.yml")
LIMITS = ("balancer_max_conns", "balancer_address_rate_hz", "balancer_address_connections")


def task(file: str, name: str) -> dict[str, Any]:
    """A task or a play of an experiment."""
    (found,) = tasks_named(f"playbooks/experiment{file}.yml", name)
    return found


def set_up(file: str, name: str, wanted: str, given: dict[str, Any], own: dict[str, Any] | None = None) -> Any:
    """What a variable of a task is, on a host with these variables of its own."""
    known = {"project_dir": str(REPOSITORY), "hostvars": {"host": own or {}}, "groups": {"workers": WORKERS}}
    known |= {"level": LEVEL} | task(file, name)["vars"] | given
    return evaluated(known[wanted], known)


def balancer(wanted: str, level: dict[str, Any], own: dict[str, Any] | None = None) -> Any:
    return set_up("/deploy", "Set the balancer", wanted, {"level": LEVEL | level}, own)


@pytest.mark.parametrize("name", LIMITS)
def test_a_level_has_no_limits_but_those_that_the_inventory_or_it_names(name: str) -> None:
    assert int(balancer(name, {})) == 0
    assert int(balancer(name, {"limited": True})) == DEFAULTS[name] > 0
    assert int(balancer(name, {}, {name: 7})) == 7
    # What a pool that follows its load refuses is measured too.
    awake = int(balancer(name, {"workers_awake": "auto"}))
    assert awake == (DEFAULTS[name] if name == "balancer_max_conns" else 0)


@pytest.mark.parametrize(("name", "usual"), [("policy", "random"), ("pool_size", 0)])
def test_a_level_has_the_policy_and_the_pool_that_it_names_else_the_inventory_s(name: str, usual: object) -> None:
    own = {f"balancer_{name}": "own"}
    assert balancer(f"balancer_{name}", {}) == usual
    assert balancer(f"balancer_{name}", {}, own) == "own"
    assert balancer(f"balancer_{name}", {name: "named"}, own) == "named"


@pytest.mark.parametrize(
    ("as_wanted", "pool_size", "own", "expected"),
    [
        ("all", None, {}, (3, 3)),
        ("all", 2, {}, (2, 2)),
        ("all", None, {"balancer_pool_size": "2"}, (2, 2)),
        ("least", None, {}, (1, 1)),
        ("least", None, {"autoscaler_minimum": 2}, (2, 2)),
        ("least", 1, {"autoscaler_minimum": 2}, (1, 1)),
        ("auto", None, {}, None),
        ("auto", 2, {}, (1, 2)),
        ("auto", 2, {"autoscaler_maximum": 1}, (1, 1)),
        ("auto", 2, {"autoscaler_maximum": 3}, (1, 2)),
    ],
)
def test_an_autoscaler_is_held_at_what_a_level_names(
    as_wanted: str, pool_size: int | None, own: dict[str, Any], expected: tuple[int, int] | None
) -> None:
    given: dict[str, Any] = {"as_wanted": as_wanted, "level": LEVEL | {"pool_size": pool_size}, **own}
    given |= {"balancer_workers": [{"name": name} for name in WORKERS]}
    name = "Tell the autoscaler how many workers it may keep awake"
    held = set_up("/awake", name, "autoscaler_hold", given)
    assert ((held["minimum"], held["maximum"]) if held else None) == expected


@pytest.mark.parametrize(
    ("share", "slower", "expected"),
    [(0, 1, (4, "")), (0.5, 1, (0.5, "50%")), (0.5, 2, (0.25, "25%")), (0, 2, (2, "200%"))],
)
def test_a_worker_s_unit_has_its_share_of_the_processor_or_all_of_it(
    share: float, slower: float, expected: tuple[float, str]
) -> None:
    known: dict[str, Any] = {"share": share, "slower": slower, "ansible_facts": {"processor_vcpus": 4}}
    cores = task("/share_of_unit", "Work out the unit's share")["ansible.builtin.set_fact"]["cpu_cores"]
    known["cpu_cores"] = float(evaluated(cores, known))
    words = evaluated(task("/share_of_unit", "Change the unit's share")["ansible.builtin.command"]["argv"], known)
    (quota,) = [word.partition("=")[2] for word in words if word.startswith("CPUQuota=")]
    assert (known["cpu_cores"], quota) == expected


@pytest.mark.parametrize(("pool_size", "slower"), [(None, [1, 1, 3]), (2, [1, 3, 1])])
def test_the_last_worker_of_the_level_s_pool_is_the_slow_one(pool_size: int | None, slower: list[int]) -> None:
    level = LEVEL | {"slow_worker": 3, "pool_size": pool_size}
    given = [{"level": level, "inventory_hostname": host} for host in WORKERS]
    assert [set_up("/deploy", "Set the workers' CPU shares", "slower", each) for each in given] == slower


SERVE = "Let the workers serve it, and take so many photographs at once"


@pytest.mark.parametrize(("model", "served"), [("m", f"lite-{'d' * 16}"), (None, "old-0")], ids=["named", "as it was"])
def test_a_worker_s_processes_are_made_from_the_code_and_the_model_that_they_run(
    model: str | None, served: str
) -> None:
    given = {"level_bundles": {"m": {"name": "lite", "digest": "d" * 64}}, "model_before": "old-0"}
    given |= {"worker_release": {"stdout": "/a/code"}, "level": LEVEL | {"model": model}}
    assert set_up("/deploy", SERVE, "worker_restart_on", given) == ["code", served]


NEEDS = {
    "both": {"pool_size": 2},
    "three": {"pool_size": 3},
    "model": {"model": "m"},
    "other": {"model": "n"},
    "share": {"cpu_share": 0.5},
    "slow": {"slow_worker": 2},
    "awake": {"workers_awake": "all"},
}


@pytest.mark.parametrize(
    ("given", "impossible"),
    [
        ({}, {"other", "three"}),
        ({"service_provider": "supervisor"}, {"other", "three", "share", "slow"}),
        ({"autoscaler_wanted": False}, {"other", "three", "awake"}),
    ],
    ids=["of two workers", "on one machine", "without an autoscaler"],
)
def test_levels_that_need_what_the_hosts_have_not_are_sorted_out(given: dict[str, Any], impossible: set[str]) -> None:
    sort = task("/refuse", "Sort out the levels")
    known = {"wanted_levels": [LEVEL | {"id": name} | needs for name, needs in NEEDS.items()]} | sort["vars"]
    known |= {"level_bundles": {"m": {}}, "autoscaler_wanted": True, "groups": {"workers": ["w1", "w2"]}} | given
    had, not_had = (
        evaluated(sort["ansible.builtin.set_fact"][f"{each}_levels"], known) for each in ("experiment", "impossible")
    )
    assert set(not_had) == impossible
    assert {each["id"] for each in had} == NEEDS.keys() - impossible


def test_what_an_experiment_brought_goes_and_what_was_there_stays() -> None:
    remove = task("/model_restore", "Remove the bundles that only the experiment needed")
    known = {
        "level_bundles": {name: {"name": name, "digest": name * 40} for name in ("aa", "bb", "cc")},
        "bundles_before": {"files": [{"path": f"/m/bb-{'b' * 16}"}]},
        "model_before": f"cc-{'c' * 16}",
    }
    assert evaluated(remove["loop"], known | remove["vars"]) == [f"aa-{'a' * 16}"]
