"""Ports for programs that listen later: nobody else gets them meanwhile."""

from __future__ import annotations

import os
import socket
from itertools import islice
from pathlib import Path

import pytest

from deployed import local
from tests.conftest import free_ports


@pytest.fixture
def kernels_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where it is read which ports the kernel gives to connections: from 32768 on."""
    told = tmp_path / "ip_local_port_range"
    told.write_text("32768\t60999\n")
    monkeypatch.setattr(local, "_KERNELS_OWN", told)
    return told


def of_process(monkeypatch: pytest.MonkeyPatch, number: int) -> list[int]:
    """What a process of this number tries first."""
    monkeypatch.setattr(os, "getpid", lambda: number)
    return list(islice(local._candidates(), 100))


def test_ports_are_given_once() -> None:
    given = [*free_ports(20), *free_ports(20)]
    assert len(set(given)) == 40


def test_a_port_that_somebody_has_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = free_ports(2)
    monkeypatch.setattr(local, "_ports", iter([first, second]))
    with socket.create_server(("127.0.0.1", first)):
        assert free_ports(1) == [second]


@pytest.mark.usefixtures("kernels_own")
def test_processes_that_start_one_after_the_other_try_different_ports_below_the_kernel_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = [of_process(monkeypatch, 4_194_000 + number) for number in range(50)]
    assert len({port for ports in tried for port in ports}) == 50 * 100
    assert all(10_000 <= port < 32_768 for ports in tried for port in ports)


def test_where_there_is_no_room_below_them_the_kernel_gives_one(
    kernels_own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels_own.write_text("1024\t65535\n")
    assert set(of_process(monkeypatch, 7)) == {0}
    kernels_own.unlink()
    assert set(of_process(monkeypatch, 7)) == {0}
    monkeypatch.setattr(local, "_ports", local._candidates())
    assert len(set(free_ports(20))) == 20
