"""The address that two balancers share: what is refused, what is written, and who is heard on a network."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

import jinja2
import pytest
import yaml

from tests.ansible.plays import play
from tests.conftest import REPOSITORY, SIGNALS, heed_signals

MODULE = REPOSITORY / "roles/virtual_address/library/vrrp_neighbours.py"
_SPEC = importlib.util.spec_from_file_location("vrrp_neighbours", MODULE)
assert _SPEC is not None
assert _SPEC.loader is not None
neighbours = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(neighbours)

GOOD: dict[str, object] = {
    "slice_address": "127.0.0.1",
    "virtual_address": "127.0.0.100/8",
    "virtual_address_peer": "127.0.0.3",
    "virtual_address_port": 8080,
    "virtual_address_drain": ["systemctl", "reload", "some balancer.service"],
}
REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "one-balancer": ({"virtual_address_peer": ""}, "exactly two hosts in the group balancers; add or remove one, or"),
    "one-that-leaves": ({"virtual_address_peer": ""}, "keeps the address until make down is run for it, see"),
    "another-network": ({"virtual_address": "10.10.1.100/24"}, "is not of the data plane's network, 127.0.0.0/8"),
    "a-host-s-own": ({"virtual_address": "127.0.0.11/8"}, "127.0.0.11 is the slice_address of worker1"),
    "no-prefix": ({"virtual_address": "127.0.0.100"}, "127.0.0.100 lacks the prefix of its network"),
    "ipv6": ({"slice_address": "::1"}, "virtual_address is for IPv4, and slice_address is ::1"),
    "no-such-interface": ({"slice_address": "192.0.2.1"}, "no interface has slice_address 192.0.2.1"),
    "id-0": ({"virtual_address_vrrp_id": 0}, "virtual_address_vrrp_id 0 is none; choose 1 to 255"),
    "id-256": ({"virtual_address_vrrp_id": 256}, "virtual_address_vrrp_id 256 is none; choose 1 to 255"),
    "too-slow": ({"virtual_address_advert_s": 5}, "virtual_address_advert_s 5 is out of range; choose 0.1 to 1"),
    "no-systemd": ({"manager": "sysvinit"}, "virtual_address needs systemd, and this host has sysvinit"),
}

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="who else speaks VRRP is heard by root alone")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """One run with a host for each case, and the folder of what the good one writes."""
    folder = tmp_path_factory.mktemp("shared")
    hosts = {name: GOOD | own for name, (own, _) in REFUSED.items()} | {"good": GOOD | {"folder": str(folder)}}
    inventory = folder / "hosts.yml"
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
    return play("share", {}, inventory=str(inventory)), folder


@pytest.mark.slow
@as_root
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_shared_is_refused(ran: tuple[subprocess.CompletedProcess[str], Path], case: str) -> None:
    said = " ".join(ran[0].stdout.split()).replace("''", "'")
    assert f"{case}: " in said
    own = said.partition(f"{case}: ")[2]
    assert REFUSED[case][1] in own[: own.find("fatal:")]


@as_root
def test_keepalived_accepts_what_is_written(ran: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    if shutil.which("keepalived") is None:
        pytest.skip("keepalived is not installed")
    path = ran[1] / "keepalived.conf"
    # keepalived takes no loopback interface, and asks whether what it is given is there.
    text = path.read_text().replace("lo\n", "eth0\n")
    path.write_text(text)
    done = subprocess.run(["keepalived", "-t", "-f", str(path)], capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if "eth0" not in line]
    assert done.returncode == 0 or said == [], done.stderr
    for line in ("virtual_router_id 51", "127.0.0.100/8 dev", "unicast_src_ip 127.0.0.1", "advert_int 0.3"):
        assert line in text
    assert text.count("priority 100") == 1
    # A check that was not made yet does not count as passed.
    assert text.count("\n    init_fail\n") == text.count("vrrp_script ") > 1
    assert "nopreempt" not in text  # by it a balancer whose pool is empty would keep the address


@pytest.mark.parametrize("advert_s", [0.1, 0.3, 1])
def test_a_killed_keepalived_starts_after_the_other_balancer_has_the_address(advert_s: float) -> None:
    """A new one takes the address off first, and answers that are under way could not leave."""
    defaults = yaml.safe_load((REPOSITORY / "roles/virtual_address/defaults/main.yml").read_text())
    delay = jinja2.Environment(autoescape=True).from_string(
        defaults["virtual_address_service_definition"]["restart_delay_s"]
    )
    # RFC 5798: the other one waits for three advertisements and its skew, which is below one.
    assert float(delay.render(virtual_address_advert_s=advert_s)) >= 4 * advert_s


@as_root
def test_the_program_that_hands_over_is_written_for_a_shell(
    ran: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    path = ran[1] / "imagerec-hand-over"
    assert subprocess.run(["sh", "-n", str(path)], check=False).returncode == 0
    assert "\nsystemctl reload 'some balancer.service'\n" in path.read_text()


@as_root
@pytest.mark.parametrize("number", [*SIGNALS, signal.SIGPIPE], ids=lambda number: number.name)
def test_a_hand_over_that_is_interrupted_lets_new_connections_in_again(
    ran: tuple[subprocess.CompletedProcess[str], Path], tmp_path: Path, number: signal.Signals
) -> None:
    """The programs that it calls do nothing, and it is told to end while it waits for one of them."""
    programs = {
        "ip": "echo here",
        "curl": "true",
        "sleep": "true",
        "nft": f'[ "$1" = add ] && touch {tmp_path}/closed || rm {tmp_path}/closed',
        "systemctl": f"touch {tmp_path}/begun; exec /bin/sleep 60",
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    running = subprocess.Popen(
        [ran[1] / "imagerec-hand-over"],
        env=os.environ | {"PATH": f"{tmp_path}:/usr/bin:/bin"},
        start_new_session=True,
        preexec_fn=heed_signals,  # noqa: PLW1509  # these tests have no threads
    )
    while not (tmp_path / "begun").exists():
        assert running.poll() is None
        time.sleep(0.05)
    assert (tmp_path / "closed").exists()
    os.killpg(running.pid, number)
    assert running.wait(timeout=60) != 0
    assert not (tmp_path / "closed").exists()


def vrrp(number: int, *, protocol: int = 112, version: int = 3) -> bytes:
    """A VRRP advertisement of 10.10.1.9 as a raw socket has it."""
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 255, protocol, 0, socket.inet_aton("10.10.1.9"), bytes(4))
    return header + struct.pack("!BBBBHH", version << 4 | 1, number, 100, 1, 100, 0)


@pytest.mark.parametrize("version", [2, 3])
def test_a_speaker_and_its_id_are_read(version: int) -> None:
    assert neighbours.speaker(vrrp(51, version=version)) == ("10.10.1.9", 51)


@pytest.mark.parametrize(
    "packet", [b"", b"\x45", vrrp(51)[:24], vrrp(51, protocol=6), bytes(40)], ids=["no", "cut", "short", "tcp", "zeros"]
)
def test_what_is_no_vrrp_is_nobody(packet: bytes) -> None:
    assert neighbours.speaker(packet) is None


SPEAK = """
import socket, sys, time
one = socket.socket(socket.AF_INET, socket.SOCK_RAW, 112)
one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"there")
one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
while True:
    one.sendto(bytes.fromhex(sys.argv[1]), ("224.0.0.18", 0))
    time.sleep(0.1)
