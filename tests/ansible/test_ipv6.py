"""A real nginx that listens on `::` before a worker on `::1`: both families are served, and clients have limits."""

from __future__ import annotations

import http.client
import os
import re
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.ansible.plays import play
from tests.ansible.rendering import render
from tests.conftest import free_ports

UNDER_WAY = 2


class Worker(BaseHTTPRequestHandler):
    """Answers a request only when the test lets go."""

    let_go = threading.Event()
    holds = threading.Semaphore(0)

    def do_GET(self) -> None:
        self.holds.release()
        self.let_go.wait(60)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """Listens on ::1."""

    address_family = socket.AF_INET6


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of the balancer."""
    folder = tmp_path_factory.mktemp("ipv6")
    (number,) = free_ports(1)
    with ExitStack() as stack:
        server = stack.enter_context(Server(("::1", 0), Worker))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        stack.callback(Worker.let_go.set)
        render(
            folder,
            subnet="::",
            state=str(folder),
            user="root" if os.geteuid() == 0 else "",
            variants=[{"name": "ipv6", "limit": UNDER_WAY}],
            balancer_port=number,
            balancer_workers=[{"name": "worker1", "address": "::1", "port": server.server_port, "processes": 8}],
            balancer_trusted_proxies=["::1"],
        )
        nginx = stack.enter_context(
            subprocess.Popen(["/usr/sbin/nginx", "-c", str(folder / "nginx-ipv6.conf"), "-g", "daemon off;"])
        )
        stack.callback(nginx.terminate)
        for _ in range(600):
            try:
                socket.create_connection(("::1", number)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.1)
        yield number


class Clients:
    """Requests that are under way."""

    def __init__(self, port: int, stack: ExitStack) -> None:
        self._port, self._stack = port, stack

    def ask(self, target: str, source: str, forwarded: str = "") -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(target, self._port, timeout=60, source_address=(source, 0))
        self._stack.callback(connection.close)
        connection.request("GET", "/version", headers={"X-Forwarded-For": forwarded} if forwarded else {})
        return connection

    def hold(self, *request: str) -> None:
        """Ask, and wait until the worker has the request."""
        self.ask(*request)
        assert Worker.holds.acquire(timeout=60)


@pytest.fixture
def clients(port: int) -> Iterator[Clients]:
    Worker.let_go.clear()
    with ExitStack() as stack:
        yield Clients(port, stack)
        Worker.let_go.set()


@pytest.mark.slow
def test_the_addresses_of_one_ipv6_network_share_a_limit(clients: Clients) -> None:
    """A provider gives a client 2^64 addresses at least."""
    for forwarded in ("2001:db8::1", "2001:db8::ffff:2"):
        clients.hold("::1", "::1", forwarded)
    assert clients.ask("::1", "::1", "2001:db8::3").getresponse().status == 429
    clients.hold("::1", "::1", "2001:db8:0:1::1")


def test_clients_that_come_by_ipv4_have_a_limit_each(clients: Clients) -> None:
    for _ in range(UNDER_WAY):
        clients.hold("127.0.0.1", "127.0.0.1")
    assert clients.ask("127.0.0.1", "127.0.0.1").getresponse().status == 429
    clients.hold("127.0.0.1", "127.0.0.2")


@pytest.mark.slow
def test_the_certificate_is_for_the_address_and_made_once(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<title>page</title>")
    with tarfile.open(tmp_path / "page.tar", "w") as archive:
        archive.add(tmp_path / "index.html", "index.html")
    variables = {
        "folder": str(tmp_path),
        "slice_address": "2001:DB8::1",
        "balancer_address": "::1",
        "balancer_user": "root" if os.geteuid() == 0 else "",
        "balancer_port": 8080,
        "balancer_tls": "self_signed",
        "balancer_workers": [{"name": "worker1", "address": "2001:db8::2", "port": 5000}],
    }
    changed = []
    for _ in range(2):
        done = play("balance", variables)
        assert done.returncode == 0, done.stdout[-3000:]
        changed += re.findall(r"changed=(\d+)", done.stdout)
    assert changed[1] == "0"
    shown = subprocess.run(
        ["openssl", "x509", "-noout", "-ext", "subjectAltName", "-in", str(tmp_path / "etc/tls/certificate.pem")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "IP Address:2001:DB8:0:0:0:0:0:1" in shown.stdout
