"""Addresses as they are written into URLs and configurations: IPv6 in brackets, everywhere by the same filter."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

_SPEC = importlib.util.spec_from_file_location("addresses", REPOSITORY / "playbooks/filter_plugins/addresses.py")
assert _SPEC is not None
assert _SPEC.loader is not None
addresses = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(addresses)


@pytest.mark.parametrize(
    ("address", "written"),
    [
        ("10.10.1.1", "10.10.1.1:80"),
        ("balancer.example.org", "balancer.example.org:80"),
        ("::1", "[::1]:80"),
        ("::", "[::]:80"),
        ("2001:DB8:0:0::0001", "[2001:db8::1]:80"),  # as the kernel and systemd write it
    ],
)
def test_an_ipv6_address_stands_in_brackets(address: str, written: str) -> None:
    assert addresses.host_port(address, 80) == addresses.host_port(address, "80") == written


@pytest.mark.parametrize(("address", "written"), [("0.0.0.0", "127.0.0.1:80"), ("::", "[::1]:80"), ("::2", "[::2]:80")])
def test_who_listens_everywhere_is_reached_by_the_loopback_address(address: str, written: str) -> None:
    assert addresses.host_port(address, 80, reach=True) == written


@pytest.mark.parametrize(
    ("address", "kind"),
    [("10.0.0.1", "ipv4"), ("fd00::1", "ipv6"), ("worker-1.example.org", "name"), ("localhost", "name"), ("a_b", "")],
)
def test_the_kind_of_an_address(address: str, kind: str) -> None:
    assert addresses.address_kind(address) == kind


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("", "is empty and is no address"),
        ("[::1]", "without brackets"),
        ("fe80::1%eth0", "global or unique local"),
        ("fe80::1", "global or unique local"),
        ("10.10.1.300", "is no address"),
        ("10.10.1", "is no address"),
        ("10.0.0.1:80", "without a port"),
        ("[::1]:80", "without a port"),
        ("10.0.0.1/24", "without a prefix"),
        ("2001:db8::1::2", "is no address"),
        ("a b", "is no address"),
        ("-x.example.org", "is no address"),
    ],
)
def test_what_is_no_address_is_told_with_the_remedy(address: str, words: str) -> None:
    assert words in addresses.address_fault(address)


@pytest.mark.parametrize("address", ["10.0.0.1", "::", "2001:db8::5", "fd00::1", "balancer", "w1.example.org"])
def test_an_address_has_no_fault(address: str) -> None:
    assert addresses.address_fault(address) == ""


@pytest.mark.parametrize("network", ["10.0.0.0/8", "2001:db8::/32", "10.0.0.1", "::1", "unix:"])
def test_a_proxy_may_be_an_address_or_a_network(network: str) -> None:
    assert addresses.network_fault(network) == ""


@pytest.mark.parametrize("network", ["10.0.0.0/33", "2001:db8::/129", "proxy", "10.0.0.1/8", ""])
def test_what_is_no_network_is_refused(network: str) -> None:
    assert network in addresses.network_fault(network)
    assert addresses.network_fault(network)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("10.10.1.100", "write 10.10.1.100/24"),
        ("10.10.1.300/24", "is no address"),
        ("fd00::1/64", "is IPv6"),
        ("10.10.2.100/24", "not of the data plane's network, 10.10.1.0/24"),
        ("10.10.1.100/16", "not of the data plane's network"),
        ("10.10.1.255/24", "its broadcast address"),
        ("10.10.1.0/24", "the network's own"),
    ],
)
def test_an_address_that_two_hosts_cannot_share_is_told(address: str, words: str) -> None:
    assert words in addresses.shared_address_fault(address, "10.10.1.1/24")


def test_two_hosts_may_share_an_address_of_their_network() -> None:
    assert addresses.shared_address_fault("10.10.1.100/24", "10.10.1.1/24") == ""


def test_nothing_joins_an_address_and_a_port_by_itself() -> None:
    for folder in ("roles", "playbooks", "inventory"):
        for path in (REPOSITORY / folder).rglob("*"):
            if path.suffix in {".j2", ".yml"}:
                assert not re.search(r"address \}\}:\{\{|address'\) *\| *zip", path.read_text()), path


Hosts = dict[str, dict[str, object]]


def inventory(folder: Path, workers: Hosts | None = None, balancers: Hosts | None = None) -> Path:
    """The local inventory with these hosts and their variables in place of its one balancer and one worker."""
    target = folder / "hosts.yml"
    hosts = {
        "balancers": {"hosts": balancers or {"balancer": {}}},
        "workers": {"hosts": workers or {"worker1": {}}},
        "clients": {"hosts": {"client": None}},
    }
    common = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    common |= {"service_provider": "supervisor", "service_supervisor_dir": str(folder), "slice_address": "::1"}
    common |= {"balancer_packages": []}  # type: ignore[dict-item]
    target.write_text(json.dumps({"all": {"children": hosts, "vars": common}}))
    return target


MALFORMED: dict[str, tuple[dict[str, dict[str, object]], dict[str, str]]] = {
    "workers": (
        {
            "brackets": {"slice_address": "[::1]"},
            "no-number": {"slice_address": "10.10.1.300"},
            "no-address": {"worker_address": "::x"},
        },
        {
            "brackets": "slice_address [::1] is written without brackets",
            "no-number": "slice_address 10.10.1.300 is no address",
            "no-address": "worker_address ::x is no address",
        },
    ),
    "balancers": (
        {
            "a-scope": {"balancer_address": "::1%lo"},
            "no-network": {"balancer_trusted_proxies": ["10.0.0.0/33"]},
        },
        {"a-scope": "balancer_address ::1%lo", "no-network": "balancer_trusted_proxies: '10.0.0.0/33' is no address"},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("group", MALFORMED)
def test_preflight_refuses_malformed_addresses(tmp_path: Path, group: str) -> None:
    """All hosts of a group at once, each with its own."""
    hosts, words = MALFORMED[group]
    done = subprocess.run(
        ["ansible-playbook", "-i", str(inventory(tmp_path, **{group: hosts})), "playbooks/preflight.yml"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    said = " ".join((done.stdout + done.stderr).split()).replace("''", "'")
    for host, why in words.items():
        assert f"{host}: {why}" in said
