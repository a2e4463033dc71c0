"""The wiring of the playbooks: what each program is told of the others, also where nothing has its usual name."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ansible.evaluation import evaluated, load

ALL = load("playbooks/group_vars/all.yml")
BALANCERS = load("playbooks/group_vars/balancers.yml")
GROUPS = {"balancers": ["b1", "b2"], "workers": ["w1", "w2"], "clients": ["c"], "all": ["b1", "b2", "w1", "w2", "c"]}
OWN: dict[str, dict[str, Any]] = {
    "b1": {"slice_address": "10.10.1.1"},
    "b2": {"slice_address": "10.10.1.2", "balancer_port": 81},
    "w1": {"slice_address": "10.10.1.11", "ansible_facts": {"processor_vcpus": 2}},
    "w2": {"slice_address": "10.10.1.12", "worker_address": "10.9.1.12", "worker_port": 5001, "worker_processes": 3},
    "c": {"slice_address": "10.10.1.21", "monitoring_address": "10.9.1.21", "monitoring_node_exporter_port": 9101},
}
UNUSUAL = {
    "autoscaler": True,
    "virtual_address": "10.10.1.100/24",
    "pool_state_dir": "/p-state",
    "pool_runtime_dir": "/p-run",
    "balancer_log_dir": "/b-log",
    "balancer_runtime_dir": "/b-run",
    "balancer_service_name": "nginx 2",
    "autoscaler_state_dir": "/a-state",
    "autoscaler_runtime_dir": "/a-run",
    "monitoring_prometheus_port": 9999,
}


def told(name: str, host: str, **given: Any) -> Any:
    """What a variable is on a host."""
    groups = given.pop("groups", GROUPS)
    known = {
        each: {**ALL, **(BALANCERS if each in groups["balancers"] else {}), **OWN[each], **given}
        | {"inventory_hostname": each, "groups": groups, "playbook_dir": "/checkout/playbooks"}
        for each in groups["all"]
    }
    seen: dict[str, Any] = {"localhost": {}}
    for each, own in known.items():
        names = {"monitoring_entry", "monitoring_programs", "balancer_entry"} & own.keys()
        names |= {"pool_entry"} if each in groups["workers"] else set()
        seen[each] = OWN[each] | given | {one: evaluated(own[one], own | {"hostvars": {}}) for one in names}
    return evaluated(known[host][name], known[host] | {"hostvars": seen})


ENTRIES = [
    {"name": "w1", "address": "10.10.1.11", "port": 5000, "processes": 2},
    {"name": "w2", "address": "10.9.1.12", "port": 5001, "processes": 3},
]
OF_THE_SECOND = {
    "balancer_workers": ENTRIES,
    "balancer_pool_dir": "/p-state",
    "balancer_pool_socket": "/p-run/pool.sock",
    "balancer_autoscaler_socket": "/a-run/autoscaler.sock",
    "balancer_entry": "http://10.10.1.2:81",
    "pool_access_log": "/b-log/access.log",
    "pool_standby_file": "/a-state/standby.json",
    "pool_nginx_pid": "/b-run/nginx.pid",
    "pool_autoscaler_socket": "/a-run/autoscaler.sock",
    "pool_prometheus": "http://127.0.0.1:9999",
    "autoscaler_access_log": "/b-log/access.log",
    "autoscaler_pool_socket": "/p-run/pool.sock",
    "autoscaler_workers": ENTRIES,
    "autoscaler_peers": ["http://10.10.1.1:80/autoscaler"],
    "autoscaler_before": 1,
    "autoscaler_address": "10.10.1.100",
    "virtual_address_peer": "10.10.1.1",
    "virtual_address_hosts": {name: own["slice_address"] for name, own in OWN.items()},
    "virtual_address_port": 81,
    "virtual_address_drain": ["systemctl", "reload", "--no-block", "nginx 2.service"],
    "monitoring_workers": ENTRIES,
    "monitoring_ask_workers": False,
    "monitoring_health_url": "http://127.0.0.1:81/healthz",
    "worker_stands_by": True,
}
# Where nothing is said: the usual places, and nothing of an autoscaler or a shared address.
OF_THE_FIRST = {
    "balancer_autoscaler_socket": "",
    "balancer_entry": "http://10.10.1.1:80",
    "pool_standby_file": "",
    "pool_autoscaler_socket": "",
    "autoscaler_peers": ["http://10.10.1.2:81/autoscaler"],
    "autoscaler_before": 0,
    "autoscaler_address": "",
    "virtual_address_peer": "10.10.1.2",
    "virtual_address_port": 80,
    "virtual_address_drain": ["systemctl", "reload", "--no-block", "imagerec-balancer.service"],
    "monitoring_ask_workers": True,
    "worker_stands_by": False,
}


def test_what_one_program_is_told_of_another_is_what_that_is_told_itself() -> None:
    assert {name: told(name, "b2", **UNUSUAL) for name in OF_THE_SECOND} == OF_THE_SECOND


def test_what_is_not_said_is_the_usual() -> None:
    assert {name: told(name, "b1") for name in OF_THE_FIRST} == OF_THE_FIRST


def test_the_usual_places_are_those_of_the_roles() -> None:
    """They stand in both: a role cannot read the defaults of another one."""
    roles = {role: load(f"roles/{role}/defaults/main.yml") for role in ("pool", "balancer", "monitoring")}
    assert told("balancer_pool_dir", "b1") == roles["pool"]["pool_state_dir"] == roles["balancer"]["balancer_pool_dir"]
    assert told("balancer_pool_socket", "b1") == roles["balancer"]["balancer_pool_socket"]
    assert told("pool_nginx_pid", "b1") == roles["pool"]["pool_nginx_pid"]
    assert told("pool_access_log", "b1") == roles["pool"]["pool_access_log"]
    assert told("pool_prometheus", "b1").endswith(f":{roles['monitoring']['monitoring_prometheus_port']}")


def test_a_balancer_alone_has_no_peer() -> None:
    alone = GROUPS | {"balancers": ["b1"], "all": ["b1", "w1", "w2", "c"]}
    assert told("virtual_address_peer", "b1", groups=alone) == ""
    assert told("autoscaler_peers", "b1", groups=alone) == []


def test_each_host_that_gives_metrics_is_asked_by_its_name() -> None:
    addresses = {each["name"]: (each["address"], each["port"]) for each in told("monitoring_hosts", "b1")}
    assert list(addresses) == ["b1", "b2", "w1", "w2", "c"]
    assert (addresses["w1"], addresses["c"]) == (("10.10.1.11", 9100), ("10.9.1.21", 9101))
    # The hosts of a local deployment are one.
    assert [each["name"] for each in told("monitoring_hosts", "b1", run_dir="/here")] == ["b1", "b2"]


@pytest.mark.parametrize(
    ("name", "given", "url"),
    [
        ("monitoring_health_url", {}, "http://127.0.0.1:80/healthz"),
        ("monitoring_health_url", {"slice_address": "fd00::1"}, "http://[::1]:80/healthz"),
        ("monitoring_health_url", {"balancer_address": "10.10.1.1"}, "http://10.10.1.1:80/healthz"),
        ("monitoring_health_url", {"balancer_tls": "files"}, "https://127.0.0.1:443/healthz"),
        ("service_url", {}, "http://10.10.1.1:80"),
        ("service_url", {"balancer_tls": False, "balancer_port": 82}, "http://10.10.1.1:82"),
        ("service_url", {"virtual_address": "10.10.1.100/24"}, "http://10.10.1.100:80"),
        ("service_url", {"balancer_tls": "self_signed", "balancer_tls_name": "a.org"}, "https://10.10.1.1:443"),
        (
            "service_url",
            {"balancer_tls": "files", "balancer_tls_name": "a.org", "balancer_tls_port": 84},
            "https://a.org:84",
        ),
        ("service_url", {"balancer_tls": "files"}, "https://10.10.1.1:443"),
    ],
)
def test_the_service_is_asked_where_it_listens_by_a_name_that_is_vouched_for(
    name: str, given: dict[str, Any], url: str
) -> None:
    assert told(name, "b1", **given) == url


@pytest.mark.parametrize("host", ["w1", "b1"])
def test_an_autoscaler_is_wanted_where_the_balancer_says_so(host: str) -> None:
    """On a worker as well: it sleeps, or does not."""
    hosts = {"groups": GROUPS, "hostvars": {"b1": {"autoscaler": "true"}, "b2": {}}, "inventory_hostname": host}
    assert evaluated(ALL["autoscaler_wanted"], hosts) is True
    assert evaluated(ALL["autoscaler_wanted"], hosts | {"hostvars": {"b1": {}}}) is False
    assert evaluated(ALL["autoscaler_wanted"], hosts | {"hostvars": {"b1": {}}, "autoscaler": "true"}) is True
