"""Real connections, asked of the real kernel."""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from typing import Any
from unittest.mock import Mock

import pytest

from imagerec_pool import kernel
from imagerec_pool.under_way import UnderWay
from tests.lossy import swallow

CLIENT = """
import socket, sys
address, port = sys.argv[1], int(sys.argv[2])
connection = socket.create_connection((address, port), timeout=60)
print("connected", flush=True)
try:
    print(connection.recv(1), flush=True)
except OSError as error:
    print(type(error).__name__, flush=True)
"""


@pytest.fixture(params=["127.0.0.1", "::1"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    try:
        server = socket.create_server((request.param, 0), family=family)
    except OSError:
        pytest.skip("needs the loopback address of IPv6")
    with server:
        yield server


def test_another_program_s_connection_is_counted_and_cut_off(listener: socket.socket) -> None:
    """The listener never accepts: this is a worker that does not start behind its open door."""
    address, port = listener.getsockname()[:2]
    assert len(kernel.under_way([(address, port)])[address, port]) == 0
    command = [sys.executable, "-c", CLIENT, address, str(port)]
    with (
        socket.create_connection((address, port)) as own,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client,
    ):
        assert client.stdout is not None
        try:
            assert client.stdout.readline() == "connected\n"
            assert len(kernel.under_way([(address, port)])[address, port]) == 1
            try:
                assert kernel.cut_off(address, port, spare_begun=False) == 1
            except kernel.NotAllowedError as error:
                pytest.skip(f"needs the right to end connections: {error}")
            assert client.stdout.readline() == "ConnectionAbortedError\n"
            assert len(kernel.under_way([(address, port)])[address, port]) == 0
            own.setblocking(False)
            with pytest.raises(BlockingIOError):  # this program's own was left alone
                own.recv(1)
        finally:
            client.kill()


def test_of_many_servers_each_has_its_own_count(listener: socket.socket) -> None:
    """Another port at the same address, and one of the other family, are counted apart."""
    address, port = listener.getsockname()[:2]
    other = "::1" if address == "127.0.0.1" else "127.0.0.1"
    command = [sys.executable, "-c", CLIENT, address]
    with (
        socket.create_server((address, 0), family=listener.family) as second,
        subprocess.Popen([*command, str(port)], stdout=subprocess.PIPE, text=True) as client,
    ):
        assert client.stdout is not None
        try:
            assert client.stdout.readline() == "connected\n"
            servers = [(address, port), (address, second.getsockname()[1]), (other, port)]
            assert [len(found) for found in kernel.under_way(servers).values()] == [1, 0, 0]
        finally:
            client.kill()


def test_a_worker_of_two_addresses_has_the_connections_to_both() -> None:
    with ExitStack() as stack:
        port = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
        stack.enter_context(socket.create_server(("127.0.0.2", port)))
        places = [(address, port) for address in ("127.0.0.1", "127.0.0.2")]
        for address, _ in places:
            command = [sys.executable, "-c", CLIENT, address, str(port)]
            client = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(client.kill)
            assert client.stdout is not None
            assert client.stdout.readline() == "connected\n"
        known = UnderWay(lambda: {"worker1": places, "worker2": []}, lambda _: None)
        assert known.counts(1.0) == {"worker1": 2}


@pytest.mark.parametrize("kind", [2, 3], ids=["refused", "ended early"])
def test_a_kernel_that_cannot_say_is_told_from_no_connections(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So answers a kernel without tcp_diag."""
    answer = struct.pack("=IHHIIi", 20, kind, 0, 1, 0, -errno.ENOENT)
    monkeypatch.setattr(kernel, "_opened", lambda: nullcontext(Mock(recv=lambda _: answer)))
    with pytest.raises(FileNotFoundError):
        kernel.under_way([("127.0.0.1", 5000)])


@pytest.mark.parametrize("few", [True, False], ids=["few ports", "many ports"])
def test_of_few_ports_the_kernel_tells_no_more_than_what_leads_there(
    listener: socket.socket, few: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A balancer has thousands of connections to its clients, and looks three times a second."""
    address, port = listener.getsockname()[:2]
    command = [sys.executable, "-c", CLIENT, address]
    told: set[int] = set()
    ask = kernel._connections

    def overheard(*asked: Any) -> Iterator[kernel.Connection]:
        for each in ask(*asked):
            told.add(each.server[1])
            yield each

    monkeypatch.setattr(kernel, "_connections", overheard)
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server((address, 0), family=listener.family)) for _ in range(9)]
        ports = [each.getsockname()[1] for each in servers[: 2 if few else 9]]
        for number in (port, ports[0], ports[1]):
            client = subprocess.Popen([*command, str(number)], stdout=subprocess.PIPE, text=True)
            stack.enter_context(client)
            stack.callback(client.kill)
            assert client.stdout is not None
            assert client.stdout.readline() == "connected\n"
        found = kernel.under_way([(address, number) for number in ports])
        assert [len(each) for each in found.values()] == [1, 1, *[0] * (len(ports) - 2)]
        assert (port in told) == (not few)


# Sends more than anybody reads.
SENDER = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=60)
try:
    connection.sendall(bytes(int(sys.argv[3])))
    connection.recv(1)
