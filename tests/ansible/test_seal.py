"""The seal of a host: intact only where everything still is as a deployment left it and the service answers."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import ansible.module_utils
import pytest
import yaml

from tests.conftest import REPOSITORY

MODULE = REPOSITORY / "roles/service/library/service_seal.py"
ansible.module_utils.__path__.append(str(MODULE.parents[1] / "module_utils"))
spec = importlib.util.spec_from_file_location("service_seal", MODULE)
assert spec is not None
assert spec.loader is not None
service_seal = importlib.util.module_from_spec(spec)
spec.loader.exec_module(service_seal)


class Ready(BaseHTTPRequestHandler):
    """Answers with the status that its server has."""

    def do_GET(self) -> None:
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Ready) as serving:
        serving.status = 200  # type: ignore[attr-defined]
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


@pytest.fixture
def host(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nginx.conf").write_text("listen 1;")
    (tmp_path / "release").mkdir()
    (tmp_path / "current").symlink_to("release")
    (tmp_path / "release/model.tflite").write_bytes(bytes(1000))
    (tmp_path / "release/bundle.json").write_text("{}")
    (tmp_path / "release/venv/lib").mkdir(parents=True)
    (tmp_path / "release/venv/lib/module.py").write_text("ANSWER = 42\n")
    (tmp_path / "elsewhere.pem").write_text("certificate 1")
    (tmp_path / "certificate.pem").symlink_to("elsewhere.pem")
    return tmp_path


@pytest.fixture
def seal(host: Path, server: HTTPServer) -> dict[str, Any]:
    """A seal of the host as it is, written where the host's other files are."""
    names = ("etc", "etc/nginx.conf", "current", "current/*", "release/**", "certificate.pem", "not-there")
    content = {
        "name": "odd",
        "inputs": "digest",
        "overlook": " down",
        "ready_url": f"http://127.0.0.1:{server.server_address[1]}/readyz",
        "ready_socket": "",
        "supervisor": {},
        "units": [],
        "at_s": time.time(),
        "covers": service_seal.states([str(host / name) for name in names]),
    }
    (host / "seal").write_text(json.dumps(content))
    return content


def test_what_is_as_it_was_left_is_intact(host: Path, seal: dict[str, Any]) -> None:
    del seal
    (host / "release/venv/lib/module.cpython-311.pyc").write_text("written by Python when it likes")
    said = service_seal.read(host / "seal")
    assert said == {"changed": False, "intact": True, "inputs": "digest", "why": ""}


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        pytest.param(lambda host: (host / "etc/nginx.conf").unlink(), "nginx.conf", id="file-removed"),
        pytest.param(lambda host: (host / "etc/nginx.conf").write_text("listen 2;"), "nginx.conf", id="file-edited"),
        pytest.param(lambda host: (host / "etc/nginx.conf").chmod(0o600), "nginx.conf", id="file-closed"),
        pytest.param(lambda host: (host / "etc").chmod(0o700), "etc", id="folder-closed"),
        pytest.param(lambda host: (host / "not-there").touch(), "not-there", id="file-added"),
        pytest.param(
            lambda host: (host / "elsewhere.pem").write_text("certificate 2"), "certificate.pem", id="behind-a-link"
        ),
        pytest.param(lambda host: os.truncate(host / "release/model.tflite", 500), "model.tflite", id="cut-short"),
        pytest.param(
            lambda host: os.truncate(host / "release/venv/lib/module.py", 5), "release/**", id="module-cut-short"
        ),
        pytest.param(lambda host: (host / "release/model.tflite").unlink(), "model.tflite", id="model-removed"),
        pytest.param(
            lambda host: ((host / "current").unlink(), (host / "current").symlink_to("other")),
            "current",
            id="link-moved",
        ),
    ],
)
def test_what_was_changed_by_hand_is_seen(
    host: Path, seal: dict[str, Any], harm: Callable[[Path], object], why: str
) -> None:
    del seal
    harm(host)
    said = service_seal.read(host / "seal")
    assert not said["intact"]
    assert f"{why} is not as it was left" in said["why"]


def test_what_another_program_marks_is_overlooked(host: Path, seal: dict[str, Any]) -> None:
    del seal
    (host / "etc/nginx.conf").write_text("listen 1 down;")
    assert service_seal.read(host / "seal")["intact"]


def test_a_service_that_is_not_ready_is_seen(host: Path, server: HTTPServer, seal: dict[str, Any]) -> None:
    server.status = 503  # type: ignore[attr-defined]
    assert service_seal.read(host / "seal")["why"] == f"{seal['ready_url']} does not answer 200"


def test_a_service_whose_supervisord_is_gone_is_seen(host: Path, seal: dict[str, Any]) -> None:
    seal["supervisor"] = {"socket": str(host / "supervisor.sock"), "programs": ["worker1"]}
    (host / "seal").write_text(json.dumps(seal))
    assert service_seal.read(host / "seal")["why"] == "supervisor does not run worker1"


