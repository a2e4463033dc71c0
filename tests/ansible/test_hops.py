"""The real nginx before a real worker and before scripted ones: who is told what, and what every answer is."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from PIL import Image

from tests.ansible import scripted
from tests.ansible.rendering import render
from tests.ansible.test_build_apps import build_apps
from tests.ansible.test_rendering import GOLDEN
from tests.conftest import free_ports, json_lines
from tests.unit.worker import conftest as worker

MEBIBYTE = 1024 * 1024


class Hops(NamedTuple):
    """A balancer's port and its folder."""

    port: int
    folder: Path

    def send(self, raw: bytes) -> bytes:
        """Send what ends with a request to close the connection; return all that is answered."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(raw)
            answer = b""
            while data := connection.recv(65536):
                answer += data
        return answer

    def exchange(self, raw: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send one request and return status, header fields and body."""
        head, _, body = self.send(raw).partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines)
        return int(status.split()[1]), {name.lower(): value for name, value in fields.items()}, body

    def ask(self, line: bytes, *fields: bytes, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        """Send a request of this line and these fields; Host, Connection and the body's length are added."""
        common = [b"Host: balancer", b"Connection: close", *([b"Content-Length: %d" % len(body)] if body else [])]
        return self.exchange(b"\r\n".join([line + b" HTTP/1.1", *common, *fields, b"", body]))

    def logged(self, wanted: str) -> dict[str, Any]:
        """Return the line of the access log that has this id; nginx writes it when it has sent the whole answer."""
        found: list[dict[str, Any]] = []

        def is_written() -> bool:
            found[:] = [line for line in json_lines(self.folder / "access.log") if line["id"] == wanted]
            return bool(found)

        until(is_written, f"{wanted} is not in the log")
        return found[0]


def until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def children_of(process: subprocess.Popen[bytes]) -> set[str]:
    """The processes of nginx that serve."""
    return set(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())


@contextlib.contextmanager
def nginx(configuration: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run nginx, and wait until it serves: it listens before it has a process that does, or heeds a signal."""
    with subprocess.Popen(["/usr/sbin/nginx", "-c", str(configuration), "-g", "daemon off;"]) as process:

        def serves() -> bool:
            assert process.poll() is None, "nginx refuses its configuration"
            return len(children_of(process)) == os.cpu_count()

        try:
            until(serves, "nginx has no process for each core")
            yield process
        finally:
            process.terminate()


def serve_page(folder: Path, name: str, files: dict[str, str]) -> None:
    """Build a page, unpack it as the role does, and point at it."""
    source, examples, dist = (folder / f"{name}-{part}" for part in ("source", "examples", "dist"))
    release = folder / "page" / name
    for place in (source, examples, dist / "releases", release):
        place.mkdir(parents=True)
    for file, content in files.items():
        (source / file).write_text(content)
    built, _ = build_apps.build_page(source, examples, dist)
    with tarfile.open(str(built["archive"])) as archive:
        archive.extractall(release, filter="data")
    link = folder / "page/next"
    link.symlink_to(name)
    link.rename(folder / "page/current")


AUTHORITY = [
    {"name": name, "tls": "acme", "tls_name": "images.example.org", "certificate": name == "after"}
    for name in ("before", "after")
]


@pytest.fixture(scope="module")
def hops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hops]:
    """nginx with what the role writes, and gunicorn with what the role writes, on free ports."""
    folder = tmp_path_factory.mktemp("hops")
    bundle = worker.write_colour_bundle(folder / "bundle")
    server = worker.start_server(
        bundle.path, "imagerec_worker.gunicorn_worker.ImageWorker", folder, "--config", str(GOLDEN / "gunicorn.conf.py")
    )
    (port,) = free_ports(1)
    variables: dict[str, Any] = {
        "state": str(folder),
        "user": "root",
        "balancer_address": "127.0.0.1",
        "balancer_port": port,
        "balancer_page_dir": str(folder / "page"),
        "balancer_workers": [{"name": "worker1", "address": "127.0.0.1", "port": server.port, "processes": 2}],
        "balancer_trusted_proxies": ["127.0.0.1/32", "10.0.0.0/8"],
        "variants": [
            {"name": "hops"},
            {"name": "http-2", "tls": "files"},
            *AUTHORITY,
            {"name": "scripted", "autoscaler": str(folder / "autoscaler.sock")},
            {"name": "open", "autoscaler": str(folder / "autoscaler.sock"), "limit": 0},
        ],
    }
    try:
        render(folder, **variables)
        serve_page(folder, "first", {"index.html": "<title>page</title>", "style.css": "a{color:red}"})
        with nginx(folder / "nginx-hops.conf"):
            yield Hops(port, folder)
    finally:
        worker.stop_server(server)


JPEG = b"Content-Type: image/jpeg"
REFUSED = {
    "precondition": ((b"GET /", b'If-Match: "other"'), 412),
    "range": ((b"GET /", b"Range: bytes=1000000-"), 416),
    "unknown transfer coding": ((b"POST /predict", JPEG, b"Transfer-Encoding: magic"), 501),
    "two lengths": ((b"POST /predict", JPEG, b"Content-Length: 1", b"Content-Length: 2"), 400),
    "method too long for the worker": ((b"A" * 40 + b" /predict",), 400),
    "method that only WebDAV knows": ((b"PROPFIND /predict",), 405),
    "query that is not ASCII": (("POST /predict?top=é".encode(), JPEG), 400),
    "header of a name that nobody may send": ((b"GET /version", b"X(y): 1"), 400),
    "nothing there": ((b"GET /nowhere",), 404),
    "wrong method": ((b"GET /predict",), 405),
    "address of 9 kilobytes": ((b"GET /version?" + b"a" * 9000,), 414),
    "headers of 35 kilobytes": ((b"GET /version", *[b"X-%d: " % n + b"a" * 7000 for n in range(5)]), 431),
    "a file that is not there": ((b"GET /nowhere.css",), 404),
    "a page without its file": ((b"GET /dashboard",), 404),
    "a problem": ((b"GET /.problem/400",), 404),
    "a problem of the protocol V2": ((b"GET /.problem/v2/400",), 404),
    "the problem of a parameter": ((b"GET /.problem/parameter",), 404),
    "the way of a last answer": ((b"GET /parting",), 404),
    "an agent that is away": ((b"GET /workers",), 503),
    "an agent that is away, asked for figures": ((b"GET /live-figures",), 503),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_every_refusal_is_a_problem_document(hops: Hops, name: str) -> None:
    request, expected = REFUSED[name]
    status, fields, body = hops.ask(*request)
    if name == "header of a name that nobody may send" and status == 200:
        return  # nginx leaves such a header out
    assert status == expected, body
    assert fields["content-type"].split(";")[0] == "application/problem+json"  # of a page nginx still says the charset
    assert json.loads(body)["status"] == status
    remedy = json.loads(body)["detail"].partition(";")[2]
    assert remedy or "x-worker" in fields, body
    assert body.endswith(b"}\n")
    assert fields["cache-control"] in {"no-store", "no-cache"}  # of the page the latter


PARAMETERS = [
    "/healthz?x=1",
    "/status?x",
    "/status?x?",
    "/workers?since=1",
    "/autoscaler?top=1",
    "/live-figures?hours=1",
    "/history?since=1",
    "/history?hours=é",
    "/live-figures?since=\x80",
]


@pytest.mark.parametrize("path", [*PARAMETERS, "/history?hours=1&top=1", "/live-figures?since=1&since=2"])
def test_a_parameter_that_an_address_of_the_balancer_does_not_know_is_refused(told: Between, path: str) -> None:
    status, fields, body = told.ask(f"GET {path}".encode())
    assert (status, fields["content-type"]) == (400, "application/problem+json")
    assert (json.loads(body)["type"], json.loads(body)["status"]) == ("/problems/bad-parameter", 400)
    assert body.endswith(b'leave it out."}\n')
    assert told.agent.heard + told.autoscaler.heard + told.heard() == []


def test_the_page_takes_any_parameter(hops: Hops) -> None:
    """Links carry what others add to them."""
    assert hops.ask(b"GET /?utm_source=x")[0] == 200


def test_what_the_autoscaler_refuses_is_a_problem_document(told: Between) -> None:
    told.autoscaler.answer = lambda _: scripted.answer_of(400, "Content-Type: text/plain")
    status, fields, body = told.ask(b"GET /autoscaler")
    assert (status, fields["content-type"]) == (400, "application/problem+json")
    assert json.loads(body)["type"] == "/problems/bad-request"


@pytest.mark.parametrize("method", ["POST", "DELETE", "OPTIONS", "FOO"])
@pytest.mark.parametrize(
    "path", ["/healthz", "/status", "/workers", "/live-figures", "/history", "/autoscaler", "/pool_metrics"]
)
def test_by_another_method_nobody_is_asked(told: Between, method: str, path: str) -> None:
    """Of some methods the agent would say by plain text that it knows none of that name."""
    status, fields, body = told.ask(f"{method} {path}".encode(), client="127.0.0.1")
    assert (status, fields["content-type"]) == (405, "application/problem+json")
    assert (json.loads(body)["type"], fields["allow"]) == ("/problems/method-not-allowed", "GET, HEAD")
    assert told.agent.heard + told.autoscaler.heard + told.heard() == []


@pytest.mark.parametrize(
    ("question", "allowed"),
    [
        ("POST /", "GET, HEAD"),
        ("TRACE /v2", "GET, HEAD"),
        ("TRACE /predict?top=1", "OPTIONS, POST"),
        ("TRACE /v2/models/m/infer", "OPTIONS, POST"),
        ("GET /predict", "OPTIONS, POST"),  # by the worker
        ("DELETE /version", "GET, HEAD, OPTIONS"),
    ],
)
def test_by_another_method_each_address_says_which_it_takes(hops: Hops, question: str, allowed: str) -> None:
    status, fields, _ = hops.ask(question.encode())
    assert (status, fields["allow"]) == (405, allowed)


def test_an_http_version_that_nobody_speaks_is_a_problem_document(hops: Hops) -> None:
    status, fields, body = hops.exchange(b"GET / HTTP/9.9\r\nHost: x\r\n\r\n")
    assert (status, fields["content-type"]) == (505, "application/problem+json")
    assert json.loads(body)["type"] == "/problems/version-not-supported"
    assert "; use HTTP/1.1." in json.loads(body)["detail"]


@pytest.mark.parametrize(
    "fields",
    [
        [b"X-Line: " + b"a" * 8000],
        [b"X-%d: a" % number for number in range(900)],
        [b"X-%d: " % number + b"a" * 7000 for number in range(4)],
    ],
    ids=["a line of 8 kilobytes", "900 headers", "headers of 28 kilobytes"],
)
def test_what_the_balancer_lets_through_the_worker_reads(hops: Hops, fields: list[bytes]) -> None:
    assert hops.ask(b"GET /version", *fields)[0] == 200


LARGER = {
    "many headers": lambda count: [b"a:"] * count,
    "a long line": lambda length: [b"X-Line:" + b"a" * length],
    "many long lines": lambda length: [b"X-Line:" + b"a" * (length // 4)] * 4,
}


@pytest.mark.parametrize("kind", LARGER)
def test_what_is_too_large_the_balancer_refuses_first(hops: Hops, kind: str) -> None:
    """Sizes between one that is answered and one that is refused are asked, down to the edge."""
    answered, refused = 1, 65536
    while refused - answered > 1:
        size = (answered + refused) // 2
        status, fields, body = hops.ask(b"GET /version", *LARGER[kind](size))
        assert status in {200, 431}, body
        if status == 200:
            answered = size
        else:
            refused = size
            assert "x-worker" not in fields
    assert answered > 900  # newer ones of nginx take 1000 headers, older ones all that fit


@pytest.fixture(scope="module")
def http_2(hops: Hops) -> Iterator[httpx.Client]:
    """A client that speaks HTTP/2 to another balancer of the same worker."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x"]
        + [f"-{word}={hops.folder / file}" for word, file in (("keyout", "key.pem"), ("out", "certificate.pem"))],
        check=True,
        capture_output=True,
    )
    plain, secure = free_ports(2)
    text = (hops.folder / "nginx-http-2.conf").read_text()
    for old, new in ((f":{hops.port} ", f":{plain} "), (":443 ", f":{secure} "), ("nginx.pid", "nginx-2.pid")):
        assert old in text
        text = text.replace(old, new)
    (hops.folder / "nginx-http-2.conf").write_text(text)
    with nginx(hops.folder / "nginx-http-2.conf"):
        address = f"https://127.0.0.1:{secure}"
        with httpx.Client(http2=True, verify=False, base_url=address, timeout=60) as client:
            yield client