except OSError as error:
    print(type(error).__name__, flush=True)
"""


def to(listener: socket.socket, wanted: Callable[[kernel.Connection], bool]) -> kernel.Connection:
    """Return the only connection to a listener, once it is as wanted."""
    place = listener.getsockname()[:2]
    deadline = time.monotonic() + 60
    while True:
        found = kernel.under_way([place])[place]
        if len(found) == 1 and wanted(found[0]):
            return found[0]
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


@pytest.mark.slow
def test_what_is_lost_on_the_way_is_told_from_what_a_worker_does_not_read(listener: socket.socket) -> None:
    """A large photograph for a busy worker waits for room and is not late. What the way swallows is, and is cut off."""
    address, port = listener.getsockname()[:2]
    command = [sys.executable, "-c", SENDER, address]
    with socket.create_server((address, 0), family=listener.family) as behind_a_lossy_link, ExitStack() as stack:
        swallow(behind_a_lossy_link)
        lossy_port = behind_a_lossy_link.getsockname()[1]
        for number, size in ((port, 2**24), (lossy_port, 8000)):
            sender = subprocess.Popen([*command, str(number), str(size)], stdout=subprocess.PIPE, text=True)
            stack.enter_context(sender)
            stack.callback(sender.kill)
        before = to(listener, lambda each: each.begun)
        late = to(behind_a_lossy_link, lambda each: each.sending_s > 1)
        assert (late.begun, late.acknowledged < 1000, late.unsent) == (False, True, 8000)
        assert to(listener, lambda each: each.begun).sending_s - before.sending_s < 0.5
        try:
            assert kernel.cut_off(address, lossy_port, spare_begun=True) == 1
        except kernel.NotAllowedError as error:
            pytest.skip(f"needs the right to end connections: {error}")
        assert sender.stdout is not None
        assert sender.stdout.readline() == "ConnectionAbortedError\n"
        assert kernel.cut_off(address, port, spare_begun=True) == 0


def test_without_the_right_it_says_so(listener: socket.socket) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to give the right away")
    address, port = listener.getsockname()[:2]
    program = """
import os, socket, sys
from imagerec_pool import kernel
address, port = sys.argv[1], int(sys.argv[2])
connection = socket.create_connection((address, port))
os.setuid(65534)
kernel._own_inodes = set
print(len(kernel.under_way([(address, port)])[address, port]))
try:
    kernel.cut_off(address, port, spare_begun=False)
except kernel.NotAllowedError as error:
    print(error)
"""
    command = [sys.executable, "-c", program, address, str(port)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "1\nOperation not permitted\n", done.stderr
