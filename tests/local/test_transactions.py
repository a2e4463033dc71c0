"""What a deployment that failed or was killed leaves: the service as it was, and all that the next run needs."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from deployed.checkout import run
from tests.conftest import REPOSITORY, SHARED, Deployment, free_ports

pytestmark = pytest.mark.slow


def words(text: str) -> str:
    """Undo Ansible's folding of long lines."""
    return " ".join(text.split())


def built() -> dict[str, Any]:
    """The bundle that was built last."""
    found: dict[str, Any] = json.loads((REPOSITORY / "dist/bundle.json").read_text())
    return found


def another(folder: Path, version: str) -> dict[str, Any]:
    """Copy the bundle that was built last, as another version, to a folder that is not there yet."""
    shutil.copytree(built()["path"], folder)
    manifest = folder / "bundle.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": version}))
    digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
    return built() | {"path": str(folder), "digest": digest, "version": version}


@pytest.fixture(scope="module")
def newer(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A copy of the deployed bundle, of another version."""
    del deployment  # has built it
    return another(tmp_path_factory.mktemp("bundles") / "newer", "2.0")


def served(system: Deployment) -> set[str]:
    """The digests of the models that the workers serve."""
    return {requests.get(f"{url}/version", timeout=60).json()["model"]["digest"] for url in system.workers.values()}


def record(system: Deployment, worker: str) -> dict[str, Any]:
    """What is written down on a host."""
    found: dict[str, Any] = json.loads((system.folder / f".run/{worker}/etc/deployment.json").read_text())
    return found


def deploys(bundle: dict[str, Any]) -> tuple[str, str]:
    """Arguments by which the workers' playbook deploys a bundle."""
    return "-e", json.dumps({"built_bundle": bundle})


class Stranger(BaseHTTPRequestHandler):
    """Another program, which answers everything with 200."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def stranger(port: int) -> Iterator[None]:
    """Let another program have a port."""
    with ThreadingHTTPServer(("127.0.0.1", port), Stranger) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield
        finally:
            server.shutdown()


def test_a_reload_that_has_no_effect_is_a_failure_and_is_tried_again(deployment: Deployment) -> None:
    """The new port is taken: nginx accepts the configuration, takes the signal, and goes on with the old one."""
    before = requests.get(f"{deployment.url}/status", timeout=60).json()
    (port,) = free_ports(1)
    change = ("-e", f"balancer_port={port}")
    with stranger(port):
        failed = deployment.play("balancers", *change, "-e", "service_ready_timeout_s=4", check=False)
        assert failed.returncode != 0
        said = words(failed.stdout)
        assert f"did not answer 200 at http://127.0.0.1:{port}/status with its new configuration" in said
        assert f"bind() to 127.0.0.1:{port} failed (98: Address already in use)" in said
        assert requests.get(f"{deployment.url}/status", timeout=60).json() == before
    try:
        deployment.play("balancers", *change)
        after = requests.get(f"http://127.0.0.1:{port}/status", timeout=60).json()
        assert after["configuration"] != before["configuration"]
    finally:
        deployment.play("balancers")
    assert requests.get(f"{deployment.url}/status", timeout=60).json() == before


def test_a_host_that_fails_while_it_is_staged_stops_the_deployment_of_all(
    deployment: Deployment, newer: dict[str, Any]
) -> None:
    old = built()["digest"]
    release = f"{newer['name']}-{newer['digest'][:16]}"
    obstacle = deployment.folder / ".run/worker2/models" / release
    obstacle.write_text("a file where a folder must be")
    before = record(deployment, "worker2")
    failed = deployment.play("workers", *deploys(newer), check=False)
    assert failed.returncode != 0
    assert served(deployment) == {old}
    assert record(deployment, "worker2") == before
    assert record(deployment, "worker1")["runs"] == before["runs"]
    obstacle.unlink()
    try:
        deployment.play("workers", *deploys(newer))
        assert served(deployment) == {newer["digest"]}
        for worker in deployment.workers:
            found = record(deployment, worker)
            assert found["runs"]["model"] == release
            assert [names["model"] for names in found["good"]] == [release, before["runs"]["model"]]
            assert found["staged"] == {}
        # What was good before has outlived the failure.
        deployment.play("rollback")
        assert served(deployment) == {old}
    finally:
        deployment.play("workers")
    assert served(deployment) == {old}
    assert Path(deployment.folder / ".run/worker1/models" / release).exists()


def test_a_deployment_keeps_to_what_it_has_built(deployment: Deployment, newer: dict[str, Any], tmp_path: Path) -> None:
    """Another one, onto other hosts, builds another model before this one has sent its own."""
    shutil.copytree(
        REPOSITORY / "dist", tmp_path / "dist", ignore=shutil.ignore_patterns(".building*", "*.partial", ".pip-*")
    )
    listing = {"content": json.dumps(newer), "dest": str(tmp_path / "dist/bundle.json"), "mode": "0644"}
    other = {"hosts": "localhost", "connection": "local", "tasks": [{"ansible.builtin.copy": listing}]}
    (tmp_path / "other.yml").write_text(json.dumps([other]))
    mirror = SHARED / "models"
    given = {"dist_dir": str(tmp_path / "dist"), "model": deployment.model}
    given |= {"model_mirror": str(mirror)} if mirror.exists() else {}
    plays = ("playbooks/build.yml", str(tmp_path / "other.yml"), "playbooks/workers.yml", "playbooks/verify.yml")
    run("ansible-playbook", "-i", deployment.inventory, *plays, "-e", json.dumps(given))
    assert json.loads((tmp_path / "dist/bundle.json").read_text()) == newer
    assert served(deployment) == {built()["digest"]}
