"""Two balancers that share an address: one is killed, powered off, cut off and upgraded while the service is asked."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from chaos.verdict import lost
from deployed.load import Load
from deployed.slice import MODEL, Slice
from loadtest.generate.images import jpeg
from loadtest.generate.samples import Sample
from rspec.local_slice.limits import limiter_of
from rspec.local_slice.plan import need_plan
from rspec.local_slice.up import switch_on
from tests.slice.conftest import PHOTOGRAPH, PLAIN, eventually, missing
from tests.slice.leftovers import leftovers

# The address moves for no fault where a host is short of processor time, and the whole takes ten minutes.
pytestmark = pytest.mark.long

ADDRESS = "10.10.1.100"
SHARED = {"virtual_address": f"{ADDRESS}/24"}
BALANCERS = ("balancer", "balancer2")
RATE_HZ = 10
BALANCER = "imagerec-balancer"
KEEPALIVED = "imagerec-virtual-address"
# What a stranger says: VRRP version 3, this id, priority 100, one address.
SPEAK = """
import os, socket, time
open("/tmp/speak.pid", "w").write(str(os.getpid()))
one = socket.socket(socket.AF_INET, socket.SOCK_RAW, 112)
one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("10.10.1.2"))
while True:
    one.sendto(bytes.fromhex("3133640100640000"), ("224.0.0.18", 0))
    time.sleep(0.2)
