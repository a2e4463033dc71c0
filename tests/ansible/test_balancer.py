"""A real nginx with what the role writes, before a trivial worker: TLS, its renewal, and the limits of an address."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import requests

from tests.ansible.plays import play
from tests.conftest import free_ports, json_lines

RATE_HZ = 20
UNDER_WAY = 4
NAME = "images.example.org"


class Worker(BaseHTTPRequestHandler):
    """Answers every request with how it came; one with `hold` only when the test lets go, one with `drop` never."""

    VERSION: ClassVar[dict[str, Any]] = {
        "worker": "worker1",
        "model": {"name": "imagenet", "version": "1.0", "digest": "d" * 64},
    }
    heard: ClassVar[dict[str, str]] = {}  # the fields of the last one, their names in small letters
    let_go = threading.Event()
    holds = threading.Semaphore(0)

    def do_POST(self) -> None:
        Worker.heard = {name.lower(): value for name, value in self.headers.items()}
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "drop" in self.path:
            self.close_connection = True
            return
        if "hold" in self.path:
            self.holds.release()
            self.let_go.wait(20)
        answers = {"/readyz": {"status": "ready"}, "/version": self.VERSION}
        body = (json.dumps(answers.get(self.path, {})) + "\n").encode()
        if self.path not in answers:
            body = self.headers["X-Forwarded-Proto"].encode()
        self.send_response(200)
        if self.path in answers:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@dataclass
class Balancer:
    """What the role has configured in a folder."""

    folder: Path
    http: int
    https: int
    worker: int
    name: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def certificate(self) -> Path:
        return self.folder / "etc/tls/certificate.pem"

    @property
    def plain(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    @property
    def secure(self) -> str:
        return f"https://127.0.0.1:{self.https}"

    def variables(self) -> dict[str, Any]:
        """What the role is told."""
        return {
            "folder": str(self.folder),
            "balancer_user": "root" if os.geteuid() == 0 else "",
            "balancer_port": self.http,
            "balancer_tls": "self_signed",
            "balancer_tls_port": self.https,
            "balancer_tls_name": self.name,
            "balancer_workers": [{"name": "worker1", "address": "127.0.0.1", "port": self.worker, "processes": 2}],
            "balancer_max_conns": 1,
            "balancer_address_rate_hz": RATE_HZ,
            "balancer_address_connections": UNDER_WAY,
            "balancer_retry_after_s": 3,
            **self.more,
        }

    def configure(self) -> int:
        """Apply the role; return how many tasks changed something."""
        done = play("balance", self.variables())
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        changed = re.search(r"changed=(\d+)", done.stdout)
        assert changed is not None
        return int(changed[1])

    def get(self, url: str, **options: object) -> requests.Response:
        return requests.get(url, verify=self.certificate, allow_redirects=False, timeout=60, **options)  # type: ignore[arg-type]

    def post(self, query: str = "") -> requests.Response:
        return requests.post(f"{self.secure}/predict{query}", data=b"image", verify=self.certificate, timeout=30)

    def handshake(self, version: str) -> subprocess.CompletedProcess[str]:
        """Offer one version of TLS alone; level 0 lets the client offer what it would not by itself."""
        return subprocess.run(
            [
                *("openssl", "s_client", f"-{version}", "-cipher", "DEFAULT:@SECLEVEL=0"),
                *("-connect", f"127.0.0.1:{self.https}", "-CAfile", str(self.certificate)),
            ],
            input="",
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def worker() -> Iterator[int]:
    Worker.let_go.clear()  # the end of an earlier one in this process has set it
    server = ThreadingHTTPServer(("127.0.0.1", 0), Worker)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    Worker.let_go.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory, worker: int) -> Balancer:
    folder = tmp_path_factory.mktemp("balancer")
    (folder / "index.html").write_text("<title>page</title>")
    with tarfile.open(folder / "page.tar", "w") as archive:
        archive.add(folder / "index.html", "index.html")
    balancer = Balancer(folder, *free_ports(2), worker)
    assert balancer.configure() > 0
    return balancer


@pytest.fixture(scope="module")
def nginx(configured: Balancer) -> Iterator[subprocess.Popen[bytes]]:
    definition = json.loads((configured.folder / "definition.json").read_text())
    with subprocess.Popen(definition["command"], stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if requests.get(definition["ready_url"], timeout=60, allow_redirects=False).status_code == 200:
                    break
            except requests.ConnectionError:
                time.sleep(0.1)
        yield process
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


@pytest.fixture
def balancer(configured: Balancer, nginx: subprocess.Popen[bytes]) -> Balancer:
    assert nginx.poll() is None, nginx.communicate()[1].decode()
    return configured


@pytest.fixture
def rested(balancer: Balancer) -> Iterator[Balancer]:
    """A balancer to which the address may send a whole burst, for a test that does; the next one finds it so again."""
    time.sleep(1.2)
    yield balancer
    time.sleep(1.2)


@pytest.mark.slow
def test_a_second_run_changes_nothing(configured: Balancer) -> None:
    before = configured.certificate.read_bytes()
    assert configured.configure() == 0
    assert configured.certificate.read_bytes() == before


def test_the_certificate_is_no_authority(configured: Balancer) -> None:
    command = ["openssl", "x509", "-in", str(configured.certificate), "-noout", "-text"]
    said = " ".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert "X509v3 Basic Constraints: critical CA:FALSE" in said
    assert "X509v3 Key Usage: critical Digital Signature X509v3" in said
    assert "X509v3 Extended Key Usage: TLS Web Server Authentication X509v3" in said
    assert "X509v3 Subject Key Identifier: " in said


def test_the_key_is_for_root_alone(configured: Balancer) -> None:
    assert (configured.folder / "etc/tls/key.pem").stat().st_mode & 0o777 == 0o600


def test_the_service_gets_both_ports_and_the_digest_of_the_certificate(configured: Balancer) -> None:
    definition = json.loads((configured.folder / "definition.json").read_text())
    assert [port["port"] for port in definition["ports"]] == [configured.http, configured.https]
    configuration, certificate, keys = definition["reload_on"]
    assert (len(configuration), len(certificate), keys) == (64, 40, "")


def test_plain_http_is_sent_on_with_its_method_and_query(balancer: Balancer) -> None:
    answer = requests.post(f"{balancer.plain}/predict?top=1", data=b"image", allow_redirects=False, timeout=60)
    assert answer.status_code == 308
    assert answer.headers["Location"] == f"{balancer.secure}/predict?top=1"
    assert "Strict-Transport-Security" not in answer.headers


def test_plain_http_on_the_encrypted_port_is_sent_on(balancer: Balancer) -> None:
    answer = requests.get(f"http://127.0.0.1:{balancer.https}/status", allow_redirects=False, timeout=60)
    assert (answer.status_code, answer.headers["Location"]) == (308, f"{balancer.secure}/status")


def test_readiness_and_proofs_of_the_name_stay_in_the_clear(balancer: Balancer) -> None:
    folder = balancer.folder / "state/acme/.well-known/acme-challenge"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "token").write_text("proof")
    assert balancer.get(f"{balancer.plain}/healthz").json() == {"status": "ready"}
    assert balancer.get(f"{balancer.plain}/.well-known/acme-challenge/token").text == "proof"
    missing = balancer.get(f"{balancer.plain}/.well-known/acme-challenge/other")
    assert (missing.status_code, missing.json()["type"]) == (404, "/problems/not-found")


@pytest.mark.parametrize("path", ["/", "/healthz", "/nothing-here", "/version"])
def test_every_encrypted_answer_promises_encryption(balancer: Balancer, path: str) -> None:
    answer = balancer.get(balancer.secure + path)
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.png", "image/png"), ("a.jpg", "image/jpeg"), ("a.json", "application/json"), ("a.js", "text/javascript")],
)
def test_a_file_of_the_page_has_its_type_and_is_kept_until_it_changes(balancer: Balancer, name: str, kind: str) -> None:
    (balancer.folder / "page/current" / name).write_bytes(b"[]")
    answer = balancer.get(f"{balancer.secure}/{name}")
    assert answer.headers["Content-Type"].split(";")[0] == kind
    assert answer.headers["Cache-Control"] == "no-cache"


def logged(folder: Path, answer: requests.Response) -> dict[str, Any]:
    """Return the line of the access log for an answer; nginx writes it when it has sent the whole of it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for line in json_lines(folder / "log/access.log"):
            if line["id"] == answer.headers["X-Request-Id"]:
                return line
        time.sleep(0.05)
    raise AssertionError("the request is not in the log")


