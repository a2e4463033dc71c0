"""What the role service makes of a definition, and when it replaces processes, evaluated without a host."""

from __future__ import annotations

import configparser
from typing import Any

import pytest

from tests.ansible.evaluation import evaluated, holds, load, tasks_named, variables_of
from tests.conftest import REPOSITORY

ROLE = REPOSITORY / "roles/service"
PLAIN: dict[str, Any] = {"name": "plain", "description": "", "command": ["/bin/plain"], "ports": [], "ready_url": "u"}
ODD = PLAIN | {
    "name": "odd",
    "command": ["/bin/a b", "100 %"],
    "environment": {"E": "5 %"},
    "ports": [{"address": "10.0.0.1", "port": 81}, {"address": "::1", "port": 82}],
    "socket_activation": True,
    "backlog": 33,
    "log_file": "/odd 1%/odd.log",
    "log_rotation": "/etc/rotate",
    "stop_signal": "QUIT",
    "stop_timeout_s": 130,
}


def known(definition: dict[str, Any], provider: str = "systemd", **given: Any) -> dict[str, Any]:
    """The variables of the role where it keeps this service."""
    given = {"service_definition": definition, "service_provider": provider, "service_supervisor_dir": "/su 1%"} | given
    given |= {"ansible_search_path": [str(ROLE)], "ansible_facts": {"user_uid": 1}, "service_rotation_interval_s": 7}
    return variables_of("service", given)


def said(name: str, definition: dict[str, Any], provider: str = "systemd", **given: Any) -> Any:
    """A private variable of the role."""
    variables = known(definition, provider, **given)
    return evaluated(variables[f"__service_{name}"], variables)


def rendered(template: str, definition: dict[str, Any], provider: str = "systemd") -> str:
    """What is written for a service."""
    file = str(ROLE / f"templates/etc/{template}.j2")
    return str(evaluated("{{ lookup('ansible.builtin.template', file) }}", known(definition, provider, file=file)))


def test_what_a_definition_says_stands_in_supervisor_s_programs() -> None:
    """A percent sign is doubled: supervisor puts something in for what follows it."""
    reader = configparser.ConfigParser(interpolation=None)
    for template in ("service", "service-logs"):
        reader.read_string(rendered(f"supervisor/conf.d/{template}.conf", ODD, "supervisor"))
    program, rotates = reader["program:odd"], reader["program:odd-logs"]
    assert (program["command"], program["environment"]) == ("'/bin/a b' '100 %%'", 'E="5 %%"')
    assert (program["stopsignal"], program["stopwaitsecs"]) == ("QUIT", "130")
    assert (program["stdout_logfile"], rotates["stdout_logfile"]) == ("/odd 1%%%%/odd.log", "/odd 1%%%%/logrotate.log")
    command = "/usr/sbin/logrotate --state '\"'\"'/su 1%%/conf.d/odd.logrotate'\"'\"' /etc/rotate"
    assert rotates["command"] == f"/bin/sh -c 'while sleep 7; do {command}; done'"


def test_a_unit_says_each_word_as_it_is() -> None:
    """A percent sign, a variable and a backslash would be replaced there, also within quotes."""
    odd: dict[str, Any] = {"description": "1 %H", "environment": {"E": '5 %n "\\t"'}}
    odd |= {"command": ["/a %h/b", "$HOME", "it's", "c\\t"], "reload_command": ["/a %h/r", "${HOME}"]}
    unit = rendered("systemd/system/service.service", ODD | odd)
    assert "\nExecStart=:'/a %%h/b' '$HOME' 'it'\"'\"'s' 'c\\\\t'\n" in unit
    assert "\nExecReload=+:'/a %%h/r' '${HOME}'\n" in unit
    assert '\nEnvironment="E=5 %%n \\"\\\\t\\""\n' in unit
    rule = "/etc/rotate 1%h"
    for template in ("service.service", "service.socket", "service-logs.service", "service-logs.timer"):
        unit = rendered(f"systemd/system/{template}", ODD | odd | {"log_rotation": rule})
        assert "\nDescription=1 %%H" in unit
        assert ("'/etc/rotate 1%%h'" in unit) == (template == "service-logs.service")


