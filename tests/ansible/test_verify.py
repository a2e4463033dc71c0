"""What `make verify` says where something is amiss."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.ansible import scripted
from tests.ansible.plays import briefly
from tests.conftest import local_deployment


def test_without_a_deployment_the_next_step_is_named_once(tmp_path: Path) -> None:
    done = local_deployment(tmp_path).make("verify", check=False, output="brief")
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if "worker" in line]
    assert len(said) == 1
    assert said[0].startswith("worker1, worker2: nothing is deployed, or it is stopped")
    assert "`make up` deploys to this machine" in said[0]


def introduction(letter: str, **more: object) -> bytes:
    """What a worker says of the model that it serves, and more."""
    body = json.dumps({"model": {"name": f"model-{letter}", "version": "1", "digest": letter * 64}} | more)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


def inventory(folder: Path, balancer_port: int, *workers: scripted.Worker) -> None:
    """Write hosts.yml with a balancer at this port and these workers."""
    ports = {f"worker{n}": {"worker_port": each.server_address[1]} for n, each in enumerate(workers, 1)}
    groups = {
        "balancers": {"hosts": {"balancer": {"balancer_port": balancer_port}}},
        "workers": {"hosts": ports},
        "clients": {"hosts": {"client": None}},
    }
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "slice_address": "127.0.0.1"}
    (folder / "hosts.yml").write_text(json.dumps({"all": {"children": groups, "vars": common}}))


def test_a_model_of_three_classes_gives_three_predictions(tmp_path: Path) -> None:
    balancer, worker = scripted.worker(), scripted.worker()
    inventory(tmp_path, balancer.server_address[1], worker)

    def answer(heard: scripted.Heard) -> bytes:
        predictions = [{"label": label, "probability": 0.3} for label in ("apple", "pear", "plum")]
        page = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n<title>"
        if "/predict" in heard.line:
            return introduction("a", worker="worker1", predictions=predictions)
        return introduction("a", policy="random", workers=["worker1"]) if "/status" in heard.line else page

    with scripted.serving(balancer, worker):
        balancer.answer = answer
        worker.answer = lambda _: introduction("a")
        done = briefly("-i", tmp_path / "hosts.yml", "playbooks/verify.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "serves model-a 1; worker1 answered" in done.stdout


@pytest.mark.slow
def test_workers_of_different_models_are_named_and_one_model_is_right_whichever(tmp_path: Path) -> None:
    """It may run in another checkout than the deployment, after a rollback, or after a deployment onto other hosts."""

    one, two = scripted.worker(), scripted.worker()
    inventory(tmp_path, 1, one, two)
    with scripted.serving(one, two):
        one.answer = two.answer = lambda _: introduction("a")
        alike = briefly("-i", tmp_path / "hosts.yml", "playbooks/verify.yml")
        # A check run builds nothing: what was built last may be for other hosts, and there may be nothing.
        checks = ["playbooks/built.yml", "playbooks/verify.yml", "-e", f"dist_dir={tmp_path}"]
        unbuilt = briefly("-i", tmp_path / "hosts.yml", *checks)
        (tmp_path / "releases.json").write_text("{}")
        (tmp_path / "bundle.json").write_text(json.dumps({"name": "model-c", "version": "1", "digest": "c" * 64}))
        checked = briefly("-i", tmp_path / "hosts.yml", *checks)
        two.answer = lambda _: introduction("b")
        different = briefly("-i", tmp_path / "hosts.yml", "playbooks/verify.yml")
    for done in (alike, checked):
        assert "the workers answer and the balancer does not" in done.stdout + done.stderr
    assert "nothing was built here yet; `make up` builds" in unbuilt.stdout + unbuilt.stderr
    said = " ".join((different.stdout + different.stderr).split())
    other = f"worker2 serves model-b 1 ({'b' * 12}), and worker1 serves model-a ({'a' * 12}); "
    assert other + "`make deploy INVENTORY=" in said
    assert "the workers answer" not in said  # it ends with the first refusal, before a choice would be kept