"""


@pytest.fixture(scope="module")
def pair() -> Iterator[Slice]:
    """Two balancers, two workers and a client, deployed with a shared address; nothing of them is left."""
    reasons = missing()
    if reasons:
        pytest.skip("; ".join(reasons))
    system = Slice("pair")
    system.tool("down")
    try:
        system.tool("up", "--parameters", json.dumps({"workers": 2, "balancers": 2}))
        system.play("site.yml", variables=MODEL | SHARED)
        system.on("client", f"cat > {PHOTOGRAPH}", jpeg(Image.fromarray(data.chelsea())))  # type: ignore[no-untyped-call]
        yield system
    finally:
        system.tool("down")
        assert leftovers(system.names) == []


def namespace(system: Slice, machine: str) -> str:
    return system.names.machine(machine)


def holders(system: Slice) -> list[str]:
    """The machines that have the address; asked from outside, so also of one that is cut off."""
    found = []
    for name in BALANCERS:
        words = ["ip", "-n", namespace(system, name), "-o", "-4", "address", "show", "to", ADDRESS]
        if subprocess.run(words, capture_output=True, text=True, check=True).stdout:
            found.append(name)
    return found


def only_holder(system: Slice) -> str:
    """Wait until one machine has the address, and the other one is as good."""
    eventually("one balancer has the address", lambda: len(holders(system)) == 1)
    for name in BALANCERS:
        eventually(f"{name} serves", lambda name=name: system.on(name, "curl -sf http://127.0.0.1/healthz"))
    time.sleep(4)  # its keepalived asks twice, once a second, before it believes so
    (name,) = holders(system)
    return name


@dataclass
class Watched:
    """What came of the requests that were sent while something happened.

    Attributes:
        began_s: When it happened, on the clock of the samples.
        moved_s: Seconds from then until the other balancer had the address.
    """

    load: Load
    samples: list[Sample] = field(default_factory=list)
    began_s: float = 0.0
    moved_s: float | None = None

    def happens(self, act: Callable[[], object]) -> None:
        act()
        self.began_s = self.load.now()

    def happens_on(self, system: Slice, machine: str, command: str) -> None:
        """Run a command there as root; it has happened when that says the time, by the clock of all machines."""
        said = system.on(machine, f"sudo sh -c '{command}; date +%s.%N'")
        self.began_s = float(said) - self.load.origin

    def moves(self, system: Slice, to: str) -> None:
        """Wait until the address is at another balancer."""
        while to not in holders(system):
            assert self.load.now() - self.began_s < 30, f"{to} does not take the address"
            time.sleep(0.02)
        self.moved_s = self.load.now() - self.began_s

    @property
    def lost(self) -> list[Sample]:
        return [each for each in self.samples if lost(each)]

    @property
    def under_way(self) -> int:
        """How many requests were under way when it happened."""
        return sum(each.sent_s <= self.began_s <= each.done_s for each in self.samples)

    def told(self, what: str) -> str:
        moved = "stayed" if self.moved_s is None else f"moved in {self.moved_s:.2f} s"
        after = [each for each in self.samples if each.sent_s >= self.began_s and each.status == 200]
        waits = max((each.done_s - each.sent_s for each in after), default=0.0)
        return (
            f"{what}: {len(self.samples)} requests, {len(self.lost)} lost, {self.under_way} under way, "
            f"address {moved}, longest wait of an answered one {waits:.2f} s"
        )


@contextlib.contextmanager
def asked(system: Slice, what: str, record: Callable[[str, object], None]) -> Iterator[Watched]:
    """Ask from the client meanwhile; what was measured is printed and recorded."""
    rate = ("--phase", "600", str(RATE_HZ), "--timeout", "15", "--at-least", "60")
    watched = Watched(Load(system, [PHOTOGRAPH], "--target", f"http://{ADDRESS}", *PLAIN, *rate))
    time.sleep(2)
    try:
        yield watched
        time.sleep(2)
    finally:
        watched.samples = watched.load.stop()
        print(watched.told(what))
        record(what, watched.told(what))


def only_those_under_way(watched: Watched) -> None:
    """Whoever came after it happened has an answer."""
    late = [each for each in watched.lost if each.sent_s > watched.began_s]
    assert [(each.sent_s - watched.began_s, each.status, each.error) for each in late] == []
    assert len(watched.lost) <= watched.under_way


def other(name: str) -> str:
    return BALANCERS[1 - BALANCERS.index(name)]


def test_the_address_answers_and_one_balancer_has_it(pair: Slice) -> None:
    page = pair.on("client", f"curl -sf http://{ADDRESS}/")
    assert "<title>" in page
    assert len(holders(pair)) == 1
    said = pair.play("playbooks/verify.yml", variables=SHARED).stdout
    assert f"http://{ADDRESS}:80 serves" in said
    assert f"address  {ADDRESS}, on {holders(pair)[0]} now" in said


def test_a_second_run_changes_nothing_and_moves_nothing(pair: Slice) -> None:
    before = only_holder(pair)
    done = pair.play("playbooks/balancers.yml", variables=SHARED | {"thorough": "true"}).stdout
    assert re.findall(r"^(balancer2?) .*changed=(\d+)", done, re.MULTILINE) == [("balancer", "0"), ("balancer2", "0")]
    assert holders(pair) == [before]


def test_a_killed_nginx_loses_only_what_it_had(pair: Slice, record_property: Callable[[str, object], None]) -> None:
    victim = only_holder(pair)
    with asked(pair, "nginx killed", record_property) as watched:
        kill = "kill -9 $(pgrep -x nginx)"
        watched.happens_on(pair, victim, kill)
    only_those_under_way(watched)


def test_an_nginx_that_does_not_return_gives_the_address_away(
    pair: Slice, record_property: Callable[[str, object], None]
) -> None:
    victim = only_holder(pair)
    stop = f"systemctl stop {BALANCER}.socket {BALANCER}.service"
    with asked(pair, "nginx stopped", record_property) as watched:
        watched.happens_on(pair, victim, stop)
        try:
            watched.moves(pair, other(victim))
        finally:
            pair.on(victim, f"sudo systemctl start {BALANCER}.socket {BALANCER}.service")
        eventually(f"{victim} serves", lambda: pair.on(victim, "curl -sf http://127.0.0.1/healthz"))
        time.sleep(5)
        assert holders(pair) == [other(victim)]  # its return is no second interruption
    # Until the address has moved connections are refused; after that nobody is.
    assert watched.moved_s is not None
    moved_s = watched.began_s + watched.moved_s
    assert [each.error for each in watched.lost if each.sent_s > moved_s] == []


def test_a_killed_keepalived_loses_only_what_was_under_way(
    pair: Slice, record_property: Callable[[str, object], None]
) -> None:
    victim = only_holder(pair)
    with asked(pair, "keepalived killed", record_property) as watched:
        kill = "kill -9 $(pgrep -x keepalived)"
        watched.happens_on(pair, victim, kill)
        watched.moves(pair, other(victim))
    assert only_holder(pair) == other(victim)
    # It serves on until the address moves, so what the move meets is lost, not what the kill does.
    assert watched.moved_s is not None
    moved_s = watched.began_s + watched.moved_s
    assert [each.error for each in watched.lost if each.sent_s > moved_s] == []


def test_a_balancer_without_power_loses_only_what_it_had(
    pair: Slice, record_property: Callable[[str, object], None]
) -> None:
    victim = only_holder(pair)
    with asked(pair, "balancer off", record_property) as watched:
        # The wire first: a machine without power says no goodbye, but the kernel would send one for its sockets.
        watched.happens(lambda: wire(pair, victim, "down"))
        limiter_of(pair.name).kill(victim)
        watched.moves(pair, other(victim))
    only_those_under_way(watched)
    with asked(pair, "balancer back", record_property) as watched:
        subprocess.run(["ip", "-n", namespace(pair, victim), "address", "flush", "to", ADDRESS], check=True)
        wire(pair, victim, "up")
        watched.happens(lambda: switch_on(pair.names, victim))
        assert only_holder(pair) == other(victim)
    assert watched.lost == []


def wire(system: Slice, machine: str, state: str) -> None:
    """Set a machine's interface to the slice's links down or up."""
    (port,) = need_plan(system.names).ports(machine)
    subprocess.run(["ip", "-n", namespace(system, machine), "link", "set", "dev", port.device, state], check=True)


def plug(system: Slice, machine: str, state: str) -> None:
    """Let the switch's port to a machine pass frames (`3`) or none (`0`); the machine sees nothing of it."""
    wiring = need_plan(system.names).wirings[0]
    index = [port.machine for port in wiring.ports].index(machine)
    words = ["ip", "netns", "exec", system.names.mark, "bridge", "link", "set", "dev", f"lan0p{index}", "state", state]
    subprocess.run(words, check=True)