def test_processes_are_replaced_for_what_they_were_made_from_and_not_for_how_long_they_may_take_to_stop() -> None:
    records = said("records", ODD | {"restart_on": ["a", "b"], "reload_on": ["c", "d"], "renew_on": ["e"]})
    assert records["restart_on"].startswith("a\nb\n")
    assert (records["reload_on"], records["renew_on"]) == ("c\nd\n", "e\n")
    unit = said("records", ODD)["restart_on"]
    assert said("records", ODD | {"stop_timeout_s": 9})["restart_on"] == unit
    assert said("records", ODD | {"memory_max": "1G"})["restart_on"] != unit
    # supervisor itself sees that a program's configuration has changed.
    assert said("records", ODD, "supervisor")["restart_on"] == "\n"


def test_systemd_s_socket_is_compared_with_where_the_service_is_to_listen() -> None:
    assert said("listening", ODD).split() == ["Listen=10.0.0.1:81", "Listen=[::1]:82", "Backlog=33"]


@pytest.mark.parametrize(("length", "own"), [(79, True), (80, False)])
def test_supervisor_s_socket_is_in_its_folder_unless_that_path_is_too_long(length: int, *, own: bool) -> None:
    folder = "/" + "d" * (length - 1)
    place = said("supervisor_socket", ODD, "supervisor", service_supervisor_dir=folder)
    assert place.startswith(f"{folder}/" if own else "/tmp/imagerec-supervisor-")
    assert len(place) < 100


def test_the_seal_covers_every_unit_that_the_role_writes_and_what_starts_it_at_boot() -> None:
    written = []
    for file in ("present", "rotation"):
        for task in load(f"roles/service/tasks/systemd/{file}.yml"):
            files = evaluated(task.get("texts", {}).get("files", []), known(ODD) | task.get("vars", {}))
            written += [each["path"] for each in files]
    assert len(written) == 4
    wants = [("multi-user", "odd.service"), ("sockets", "odd.socket"), ("timers", "odd-logs.timer")]
    links = [f"/etc/systemd/system/{target}.target.wants/{unit}" for target, unit in wants]
    assert sorted(said("files", ODD)["systemd"]) == sorted(written + links)


METRICS = "# HELP\nx_config_last_reload_successful {}\nx_config_last_reload_success_timestamp_seconds {}\n"


@pytest.mark.parametrize(
    ("after", "anew"),
    [((1, "1.7e9"), False), ((1, "1.8e9"), True), ((0, "1.8e9"), False)],
    ids=["not yet", "read", "refused"],
)
def test_a_configuration_was_read_when_the_time_of_its_reading_is_another(
    after: tuple[int, str], *, anew: bool
) -> None:
    before = {"__service_read_before": {"content": METRICS.format(1, "1.7e9")}}
    assert said("read_anew", PLAIN, **before, __service_read={"content": METRICS.format(*after)}) is anew


NOTHING: dict[str, Any] = {
    "__service_running": True,
    "__service_state": {"differ": []},
    "__service_foretold": {"outdated": [], "differ": []},
}


@pytest.mark.parametrize(
    ("given", "replaces"),
    [
        ({}, False),
        ({"__service_state": {"rc": 0}}, False),
        ({"__service_state": {"differ": ["odd"]}}, True),
        ({"__service_foretold": {"outdated": ["libc.so"], "differ": []}}, True),
        ({"__service_foretold": {"outdated": [], "differ": ["restart_on"]}}, True),
        ({"__service_foretold": {"outdated": [], "differ": ["renew_on"]}}, True),
        ({"__service_foretold": {"outdated": [], "differ": ["reload_on"]}}, False),
        ({"__service_foretold": {"outdated": ["libc.so"], "differ": ["renew_on"]}, "__service_running": False}, False),
    ],
)
def test_only_of_a_service_that_runs_processes_are_replaced(given: dict[str, Any], *, replaces: bool) -> None:
    (offer,) = tasks_named("roles/service/tasks/foretell.yml", "Offer it")
    assert evaluated(offer["ansible.builtin.set_fact"]["service_replaces"], NOTHING | given) is replaces