@pytest.mark.usefixtures("http_2")  # has made a certificate
def test_a_certificate_comes_and_goes_by_a_reload(hops: Hops) -> None:
    """As a deployment has it: none yet, the authority's, and TLS is off again."""
    plain, secure = free_ports(2)
    configuration = hops.folder / "nginx-certificate.conf"

    def write(name: str) -> None:
        text = (hops.folder / f"nginx-{name}.conf").read_text().replace("nginx.pid", "nginx-3.pid")
        configuration.write_text(text.replace(f":{hops.port} ", f":{plain} ").replace(":443 ", f":{secure} "))

    def ask(port: int, path: str) -> httpx.Response | None:
        scheme = "https" if port == secure else "http"
        try:
            return httpx.get(f"{scheme}://127.0.0.1:{port}{path}", verify=False, timeout=60)
        except httpx.TransportError:
            return None

    def status(port: int, path: str) -> int | None:
        answer = ask(port, path)
        return None if answer is None else answer.status_code

    write("before")
    (hops.folder / "acme/.well-known/acme-challenge").mkdir(parents=True)
    (hops.folder / "acme/.well-known/acme-challenge/token").write_text("proof")
    with nginx(configuration) as process:
        refused, proof = ask(plain, "/version"), ask(plain, "/.well-known/acme-challenge/token")
        assert refused is not None
        assert (refused.status_code, refused.json()["type"]) == (503, "/problems/unavailable")
        assert proof is not None
        assert proof.text == "proof"
        assert (status(plain, "/healthz"), status(secure, "/version")) == (200, None)
        write("after")
        process.send_signal(signal.SIGHUP)
        until(lambda: status(secure, "/version") == 200, "the certificate is not served")
        until(lambda: status(plain, "/version") == 308, "what comes in the clear is not sent on")
        write("hops")
        process.send_signal(signal.SIGHUP)
        until(lambda: status(plain, "/version") == 200, "the API is not served in the clear")
        until(lambda: status(secure, "/version") is None, "the encrypted port is still open")


