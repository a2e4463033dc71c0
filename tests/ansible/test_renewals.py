"""Where certbot is asked for a certificate, and which one it goes on renewing: the one that the balancer serves."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest

from tests.ansible.test_addresses import inventory
from tests.ansible.test_unfit_hosts import played, said, script
from tests.ansible.test_wiring import load
from tests.conftest import REPOSITORY

ROLE = REPOSITORY / "roles/balancer"
HOOK = ROLE / "templates/etc/letsencrypt/renewal-hooks/deploy/imagerec-balancer.j2"
# What is deployed now, after certbot had obtained a certificate for images.test, and whether it still renews it.
CASES: dict[str, tuple[dict[str, object], bool]] = {
    "off": ({"balancer_tls": False}, False),
    "self_signed": ({"balancer_tls": "self_signed", "balancer_tls_name": "images.test"}, False),
    "another-name": ({"balancer_tls": "acme", "balancer_tls_name": "other.test"}, False),
    "the-same": ({"balancer_tls": "acme", "balancer_tls_name": "images.test", "live": "/etc/letsencrypt/live"}, True),
    "by-its-path": ({"balancer_tls": "files", "balancer_tls_certificate": "{{ live }}/images.test/chain.pem"}, True),
    "somebody-s": ({"hook": ""}, True),
    "not-obtained": ({}, False),
}


class Host:
    """A folder with certbot, its folder of settings, and what it runs after a renewal."""

    def __init__(self, folder: Path, case: str) -> None:
        self.folder, self.hook = folder, folder / "hook"
        self.settings = folder / "letsencrypt/renewal/images.test.conf"
        self.settings.parent.mkdir(parents=True)
        self.given: dict[str, Any] = {"folder": str(folder), "live": f"{folder}/letsencrypt/live", **CASES[case][0]}
        if case != "not-obtained":
            self.settings.touch()
        script(folder / "certbot", f'echo "$*" >> {folder}/asked; rm "{self.settings.parent}/$4.conf"')
        if "hook" not in self.given:
            language = jinja2.Environment(autoescape=True)
            language.filters["quote"] = shlex.quote
            told = {"__balancer_lineage": f"{self.given['live']}/images.test", "balancer_config_dir": "/etc/x"}
            self.hook.write_text(language.from_string(HOOK.read_text()).render(told))

    def asked(self) -> str:
        log = self.folder / "asked"
        return log.read_text() if log.exists() else ""


FORGET = "delete --non-interactive --cert-name images.test\n"


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Host]:
    """The host of each case after the role's last step."""
    place = tmp_path_factory.mktemp("renewals")
    made = {case: Host(place / case, case) for case in CASES}
    do(made, place, "forget")
    return made


def do(hosts: dict[str, Host], place: Path, tasks: str) -> None:
    """Have each host run a file of the role's tasks."""
    given = {name: host.given for name, host in hosts.items()}
    (place / "hosts.json").write_text(json.dumps({"all": {"hosts": given}}))
    role = {"name": "balancer", "tasks_from": tasks}
    folders = {f"balancer_{name}_dir": f"{{{{ folder }}}}/{name}" for name in ("config", "page", "log", "state")}
    play = {
        "hosts": "all",
        "connection": "local",
        "gather_facts": False,
        "environment": {"PATH": "{{ folder }}:{{ lookup('ansible.builtin.env', 'PATH') }}"},
        "vars": {"ansible_python_interpreter": sys.executable, **folders},
        "tasks": [{"ansible.builtin.include_role": role, "vars": {"__balancer_renewal_hook": "{{ folder }}/hook"}}],
    }
    done = played(place / "hosts.json", play, place)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("case", CASES)
def test_certbot_renews_what_is_served_alone(hosts: dict[str, Host], case: str) -> None:
    """A renewal needs the balancer's proof, so another one fails from day 60 on, twice a day."""
    host, stays = hosts[case], CASES[case][1]
    assert host.settings.exists() == stays
    assert host.hook.exists() == (stays and case != "somebody-s")
    assert host.asked() == ("" if stays or case == "not-obtained" else FORGET)


def test_nothing_is_renewed_after_a_removal(hosts: dict[str, Host], tmp_path: Path) -> None:
    """Whatever is deployed at last; what the balancer did not ask certbot for is somebody else's."""
    rest = {name: hosts[name] for name in ("the-same", "by-its-path", "somebody-s")}
    do(rest, tmp_path, "absent")
    assert not any(host.hook.exists() for host in rest.values())
    assert {name: host.asked() for name, host in rest.items()} == dict.fromkeys(rest, "") | {"by-its-path": FORGET}


def test_a_certificate_is_known_before_it_is_there() -> None:
    """A run that is cut off in between leaves none that nobody forgets."""
    tasks = [task["name"] for task in load(ROLE / "tasks/acme.yml")]
    assert tasks.index("Reload nginx after each renewal") < tasks.index("Obtain the certificate")


def test_a_certificate_is_forgotten_when_nginx_is_told_of_it_no_more() -> None:
    ways = ("ansible.builtin.import_tasks", "ansible.builtin.include_tasks")
    tasks = [task[way] for task in load(ROLE / "tasks/main.yml") for way in ways if way in task]
    assert tasks.index("forget.yml") > tasks.index("configure.yml")


def test_a_certificate_of_an_authority_is_refused_where_nothing_installs_certbot(tmp_path: Path) -> None:
    """As with `make up`: the page was gone by the time that certbot was missed."""
    acme: dict[str, object] = {"balancer_tls": "acme", "balancer_tls_name": "a.test", "balancer_tls_email": "a@a.test"}
    hosts = inventory(tmp_path, balancers={"here": acme, "own": acme | {"balancer_packages": ["nginx"]}})
    role = {"name": "balancer", "tasks_from": "preflight"}
    play = {"hosts": "balancers", "gather_facts": False, "tasks": [{"ansible.builtin.include_role": role}]}
    done = played(hosts, play | {"vars": {"balancer_workers": [{"name": "worker1"}]}}, tmp_path)
    assert re.findall(r"fatal: \[(\w+)\]", done.stdout) == ["here"], done.stdout + done.stderr
    assert "here: balancer_tls is acme and balancer_packages is empty, so nothing installs certbot; take" in said(done)