"""
LISTEN = """
import json, runpy, socket, sys
listen = runpy.run_path(sys.argv[1])["listen"]
with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as first:
    first.bind(("here", 0x0800))
    first.recv(1)  # it speaks
speakers, owners = listen("here", "10.99.0.1", ["10.99.0.2", "10.99.0.7"], 1.0)
print(json.dumps([sorted(speakers), {each: len(found) for each, found in owners.items()}]))
"""
NETWORK = """
set -e
ip link set lo up
ip netns add stranger-$$ && trap 'ip netns delete stranger-$$' EXIT
ip link add here type veth peer name there netns stranger-$$
ip address add 10.99.0.1/24 dev here && ip link set here up
ip -n stranger-$$ address add 10.99.0.2/24 dev there && ip -n stranger-$$ link set there up
ip -n stranger-$$ address add 10.99.0.9/24 dev there
ip netns exec stranger-$$ "$1" -c "$2" "$3" & speaker=$!
shift 3; status=0; "$@" || status=$?
kill $speaker
exit $status
"""


def beside_a_stranger(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in one of two network namespaces with a wire between them; who is in the other has id 77."""
    if subprocess.run(["unshare", "--net", "--mount", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine makes no network namespaces")
    command = ["unshare", "--net", "--mount", "bash", "-c", NETWORK, "network", sys.executable]
    command += [SPEAK, vrrp(77)[20:].hex(), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, cwd=REPOSITORY)


@as_root
def test_a_stranger_on_the_network_is_heard() -> None:
    done = beside_a_stranger(sys.executable, "-c", LISTEN, str(MODULE))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[["10.99.0.2", 77]], {"10.99.0.2": 1, "10.99.0.7": 0}]


@pytest.mark.slow
@as_root
def test_what_a_stranger_has_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    usual = {"slice_address": "10.99.0.1", "virtual_address": "10.99.0.100/24", "virtual_address_peer": "10.99.0.7"}
    cases: dict[str, dict[str, object]] = {
        "id": {"virtual_address_vrrp_id": 77},
        "address": {"virtual_address": "10.99.0.9/24"},
        "free": {"virtual_address_vrrp_id": 78},
        "the-peer-s": {"virtual_address_vrrp_id": 77, "virtual_address_peer": "10.99.0.2"},
    }
    hosts = {name: usual | own | {"folder": str(tmp_path / name)} for name, own in cases.items()}
    for name in cases:
        (tmp_path / name).mkdir()
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    done = beside_a_stranger("ansible-playbook", "-i", str(tmp_path / "hosts.json"), "tests/ansible/share.yml")
    said = " ".join(done.stdout.split())
    assert "id: VRRP id 77 is taken on here by 10.99.0.2; set virtual_address_vrrp_id to another one" in said, (
        done.stdout + done.stderr
    )
    assert "address: 10.99.0.9 is used by a machine that is no balancer (" in said
    written = {name for name in cases if (tmp_path / name / "keepalived.conf").exists()}
    assert written == {"free", "the-peer-s"}