def test_a_balancer_that_is_cut_off_loses_only_what_it_had(
    pair: Slice, record_property: Callable[[str, object], None]
) -> None:
    victim = only_holder(pair)
    with asked(pair, "balancer cut off", record_property) as watched:
        watched.happens(lambda: plug(pair, victim, "0"))
        try:
            watched.moves(pair, other(victim))
            time.sleep(7)  # until it has seen that it reaches no worker
        finally:
            plug(pair, victim, "3")
        eventually("one has the address", lambda: holders(pair) == [other(victim)])
        time.sleep(5)
    assert only_holder(pair) == other(victim)
    only_those_under_way(watched)


def test_an_address_that_is_handed_over_loses_nothing(
    pair: Slice, record_property: Callable[[str, object], None]
) -> None:
    before = only_holder(pair)
    with asked(pair, "handed over", record_property) as watched:
        watched.began_s = watched.load.now()
        said = pair.on(before, "sudo imagerec-hand-over")
    assert said.split()[:2] == ["moved", ADDRESS]
    assert holders(pair) == [other(before)]
    assert [(each.status, each.error) for each in watched.lost] == []
    assert "nothing to do" in pair.on(before, "sudo imagerec-hand-over")
    assert "imagerec" not in pair.on(before, "sudo nft list ruleset")


def test_an_upgrade_rolls_one_after_the_other_and_loses_nothing(
    pair: Slice, record_property: Callable[[str, object], None]
) -> None:
    only_holder(pair)
    pids = [main_pid(pair, name) for name in BALANCERS]
    for name in BALANCERS:  # as a package's update does it
        pair.on(name, "sudo sh -c 'cd /usr/sbin && cp -p nginx nginx.new && mv nginx.new nginx'")
    with asked(pair, "both balancers upgraded", record_property) as watched:
        watched.began_s = watched.load.now()
        done = pair.play("playbooks/balancers.yml", variables=SHARED)
    assert [main_pid(pair, name) != before for name, before in zip(BALANCERS, pids, strict=True)] == [True, True]
    assert "Hand the address over" in done.stdout
    assert [(each.status, each.error) for each in watched.lost] == []


def main_pid(system: Slice, name: str) -> str:
    return system.on(name, f"systemctl show --property=MainPID --value {BALANCER}.service").strip()


def test_the_address_stays_where_it_is_when_nobody_serves(pair: Slice) -> None:
    before = only_holder(pair)
    for worker in ("worker1", "worker2"):
        pair.on(worker, "sudo systemctl stop imagerec-worker.socket imagerec-worker.service")
    try:
        healthz = "curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1/healthz"
        eventually("no balancer has a worker", lambda: {pair.on(name, healthz) for name in BALANCERS} == {"503"})
        time.sleep(8)
        assert holders(pair) == [before]
        assert "unavailable" in pair.on("client", f"curl -s http://{ADDRESS}/healthz")
    finally:
        for worker in ("worker1", "worker2"):
            pair.on(worker, "sudo systemctl start imagerec-worker.socket imagerec-worker.service")


def test_an_id_that_somebody_else_has_is_refused_and_nothing_changed(pair: Slice) -> None:
    before = only_holder(pair)
    pair.on("client", "cat > /tmp/speak.py", SPEAK)
    with pair.start("client", "sudo timeout 300 python3 /tmp/speak.py") as speaking:
        try:
            refused = pair.play("playbooks/preflight.yml", variables=SHARED, check=False)
        finally:
            pair.on("client", "sudo kill $(cat /tmp/speak.pid)")
            speaking.wait(60)
    said = " ".join(refused.stdout.split())
    assert refused.returncode != 0
    assert "VRRP id 51 is taken on eth1 by 10.10.1.2; set virtual_address_vrrp_id to another one" in said
    assert holders(pair) == [before]


def test_what_shares_the_address_is_removed_again(pair: Slice) -> None:
    pair.play("playbooks/balancers.yml")  # without the setting
    assert holders(pair) == []
    for name in BALANCERS:
        look = (
            f"systemctl list-unit-files '{KEEPALIVED}*' --no-legend; ls -d /etc/{KEEPALIVED} /usr/local/sbin/imagerec*"
        )
        left = pair.on(name, look, check=False)
        assert left.strip() == ""
        assert "<title>" in pair.on("client", f"curl -sf http://{name}/")
    assert Path(pair.names.manifest).is_file()


def test_a_removal_leaves_nothing_on_the_machines(pair: Slice) -> None:
    """The last test: nothing is deployed any more."""
    pair.on("client", "sudo mkdir -p /var/tmp/imagerec-experiments/images")
    pair.play("playbooks/down.yml", variables=SHARED)
    look = "sudo sh -c 'ls -d /etc/imagerec-* /opt/imagerec-* /srv/imagerec /var/*/imagerec-* 2>/dev/null'"
    for machine in (*BALANCERS, "worker1", "worker2", "client"):
        assert pair.on(machine, look, check=False) == ""
