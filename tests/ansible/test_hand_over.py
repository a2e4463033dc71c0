"""Who of two balancers has their address: the programs that watch and move it, between programs that stand for others.

The real ones move an address between two machines: `slice/test_pair.py`.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.ansible.evaluation import evaluated, variables_of
from tests.conftest import REPOSITORY

GIVEN: dict[str, Any] = {
    "virtual_address": "10.10.1.100/24",
    "virtual_address_peer": "10.10.1.2",
    "virtual_address_port": 81,
    "virtual_address_drain": ["drain", "the balancer"],
    "__virtual_address_interface": "eth1",
}


def written(template: str, **given: Any) -> str:
    """What the role writes."""
    file = REPOSITORY / f"roles/virtual_address/templates/{template}.j2"
    known = variables_of("virtual_address", GIVEN | given | {"file": str(file)})
    return str(evaluated("{{ lookup('ansible.builtin.template', file) }}", known))


def test_where_nobody_listens_the_address_is_given_away_at_once_and_who_is_slow_gets_three_tries() -> None:
    text = written("etc/imagerec-virtual-address/keepalived.conf")
    bodies = dict(re.findall(r"^vrrp_script (\w+) {\n(.*?)^}", text, re.MULTILINE | re.DOTALL))
    assert "fall 1\n" in bodies["listens"]
    assert "weight" not in bodies["listens"]  # it is out of the election
    assert "fall 3\n" in bodies["serves"]
    assert -100 < int(re.findall(r"weight (\S+)", bodies["serves"])[0]) < 0  # it is worse than one that serves
    assert "--fail" in bodies["serves"]  # a /healthz that says 503 is no answer


def test_somebody_listens_or_nobody_does(tmp_path: Path) -> None:
    program = tmp_path / "listens"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        program.write_text(written("etc/imagerec-virtual-address/listens", virtual_address_port=port))
        program.chmod(0o755)
        assert subprocess.run([program], check=False).returncode == 0
    assert subprocess.run([program], check=False, capture_output=True).returncode != 0


# What the address's host answers is in files, and every call is written down.
PROGRAMS = {
    "ip": 'cat "$STATE/address" 2>/dev/null || true',
    "curl": 'for url; do :; done; case $url in */healthz) [ -e "$STATE/peer" ] ;; *) [ -e "$STATE/answers" ] ;; esac',
    "sleep": "true",
    "ss": 'if [ -s "$STATE/under_way" ]; then head -1 "$STATE/under_way"; sed -i 1d "$STATE/under_way"; fi',
    "nft": "true",
    "drain": "true",
    "systemctl": '[ -e "$STATE/stays" ] || rm -f "$STATE/address"',
}


def hand_over(folder: Path, **state: str) -> tuple[int, str, list[str]]:
    """Hand the address over; return status, what was said, and what was called but for sleep."""
    (folder / "state").mkdir()
    (folder / "bin").mkdir()
    for name, text in state.items():
        (folder / "state" / name).write_text(text)
    for name, text in PROGRAMS.items():
        (folder / "bin" / name).write_text(f'#!/bin/sh\necho {name} "$@" >> "$STATE/calls"\n{text}\n')
        (folder / "bin" / name).chmod(0o755)
    program = folder / "imagerec-hand-over"
    program.write_text(written("usr/local/sbin/imagerec-hand-over"))
    program.chmod(0o755)
    environment = os.environ | {"PATH": f"{folder}/bin:/usr/bin:/bin", "STATE": f"{folder}/state"}
    done = subprocess.run([program], env=environment, capture_output=True, text=True, check=False)
    calls = (folder / "state/calls").read_text().splitlines()
    return done.returncode, done.stdout + done.stderr, [call for call in calls if not call.startswith("sleep")]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"peer": "", "answers": ""}, "nothing to do: 10.10.1.100 is at the other balancer\n"),
        ({"address": "eth1", "answers": ""}, "kept 10.10.1.100: the balancer 10.10.1.2 does not serve\n"),
    ],
    ids=["it is not here", "the other one does not serve"],
)
def test_an_address_stays_where_it_is(tmp_path: Path, state: dict[str, str], words: str) -> None:
    status, said, calls = hand_over(tmp_path, **state)
    assert (status, said) == (0, words)
    assert {call.split()[0] for call in calls} <= {"ip", "curl"}


def test_it_is_moved_once_the_other_has_served_thrice_and_nothing_is_under_way(tmp_path: Path) -> None:
    status, said, calls = hand_over(tmp_path, address="eth1", peer="", answers="", under_way="one\ntwo\n")
    assert (status, said) == (0, "moved 10.10.1.100 to 10.10.1.2\n")
    order = [call.split()[0] for call in calls if call.split()[0] != "ip"]
    assert order == [*["curl"] * 3, *["nft"] * 3, "drain", *["ss"] * 3, "systemctl", "curl", "nft"]
    rules = [call for call in calls if call.startswith("nft")]
    assert "ip daddr 10.10.1.100 tcp flags & (syn|ack) == syn drop" in rules[2]  # what opens a connection waits
    assert rules[-1] == "nft delete table ip imagerec_hand_over"
    asked = [call.split()[-1] for call in calls if call.startswith("curl")]
    assert asked == [*["http://10.10.1.2:81/healthz"] * 3, "http://10.10.1.100:81/status"]


@pytest.mark.parametrize("state", [{"stays": "", "answers": ""}, {}], ids=["it stays", "nobody answers there"])
def test_one_that_is_not_taken_is_a_failure(tmp_path: Path, state: dict[str, str]) -> None:
    status, said, calls = hand_over(tmp_path, address="eth1", peer="", **state)
    assert status == 1
    assert "10.10.1.2 has not taken 10.10.1.100 within 5 s; its journal of imagerec-virtual-address says why" in said
    assert calls[-1] == "nft delete table ip imagerec_hand_over"
