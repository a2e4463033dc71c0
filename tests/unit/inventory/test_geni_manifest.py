"""The inventory plugin, on manifests as CloudLab and the local slice answer with."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rspec.local_slice.manifest import manifest_text
from rspec.local_slice.naming import Names
from rspec.local_slice.planning import make_plan
from rspec.model import load_request
from tests.conftest import REPOSITORY

EXAMPLE = REPOSITORY / "rspec/manifests/example-cloudlab.xml"
REQUESTS = REPOSITORY / "tests/unit/rspec/golden"
GROUPS = {"balancers": r"balancer\d*", "workers": r"(worker|server)-?\d+", "clients": r"client\d*"}


def load_plugin() -> ModuleType:
    """Import the plugin from where Ansible finds it."""
    path = REPOSITORY / "inventory/plugins/geni_manifest.py"
    spec = importlib.util.spec_from_file_location("geni_manifest", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


plugin: Any = load_plugin()


def hosts_of(text: str, user: str = "alice", own_user: str = "nobody") -> Any:
    """Sort the nodes of a manifest into groups."""
    return plugin.read_hosts(plugin.read_manifest(text.encode(), "some.xml"), GROUPS, user, own_user)


def inventory(*words: str, manifest: Path = EXAMPLE, user: str = "alice") -> subprocess.CompletedProcess[str]:
    """Run ansible-inventory on inventory/slice."""
    return subprocess.run(
        ["ansible-inventory", "-i", "inventory/slice", *words],
        cwd=REPOSITORY,
        env=os.environ | {"GENI_MANIFEST": str(manifest), "GENI_USER": user},
        capture_output=True,
        text=True,
        check=False,
    )


def test_ansible_reads_a_manifest_of_cloudlab() -> None:
    done = inventory("--graph")
    assert done.stdout.split() == [
        *("@all:", "|--@ungrouped:", "|--@balancers:", "|", "|--balancer"),
        *("|--@workers:", "|", "|--worker1", "|", "|--worker2", "|--@clients:", "|", "|--client"),
    ]
    assert "nodes that are no part of the system are left out: blockstore" in done.stderr


def test_ansible_says_what_to_do_without_a_manifest(tmp_path: Path) -> None:
    said = " ".join(inventory("--graph", manifest=tmp_path / "none.xml").stderr.split())
    assert "there is no manifest at" in said
    assert "make slice-up" in said


def test_every_host_can_be_reached_and_has_its_address() -> None:
    hosts, extra = hosts_of(EXAMPLE.read_text())
    assert hosts["workers"]["worker1"] == {
        "ansible_host": "pc601.example.net",
        "ansible_port": 25610,
        "ansible_user": "alice",
        "slice_address": "10.10.1.11",
        "slice_cores": 1.0,
    }
    assert hosts["clients"]["client"]["ansible_port"] == 22  # its login has none
    assert extra == ["blockstore"]


@pytest.mark.parametrize(
    ("user", "own_user", "chosen"),
    [("bob", "alice", "bob"), ("", "bob", "bob")],
    ids=["the-one-asked-for", "ones-own"],
)
def test_of_several_logins_one_is_chosen_by_user(user: str, own_user: str, chosen: str) -> None:
    hosts, _ = hosts_of(EXAMPLE.read_text(), user, own_user)
    assert {host["ansible_user"] for group in hosts.values() for host in group.values()} == {chosen}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        pytest.param("<rspec", "rspec", "some.xml is not XML", id="not-xml"),
        pytest.param('type="manifest"', 'type="request"', "an RSpec of type 'request', not a manifest", id="a-request"),
        pytest.param("<node.*</node>", "", "has no node: is the slice granted", id="no-node"),
        pytest.param("<login [^>]*25610[^>]*>", "", "node worker1 has no login: is it ready", id="no-login"),
        pytest.param(
            'username="alice"', 'username="carol"', "no login of 'alice', but of bob, carol", id="not-my-login"
        ),
        pytest.param('username="\\w*"', "", "a login of node balancer lacks its username", id="login-without-user"),
        pytest.param('port="25611"', 'port="ssh"', "has the port 'ssh', which is none", id="no-port-number"),
        pytest.param("<ip [^>]*10.10.1.12[^>]*>", "", "node worker2 has no address on any link", id="no-address"),
        pytest.param('client_id="worker2"', 'client_id="worker1"', "two nodes are named worker1", id="name-twice"),
        pytest.param('client_id="client"', 'client_id="load"', "no node is one of the clients", id="no-client"),
        pytest.param('cores="1"', 'cores="one"', "node worker1 has 'one' cores, which is no number", id="no-cores"),
        pytest.param('cores="1"', 'cores="nan"', "node worker1 has 'nan' cores, which is no number", id="cores-nan"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused_by_name(old: str, new: str, words: str) -> None:
    text = EXAMPLE.read_text()
    faulty = re.sub(old, new, text, flags=re.DOTALL)
    assert faulty != text
    with pytest.raises(plugin.ManifestError) as refused:
        hosts_of(faulty)
    assert words in str(refused.value)


def addressed(text: str, **addresses: str) -> str:
    """A manifest whose nodes have these <ip> elements."""
    for name, elements in addresses.items():
        text, count = re.subn(rf'(<interface client_id="{name}:[^>]*>\s*)<ip [^>]*/>', rf"\1{elements}", text)
        assert count == 1, name
    return text


V4, V6 = (
    '<ip address="10.10.1.{}" type="ipv4" netmask="255.255.255.0"/>',
    '<ip address="2001:DB8::{}" type="ipv6" netmask="64"/>',
)


@pytest.mark.parametrize(
    ("balancer", "worker", "chosen"),
    [
        pytest.param(V4, V6 + V4, "10.10.1.11", id="ipv6-stands-first"),
        pytest.param(V4 + V6, V4 + V6, "10.10.1.11", id="both-have-both"),
        pytest.param(V6, V6, "2001:db8::11", id="ipv6-alone"),
        pytest.param(V6, V4 + V6, "2001:db8::11", id="the-balancer-has-ipv6-alone"),
        pytest.param(V4, V4.replace(' type="ipv4"', ""), "10.10.1.11", id="no-type"),
        pytest.param(V6, '<ip address="fe80::11" type="ipv6"/>' + V6, "2001:db8::11", id="link-local-stands-first"),
    ],
)
def test_the_type_of_an_address_decides(balancer: str, worker: str, chosen: str) -> None:
    nodes = {
        "balancer": balancer.format(1, 1),
        "worker1": worker.format(11, 11),
        "worker2": worker.format(12, 12),
        "client": (V4 + V6).format(2, 2),
    }
    hosts, _ = hosts_of(addressed(EXAMPLE.read_text(), **nodes))
    assert hosts["workers"]["worker1"]["slice_address"] == chosen


@pytest.mark.parametrize(
    ("worker", "words"),
    [
        pytest.param(V6.format(11), "worker1 and balancer have no addresses of one IP version", id="no-common"),
        pytest.param(V4.format(300), "node worker1 has the address '10.10.1.300', which is none", id="no-number"),
        pytest.param(V4.format(11).replace("ipv4", "ipv6"), "which is not of its type ipv6", id="other-type"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(worker: str, words: str) -> None:
    with pytest.raises(plugin.ManifestError) as refused:
        hosts_of(addressed(EXAMPLE.read_text(), worker1=worker))
    assert words in str(refused.value)


def test_all_problems_are_told_at_once() -> None:
    faulty = re.sub(r"<services>.*?</services>", "", EXAMPLE.read_text(), flags=re.DOTALL)
    with pytest.raises(plugin.ManifestError) as refused:
        hosts_of(faulty)
    assert str(refused.value).count("has no login") == 4


def test_several_logins_and_none_ones_own_are_refused() -> None:
    with pytest.raises(plugin.ManifestError, match="has logins of alice, bob: choose yours by user or GENI_USER"):
        hosts_of(EXAMPLE.read_text(), "", "root")


@pytest.mark.parametrize("request_name", ["lan-4", "star-4"])
def test_the_local_slice_answers_in_the_same_shape(tmp_path: Path, request_name: str) -> None:
    names = Names("unit", tmp_path)
    subnet = ipaddress.IPv4Network("10.200.7.0/24")
    plan = make_plan(names, load_request(REQUESTS / f"{request_name}.xml"), subnet, "bookworm-x")
    hosts, extra = hosts_of(manifest_text(names, plan), user="")
    assert extra == []
    assert list(hosts["workers"]) == ["worker1", "worker2", "worker3", "worker4"]
    worker = hosts["workers"]["worker2"]
    assert (worker["ansible_host"], worker["ansible_user"]) == ("10.200.7.12", "slice")
    assert worker["ansible_ssh_private_key_file"] == str(names.key_file)
    assert worker["slice_address"] == {"lan-4": "10.10.1.12", "star-4": "10.10.2.1"}[request_name]
    # In a star the balancer has many addresses: the client must be told the one on their common link.
    assert (
        hosts["balancers"]["balancer"]["slice_address"] == {"lan-4": "10.10.1.1", "star-4": "10.10.5.1"}[request_name]
    )


def test_both_balancers_are_in_the_group(tmp_path: Path) -> None:
    names = Names("unit", tmp_path)
    request = load_request(REQUESTS / "lan-4-two-balancers.xml")
    plan = make_plan(names, request, ipaddress.IPv4Network("10.200.7.0/24"), "bookworm-x")
    hosts, _ = hosts_of(manifest_text(names, plan), user="")
    addresses = {name: each["slice_address"] for name, each in hosts["balancers"].items()}
    assert addresses == {"balancer": "10.10.1.1", "balancer2": "10.10.1.3"}
