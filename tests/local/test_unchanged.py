"""A run that finds a host as it was left passes it by; one that does not, for whatever reason, mends it."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from tests.conftest import Deployment
from tests.local.test_deployment import recap, supervisorctl

pytestmark = pytest.mark.slow

CONFIGURE = {"balancer": "Write the whole nginx.conf", "worker1": "Write gunicorn's configuration"}


def changed(output: str) -> dict[str, int]:
    """The hosts that a run changed, with the number of tasks that did."""
    return {host: counts["changed"] for host, counts in recap(output).items() if counts["changed"]}


def remove_the_configuration(system: Deployment) -> None:
    (system.folder / ".run/balancer/etc/nginx.conf").unlink()


def stop_the_balancer(system: Deployment) -> None:
    supervisorctl(system, "stop", "balancer")


@pytest.fixture(scope="module")
def deployed(deployment: Deployment) -> Deployment:
    """The deployment as `make up` leaves it, which has sealed all of its hosts; each test leaves it so again."""
    deployment.make("up")
    return deployment


def test_an_unchanged_run_passes_by_and_a_thorough_one_looks_again_and_changes_nothing(deployed: Deployment) -> None:
    quick = deployed.make("up").stdout
    assert {"balancer", "worker1", "worker2"} <= set(recap(quick))
    assert changed(quick) == {}
    for task in CONFIGURE.values():
        assert task not in quick
    thorough = deployed.make("up", "ARGS=-e thorough=true").stdout
    assert changed(thorough) == {}
    for task in CONFIGURE.values():
        assert task in thorough


def test_what_was_broken_by_hand_is_mended_where_it_was(deployed: Deployment) -> None:
    configuration = deployed.folder / ".run/balancer/etc/nginx.conf"
    before = configuration.read_text()
    for harm in (remove_the_configuration, stop_the_balancer):
        harm(deployed)
        mended = deployed.make("up").stdout
        assert set(changed(mended)) == {"balancer"}, harm
        assert configuration.read_text() == before
        assert requests.get(f"{deployed.url}/", timeout=60).status_code == 200
    link = Path(deployed.folder / ".run/worker2/models/current")
    before = link.readlink()
    link.unlink()
    link.symlink_to("nothing")
    # The balancer that was mended before is passed by.
    assert set(changed(deployed.make("up").stdout)) == {"worker2"}
    assert link.readlink() == before


def test_a_setting_of_the_balancer_leaves_the_workers_alone_and_reaches_it(deployed: Deployment) -> None:
    output = deployed.make("up", "ARGS=-e balancer_max_conns=8").stdout
    members = (deployed.folder / ".run/balancer/state-pool/servers.conf").read_text()
    deployed.make("up")
    assert set(changed(output)) == {"balancer"}
    assert CONFIGURE["worker1"] not in output
    assert "max_conns=8" in members
