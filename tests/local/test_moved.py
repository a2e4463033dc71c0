"""Workers that are given other ports, which their balancer learns of as each of them moves."""

from __future__ import annotations

import threading

import pytest
import requests
import yaml
from skimage import data

from tests.conftest import Deployment, free_ports
from tests.local.test_deployment import jpeg, pool_of, predict, until


def listening(system: Deployment) -> set[str]:
    """The workers that answer at the ports that the inventory gives them."""
    hosts = yaml.safe_load(system.inventory.read_text())["all"]["children"]["workers"]["hosts"]
    answers = [requests.get(f"http://127.0.0.1:{host['worker_port']}/healthz", timeout=60) for host in hosts.values()]
    return {answer.headers["X-Worker"] for answer in answers if answer.status_code == 200}


@pytest.mark.slow
def test_workers_move_one_after_the_other_and_nothing_is_lost(deployment: Deployment) -> None:
    cat = jpeg(data.chelsea())
    everybody = dict.fromkeys(deployment.workers, "up")
    until(lambda: pool_of(deployment) == everybody)
    before = deployment.inventory.read_text()
    hosts = yaml.safe_load(before)
    workers = hosts["all"]["children"]["workers"]["hosts"]
    for host, port in zip(workers.values(), free_ports(len(workers)), strict=True):
        host["worker_port"] = port
    over = threading.Event()
    statuses: list[int] = []

    def ask() -> None:
        while not over.is_set():
            statuses.append(predict(deployment, cat).status_code)

    users = [threading.Thread(target=ask) for _ in range(3)]
    for user in users:
        user.start()
    try:
        for inventory in (yaml.safe_dump(hosts), before):
            deployment.inventory.write_text(inventory)
            deployment.make("up", "ARGS=-e workers_serial=1")
            assert listening(deployment) == set(deployment.workers)
            until(lambda: pool_of(deployment) == everybody)
    finally:
        over.set()
        for user in users:
            user.join()
        deployment.inventory.write_text(before)
    assert set(statuses) == {200}