def test_it_is_asked_for_as_long_as_is_said_whether_each_try_is_refused_or_not_answered() -> None:
    """A try takes 1 s where it is refused and 3 s where it is not answered, so at the most half as long again."""
    (waits,) = tasks_named("roles/service/tasks/ready.yml", "Poll the ready address")
    for seconds in (1, 60, 61):
        tries = int(evaluated(waits["retries"], {"service_ready_timeout_s": str(seconds)}))
        slowest = waits["ansible.builtin.uri"]["timeout"] + waits["delay"]
        assert seconds <= 2 * tries <= seconds + 2
        assert slowest * tries <= 1.5 * seconds + slowest


def refusal(task: str, role: str, given: dict[str, Any]) -> str:
    """What the preflight under systemd says of the service that a role offers; nothing where all is well."""
    facts = {"ansible_facts": {"processor_vcpus": 2, "memtotal_mb": 4000}}
    offered = {"service_definition": f"{{{{ {role}_service_definition }}}}", "service_provider": "systemd"}
    (asked,) = tasks_named("roles/service/tasks/systemd/preflight.yml", task)
    variables = variables_of("service", offered) | variables_of(role, given | facts) | asked["vars"]
    refuses = asked["ansible.builtin.assert"]
    return "" if holds(refuses["that"], variables) else str(evaluated(refuses["fail_msg"], variables)).strip()


@pytest.mark.parametrize(
    ("role", "given", "path"),
    [
        ("worker", {"worker_app_root": "/root/worker"}, "/root/worker/current/venv/bin/python"),
        ("worker", {"worker_model_root": "/home/ann/models"}, "/home/ann/models/current"),
        ("balancer", {"balancer_page_dir": "/home/page"}, "/home/page"),
        (
            "balancer",
            {"balancer_tls": "files", "balancer_tls_certificate": "/root/c.pem", "balancer_tls_key": "/root/k.pem"},
            "/root/c.pem, /root/k.pem",
        ),
        ("pool", {"pool_config_dir": "//run/user/0/pool"}, "//run/user/0/pool/pool.json"),
        ("autoscaler", {"autoscaler_hook": ["/bin/sh", "/root/more"]}, "/root/more"),
        ("virtual_address", {"virtual_address_config_dir": "/root/v"}, "/root/v/keepalived.conf"),
    ],
)
def test_a_place_that_the_sandbox_hides_is_refused(role: str, given: dict[str, Any], path: str) -> None:
    """nginx itself finds nothing wrong with such a certificate, and could not read it at its next start."""
    service = f"imagerec-{role.replace('_', '-')}"
    words = f"host: systemd hides /home, /root and /run/user from {service}, and it would read {path};"
    assert refusal("Refuse places that the sandbox hides", role, given).startswith(words)


@pytest.mark.parametrize(
    ("role", "given"),
    [
        *((role, {}) for role in ("worker", "balancer", "pool", "autoscaler", "virtual_address")),
        ("worker", {"worker_app_root": "/homes/worker", "worker_model_root": "/srv/home/models"}),
        ("balancer", {"balancer_tls_certificate": "/root/c.pem"}),  # which none but `files` reads
    ],
)
def test_a_place_that_the_sandbox_shows_is_not_refused(role: str, given: dict[str, Any]) -> None:
    assert refusal("Refuse places that the sandbox hides", role, given) == ""


@pytest.mark.parametrize(
    ("folder", "refused"),
    [
        *((folder, False) for folder in ("/dev/shm", "/dev/shm/own", "/tmp/", "/run/imagerec-worker/")),
        *((folder, True) for folder in ("/mnt/ram/", "/tmp/own", "/dev/shmem", "/dev/shm/../own")),
    ],
)
def test_a_folder_for_heartbeats_is_one_that_the_sandbox_lets_a_worker_write(folder: str, *, refused: bool) -> None:
    expected = (
        f"host: systemd would not let imagerec-worker write {folder.rstrip('/')} (choose /dev/shm, /tmp or /var/tmp)"
    )
    task = "Refuse a scratch folder that the sandbox keeps read-only"
    assert refusal(task, "worker", {"worker_tmp_dir": folder}) == (expected if refused else "")