def test_a_forwarded_address_from_a_stranger_is_ignored(balancer: Balancer) -> None:
    answer = balancer.get(f"{balancer.secure}/version", headers={"X-Forwarded-For": "203.0.113.9"})
    assert logged(balancer.folder, answer)["client"] == "127.0.0.1"


def test_the_worker_is_told_of_the_encryption(balancer: Balancer) -> None:
    assert balancer.post().text == "https"


@pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])
def test_modern_tls_is_spoken(balancer: Balancer, version: str) -> None:
    done = balancer.handshake(version)
    assert "Verify return code: 0 (ok)" in done.stdout, done.stderr


@pytest.mark.parametrize("version", ["tls1", "tls1_1"])
def test_old_tls_is_refused(balancer: Balancer, version: str) -> None:
    assert "alert protocol version" in balancer.handshake(version).stderr


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET\t/ HTTP/1.1", 400),
        (b"get / HTTP/1.1", 400),
        (b"CONNECT example.org:443 HTTP/1.1", 405),
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1", 414),
        (b"GET /.problem/400 HTTP/1.1", 404),
    ],
    ids=["tab", "lower-case", "connect", "tls-hello", "long", "problem"],
)
def test_what_cannot_be_read_is_the_client_s_mistake(balancer: Balancer, line: bytes, status: int) -> None:
    with socket.create_connection(("127.0.0.1", balancer.http), timeout=20) as connection:
        connection.sendall(line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := connection.recv(65536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.split()[1]) in {status, 400}
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == int(head.split()[1])


def test_an_address_over_its_rate_is_refused_and_told_when_to_return(rested: Balancer) -> None:
    answers: list[requests.Response] = []
    began = time.monotonic()
    with requests.Session() as session:  # a connection for each would be slower than the rate where the machine is busy
        while not answers or answers[-1].status_code == 200:
            assert time.monotonic() < began + 60, f"none of {len(answers)} requests was refused"
            answers.append(session.get(f"{rested.secure}/version", verify=rested.certificate, timeout=10))
    refused = [answer for answer in answers if answer.status_code != 200]
    # A burst as large as the rate, and what the time since then allows: more would be another rate.
    assert RATE_HZ + 1 <= len(answers) - len(refused) <= RATE_HZ * (time.monotonic() - began + 1) + 1
    assert {answer.status_code for answer in refused} == {429}
    assert refused[0].headers["Retry-After"] == "3"
    assert refused[0].headers["Content-Type"] == "application/problem+json"
    assert refused[0].json()["type"] == "/problems/too-many-requests"
    assert rested.get(f"{rested.secure}/status").status_code == 200  # the limit is the API's


def test_an_address_with_too_many_requests_under_way_is_refused(balancer: Balancer) -> None:
    """Bodies that never come count, so a slow client cannot hold more than its share."""
    head = b"GET /version HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
    context = ssl.create_default_context(cafile=balancer.certificate)
    # nginx counts a request until it has written its line, which is after its answer.
    logged(balancer.folder, balancer.get(f"{balancer.secure}/version"))
    with ExitStack() as stack:
        for _ in range(UNDER_WAY):
            plain = stack.enter_context(socket.create_connection(("127.0.0.1", balancer.https)))
            slow = stack.enter_context(context.wrap_socket(plain, server_hostname="127.0.0.1"))
            slow.sendall(head)
        deadline = time.monotonic() + 60
        while (refused := balancer.get(f"{balancer.secure}/version")).status_code == 200:
            assert time.monotonic() < deadline, "the requests under way are not counted"
            time.sleep(0.1)  # far below the rate
    assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many-requests")
    assert refused.headers["Retry-After"] == "3"


def test_a_full_pool_is_told_apart_from_a_greedy_address(balancer: Balancer) -> None:
    """The worker may have one request for each of its two processes."""
    held = [threading.Thread(target=balancer.post, args=("?hold",)) for _ in range(2)]
    for thread in held:
        thread.start()
    try:
        assert all(Worker.holds.acquire(timeout=60) for _ in held)
        refused = balancer.post()
        in_v2 = requests.post(f"{balancer.secure}/v2/models/m/infer", verify=balancer.certificate, timeout=30)
    finally:
        Worker.let_go.set()
        for thread in held:
            thread.join()
        Worker.let_go.clear()
    assert (refused.status_code, refused.json()["type"]) == (429, "/problems/busy")
    assert refused.headers["Retry-After"] == in_v2.headers["Retry-After"] == "3"
    assert (in_v2.status_code, in_v2.json()) == (429, {"error": "Every worker is busy; try again in a moment."})


# --- errors of nginx in the Open Inference Protocol V2


def exchange(balancer: Balancer, request: str) -> tuple[int, str, bytes]:
    """Send a request as it is written, over TLS; return status, type and body of the answer."""
    context = ssl.create_default_context(cafile=balancer.certificate)
    with (
        socket.create_connection(("127.0.0.1", balancer.https), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(request.encode())
        answer = b""
        while b"\r\n\r\n" not in answer or not answer.endswith(b"}\n"):
            part = connection.recv(65536)
            assert part, answer
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    kind = re.search(rb"Content-Type: (\S+)", head)
    assert kind is not None
    return int(head.split()[1]), kind[1].decode(), body


INFER = "POST /v2/models/m/infer?drop HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    ("request_", "status", "detail"),
    [
        (INFER + "Content-Length: 99000000\r\n\r\n", 413, "at most 20971520 bytes"),
        (INFER + "Content-Length: 0\r\n\r\n", 502, "The worker did not answer"),
        ("TRACE /v2 HTTP/1.1\r\nHost: x\r\n\r\n", 405, "does not take this method"),
        ("GET /v2/health/live HTTP/1.1\r\n\r\n", 400, "could not be read"),
    ],
    ids=["too large", "no answer", "another method", "no host"],
)
def test_an_error_of_nginx_has_the_protocol_s_shape(
    balancer: Balancer, request_: str, status: int, detail: str
) -> None:
    """And the same request elsewhere gets a problem."""
    found, kind, body = exchange(balancer, request_)
    assert (found, kind, list(json.loads(body))) == (status, "application/json", ["error"])
    assert detail in json.loads(body)["error"]
    elsewhere, kind, body = exchange(balancer, request_.replace("/v2", "/predict?x=/v2", 1).replace("?drop", "&drop"))
    assert (elsewhere, kind, json.loads(body)["status"]) == (status, "application/problem+json", status)


def test_over_its_rate_the_protocol_s_shape_is_kept(rested: Balancer) -> None:
    """So many requests in one piece that the slowest machine passes them on faster than the rate."""
    context = ssl.create_default_context(cafile=rested.certificate)
    with (
        socket.create_connection(("127.0.0.1", rested.https), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n" * 30 * RATE_HZ)
        answers = b""
        while not (refused := re.search(rb"HTTP/1.1 429 .*?\r\n\r\n(.*?\n)", answers, re.DOTALL)):
            part = connection.recv(65536)
            assert part, answers
            answers += part
    assert list(json.loads(refused[1])) == ["error"]
    assert b"\r\nRetry-After: 3\r\n" in refused[0]


def test_where_nobody_serves_the_protocol_s_shape_is_kept(balancer: Balancer, nginx: subprocess.Popen[bytes]) -> None:
    serves = balancer.folder / "pool/serves.conf"
    before = serves.read_text()
    try:
        serves.write_text("map $server_port $anybody_serves { default 0; }\n")
        nginx.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 60
        status, body = 0, b""
        while status != 503 and time.monotonic() < deadline:
            time.sleep(0.2)
            status, _, body = exchange(balancer, INFER + "Content-Length: 0\r\n\r\n")
    finally:
        serves.write_text(before)
        nginx.send_signal(signal.SIGHUP)
    assert (status, json.loads(body)) == (503, {"error": "No worker serves; try again soon."})


def test_while_the_agent_parts_with_clients_each_answer_is_the_last_of_its_connection(
    rested: Balancer,
) -> None:
    """An answer is else the same, whoever gives it: the pool, a limit of the address, or a size that is refused."""
    parting = rested.folder / "pool/parting"

    def answers() -> Iterator[tuple[int, dict[str, str], bytes]]:
        with requests.Session() as session:
            for query, body in (("?top=1", b"image"), ("?x=%2F&y=a%20b", b"image"), ("", b"0" * 25_000_000)):
                answer = session.post(
                    f"{rested.secure}/predict{query}", data=body, verify=str(rested.certificate), timeout=30
                )
                fields = {name.lower(): text for name, text in answer.headers.items()}
                changing = {"date", "x-request-id", "server-timing", "connection"}
                yield (answer.status_code, {name: fields[name] for name in fields.keys() - changing}, answer.content)
                outcome.append(fields["connection"])
                heard.append({name: Worker.heard.get(name, "") for name in ("host", "x-forwarded-for", "connection")})

    outcome: list[str] = []
    heard: list[dict[str, str]] = []
    kept = list(answers())
    parting.touch()
    try:
        last = list(answers())
    finally:
        parting.unlink()
    assert last == kept
    assert outcome == ["keep-alive", "keep-alive", "close", "close", "close", "close"]
    assert heard[:3] == heard[3:]


@pytest.mark.slow
def test_a_renewed_certificate_is_served_after_a_reload_that_loses_nothing(
    balancer: Balancer, nginx: subprocess.Popen[bytes]
) -> None:
    old = balancer.certificate.read_bytes()
    outcome: list[int] = []
    slow = threading.Thread(target=lambda: outcome.append(balancer.post("?hold").status_code))
    slow.start()
    assert Worker.holds.acquire(timeout=60)
    balancer.name = NAME
    assert balancer.configure() > 0
    assert balancer.certificate.read_bytes() != old
    nginx.send_signal(signal.SIGHUP)
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{balancer.https}", "-servername", NAME]
    deadline = time.monotonic() + 60
    text = ""
    while NAME not in text and time.monotonic() < deadline:
        shown = subprocess.run(command, input=b"", capture_output=True, check=False).stdout
        text = subprocess.run(
            ["openssl", "x509", "-noout", "-ext", "subjectAltName"], input=shown, capture_output=True, check=False
        ).stdout.decode()
    assert text.split() == ["X509v3", "Subject", "Alternative", "Name:", "IP", "Address:127.0.0.1,", f"DNS:{NAME}"]
    Worker.let_go.set()
    slow.join()
    Worker.let_go.clear()
    assert outcome == [200]
    assert balancer.configure() == 0


@pytest.mark.slow
def test_a_photograph_that_comes_slowly_survives_a_reload(
    balancer: Balancer, nginx: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes for longer than a worker may take to answer. The last test: nginx waits one second from here on."""

    def configuration() -> str:
        return str(balancer.get(f"{balancer.secure}/status").json()["configuration"])

    before = configuration()
    monkeypatch.setitem(balancer.more, "balancer_read_timeout_s", 1)
    assert balancer.configure() > 0
    nginx.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 60
    while configuration() == before and time.monotonic() < deadline:
        time.sleep(0.1)
    trusted = ssl.create_default_context(cafile=str(balancer.certificate))
    with (
        socket.create_connection(("127.0.0.1", balancer.https), timeout=60) as plain,
        trusted.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\n")
        nginx.send_signal(signal.SIGHUP)
        for _ in range(4):
            time.sleep(1)
            connection.sendall(b"0")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