@pytest.fixture
def systemctl(host: Path, seal: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Says why a seal of two units does not count, where systemd says this of them and of the service's process."""

    def says(*states: str, pid: int = 0) -> str:
        (host / "bin").mkdir()
        program = host / "bin/systemctl"
        program.write_text(f"#!/bin/sh\n[ $1 = show ] && exec echo {pid}\nprintf '%s\\n' {' '.join(states)}\nexit 3\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
        (host / "seal").write_text(json.dumps(seal | {"units": ["odd.service", "odd.socket"]}))
        return str(service_seal.read(host / "seal")["why"])

    return says


@pytest.mark.parametrize(
    ("states", "why"),
    [
        (("active", "active"), ""),
        (("active", "failed"), "odd.socket is not active"),
        (("inactive", "active"), "odd.service is not active"),
        (("activating", "inactive"), "odd.service is not active"),
    ],
)
def test_each_unit_has_to_be_active(systemctl: Callable[..., str], states: tuple[str, ...], why: str) -> None:
    assert systemctl(*states) == why


def test_a_systemd_that_does_not_answer_leaves_no_seal(systemctl: Callable[..., str]) -> None:
    assert systemctl() != ""


def test_a_process_of_before_an_update_is_seen(systemctl: Callable[..., str]) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:  # what is deleted below /tmp is no package's
        program = Path(folder, "sleeps")
        shutil.copy(shutil.which("sleep") or "", program)
        with subprocess.Popen([program, "60"]) as process:
            program.unlink()
            try:
                assert (
                    systemctl("active", "active", pid=process.pid)
                    == f"the process runs {program} as it was before an update"
                )
            finally:
                process.kill()


@pytest.mark.parametrize("age_s", [-60, 86401], ids=["of-the-future", "of-yesterday"])
def test_a_seal_counts_for_a_day(host: Path, seal: dict[str, Any], age_s: int) -> None:
    (host / "seal").write_text(json.dumps({**seal, "at_s": time.time() - age_s}))
    assert not service_seal.read(host / "seal")["intact"]


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}"], ids=["none", "empty", "cut-off", "list", "half"])
def test_a_damaged_seal_is_none(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "seal").write_text(content)
    assert not service_seal.read(tmp_path / "seal")["intact"]


PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.debug: {{msg: "{{{{ lookup('inputs', '{role}') }}}}"}}
"""


def inputs(folder: Path, role: Path, *hosts: dict[str, Any], plugins: Path = REPOSITORY / "playbooks") -> list[str]:
    """The digest of the role's inputs on hosts with these variables; one run asks all of them."""
    named = {f"host{number}": own for number, own in enumerate(hosts)}
    (folder / "hosts.yml").write_text(json.dumps({"all": {"hosts": named}}))
    (folder / "play.yml").write_text(PLAYBOOK.format(role=role))
    done = subprocess.run(
        ["ansible-playbook", "-i", str(folder / "hosts.yml"), str(folder / "play.yml")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"ANSIBLE_LOOKUP_PLUGINS": str(plugins / "lookup_plugins")},
    )
    told = dict(re.findall(r"^ok: \[(\w+)\] => *\n *msg: (\w+)$", done.stdout, re.MULTILINE))
    return [told[name] for name in named]


def test_the_digest_of_the_inputs_follows_files_and_named_variables_alone(tmp_path: Path) -> None:
    role = tmp_path / "small"
    (role / "tasks").mkdir(parents=True)
    main = role / "tasks/main.yml"
    main.write_text("- ansible.builtin.debug: {msg: '{{ small_port }}'}\n")
    usual = {"small_port": 1, "other": 1}
    first, same, another, of_1, of_2 = inputs(
        tmp_path,
        role,
        usual,
        usual | {"other": 2},
        usual | {"small_port": 2},
        usual | {"small_port": "{{ other }}"},
        # A variable that another one is made of counts as well.
        {"small_port": "{{ other }}", "other": 2},
    )
    assert len(first) == 64
    assert same == first
    assert another != first
    assert of_1 != of_2
    os.utime(main, (1, 1))
    assert inputs(tmp_path, role, usual) == [first]
    main.write_text("- ansible.builtin.debug: {msg: 'port {{ small_port }}'}\n")
    assert inputs(tmp_path, role, usual) != [first]


def test_the_digest_of_the_inputs_follows_the_filters(tmp_path: Path) -> None:
    role = tmp_path / "small"
    (role / "tasks").mkdir(parents=True)
    for kind in ("lookup_plugins", "filter_plugins"):
        shutil.copytree(REPOSITORY / "playbooks" / kind, tmp_path / kind)
    first = inputs(tmp_path, role, {}, plugins=tmp_path)
    assert first == inputs(tmp_path, role, {})
    with (tmp_path / "filter_plugins/addresses.py").open("a") as filters:
        filters.write("# another\n")
    assert inputs(tmp_path, role, {}, plugins=tmp_path) != first


def roles_of(tasks: list[dict[str, Any]], folder: Path) -> set[str]:
    """The roles that tasks import, in their own file or in those that they include."""
    found = set()
    for task in tasks:
        for kind in ("import_role", "include_role"):
            if role := task.get(f"ansible.builtin.{kind}"):
                found.add(role["name"])
        if file := task.get("ansible.builtin.include_tasks"):
            found |= roles_of(yaml.safe_load((folder / file).read_text()), (folder / file).parent)
    return found


@pytest.mark.parametrize("playbook", ["workers", "balancers", "autoscaler"])
def test_a_host_is_passed_by_only_where_all_of_its_roles_were_asked(playbook: str) -> None:
    plays = yaml.safe_load((REPOSITORY / f"playbooks/{playbook}.yml").read_text())
    asked: set[str] = set()
    used: set[str] = set()
    for play in plays:
        tasks = [task for part in ("pre_tasks", "tasks", "post_tasks") for task in play.get(part) or []]
        for task in tasks:
            asked |= set(task.get("vars", {}).get("unchanged_roles", []))
        if any(task.get("when") == "host_unchanged" for task in tasks):
            used |= {role if isinstance(role, str) else role["role"] for role in play.get("roles") or []}
            used |= roles_of(tasks, REPOSITORY / "playbooks")
    assert used == asked
