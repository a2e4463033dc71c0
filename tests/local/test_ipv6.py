"""`make up` where every address is an IPv6 one: one line of the inventory says so."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from PIL import Image
from skimage import data

from tests.conftest import Deployment, local_deployment
from tests.local.test_deployment import recap
from tests.local.test_experiment import experiment, samples
from tests.local.test_killed import kill_a_removal

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    prepared = local_deployment(tmp_path_factory.mktemp("ipv6"), address="::1")
    try:
        prepared.make("up", "ARGS=-e worker_processes=1")
        yield prepared
    finally:
        if (prepared.folder / ".run").exists():  # the last test has removed it
            prepared.make("down")


def test_the_page_and_the_workers_answer(system: Deployment) -> None:
    assert "<title>" in requests.get(system.url, timeout=60).text
    image = io.BytesIO()
    Image.fromarray(data.chelsea()).save(image, "JPEG")
    answer = requests.post(f"{system.url}/submit", files={"image": image.getvalue()}, timeout=20).json()
    assert answer["worker"] in system.workers
    assert len(answer["predictions"]) == 5
    for url in system.workers.values():
        assert requests.get(f"{url}/readyz", timeout=60).status_code == 200


def test_nothing_listens_on_ipv4(system: Deployment) -> None:
    for url in (system.url, *system.workers.values()):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))


def test_verify_and_a_second_run_find_all_as_it_should_be(system: Deployment) -> None:
    assert f"{system.url} serves" in " ".join(system.make("verify").stdout.split())
    again = system.make("up", "ARGS=-e worker_processes=1").stdout
    assert {counts["changed"] for counts in recap(again).values()} == {0}


def test_a_port_that_is_taken_is_refused_by_its_address(tmp_path: Path) -> None:
    other = local_deployment(tmp_path, address="::1")
    with socket.create_server(("::1", int(other.url.rpartition(":")[2])), family=socket.AF_INET6):
        refused = other.make("up", check=False)
    assert refused.returncode != 0
    assert f"balancer cannot listen on {other.url.removeprefix('http://')}" in " ".join(refused.stdout.split())


def test_an_experiment_measures(system: Deployment, tmp_path: Path) -> None:
    done = experiment(system, tmp_path, "[2]", "-e worker_processes=1")
    assert "failed=0" in done
    assert samples(tmp_path)


def test_a_removal_that_is_killed_is_finished_by_the_next_run(system: Deployment) -> None:
    """The last one, since nothing is left: a deployment for this alone would take two minutes."""
    kill_a_removal(system, "Remove the agent's folders")
