"""Structural checks: one deliberate fault at a time in a sound request."""

from __future__ import annotations

from pathlib import Path

import pytest

from rspec.checks import check_request, load_checked
from rspec.model import RSpecError, parse_request

SOUND = (Path(__file__).parent / "golden" / "lan-4.xml").read_text()
ADDRESS = '<ip address="10.10.1.11" netmask="255.255.255.0" type="ipv4"/>'
SECOND_LINK = (
    """<link client_id="other"><interface_ref client_id="{}"/><interface_ref client_id="{}"/></link></rspec>"""
)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        pytest.param(
            'node client_id="worker2"', 'node client_id="worker1"', "node name 'worker1' is used more", id="node-twice"
        ),
        pytest.param('node client_id="worker2"', 'node client_id="work er"', "is not a host name", id="no-host-name"),
        pytest.param('node client_id="worker2"', "node", "a node has no client_id", id="nameless-node"),
        pytest.param('ram="2048"', 'ram="0"', "asks for 0 MB", id="no-memory"),
        pytest.param('cores="1"', 'cores="-1"', "asks for -1 cores", id="negative-cores"),
        pytest.param('cores="1"', 'cores="nan"', "asks for nan cores", id="cores-not-a-number"),
        pytest.param('cores="1"', 'cores="inf"', "asks for inf cores", id="endless-cores"),
        pytest.param(
            '<interface_ref client_id="client:if0"/>',
            '<interface_ref client_id="ghost"/>',
            "refers to interface 'ghost', which no node has",
            id="dangling-reference",
        ),
        pytest.param(
            '<interface_ref client_id="client:if0"/>', "", "interface client:if0 is on 0 links", id="loose-interface"
        ),
        pytest.param(
            "</rspec>",
            SECOND_LINK.format("worker1:if0", "worker2:if0"),
            "interface worker1:if0 is on 2 links",
            id="interface-on-two-links",
        ),
        pytest.param(ADDRESS, ADDRESS.replace("10.10.1.11", "999.1.1.1"), "not a valid IPv4 address", id="no-address"),
        pytest.param(ADDRESS, ADDRESS.replace("255.255.255.0", "255.0.255.0"), "not a valid IPv4", id="no-netmask"),
        pytest.param(ADDRESS, "", "interface worker1:if0 has no address", id="address-missing"),
        pytest.param(ADDRESS, ADDRESS.replace("1.11", "1.255"), "its broadcast address", id="broadcast-address"),
        pytest.param(ADDRESS, ADDRESS.replace("1.11", "1.12"), "given to both", id="address-twice"),
        pytest.param(ADDRESS, ADDRESS.replace("1.11", "2.11"), "joins several subnets", id="two-subnets-on-one-link"),
        pytest.param('capacity="100000"', 'capacity="fast"', "capacity (kbps) 'fast' is not a number", id="no-rate"),
        pytest.param('capacity="100000"', 'capacity="0"', "capacity (kbps) 0 is out of range", id="zero-rate"),
        pytest.param('capacity="100000"', 'latency="-1"', "latency (ms) -1 is out of range", id="negative-latency"),
        pytest.param('capacity="100000"', 'packet_loss="2"', "packet loss 2 is out of range", id="loss-above-one"),
        pytest.param(
            'dest_id="lan"', 'dest_id="wan"', "a property of 'wan', which is not on it", id="strange-property"
        ),
    ],
)
def test_a_fault_is_found(old: str, new: str, problem: str) -> None:
    assert old in SOUND
    problems = check_request(parse_request(SOUND.replace(old, new, 1).encode(), "request"))
    assert any(problem in item for item in problems), problems


def test_a_sound_request_has_no_problem() -> None:
    assert check_request(parse_request(SOUND.encode(), "request")) == []


def test_links_with_overlapping_subnets_are_found() -> None:
    star = (Path(__file__).parent / "golden" / "star-4.xml").read_text().replace("10.10.2.", "10.10.1.1")
    problems = check_request(parse_request(star.encode(), "request"))
    assert any("overlapping subnets" in item for item in problems)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("<rspec", "is not XML", id="not-xml"),
        pytest.param("<html/>", "is not a GENI v3 RSpec: its root element is html", id="another-document"),
        pytest.param(
            SOUND.replace('type="request"', 'type="manifest"', 1), "of type 'manifest', not a request", id="a-manifest"
        ),
        pytest.param(
            SOUND.replace('cores="1"', 'cores="one"', 1), "cores and ram must be numbers", id="cores-in-words"
        ),
    ],
)
def test_what_is_no_request_is_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(RSpecError, match=r"some\.xml") as refused:
        parse_request(text.encode(), "some.xml")
    assert words in str(refused.value)


def test_entities_are_not_resolved(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("worker9")
    text = f'<!DOCTYPE r [<!ENTITY e SYSTEM "file://{secret}">]>' + SOUND.replace(
        "<description", "<description>&e;</description><description", 1
    )
    assert "worker9" not in repr(parse_request(text.encode(), "request"))


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "request.xml"
    path.write_text(SOUND.replace("10.10.1.11", "999.1.1.1").replace('ram="2048"', 'ram="0"'))
    with pytest.raises(RSpecError) as refused:
        load_checked(path)
    assert str(refused.value).count("\n  - ") == 7


def test_a_file_that_is_not_there_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(RSpecError, match=r"cannot read .*absent\.xml: .*; write one with `make rspec`"):
        load_checked(tmp_path / "absent.xml")
