"""What a role takes and what it refuses, at the border between them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.ansible.evaluation import evaluated, load, refusals, variables_of
from tests.conftest import REPOSITORY

TWO = [{"name": "worker1", "processes": 2}, {"name": "worker2", "processes": 4}]
EVERY = ["prometheus", "alertmanager", "blackbox_exporter", "nginx_exporter", "node_exporter"]
INTERFACES = [{}, {"ifname": "eth1", "addr_info": [{"local": "10.10.1.1", "prefixlen": 24}]}]

# What every case of a role has.
USUAL: dict[str, dict[str, Any]] = {
    "autoscaler": {"autoscaler_workers": TWO, "autoscaler_service_s": 0.02, "__autoscaler_before": {}},
    "balancer": {"balancer_workers": TWO, "__balancer_nginx_said": {}},
    "monitoring": {"monitoring_workers": TWO, "monitoring_programs": EVERY, "__monitoring_looked": {}},
    "pool": {},
    "virtual_address": {
        "ansible_facts": {"service_mgr": "systemd"},
        "virtual_address": "10.10.1.100/24",
        "virtual_address_peer": "10.10.1.2",
        "__virtual_address_found": {"stdout": json.dumps(INTERFACES)},
    },
    "worker": {"worker_processes": 2, "worker_stands_by": True},
}
ENCRYPTED = {"balancer_tls": "self_signed"}
FILES = {"balancer_tls": "files", "balancer_tls_certificate": "/c", "balancer_tls_key": "/k"}
ACME = {"balancer_tls": "acme", "balancer_tls_name": "a.org", "balancer_tls_email": "c@a.org"}


def folder(length: int) -> str:
    """A path of so many bytes."""
    return "/" + "d" * (length - 1)


# The role's setting, the last values that are taken, the first that are not, and what is said besides.
Border = tuple[str, list[Any], list[Any], dict[str, Any]]
BORDERS: dict[str, list[Border]] = {
    "autoscaler": [
        ("minimum", [1, 2], [0, 3], {}),
        ("maximum", [0, 1, 2], [-1, 3], {}),
        ("maximum", [3], [], {"autoscaler_hook": ["/bin/more"]}),
        ("hook", [[], ["/bin/more"]], [["more"]], {}),
        ("utilisation", [0.01, 0.99], [0, 1], {}),
        ("objective_s", [0.03], [0, 0.02], {}),
        ("down_after_s", [1], [0], {}),
        ("start_timeout_s", [1], [0], {}),
        ("service_s", [0], [-1], {}),
        ("runtime_dir", [folder(84)], [folder(85)], {}),
    ],
    "balancer": [
        ("workers", [TWO], [[]], {}),
        ("pool_size", [0, 1, 2], [-1, 3], {}),
        ("policy", ["least_conn"], ["fair"], {}),
        ("port", [1, 65535], [0, 65536], {}),
        *((name, [0], [-1], {}) for name in ("max_conns", "address_rate_hz", "address_connections")),
        ("tls", [False, "off", "self_signed"], ["on", "files", "acme"], {}),
        ("tls_port", [80], [], {}),
        ("tls_port", [1, 65535], [0, 65536, 80], ENCRYPTED),
        ("tls_name", ["", "a-b.org"], ["a_b"], ENCRYPTED),
        *((name, ["/a"], [""], FILES) for name in ("tls_certificate", "tls_key")),
        *((name, ["b.org"], [""], ACME) for name in ("tls_name", "tls_email")),
    ],
    "monitoring": [
        ("prometheus_port", [1, 65535], [0, 65536, 9093], {}),
        ("interval_s", [1, 15], [0, 16], {}),
        ("retention_days", [1], [0], {}),
        ("retention_size", ["9MB"], ["0GB", "much"], {}),
        *((f"objective_{name}", [0.1], [0], {}) for name in ("p99_s", "certificate_days")),
        *((f"objective_{name}", [0.01, 0.99], [0, 1], {}) for name in ("refused_share", "disk_share")),
        ("webhook_url", ["", "https://alerts/hook"], ["alerts/hook"], {}),
        ("workers", [TWO], [[]], {}),
        ("workers", [[]], [], {"monitoring_programs": ["node_exporter"]}),
    ],
    "pool": [
        ("silent_s", [0.8], [0, 0.7], {}),
        ("failing_retry_s", [0.1], [0], {}),
        ("runtime_dir", [folder(90)], [folder(91)], {}),
        ("prometheus", ["", "https://metrics:9090/"], ["metrics:9090"], {}),
    ],
    "virtual_address": [
        ("vrrp_id", [1, "255"], [0, 256, "x1"], {}),
        ("advert_s", [0.1, 1], [0.09, 1.1], {}),
        ("answer_s", [0.01, 0.99], [0, 1], {}),
    ],
    "worker": [
        ("idle_exit_s", [5], [4], {}),
        ("idle_exit_s", [4], [], {"worker_stands_by": False}),
        ("processes", [1], [0], {}),
        ("port", [1, 65535], [0, 65536], {}),
        ("max_body_bytes", [1024], [1023], {}),
        ("batch_max", [1, 16], [0, 17], {}),
        ("batch_window_ms", [0, 100], [-1, 101], {}),
    ],
}


@pytest.mark.parametrize("role", BORDERS)
def test_a_setting_is_taken_to_its_border_and_refused_by_its_name_beyond(role: str) -> None:
    for setting, taken, refused, besides in BORDERS[role]:
        name = f"{role}_{setting}"
        for value in taken:
            assert refusals(role, USUAL[role] | besides | {name: value}) == [], (name, value)
        for value in refused:
            said = refusals(role, USUAL[role] | besides | {name: value})
            assert [each for each in said if name in each], (name, value, said)


RANGE = re.compile(r"(?:choose|give)(?: another of)? ([\d.]+) to ([\d.]+)(?: |,|$)")
RANGES = [
    (path.parts[-3], each["holds"], each["otherwise"])
    for path in sorted(REPOSITORY.glob("roles/*/vars/main.yml"))
    for each in (load(f"roles/{path.parts[-3]}/vars/main.yml") or {}).get(f"__{path.parts[-3]}_requirements", [])
    if RANGE.search(each["otherwise"])
]


def test_the_range_that_a_message_names_is_the_one_that_holds() -> None:
    assert len(RANGES) > 6
    wrong = []
    for role, holds, otherwise in RANGES:
        name = re.findall(r"\{\{ (\w+)", otherwise)[0]
        low, high = (json.loads(number) for number in RANGE.findall(otherwise)[0])
        for value, is_within in ((low, True), (high, True), (low - 1, False), (high + 1, False)):
            given = USUAL[role] | {name: value} | (ENCRYPTED if role == "balancer" else {})  # its port counts with TLS
            if evaluated(holds, variables_of(role, given)) is not is_within:
                wrong.append((name, value))
    assert wrong == []
