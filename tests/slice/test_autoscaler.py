"""The pool follows the load under systemd: who is not needed is stopped, and a connection to its socket starts it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from deployed.load import Load
from deployed.slice import URL, Slice
from tests.slice.conftest import PHOTOGRAPH, PLAIN, count, eventually, outcome
from tests.slice.test_system import WORKERS, recap

pytestmark = pytest.mark.slow

WANTED = {"autoscaler": "true", "autoscaler_down_after_s": "2", "worker_idle_exit_s": "5"}
ONE = dict.fromkeys(WORKERS, "standby") | {"worker1": "up"}


@pytest.fixture(scope="module")
def scaled(deployed: Slice) -> Iterator[Slice]:
    """The slice with its autoscaler; afterwards without again."""
    try:
        deployed.deploy("ARGS=" + " ".join(f"-e {name}={value}" for name, value in WANTED.items()))
        yield deployed
    finally:
        # What the rest of site.yml does is the same with an autoscaler and without.
        deployed.play("playbooks/workers.yml", "playbooks/balancers.yml", "playbooks/autoscaler.yml")
        eventually("all workers answer", lambda: sorted(count(deployed, 30)) == WORKERS)


def states(system: Slice) -> dict[str, str]:
    """What each worker is to the balancer; nothing while its agent begins anew."""
    told = json.loads(system.on("client", f"curl -s {URL}/workers"))
    return {worker["name"]: worker["state"] for worker in told.get("workers", [])}


def unit(system: Slice, worker: str) -> str:
    """State and result of a worker's service, and whether its socket listens."""
    show = "systemctl show --value --property=ActiveState,Result imagerec-worker.service"
    return " ".join(system.on(worker, f"{show}; systemctl is-active imagerec-worker.socket").split())


def asleep(system: Slice) -> bool:
    """Whether one serves, and the others have no process."""
    return states(system) == ONE and {unit(system, worker) for worker in WORKERS[1:]} == {"success inactive active"}


def test_who_is_not_needed_is_stopped_and_a_deployment_leaves_it_so(scaled: Slice) -> None:
    eventually("three sleep", lambda: asleep(scaled))
    hosts = recap(scaled.play("playbooks/workers.yml", variables=WANTED | {"thorough": "true"}).stdout)
    assert {name: hosts[name]["changed"] for name in WORKERS} == dict.fromkeys(WORKERS, 0)


def test_more_load_starts_them_and_nothing_is_lost(scaled: Slice) -> None:
    eventually("three sleep", lambda: asleep(scaled))
    asked = Load(scaled, [PHOTOGRAPH], "--target", URL, *PLAIN, "--users", "8", "--requests", "1500").wait()
    assert {outcome(each) for each in asked} == {"200"}
    assert {each.worker for each in asked[:5]} == {"worker1"}
    assert len({each.worker for each in asked}) > 1
    eventually("three sleep again", lambda: asleep(scaled))
    told = json.loads(scaled.on("client", f"curl -sf {URL}/autoscaler"))
    assert max(decision["to"] for decision in told["decisions"]) > 1
    assert told["active"] == 1
