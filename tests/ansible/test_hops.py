"""The real nginx before a real worker: whoever refuses a request answers by a problem document."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from PIL import Image

from tests.ansible.rendering import render
from tests.ansible.test_build_apps import build_apps
from tests.ansible.test_rendering import GOLDEN
from tests.conftest import free_ports
from tests.unit.worker import conftest as worker

MEBIBYTE = 1024 * 1024


class Hops(NamedTuple):
    """A balancer's port and its folder."""

    port: int
    folder: Path

    def exchange(self, raw: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send one request and return status, header fields and body."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(raw)
            answer = b""
            while data := connection.recv(65536):
                answer += data
        head, _, body = answer.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines)
        return int(status.split()[1]), {name.lower(): value for name, value in fields.items()}, body

    def ask(self, line: bytes, *fields: bytes, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        """Send a request of this line and these fields; Host, Connection and the body's length are added."""
        common = [b"Host: balancer", b"Connection: close", *([b"Content-Length: %d" % len(body)] if body else [])]
        return self.exchange(b"\r\n".join([line + b" HTTP/1.1", *common, *fields, b"", body]))


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
        "variants": [{"name": "hops"}],
    }
    try:
        render(folder, **variables)
        serve_page(folder, "first", {"index.html": "<title>page</title>", "style.css": "a{color:red}"})
        with subprocess.Popen(["/usr/sbin/nginx", "-c", str(folder / "nginx-hops.conf"), "-g", "daemon off;"]) as nginx:
            try:
                for _ in range(100):
                    try:
                        socket.create_connection(("127.0.0.1", port)).close()
                        break
                    except ConnectionRefusedError:
                        time.sleep(0.1)
                yield Hops(port, folder)
            finally:
                nginx.terminate()
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
    "second content type": ((b"GET /version", b"Content-Type: image/jpeg", b"Content-Type: image/png"), 400),
    "header of a name that nobody may send": ((b"GET /version", b"X(y): 1"), 400),
    "nothing there": ((b"GET /nowhere",), 404),
    "wrong method": ((b"GET /predict",), 405),
    "headers of 40 kilobytes": ((b"GET /version", *[b"X-%d: " % n + b"a" * 5000 for n in range(8)]), 431),
}


@pytest.mark.parametrize("name", REFUSED)
def test_every_refusal_is_a_problem_document(hops: Hops, name: str) -> None:
    request, expected = REFUSED[name]
    status, fields, body = hops.ask(*request)
    if name == "header of a name that nobody may send" and status == 200:
        return  # nginx leaves such a header out
    assert status == expected, body
    assert fields["content-type"].split(";")[0] == "application/problem+json"  # of a page nginx still says the charset
    assert json.loads(body)["status"] == status
    assert body.endswith(b"}\n")
    assert fields["cache-control"] in {"no-store", "no-cache"}  # of the page the latter


def test_an_http_version_that_nobody_speaks_is_a_problem_document(hops: Hops) -> None:
    status, fields, body = hops.exchange(b"GET / HTTP/9.9\r\nHost: x\r\n\r\n")
    assert (status, fields["content-type"]) == (505, "application/problem+json")
    assert json.loads(body)["type"] == "/problems/version-not-supported"


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


def lines_of(hops: Hops, wanted: str) -> list[dict[str, Any]]:
    """The lines of both logs, the balancer's first, that have this id."""
    deadline = time.monotonic() + 10
    found: list[dict[str, Any]] = []
    while len(found) < 2 and time.monotonic() < deadline:
        logs = [(hops.folder / name).read_text().splitlines() for name in ("access.log", "gunicorn.log")]
        lines = [json.loads(line) for line in logs[0] + logs[1] if line.startswith("{")]
        found = [line for line in lines if line["id"] == wanted]
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


@pytest.mark.parametrize(
    "context",
    [f"00-{'0' * 32}-b7ad6b7169203331-01", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-b7ad6b7169203331-01", "x"],
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