PACKED: dict[str, Callable[[int], tuple[str, dict[str, str]]]] = {
    "address": lambda length: ("/predict?top=1&" + "a" * length, {}),
    "name": lambda length: ("/predict?top=0", {"a" * length: "y"}),
    "value": lambda length: ("/predict?top=0", {"x": "a" * length}),
    "value that the worker reads": lambda length: ("/predict?top=0", {"accept": "a" * length}),
    "cookies": lambda length: ("/predict?top=0", {"cookie": "; ".join(["a=" + "a" * 998] * (length // 1000))}),
}


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("length", [8000, 8100, 8150, 8158, 8165, 8180, 8192, 8448, 10_000, 12_900])
def test_what_http_2_packs_the_worker_reads_or_the_balancer_refuses(
    http_2: httpx.Client, kind: str, length: int
) -> None:
    path, headers = PACKED[kind](length)
    answer = http_2.post(path, content=b"x", headers=headers)
    assert answer.http_version == "HTTP/2"
    if answer.status_code == 400:
        assert (answer.headers["x-worker"], answer.json()["type"]) == ("worker1", "/problems/bad-parameter")
    else:
        assert answer.status_code in {414, 431}
        assert answer.headers["content-type"] == "application/problem+json"
        assert "x-worker" not in answer.headers
    assert answer.status_code == 400 or length > 8100


def test_only_an_encrypted_answer_promises_encryption(hops: Hops, http_2: httpx.Client) -> None:
    assert re.fullmatch(r"max-age=\d{6,}", http_2.get("/version").headers["strict-transport-security"])
    assert "strict-transport-security" not in hops.ask(b"GET /version")[1]


def test_who_speaks_in_the_clear_at_the_encrypted_port_is_sent_on(http_2: httpx.Client) -> None:
    answer = httpx.get(f"http://127.0.0.1:{http_2.base_url.port}/version?a=b", timeout=60)
    assert (answer.status_code, answer.json()["type"]) == (308, "/problems/https-only")
    assert re.fullmatch(r"https://[^/]+/version\?a=b", answer.headers["location"])
    assert "location" not in http_2.get("/version").headers


@pytest.mark.parametrize("path", ["/predict", "/v2/models/m/infer", "/status"])
def test_what_is_too_large_is_told_by_a_document_in_http_2_too(http_2: httpx.Client, path: str) -> None:
    with httpx.Client(http2=True, verify=False, base_url=http_2.base_url, timeout=60) as client:
        answer = client.post(path, content=b"x", headers={"Content-Length": "99000000"})
    kind = "json" if path.startswith("/v2") else "problem+json"
    assert (answer.http_version, answer.status_code) == ("HTTP/2", 413)
    assert answer.headers["content-type"] == f"application/{kind}"


def test_nobody_asks_the_agent_by_an_address_that_it_does_not_read(http_2: httpx.Client) -> None:
    """There is none here: to ask it would be a 503."""
    answer = http_2.get("/live-figures?since=" + "1" * 8200)
    assert (answer.status_code, answer.headers["content-type"]) == (414, "application/problem+json")


def test_a_path_that_is_no_text_is_named_and_leaves_the_log_readable(hops: Hops) -> None:
    assert hops.ask(b"GET /v2/\xff\xfe", b"X-Request-Id: no-text")[0] == 400
    assert hops.logged("no-text")["path"] == "(not ASCII)"


def test_an_address_as_long_as_the_balancer_takes_reaches_the_worker(hops: Hops) -> None:
    status, fields, body = hops.ask(b"POST /predict?top=1&" + b"a" * 8100, JPEG, body=b"x")
    assert (status, json.loads(body)["type"]) == (400, "/problems/bad-parameter")
    assert fields["x-worker"] == "worker1"


@pytest.mark.parametrize("in_form", [False, True], ids=["body", "form"])
@pytest.mark.parametrize("more", [0, 1], ids=["20 MiB", "a byte more"])
def test_twenty_mebibytes_are_those_of_the_photograph(hops: Hops, in_form: bool, more: int) -> None:
    image = b"\xff\xd8\xff" + bytes(20 * MEBIBYTE - 3 + more)
    kind, body = JPEG, image
    if in_form:
        body, headers = worker.form_body(("comment", None, b"c" * 100_000), ("image", "x.jpg", image))
        kind = b"Content-Type: " + headers["Content-Type"].encode()
    status, _, answer = hops.ask(b"POST /predict", kind, body=body)
    assert (status, json.loads(answer)["type"]) == (
        (413, "/problems/too-large") if more else (422, "/problems/broken-image")
    )


def test_a_body_beyond_any_form_is_refused_before_it_comes(hops: Hops) -> None:
    with socket.create_connection(("127.0.0.1", hops.port), timeout=60) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 22020097\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}\n"):
            answer += connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"at most 20971520 bytes" in answer
    assert b"X-Worker" not in answer


@pytest.mark.parametrize("path", [b"/healthz", b"/status", b"/version"])
def test_answers_end_with_a_line_break(hops: Hops, path: bytes) -> None:
    status, fields, body = hops.ask(b"GET " + path)
    assert (status, fields["content-type"]) == (200, "application/json")
    assert body.endswith(b"}\n")


def test_a_healthy_balancer_warns_of_nothing(hops: Hops) -> None:
    image = bytes(3 * MEBIBYTE)
    assert hops.ask(b"POST /predict", JPEG, body=image)[0] == 415
    lines = (hops.folder / "error.log").read_text().splitlines()
    # There is no agent here, which nginx notes where it asks it.
    assert [line for line in lines if "[error]" not in line and "pool.sock" not in line] == []


@pytest.mark.parametrize("path", [b"/", b"/index.html", b"/style.css"])
def test_the_page_is_asked_for_again_each_time_and_sent_when_it_changed(hops: Hops, path: bytes) -> None:
    """Of two releases every file has the same length, and is as old as the archive says."""
    name = path.decode().strip("/") or "root"
    serve_page(hops.folder, f"{name}-1", {"index.html": "<title>1</title>", "style.css": "a{color:red}"})
    status, fields, body = hops.ask(b"GET " + path)
    assert (status, fields["cache-control"]) == (200, "no-cache")
    tag = b"If-None-Match: " + fields["etag"].encode()
    unchanged, fields, nothing = hops.ask(b"GET " + path, tag)
    assert (unchanged, nothing, fields["cache-control"]) == (304, b"", "no-cache")
    serve_page(hops.folder, f"{name}-2", {"index.html": "<title>2</title>", "style.css": "a{color:tan}"})
    status, _, changed = hops.ask(b"GET " + path, tag)
    assert status == 200
    assert len(changed) == len(body)
    assert changed != body


def test_the_page_says_no_date_that_it_does_not_know(hops: Hops) -> None:
    assert "last-modified" not in hops.ask(b"GET /")[1]


def test_what_no_worker_answers_has_no_times(hops: Hops) -> None:
    assert "server-timing" not in hops.ask(b"GET /")[1]


def lines_of(hops: Hops, wanted: str) -> list[dict[str, Any]]:
    """The lines of both logs, the balancer's first, that have this id."""
    found: list[dict[str, Any]] = []

    def are_written() -> bool:
        lines = [line for name in ("access.log", "gunicorn.log") for line in json_lines(hops.folder / name)]
        found[:] = [line for line in lines if line["id"] == wanted]
        return len(found) >= 2

    until(are_written, f"{wanted} is not in both logs")
    return found


TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_a_request_is_followed_from_the_client_to_the_worker(hops: Hops) -> None:
    context = f"traceparent: 00-{TRACE}-b7ad6b7169203331-01".encode()
    image = worker.form_body(("image", "secret-name.jpg", b"\xff\xd8\xff"))[0]
    kind = b"Content-Type: multipart/form-data; boundary=frontier"
    status, fields, _ = hops.ask(b"POST /predict?top=1", kind, b"X-Request-Id: my-photo.7", context, body=image)
    assert (status, fields["x-request-id"]) == (422, "my-photo.7")
    balancer, gunicorn = lines_of(hops, "my-photo.7")
    assert (balancer["status"], gunicorn["status"]) == (422, 422)
    assert (balancer["method"], gunicorn["method"], balancer["worker"]) == ("POST", "POST", "worker1")
    assert (balancer["trace"], gunicorn["trace"]) == (TRACE, TRACE)
    assert (gunicorn["route"], gunicorn["level"], gunicorn["request_bytes"]) == ("/predict", "warning", len(image))
    assert "secret" not in (hops.folder / "gunicorn.log").read_text() + (hops.folder / "access.log").read_text()


@pytest.mark.parametrize("given", ["", "two words", "a" * 65, "<b>", 'x"y', "é"])
def test_an_id_that_is_no_plain_name_is_replaced_in_all_places(hops: Hops, given: str) -> None:
    answer = hops.ask(b"GET /version", f"X-Request-Id: {given}".encode())
    made = answer[1]["x-request-id"]
    assert len(made) == 32
    assert [line["id"] for line in lines_of(hops, made)] == [made, made]


@pytest.mark.parametrize("path", [b"/", b"/nowhere", b"/version", b"/healthz", b"/predict"])
def test_every_answer_has_one_id(hops: Hops, path: bytes) -> None:
    raw = b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nX-Request-Id: once\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", hops.port), timeout=60) as connection:
        connection.sendall(raw)
        answer = b""
        while data := connection.recv(65536):
            answer += data
    assert answer.lower().count(b"x-request-id: once\r\n") == answer.lower().count(b"x-request-id:") == 1


IN_TRACE = f"{TRACE}-b7ad6b7169203331"
LATER = {
    f"01-{IN_TRACE}-01": "01",
    f"cc-{IN_TRACE}-00": "00",
    f"fe-{IN_TRACE}-ff-and what comes later": "01",
    f"01-{IN_TRACE}-02-": "00",
}


@pytest.mark.parametrize("context", LATER)
def test_of_a_later_trace_context_what_is_known_is_passed_on(told: Between, hops: Hops, context: str) -> None:
    """What it says besides is not known here, so what leaves is of version 00, as W3C says."""
    field = f"traceparent: {context}".encode()
    told.ask(b"GET /version", field, b"tracestate: a=b", b"X-Request-Id: later")
    (heard,) = told.heard()
    assert heard.fields["traceparent"] == f"00-{IN_TRACE}-{LATER[context]}"
    assert heard.fields["tracestate"] == "a=b"
    assert told.hops.logged("later")["trace"] == TRACE
    made = hops.ask(b"GET /version", field)[1]["x-request-id"]
    assert [line["trace"] for line in lines_of(hops, made)] == [TRACE, TRACE]


@pytest.mark.parametrize(
    "context",
    [
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{IN_TRACE}-01-later",
        f"01-{IN_TRACE}-01later",
        f"01-{IN_TRACE}",
        f"01-{'0' * 32}-b7ad6b7169203331-01",
        f"ff-{IN_TRACE}-01",
        f"FE-{IN_TRACE}-01",
        "x",
    ],
)
def test_a_trace_context_that_is_not_valid_is_ignored(hops: Hops, context: str) -> None:
    made = hops.ask(b"GET /version", b"traceparent: " + context.encode())[1]["x-request-id"]
    balancer, gunicorn = lines_of(hops, made)
    assert balancer["trace"] == ""
    assert "trace" not in gunicorn


def test_a_classification_s_line_has_its_times(hops: Hops) -> None:
    image = io.BytesIO()
    Image.new("RGB", (60, 40), "red").save(image, "JPEG")
    status, _, body = hops.ask(b"POST /predict", JPEG, b"X-Request-Id: timed", body=image.getvalue())
    assert status == 200
    _, line = lines_of(hops, "timed")
    assert {
        f"{phase}_ms": duration for phase, duration in json.loads(body)["timing_ms"].items()
    }.items() <= line.items()


@pytest.mark.parametrize("path", [b"/", b"/nowhere", b"/version"])
def test_every_answer_says_what_a_browser_may_do_with_it(hops: Hops, path: bytes) -> None:
    fields = hops.ask(b"GET " + path)[1]
    assert fields["x-frame-options"] == "DENY"
    assert fields["x-content-type-options"] == "nosniff"
    assert fields["referrer-policy"] == "no-referrer"
    assert fields["cross-origin-opener-policy"] == fields["cross-origin-resource-policy"] == "same-origin"
    assert "default-src 'none'" in fields["content-security-policy"]
    assert "geolocation=()" in fields["permissions-policy"]


def test_nginx_tells_this_machine_how_busy_it_is(hops: Hops) -> None:
    status, _, body = hops.ask(b"GET /nginx_status")
    assert status == 200
    assert body.startswith(b"Active connections: ")


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, 10.1.2.3", "203.0.113.9"),
        ("nonsense", "127.0.0.1"),
    ],
    ids=["one proxy", "a forged address first", "two proxies", "nonsense"],
)
def test_behind_a_known_proxy_the_client_is_whom_it_saw(hops: Hops, forwarded: str, client: str) -> None:
    made = hops.ask(b"GET /version", b"X-Forwarded-For: " + forwarded.encode())[1]["x-request-id"]
    assert lines_of(hops, made)[0]["client"] == client


@pytest.mark.parametrize("path", ["/nginx_status", "/pool_metrics"])
def test_a_client_behind_a_proxy_is_not_told_how_busy_the_balancer_is(hops: Hops, path: str) -> None:
    status, fields, _ = hops.ask(f"GET {path}".encode(), b"X-Forwarded-For: 203.0.113.9")
    assert (status, fields["content-type"]) == (403, "application/problem+json")


def test_what_is_deployed_is_told(hops: Hops) -> None:
    status, fields, body = hops.ask(b"GET /status")
    assert (status, fields["content-type"]) == (200, "application/json")
    assert json.loads(body) == {
        "policy": "random",
        "pool_size": 1,
        "workers": ["worker1"],
        "limits": {"max_conns": 16, "address_rate_hz": 500, "address_connections": 512},
        "configuration": "",
    }
    status, fields, body = hops.ask(b"GET /autoscaler")
    assert (status, fields["content-type"], body) == (200, "application/json", b'{"on":false}\n')
    assert fields["server"] == "nginx"  # and no version


def test_an_error_of_nginx_keeps_the_shape_of_the_protocol_v2(hops: Hops) -> None:
    status, fields, body = hops.ask(b"TRACE /v2/models/a.html")
    assert (status, fields["content-type"]) == (405, "application/json")
    assert json.loads(body)["error"].startswith("This address does not take this method;")
    assert hops.ask(b"TRACE /v2x")[1]["content-type"] == "application/problem+json"


def test_what_nginx_writes_beside_the_logs_is_in_its_folder(hops: Hops) -> None:
    assert hops.ask(b"GET /healthz")[0] == 200
    assert "pool.sock" in (hops.folder / "error.log").read_text()  # there is no agent
    assert {"body", "proxy", "unused"} <= {each.name for each in hops.folder.iterdir()}


# --- before scripted workers


class Between(NamedTuple):
    """A balancer between a client and three workers, an agent and an autoscaler that the test scripts."""

    hops: Hops
    nginx: subprocess.Popen[bytes]
    workers: tuple[scripted.Worker, ...]
    agent: scripted.Agent
    autoscaler: scripted.Agent
    numbers: Iterator[int]

    def fields(self, client: str = "") -> list[bytes]:
        """What every request has; each comes from an address of its own where none is given."""
        number = next(self.numbers)
        came_from = client or f"198.18.{number // 250}.{number % 250}"
        return [b"Host: balancer", b"X-Forwarded-For: " + came_from.encode()]

    def ask(
        self, line: bytes, *fields: bytes, body: bytes = b"", client: str = ""
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request; see Hops.ask."""
        return self.hops.ask(line, *self.fields(client)[1:], *fields, body=body)

    def statuses(self, line: bytes, *clients: str) -> list[int]:
        """Send a request for each client, all of them in one piece; return the statuses."""
        requests = [b"\r\n".join([line + b" HTTP/1.1", *self.fields(client), b""]) for client in clients]
        raw = b"\r\n".join(requests) + b"Connection: close\r\n\r\n"
        return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", self.hops.send(raw))]

    def heard(self) -> list[scripted.Heard]:
        """What the workers were asked."""
        return [each for server in self.workers for each in server.heard]

    def script(self, *answers: bytes) -> None:
        """Let the workers give these answers, whichever is asked first; OK when they are spent."""
        left = list(answers)
        for server in self.workers:
            server.answer = lambda _: left.pop(0) if left else scripted.OK

    def lines(self, path: str) -> int:
        """Return how many lines of the log are of a path."""
        return (self.hops.folder / "access.log").read_text().count(f'"path":"{path}"')


PAGE = ("index.html", "dashboard.html", "a.css", "a.js", "a.svg", "a.png", "a.jpg", "a.json", "a.bin", "b/index.html")


@contextlib.contextmanager
def between(
    hops: Hops, place: Path, changes: dict[str, str] | None = None, members: Sequence[str] = (), name: str = "scripted"
) -> Iterator[Between]:
    """Run nginx with the same file in another folder: low rates, short times, and what else is to change.

    ``members`` are further workers, which the test does not script.
    """
    (port,) = free_ports(1)
    changed = {
        str(hops.folder): str(place),
        f"127.0.0.1:{hops.port}": f"127.0.0.1:{port}",
        "/run/imagerec-pool/pool.sock": str(place / "pool.sock"),
        "rate=500r/s": "rate=1r/s",
        "burst=500 ": "burst=20 ",
        "rate=20r/s": "rate=1r/m",
        "connections_by_network 512;": "connections_by_network 2;",
    }
    text = (hops.folder / f"nginx-{name}.conf").read_text()
    for old, new in (changed | (changes or {})).items():
        text = text.replace(old, new)
    (place / "nginx.conf").write_text(text)
    (place / "serves.conf").write_text((hops.folder / "serves.conf").read_text())
    for file in PAGE:
        (place / "page/current" / file).parent.mkdir(parents=True, exist_ok=True)
        (place / "page/current" / file).write_bytes(b"a{}\n" * 500)
    workers = tuple(scripted.worker() for _ in range(3))
    addresses = [f"127.0.0.1:{each.server_address[1]}" for each in workers]
    (place / "servers.conf").write_text("".join(f"server {each} max_fails=0;\n" for each in [*addresses, *members]))
    agents = scripted.agent(place / "pool.sock"), scripted.agent(place / "autoscaler.sock")
    with scripted.serving(*workers, *agents), nginx(place / "nginx.conf") as process:
        yield Between(Hops(port, place), process, workers, *agents, itertools.count())


@pytest.fixture(scope="module")
def scripted_once(hops: Hops, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Between]:
    with between(hops, tmp_path_factory.mktemp("scripted")) as started:
        yield started


@pytest.fixture
def told(scripted_once: Between) -> Between:
    """A balancer whose workers and agents have heard nothing yet."""
    for each in (*scripted_once.workers, scripted_once.agent, scripted_once.autoscaler):
        each.forget()
    return scripted_once


@pytest.fixture
def fresh(hops: Hops, tmp_path: Path) -> Iterator[Between]:
    """A balancer of which nothing has been asked yet, for tests that spend a rate."""
    with between(hops, tmp_path) as started:
        yield started


CONTEXT = f"00-{TRACE}-b7ad6b7169203331-01"


def test_the_worker_is_told_who_asks_and_what_is_followed(told: Between) -> None:
    read = (b"Accept: */*", b"Content-Encoding: gzip", b"Inference-Header-Content-Length: 3")
    own = (b"X-Request-Start: t=1", b"X-Forwarded-Proto: https", b"X-Request-Id: a")
    given = (*read, *own, b"Cookie: a=b", b"User-Agent: curl", b"Authorization: Basic eA==")
    traced = (f"traceparent: {CONTEXT}".encode(), b"tracestate: a=b")
    told.ask(b"POST /predict?top=2", JPEG, *given, *traced, body=b"image", client="6.6.6.6, 203.0.113.9")
    (heard,) = told.heard()
    assert (heard.line, heard.body) == ("POST /predict?top=2 HTTP/1.1", b"image")
    assert re.fullmatch(r"t=\d{10}\.\d{3}", heard.fields.pop("X-Request-Start"))
    assert heard.fields == {
        "Host": "balancer",
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "http",
        "X-Request-Id": "a",
        "traceparent": CONTEXT,
        "tracestate": "a=b",
        "Content-Length": "5",
        "Content-Type": "image/jpeg",
        "Accept": "*/*",
        "Content-Encoding": "gzip",
        "Inference-Header-Content-Length": "3",
    }


def test_the_state_of_a_trace_goes_with_its_context(told: Between) -> None:
    told.ask(b"GET /version", b"traceparent: none", b"tracestate: a=b")
    (heard,) = told.heard()
    assert heard.fields.keys().isdisjoint({"traceparent", "tracestate"})


@pytest.mark.parametrize("path", [b"/version", b"/healthz"])
def test_what_both_hops_say_is_said_once(told: Between, path: bytes) -> None:
    """A worker's own Retry-After is kept, and so is its Server-Timing beside the balancer's."""
    own = ("Cache-Control: no-store", "X-Request-Id: b", "Retry-After: 7", "Server-Timing: queue;dur=1")
    told.script(scripted.answer_of(429, *own))
    told.agent.answer = lambda _: scripted.CLOSED
    raw = told.hops.send(b"\r\n".join([b"GET " + path + b" HTTP/1.1", *told.fields(), b"Connection: close", b"", b""]))
    head = raw.partition(b"\r\n\r\n")[0].decode()
    for name in ("cache-control", "x-request-id", "retry-after"):
        assert head.lower().count(f"\r\n{name}: ") == 1, head
    assert "\r\nRetry-After: 7" in head
    assert "\r\nServer-Timing: queue;dur=1\r\n" in head
    assert re.search(r"\r\nServer-Timing: edge;dur=\d+, upstream;dur=\d+(\r|$)", head)


def test_the_line_of_a_request_says_all_that_operators_need(told: Between) -> None:
    fields = [*told.fields("203.0.113.9"), b"X-Request-Id: line", f"traceparent: {CONTEXT}".encode()]
    raw = b"\r\n".join(
        [b"POST /predict?top=2 HTTP/1.1", *fields, b"Connection: close", b"Content-Length: 1", b"", b"x"]
    )
    told.script(scripted.CLOSED)
    answer = told.hops.send(raw)
    line = told.hops.logged("line")
    assert abs(line["msec"] - time.time()) < 600
    assert abs(datetime.fromisoformat(line.pop("time")).timestamp() - line.pop("msec")) < 2
    assert line.pop("request_s") >= 0
    addresses = line.pop("upstream_addr").split(", ")
    assert len(set(addresses)) == 2
    assert set(addresses) < {f"127.0.0.1:{each.server_address[1]}" for each in told.workers}
    for name in ("connect", "header", "response"):
        assert re.fullmatch(r"(-|\d\.\d{3}), \d\.\d{3}", line.pop(f"upstream_{name}_s"))
    assert line == {
        "id": "line",
        "trace": TRACE,
        "client": "203.0.113.9",
        "method": "POST",
        "path": "/predict",
        "status": 200,
        "request_bytes": len(raw),
        "response_bytes": len(answer),
        "worker": "w1",
        "upstream_status": "502, 200",
        "timing": "queue;dur=1",
    }


FAILURES = {
    "closed": scripted.CLOSED,
    "500": scripted.answer_of(500),
    "503": scripted.answer_of(503),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("line", [b"POST /predict", b"GET /version"])
def test_another_worker_is_tried_once(told: Between, failure: str, line: bytes) -> None:
    told.script(FAILURES[failure])
    assert told.ask(line, JPEG)[0] == 200
    assert len(told.heard()) == 2
    told.script(*[FAILURES[failure]] * 9)
    assert told.ask(line, JPEG)[0] == {"closed": 502, "500": 500, "503": 503}[failure]
    assert len(told.heard()) == 4


@pytest.mark.parametrize("status", [429, 404, 413])
def test_what_is_no_failure_is_passed_on(told: Between, status: int) -> None:
    told.script(scripted.answer_of(status))
    status_told, fields, body = told.ask(b"POST /predict", JPEG)
    assert (status_told, body, len(told.heard())) == (status, b"no\n", 1)
    assert fields.get("retry-after") == ("1" if status == 429 else None)


@pytest.mark.parametrize("path", [b"/predict", b"/openapi.json", b"/v2/models/a.html"])
def test_a_worker_that_does_not_answer_is_told(told: Between, path: bytes) -> None:
    told.script(scripted.CLOSED, scripted.CLOSED)
    status, fields, body = told.ask(b"POST " + path)
    expected = "The worker did not answer; send the image again."
    in_v2 = path.startswith(b"/v2")
    assert (status, fields["content-type"]) == (502, "application/json" if in_v2 else "application/problem+json")
    assert json.loads(body)["error" if in_v2 else "detail"] == expected


STATES = {
    "busy": (1, 429, "/problems/busy", "Every worker is busy; try again in a moment."),
    "nobody": (0, 503, "/problems/unavailable", "No worker serves; try again soon."),
}


@pytest.mark.parametrize("state", STATES)
def test_a_full_pool_and_none_are_told_apart(fresh: Between, state: str) -> None:
    serves, status, kind, detail = STATES[state]
    members = fresh.hops.folder / "servers.conf"
    members.write_text(members.read_text().replace("max_fails=0;", "max_fails=0 down;"))
    (fresh.hops.folder / "serves.conf").write_text(f"map $server_port $anybody_serves {{ default {serves}; }}\n")
    old = children_of(fresh.nginx)
    fresh.nginx.send_signal(signal.SIGHUP)
    until(
        lambda: not old & children_of(fresh.nginx) and fresh.ask(b"GET /version")[0] != 200,
        "nginx does not take up its members",
    )
    fresh.agent.answer = lambda _: scripted.CLOSED
    for path in (b"/predict", b"/openapi.json"):
        told, fields, body = fresh.ask(b"GET " + path)
        assert (told, fields["content-type"], fields["retry-after"]) == (status, "application/problem+json", "1")
        document = json.loads(body)
        assert (document["type"], document["detail"], document["status"]) == (kind, detail, status)
    told, fields, body = fresh.ask(b"GET /v2/models/a.html")
    assert (told, fields["content-type"], fields["retry-after"]) == (status, "application/json", "1")
    assert json.loads(body) == {"error": detail}
    told, fields, body = fresh.ask(b"GET /healthz")
    assert (told, json.loads(body)["type"]) == (503, "/problems/unavailable")


ASKED = {
    "/healthz": "/healthz",
    "/workers": "/workers",
    "/live-figures?since=3": "/live-figures?since=3",
    "/history?hours=6": "/history?hours=6",
    "/pool_metrics": "/metrics",
    "/autoscaler": "/autoscaler",
}


@pytest.mark.parametrize("path", ASKED)
def test_the_agent_is_asked_without_the_client_s_body_and_headers(told: Between, path: str) -> None:
    server = told.autoscaler if path == "/autoscaler" else told.agent
    server.answer = lambda _: scripted.answer_of(200, "Content-Type: text/plain")
    client = "::1" if path == "/pool_metrics" else "203.0.113.9"
    status, fields, body = told.ask(f"GET {path}".encode(), JPEG, body=b"body", client=client)
    assert (status, fields["content-type"], body) == (200, "text/plain", b"no\n")
    (heard,) = server.heard
    assert (heard.line, heard.body) == (f"GET {ASKED[path]} HTTP/1.0", b"")
    assert heard.fields == {"Host": "balancer", "Connection": "close"}
    assert told.heard() == []


@pytest.mark.parametrize("path", [b"/workers", b"/live-figures", b"/history", b"/autoscaler", b"/pool_metrics"])
def test_an_agent_that_does_not_answer_is_told(told: Between, path: bytes) -> None:
    told.agent.answer = told.autoscaler.answer = lambda _: scripted.CLOSED
    status, fields, body = told.ask(b"GET " + path, client="127.0.0.1")
    assert (status, fields["content-type"]) == (503, "application/problem+json")
    assert (json.loads(body)["type"], fields["retry-after"]) == ("/problems/unavailable", "1")


def test_where_no_agent_answers_a_worker_is_asked_for_its_health(told: Between) -> None:
    told.agent.answer = lambda _: scripted.CLOSED
    for failure in FAILURES.values():
        told.script(failure)
        assert told.ask(b"GET /healthz", JPEG, body=b"body", client="203.0.113.9")[0] == 200
    assert len(told.heard()) == 6
    for heard in told.heard():
        assert (heard.line, heard.body) == ("GET /readyz HTTP/1.0", b"")
        assert heard.fields == {"Host": "balancer", "Connection": "close"}
    told.script(*[scripted.CLOSED] * 9)
    status, fields, body = told.ask(b"GET /healthz")
    assert (status, fields["content-type"]) == (503, "application/problem+json")
    assert json.loads(body)["type"] == "/problems/unavailable"
    assert len(told.heard()) == 8


def test_only_this_machine_s_own_addresses_are_told_how_busy_it_is_and_no_line_says_so(told: Between) -> None:
    before = told.lines("/nginx_status") + told.lines("/pool_metrics")  # of those that were refused
    for client in ("127.0.0.1", "::1"):
        for path in (b"/nginx_status", b"/pool_metrics"):
            assert told.ask(b"GET " + path, client=client)[0] == 200
    told.ask(b"GET /version", b"X-Request-Id: after")
    assert told.hops.logged("after")
    assert told.lines("/nginx_status") + told.lines("/pool_metrics") == before


FILES = {
    "/": ("text/html; charset=utf-8", "no-cache", True),
    "/dashboard": ("text/html; charset=utf-8", "no-cache", True),
    "/b": ("text/html; charset=utf-8", "no-store", True),
    "/a.css": ("text/css; charset=utf-8", "no-cache", True),
    "/a.js": ("text/javascript; charset=utf-8", "no-cache", True),
    "/a.svg": ("image/svg+xml", "no-cache", True),
    "/a.png": ("image/png", "no-cache", False),
    "/a.jpg": ("image/jpeg", "no-cache", False),
    "/a.json": ("application/json", "no-cache", False),
    "/a.bin": ("application/octet-stream", "no-store", False),
}


@pytest.mark.parametrize("path", FILES)
def test_a_file_of_the_page_has_its_type_and_is_packed_where_it_pays(told: Between, path: str) -> None:
    status, fields, _ = told.ask(b"GET " + path.encode(), b"Accept-Encoding: gzip")
    assert status == 200
    assert (fields["content-type"], fields["cache-control"], fields.get("content-encoding") == "gzip") == FILES[path]


NETWORKS = {
    "one network": (["2001:db8:1:2::a", "2001:db8:1:2::b"], True),
    "two networks": (["2001:db8:1:3::a", "2001:db8:1:4::a"], False),
    "one address in two forms": (["::ffff:203.0.113.50", "203.0.113.50"], True),
    "two addresses": (["203.0.113.60", "203.0.113.61"], False),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_who_shares_a_network_shares_its_rate(told: Between, name: str) -> None:
    """Each sends 15 requests; 20 at once are allowed, and one a second besides."""
    clients, shared = NETWORKS[name]
    statuses = told.statuses(b"GET /version", *clients * 15)
    assert len(statuses) == 30
    assert set(statuses) == ({200, 429} if shared else {200})
    assert statuses.count(200) >= 21
    assert "limiting" not in (told.hops.folder / "error.log").read_text()


@pytest.mark.parametrize("path", [b"/workers", b"/live-figures", b"/autoscaler"])
def test_an_address_has_its_rate_at_the_agent_too(told: Between, path: bytes) -> None:
    statuses = told.statuses(b"GET " + path, *[f"203.0.113.{200 + len(path)}"] * 30)
    assert (len(statuses), set(statuses)) == (30, {200, 429})
    assert statuses.count(200) >= 21
    asked = (told.ask(b"GET " + path, client=f"203.0.113.{200 + len(path)}") for _ in range(50))
    _, fields, body = next(answer for answer in asked if answer[0] == 429)
    assert fields["content-type"] == "application/problem+json"
    assert json.loads(body)["type"] == "/problems/too-many-requests"


def test_an_address_has_so_many_requests_under_way(told: Between) -> None:
    for each in told.workers:
        each.answer = each.late
    ask = functools.partial(told.ask, b"POST /predict", JPEG)
    with ThreadPoolExecutor(2) as threads:
        held = [threads.submit(ask, client="203.0.113.80") for _ in range(2)]
        until(lambda: len(told.heard()) == 2, "two requests do not come")
        told.script()
        try:
            refused, fields, body = ask(client="203.0.113.80")
            assert ask(client="203.0.113.81")[0] == 200
        finally:
            for each in told.workers:
                each.let_go.set()
        assert [each.result()[0] for each in held] == [200, 200]
    assert (refused, json.loads(body)["type"]) == (429, "/problems/too-many-requests")
    assert fields["retry-after"] == "1"
    assert "limiting" not in (told.hops.folder / "error.log").read_text()


@pytest.mark.parametrize("path", ["/workers", "/live-figures", "/history", "/autoscaler"])
def test_all_together_may_ask_the_agent_so_often(fresh: Between, path: str) -> None:
    """Two hundred at once, from as many addresses, and one a minute besides; seldom a line says so."""
    statuses = fresh.statuses(b"GET " + path.encode(), *[""] * 300)
    assert (len(statuses), set(statuses)) == (300, {200, 429})
    assert 201 <= statuses.count(200) <= 205
    agent = fresh.autoscaler if path == "/autoscaler" else fresh.agent
    assert len(agent.heard) == statuses.count(200)
    fresh.ask(b"GET /version", b"X-Request-Id: after")
    assert fresh.hops.logged("after")
    assert fresh.lines(path) == 0 if path in {"/live-figures", "/history"} else 201 <= fresh.lines(path) < 240


def test_what_nginx_answers_by_itself_has_few_lines(fresh: Between) -> None:
    """Files: two hundred at once, and one a minute besides. What counts nowhere: one of a hundred."""
    assert set(fresh.statuses(b"GET /nowhere", *[""] * 400)) == {404}
    assert set(fresh.statuses(b"GET /status", *[""] * 300)) == {200}
    assert set(fresh.statuses(b"GET /version", *[""] * 300)) == {200}
    fresh.ask(b"GET /version", b"X-Request-Id: after")
    assert fresh.hops.logged("after")
    assert 201 <= fresh.lines("/nowhere") <= 205
    assert fresh.lines("/status") < 60
    # The line of a connection's last request is written once the client has closed it.
    until(lambda: fresh.lines("/version") == 301, "a line is missing")
    assert "limiting" not in (fresh.hops.folder / "error.log").read_text()


SHORT = {
    "client_header_timeout 15s;": "client_header_timeout 1s;",
    "client_body_timeout 15s;": "client_body_timeout 1s;",
    "    send_timeout 15s;": "    send_timeout 1s;",
    "proxy_send_timeout 30s;": "proxy_send_timeout 1s;",
    "proxy_read_timeout 30s;": "proxy_read_timeout 1s;",
}


@pytest.fixture
def short(hops: Hops, tmp_path: Path) -> Iterator[Between]:
    """A balancer that waits for a second at most."""
    with between(hops, tmp_path, SHORT) as started:
        yield started


def test_nobody_holds_the_balancer_for_long(short: Between) -> None:
    """All at the same time: clients that send or read no further, an agent that does not answer."""
    large = short.hops.folder / "page/current/large.bin"
    large.touch()
    os.truncate(large, 64 * MEBIBYTE)
    short.agent.answer = short.agent.late

    def is_reset(raw: bytes) -> bool:
        with socket.create_connection(("127.0.0.1", short.hops.port), timeout=20) as connection:
            connection.sendall(raw)
            with contextlib.suppress(ConnectionResetError):
                connection.recv(1)
                return False
            return True

    def bytes_sent_to_who_reads_nothing() -> int:
        with socket.create_connection(("127.0.0.1", short.hops.port), timeout=20) as connection:
            connection.sendall(b"GET /large.bin HTTP/1.1\r\nHost: x\r\nX-Request-Id: large\r\n\r\n")
            return int(short.hops.logged("large")["response_bytes"])

    with ThreadPoolExecutor(5) as threads:
        head = threads.submit(is_reset, b"GET /version HTTP/1.1\r\nHost:")
        body = threads.submit(is_reset, b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nbody")
        reader = threads.submit(bytes_sent_to_who_reads_nothing)
        health, workers = (threads.submit(short.ask, line) for line in (b"GET /healthz", b"GET /workers"))
        assert (head.result(), body.result()) == (True, True)
        assert reader.result() < 64 * MEBIBYTE
        assert (health.result()[0], workers.result()[0]) == (200, 503)  # a worker is asked for the health


@pytest.mark.parametrize(
    ("line", "size"),
    [(b"POST /predict", 1), (b"POST /predict", 16 * MEBIBYTE), (b"GET /healthz", 0)],
    ids=["does not answer", "does not read", "does not say whether it lives"],
)
def test_nobody_waits_long_for_a_worker(short: Between, line: bytes, size: int) -> None:
    short.agent.answer = lambda _: scripted.CLOSED
    turns = itertools.count()
    for each in short.workers:
        each.ignores_a_request = lambda: next(turns) == 0
    assert short.ask(line, JPEG, body=bytes(size))[0] == 200
    assert next(turns) == 2


@pytest.mark.parametrize("line", [b"POST /predict", b"GET /healthz"])
def test_a_worker_that_takes_no_connection_is_soon_passed_by(hops: Hops, tmp_path: Path, line: bytes) -> None:
    """Its queue of connections is full. By itself nginx would wait for a minute, too long to try another one."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as held:
        address = f"127.0.0.1:{full.getsockname()[1]}"
        held.enter_context(socket.create_connection(full.getsockname()))
        balancer = held.enter_context(between(hops, tmp_path, members=(address,)))
        balancer.agent.answer = lambda _: scripted.CLOSED
        for number in range(200):  # one of four is asked first
            name = f"passed-by-{number}"
            assert balancer.ask(line, JPEG, f"X-Request-Id: {name}".encode())[0] == 200
            logged = balancer.hops.logged(name)
            address_tried, statuses = (
                logged[field].rpartition(" : ")[2] for field in ("upstream_addr", "upstream_status")
            )
            if address_tried.startswith(address):
                break
        assert statuses == "504, 200"


def test_whose_first_worker_took_long_is_passed_on_to_no_other(hops: Hops, tmp_path: Path) -> None:
    changes = SHORT | {"proxy_next_upstream_timeout 35s;": "proxy_next_upstream_timeout 100ms;"}
    with between(hops, tmp_path, changes) as balancer:
        for each in balancer.workers:
            each.ignores_a_request = lambda: True
        assert balancer.ask(b"POST /predict", JPEG, b"X-Request-Id: long", body=b"x")[0] == 502
        assert balancer.hops.logged("long")["upstream_status"] == "504"


@pytest.mark.parametrize(("size", "is_on_disk"), [(900_000, False), (3 * MEBIBYTE, True)])
def test_a_photograph_of_a_usual_size_is_kept_in_memory(told: Between, size: int, is_on_disk: bool) -> None:
    for each in told.workers:
        each.answer = each.late
    with ThreadPoolExecutor(1) as threads:
        held = threads.submit(told.ask, b"POST /predict", JPEG, body=bytes(size))
        try:
            until(told.heard, "the request does not come")
            files = [file for child in children_of(told.nginx) for file in Path(f"/proc/{child}/fd").iterdir()]
            opened = [str(file.readlink()) for file in files]
        finally:
            for each in told.workers:
                each.let_go.set()
        assert held.result()[0] == 200
    assert any(name.startswith(str(told.hops.folder / "body")) for name in opened) == is_on_disk


def restarted(balancer: Between) -> None:
    """Let nginx read its configuration again, and wait until the old processes have ended."""
    old = children_of(balancer.nginx)
    balancer.nginx.send_signal(signal.SIGHUP)
    until(lambda: not old & children_of(balancer.nginx), "an old process stays")


def test_the_places_of_a_worker_are_those_of_all_processes_together(fresh: Between) -> None:
    members = fresh.hops.folder / "servers.conf"
    members.write_text(members.read_text().replace("max_fails=0;", "max_fails=0 max_conns=1;"))
    restarted(fresh)
    for each in fresh.workers:
        each.answer = each.late
    ask = functools.partial(fresh.ask, b"POST /predict", JPEG)
    with ThreadPoolExecutor(3) as threads:
        held = [threads.submit(ask) for _ in range(3)]
        until(lambda: len(fresh.heard()) == 3, "three requests do not come")
        fresh.script()
        try:
            refused = {ask()[0] for _ in range(20)}
        finally:
            for each in fresh.workers:
                each.let_go.set()
        assert [each.result()[0] for each in held] == [200] * 3
    assert refused == {429}


def test_an_old_process_ends_though_a_worker_does_not_answer(hops: Hops, tmp_path: Path) -> None:
    changes = {
        "worker_shutdown_timeout 300s;": "worker_shutdown_timeout 1s;",
        "proxy_read_timeout 30s;": "proxy_read_timeout 600s;",
    }
    with (
        between(hops, tmp_path, changes) as balancer,
        socket.create_connection(("127.0.0.1", balancer.hops.port), timeout=60) as client,
    ):
        for each in balancer.workers:
            each.answer = each.late
        client.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n")
        until(balancer.heard, "the request does not come")
        restarted(balancer)


def test_where_no_address_has_a_limit_all_together_have_theirs(hops: Hops, tmp_path: Path) -> None:
    """Both ask programs that have workers to watch, and share a rate."""
    with between(hops, tmp_path, name="open") as balancer:
        asked, asked_besides = (
            balancer.statuses(b"GET " + path, *["203.0.113.9"] * 300) for path in (b"/workers", b"/autoscaler")
        )
    assert set(asked) == {200, 429}
    assert 201 <= asked.count(200) <= 205
    assert asked_besides.count(429) >= 295
    assert set(asked_besides) <= {200, 429}


@pytest.mark.parametrize("name", ["parting", "reloading"])
def test_before_a_reload_each_answer_is_the_last_of_its_connection(told: Between, name: str) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{told.hops.port}", timeout=60) as client:
        kept = client.get("/version?a=%20b")
        (told.hops.folder / name).touch()
        try:
            last = client.get("/version?a=%20b")
        finally:
            (told.hops.folder / name).unlink()
    assert (kept.status_code, kept.headers["connection"]) == (200, "keep-alive")
    assert (last.status_code, last.headers["connection"], last.text) == (200, "close", kept.text)
    assert [each.line for each in told.heard()] == ["GET /version?a=%20b HTTP/1.1"] * 2


SLEEP = """#!/bin/sh
ls "{folder}/reloading"
{then}
"""


def reload(hops: Hops, place: Path, then: str = "") -> subprocess.Popen[str]:
    """Run the role's command for a reload, whose sleep tells what it finds, and does this then."""
    (place / "sleep").write_text(SLEEP.format(folder=hops.folder, then=then))
    (place / "sleep").chmod(0o755)
    path = f"{place}:{os.environ['PATH']}"
    return subprocess.Popen(
        ["/bin/sh", str(hops.folder / "reload")],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PATH": path},
        start_new_session=True,
    )


def processes_of(hops: Hops) -> str:
    master = (hops.folder / "nginx.pid").read_text().strip()
    return Path(f"/proc/{master}/task/{master}/children").read_text()


def test_the_command_for_a_reload_says_so_before_and_until_others_serve(hops: Hops, tmp_path: Path) -> None:
    old = set(processes_of(hops).split())
    with reload(hops, tmp_path) as command:
        said = command.communicate(timeout=60)[0]
    assert (command.returncode, said) == (0, f"{hops.folder}/reloading\n" * 2)
    until(lambda: not old & set(processes_of(hops).split()), "nginx has not read its configuration again")
    assert not (hops.folder / "reloading").exists()


def test_a_command_for_a_reload_that_is_ended_leaves_nothing(hops: Hops, tmp_path: Path) -> None:
    with reload(hops, tmp_path, "exec /bin/sleep 60") as command:
        assert command.stdout is not None
        assert command.stdout.readline() == f"{hops.folder}/reloading\n"
        os.killpg(command.pid, signal.SIGTERM)
        assert command.wait(60) != 0
    assert not (hops.folder / "reloading").exists()


def test_where_no_nginx_runs_nothing_is_reloaded(hops: Hops, tmp_path: Path) -> None:
    text = (hops.folder / "reload").read_text()
    (tmp_path / "reload").write_text(text.replace(str(hops.folder), str(tmp_path)))
    done = subprocess.run(["/bin/sh", str(tmp_path / "reload")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert [each.name for each in tmp_path.iterdir()] == ["reload"]
