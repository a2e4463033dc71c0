"""Ports for programs that listen later: nobody else gets them meanwhile."""

from __future__ import annotations

import os
import socket
from itertools import islice
from pathlib import Path

import pytest

from deployed import local
from tests.conftest import free_ports


def of_process(monkeypatch: pytest.MonkeyPatch, number: int) -> list[int]:
    """What a process of this number tries first."""
    monkeypatch.setattr(os, "getpid", lambda: number)
    return list(islice(local._candidates(), 100))


def test_ports_are_given_once_and_are_none_of_the_kernel_s() -> None:
    lowest_own = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    given = [*free_ports(20), *free_ports(20), *free_ports(2, "::1")]
    assert len(set(given)) == 42
    assert all(9_999 < port < lowest_own for port in given) or lowest_own < 10_100


def test_a_port_that_somebody_has_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = free_ports(2)
    monkeypatch.setattr(local, "_ports", iter([first, second]))
    with socket.create_server(("127.0.0.1", first)):
        assert free_ports(1) == [second]


def test_processes_that_start_one_after_the_other_get_different_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = [of_process(monkeypatch, 4_194_000 + number) for number in range(50)]
    if tried[0][0] == 0:
        pytest.skip("the kernel's own ports leave no room below them here")
    assert len({port for ports in tried for port in ports}) == 50 * 100
