"""Real connections, asked of the real kernel."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from imagerec_pool import kernel

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
    assert kernel.under_way([(address, port)])[address, port] == 0
    command = [sys.executable, "-c", CLIENT, address, str(port)]
    with (
        socket.create_connection((address, port)) as own,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client,
    ):
        assert client.stdout is not None
        try:
            assert client.stdout.readline() == "connected\n"
            assert kernel.under_way([(address, port)])[address, port] == 1
            try:
                assert kernel.cut_off(address, port) == 1
            except kernel.NotAllowedError as error:
                pytest.skip(f"needs the right to end connections: {error}")
            assert client.stdout.readline() == "ConnectionAbortedError\n"
            assert kernel.under_way([(address, port)])[address, port] == 0
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
            assert list(kernel.under_way(servers).values()) == [1, 0, 0]
        finally:
            client.kill()


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
print(kernel.under_way([(address, port)])[address, port])
try:
    kernel.cut_off(address, port)
except kernel.NotAllowedError as error:
    print(error)
"""
    command = [sys.executable, "-c", program, address, str(port)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "1\nOperation not permitted\n", done.stderr
