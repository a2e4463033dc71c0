"""The real nginx in front of others, as the role configures it: pages of other origins, keys, HTTP/2."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import httpx
import pytest
import requests
import yaml

from tests.ansible.plays import briefly, play
from tests.ansible.test_balancer import Balancer, Worker, logged
from tests.ansible.test_balancer import worker as worker  # noqa: PLC0414
from tests.conftest import REPOSITORY, free_ports

ORIGIN = "https://demo.example.org"
KEYS = {name: f"the-key-of-{name}" for name in ("alice", "bob", "batch", "careful", "default")}
ADDRESS_RATE_HZ, BATCH_RATE_HZ = 30, 1
UNDER_WAY = 4
GUESS_RATE_HZ = 2  # every host asks more


def entry(name: str, **limits: int) -> dict[str, Any]:
    """What the inventory keeps of a key."""
    return {"name": name, "sha256": hashlib.sha256(KEYS[name].encode()).hexdigest(), **limits}


ENTRIES = [
    entry("alice"),
    entry("bob"),
    entry("batch", rate_hz=BATCH_RATE_HZ),
    entry("careful", connections=1),
    entry("default", rate_hz=0, connections=0),
]


def nearly(sha256: str) -> Iterator[dict[str, Any]]:
    """Entries whose hashes differ from this one in one byte each: who leaves a byte out takes one of them for it."""
    for place in range(32):
        digest = bytearray.fromhex(sha256)
        digest[place] ^= 1
        yield {"name": f"nearly-{place}", "sha256": digest.hex()}


class InFront(Balancer):
    """A balancer with keys and origins."""

    def ask(self, path: str = "/predict", method: str = "POST", **headers: str) -> requests.Response:
        """Ask with these headers; an underscore stands for a hyphen."""
        return requests.request(
            method,
            self.secure + path,
            data=b"image" if method == "POST" else None,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            verify=self.certificate,
            timeout=20,
        )


def in_front(folder: Path, worker: int, rate_hz: int) -> InFront:
    """Prepare a balancer; an address or a key may send so many requests a second."""
    folder.mkdir()
    (folder / "index.html").write_text("<title>page</title>")
    with tarfile.open(folder / "page.tar", "w") as archive:
        archive.add(folder / "index.html", "index.html")
    more = {
        "balancer_cors_origins": [ORIGIN, "http://localhost:3000"],
        "balancer_api_keys": [*ENTRIES, *nearly(ENTRIES[0]["sha256"])],
        "balancer_address_rate_hz": rate_hz,
        "balancer_address_connections": UNDER_WAY,
        "balancer_max_conns": 0,
        "balancer_max_body_bytes": 2000,
    }
    return InFront(folder, *free_ports(2), worker, more=more)


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory, worker: int) -> tuple[dict[str, InFront], str]:
    """The balancers of these tests, and all that Ansible can say of them: one run has a host for each."""
    place = tmp_path_factory.mktemp("in-front")
    rates = {"shared": ADDRESS_RATE_HZ, "guessed": GUESS_RATE_HZ, "emptied": ADDRESS_RATE_HZ}
    balancers = {name: in_front(place / name, worker, rate_hz) for name, rate_hz in rates.items()}
    balancers["emptied"].more["balancer_api_keys"] = []
    (place / "emptied/etc").mkdir()
    (place / "emptied/etc/keys.js").write_text("as an earlier run left it")
    (place / "emptied/pool").mkdir()
    (place / "emptied/pool/serves.conf").touch()  # as a power cut leaves it; nginx would not start
    hosts = {name: balancer.variables() for name, balancer in balancers.items()}
    (place / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts}}))
    done = play("balance", {}, "-vvv", "--diff", inventory=str(place / "hosts.yml"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return balancers, done.stdout + done.stderr


@contextlib.contextmanager
def running(balancer: InFront) -> Iterator[InFront]:
    """Run a balancer."""
    definition = json.loads((balancer.folder / "definition.json").read_text())
    with subprocess.Popen(definition["command"], stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            try:
                requests.get(definition["ready_url"], timeout=60, allow_redirects=False)
                break
            except requests.ConnectionError:
                time.sleep(0.1)
        assert process.poll() is None, process.stderr and process.stderr.read().decode()
        try:
            yield balancer
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=20)


@pytest.fixture(scope="module")
def balancer(configured: tuple[dict[str, InFront], str]) -> Iterator[InFront]:
    with running(configured[0]["shared"]) as started:
        yield started


def rest() -> None:
    """Wait until the address and every key may send a whole burst again."""
    time.sleep(1.1)


# --- other origins


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/predict", "/submit", "/version", "/status", "/workers", "/healthz"])
@pytest.mark.parametrize("origin", [ORIGIN, "http://localhost:3000"])
def test_a_page_of_a_named_origin_may_ask(balancer: InFront, path: str, origin: str) -> None:
    wishes = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key,content-type"}
    answer = balancer.ask(path, "OPTIONS", Origin=origin, **wishes)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST"
    allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"x-api-key", "authorization", "content-type", "x-request-id", "traceparent"} <= set(allowed)
    assert answer.headers["Access-Control-Max-Age"] == "600"
    assert answer.headers["Vary"] == "Origin"
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert "X-Worker" not in answer.headers  # and this worker would have said 501


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example.org",
        "https://demo.example.org.evil.net",
        "https://demoXexample.org",
        "HTTPS://demo.example.org",
        "https://demo.example.org:444",
        "null",
    ],
)
def test_any_other_origin_is_ignored(balancer: InFront, origin: str) -> None:
    """Its browser then keeps the answer from the page; the service treats it as if it had named none."""
    preflight = balancer.ask("/predict", "OPTIONS", Origin=origin, Access_Control_Request_Method="POST")
    answer = balancer.ask(Origin=origin, X_API_Key=KEYS["alice"])
    assert (preflight.status_code, answer.status_code) == (204, 200)
    for each in (preflight, answer):
        assert [name for name in each.headers if name.startswith("Access-Control-")] == []
        assert each.headers["Vary"] == "Origin"
        assert each.headers["Cross-Origin-Resource-Policy"] == "same-origin"


ERRORS: dict[str, tuple[dict[str, Any], int]] = {
    "no key": ({}, 401),
    "nothing there": ({"path": "/nowhere", "method": "GET"}, 404),
    "answered": ({"X_API_Key": KEYS["alice"]}, 200),
    "the page": ({"path": "/", "method": "GET"}, 200),
}


@pytest.mark.parametrize("name", ERRORS)
def test_every_answer_may_be_read_by_a_page_of_a_named_origin(balancer: InFront, name: str) -> None:
    options, status = ERRORS[name]
    answer = balancer.ask(Origin=ORIGIN, **options)
    assert answer.status_code == status
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert {"X-Request-Id", "Server-Timing", "Retry-After"} <= set(
        answer.headers["Access-Control-Expose-Headers"].split(", ")
    )
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert "Access-Control-Allow-Methods" not in answer.headers  # that is for the question before
    assert answer.headers["Vary"] == "Origin"


def test_a_body_that_is_too_large_is_told_to_the_page_too(balancer: InFront) -> None:
    with socket.create_connection(("127.0.0.1", balancer.https), timeout=20) as plain:
        context = ssl.create_default_context(cafile=balancer.certificate)
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\nOrigin: {ORIGIN}\r\nContent-Length: 9000000\r\n\r\n"
            connection.sendall(head.encode())
            answer = connection.recv(65536).decode()
    assert answer.startswith("HTTP/1.1 413 ")
    assert f"\r\nAccess-Control-Allow-Origin: {ORIGIN}\r\n" in answer


def test_options_that_is_no_preflight_is_the_worker_s(balancer: InFront) -> None:
    answer = balancer.ask("/version", "OPTIONS", Origin=ORIGIN)
    assert answer.status_code == 501  # this worker knows no OPTIONS
    assert logged(balancer.folder, answer)["upstream_status"] == "501"


# --- keys


@pytest.mark.parametrize("path", ["/predict", "/submit"])
@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("header", ["X-API-Key", "Authorization"])
def test_who_has_a_key_is_served_and_named_in_the_log(balancer: InFront, path: str, name: str, header: str) -> None:
    if name == "batch":  # the others' rates are far from spent by one request a test
        rest()
    answer = balancer.ask(path, **{header: KEYS[name] if header == "X-API-Key" else f"Bearer {KEYS[name]}"})
    assert answer.status_code == 200
    assert logged(balancer.folder, answer)["key"] == name


@pytest.mark.parametrize(
    "path", ["/predict", "/submit", "/%70redict", "//predict", "/x/../predict", "/version?/predict"]
)
def test_without_a_key_nothing_is_classified(balancer: InFront, path: str) -> None:
    request = requests.Request("POST", balancer.secure + path, data=b"image").prepare()
    request.url = balancer.secure + path  # as written
    with requests.Session() as session:
        answer = session.send(request, verify=str(balancer.certificate), timeout=20)
    if path.startswith("/version"):
        assert answer.status_code == 200
        assert logged(balancer.folder, answer)["path"] == "/version"
        return
    assert (answer.status_code, answer.json()["type"]) == (401, "/problems/unauthorized")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="imagerec"'
    assert answer.json()["detail"] == "This service needs a key; send it as X-API-Key, or as Authorization: Bearer."
    line = logged(balancer.folder, answer)
    assert (line["key"], line["upstream_addr"]) == ("", "")


WRONG = {
    "wrong key": {"X-API-Key": "guess"},
    "wrong bearer": {"Authorization": "Bearer guess"},
    "a hash in place of its key": {"X-API-Key": ENTRIES[0]["sha256"]},
    "a name in place of its key": {"Authorization": "Bearer alice"},
    "a good bearer behind a wrong key": {"X-API-Key": "guess", "Authorization": f"Bearer {KEYS['alice']}"},
    "much": {"X-API-Key": "x" * 7000},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_key_that_is_not_known_is_refused(balancer: InFront, name: str) -> None:
    answer = balancer.ask(**WRONG[name])
    assert (answer.status_code, answer.json()["type"]) == (401, "/problems/unauthorized")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="imagerec", error="invalid_token"'
    assert answer.json()["detail"] == "This key is not known here; ask the operator for one."
    assert logged(balancer.folder, answer)["key"] == ""


def test_another_way_of_authorising_is_no_key(balancer: InFront) -> None:
    basic = base64.b64encode(f"alice:{KEYS['alice']}".encode()).decode()
    answer = balancer.ask(Authorization=f"Basic {basic}")
    assert answer.status_code == 401
    assert "needs a key" in answer.json()["detail"]


def test_without_a_key_the_protocol_v2_infers_nothing(balancer: InFront) -> None:
    for path in ("/v2/models/m/infer", "/v2", "/v2/health/../models/m/infer"):
        request = requests.Request("POST", balancer.secure + path, data=b"x").prepare()
        request.url = balancer.secure + path  # as written
        with requests.Session() as session:
            answer = session.send(request, verify=str(balancer.certificate), timeout=20)
        assert answer.status_code == 401
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json() == {
            "error": "This service needs a key; send it as X-API-Key, or as Authorization: Bearer."
        }
    assert balancer.ask("/v2/models/m/infer", X_API_Key=KEYS["alice"]).status_code == 200


@pytest.mark.parametrize("path", ["/", "/healthz", "/status", "/version", "/openapi.json", "/v2/health/ready"])
def test_what_classifies_nothing_needs_no_key(balancer: InFront, path: str) -> None:
    assert balancer.ask(path, "GET").status_code == 200


@pytest.mark.slow
def test_the_summary_is_whole_where_keys_are_wanted(balancer: InFront, worker: int, tmp_path: Path) -> None:
    """It has no key to classify with, and asks who answers."""
    rest()
    names = ("balancer_port", "balancer_tls", "balancer_tls_port", "balancer_api_keys")
    given = balancer.variables()
    groups = {
        "balancers": {"hosts": {"balancer": {name: given[name] for name in names}}},
        "workers": {"hosts": {"worker1": {"worker_port": worker}}},
        "clients": {"hosts": {"client": None}},
    }
    common = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "slice_address": "127.0.0.1"}
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"children": groups, "vars": common}}))
    done = briefly("-i", tmp_path / "hosts.yml", "playbooks/verify.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout.splitlines()
    first = said.index(f"{balancer.secure} serves imagenet 1.0; worker1 answered.")
    assert said[first + 1 : first + 6] == [
        "  model    imagenet (default)",
        "  policy   random (default)",
        "  workers  worker1",
        f"  keys     {len(given['balancer_api_keys'])}; a request without one was refused",
        "  logs     /var/log/imagerec-balancer on balancer",
    ]


def statuses(balancer: InFront, count: int, **headers: str) -> list[int]:
    """Answers to so many requests over one connection, the sooner the better."""
    with requests.Session() as session:
        options: dict[str, Any] = {"headers": headers, "verify": balancer.certificate, "timeout": 20}
        return [session.post(f"{balancer.secure}/predict", data=b"x", **options).status_code for _ in range(count)]


def until_refused(balancer: InFront, **headers: str) -> list[int]:
    """Answers to requests over one connection, up to the first that is refused."""
    answers: list[int] = []
    deadline = time.monotonic() + 60
    with requests.Session() as session:
        while not answers or answers[-1] in {200, 401}:
            assert time.monotonic() < deadline, f"none of {len(answers)} requests was refused"
            options: dict[str, Any] = {"headers": headers, "verify": balancer.certificate, "timeout": 20}
            answers.append(session.post(f"{balancer.secure}/predict", data=b"x", **options).status_code)
    return answers


def test_a_key_with_a_rate_of_its_own_is_held_to_it_and_no_other_is(balancer: InFront) -> None:
    rest()
    *batch, last = until_refused(balancer, **{"X-API-Key": KEYS["batch"]})
    assert (set(batch), last) == ({200}, 429)
    assert len(batch) > BATCH_RATE_HZ
    assert statuses(balancer, 5, **{"X-API-Key": KEYS["alice"]}) == [200] * 5
    refused = next(
        each for each in (balancer.ask(X_API_Key=KEYS["batch"]) for _ in range(50)) if each.status_code == 429
    )
    assert (refused.json()["type"], refused.headers["Retry-After"]) == ("/problems/too-many-requests", "3")


def test_keys_of_one_address_have_a_burst_each(balancer: InFront) -> None:
    rest()
    for name in ("alice", "bob"):
        assert statuses(balancer, ADDRESS_RATE_HZ, **{"X-API-Key": KEYS[name]}) == [200] * ADDRESS_RATE_HZ


def test_a_key_without_limit_is_counted_nowhere(balancer: InFront) -> None:
    many = 6 * ADDRESS_RATE_HZ
    assert statuses(balancer, many, **{"X-API-Key": KEYS["default"]}) == [200] * many


@contextlib.contextmanager
def under_way(balancer: InFront, name: str, count: int) -> Iterator[None]:
    """Hold so many requests of a key, whose bodies do not come before the end of the block."""
    context = ssl.create_default_context(cafile=balancer.certificate)
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEYS[name]}\r\nContent-Length: 5\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            plain = stack.enter_context(socket.create_connection(("127.0.0.1", balancer.https), timeout=20))
            stack.enter_context(context.wrap_socket(plain, server_hostname="127.0.0.1")).sendall(head.encode())
        yield


@pytest.mark.parametrize(("name", "most"), [("careful", 1), ("bob", UNDER_WAY)])
def test_a_key_has_so_many_requests_under_way(balancer: InFront, name: str, most: int) -> None:
    """Its own number where it has one, that of an address otherwise; no other key is counted with it."""
    rest()
    answered = balancer.ask(X_API_Key=KEYS[name])
    assert answered.status_code == 200
    logged(balancer.folder, answered)  # it counts until its line is written, and one more would be refused
    with under_way(balancer, name, most):
        deadline = time.monotonic() + 60
        while (refused := balancer.ask(X_API_Key=KEYS[name])).status_code == 200:
            assert time.monotonic() < deadline, "the requests under way are not counted"
            time.sleep(0.1)  # far below the rate
        assert (refused.status_code, refused.json()["type"]) == (429, "/problems/too-many-requests")
        assert balancer.ask(X_API_Key=KEYS["alice"]).status_code == 200
    with under_way(balancer, "default", 2 * UNDER_WAY):
        time.sleep(0.3)
        assert balancer.ask(X_API_Key=KEYS["default"]).status_code == 200


def test_the_worker_is_not_told_the_key(balancer: InFront) -> None:
    assert balancer.ask(X_API_Key=KEYS["alice"], Authorization="Bearer other").status_code == 200
    assert {"x-forwarded-for", "content-length"} <= Worker.heard.keys()
    assert Worker.heard.keys().isdisjoint({"x-api-key", "authorization"})


def test_nobody_asks_for_the_check_of_keys_itself(balancer: InFront) -> None:
    answer = balancer.ask("/.key", "GET", X_API_Key=KEYS["alice"])
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/not-found")


def guessed_from(address: str, balancer: InFront) -> int:
    """Return the status of a guess from this address."""
    context = ssl.create_default_context(cafile=balancer.certificate)
    place = http.client.HTTPSConnection(
        "127.0.0.1", balancer.https, timeout=20, context=context, source_address=(address, 0)
    )
    with contextlib.closing(place) as connection:
        connection.request("POST", "/predict", b"x", {"X-API-Key": "guess"})
        return connection.getresponse().status


def test_who_guesses_keys_is_limited_by_the_address(configured: tuple[dict[str, InFront], str]) -> None:
    with running(configured[0]["guessed"]) as balancer:
        *answers, last = until_refused(balancer, **{"X-API-Key": "guess"})
        assert (set(answers), last) == ({401}, 429)
        assert len(answers) > GUESS_RATE_HZ
        assert guessed_from("127.0.0.2", balancer) == 401  # another address has its own
        assert statuses(balancer, 3, **{"X-API-Key": KEYS["alice"]}) == [200] * 3
        *answers, last = until_refused(balancer, **{"X-API-Key": KEYS["alice"]})  # a key has the rate of an address
        assert (set(answers), last) in (({200}, 429), (set(), 429))


def test_neither_key_nor_hash_stands_where_others_read(balancer: InFront) -> None:
    """But in one file, which only root reads."""
    secrets = [*KEYS.values(), *(each["sha256"] for each in ENTRIES)]
    keys = balancer.folder / "etc/keys.js"
    assert keys.stat().st_mode & 0o777 == 0o600
    found = [
        path
        for path in balancer.folder.rglob("*")
        if path.is_file() and path != keys and any(each.encode() in path.read_bytes() for each in secrets)
    ]
    assert found == []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes()
        except OSError:
            continue
        assert not (b"nginx" in command and any(each.encode() in command for each in secrets))


def variables_of(folder: Path, **more: Any) -> dict[str, Any]:
    """What a balancer in a folder is configured with."""
    return {
        "folder": str(folder),
        "balancer_user": "root" if os.geteuid() == 0 else "",
        "balancer_port": 8080,
        "balancer_workers": [{"name": "worker1", "address": "127.0.0.1", "port": 5000}],
    } | more


def test_ansible_shows_nothing_of_a_key(configured: tuple[dict[str, InFront], str]) -> None:
    balancers, said = configured
    assert said.count("failed=0") == len(balancers)
    for balancer in balancers.values():
        assert [each["name"] for each in balancer.more["balancer_api_keys"] if each["sha256"] in said] == []


def test_the_file_of_keys_goes_with_the_last_key(configured: tuple[dict[str, InFront], str]) -> None:
    kept = [name for name, balancer in configured[0].items() if (balancer.folder / "etc/keys.js").exists()]
    assert kept == ["shared", "guessed"]


HASH = "0123456789abcdef" * 4
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "origin with a path": ({"balancer_cors_origins": ["https://a.org/"]}, "balancer_cors_origins has https://a.org/;"),
    "origin with its usual port": ({"balancer_cors_origins": ["https://a.org:443"]}, "has https://a.org:443;"),
    "every origin": ({"balancer_cors_origins": ["*"]}, "has *;"),
    "origin in upper case": ({"balancer_cors_origins": ["https://A.org"]}, "has https://A.org;"),
    "origin that breaks the file": (
        {"balancer_cors_origins": ['https://a.org"; return 200']},
        "write each as a browser",
    ),
    "hash too short": (
        {"balancer_api_keys": [{"name": "eve", "sha256": HASH[:-1]}]},
        "eve has a sha256 that is not 64",
    ),
    "no hash": ({"balancer_api_keys": [{"name": "eve"}]}, "eve has no sha256"),
    "name that breaks the file": ({"balancer_api_keys": [{"name": "a';b", "sha256": HASH}]}, "name 'a';b'"),
    "name twice": (
        {"balancer_api_keys": [{"name": "a", "sha256": HASH}, {"name": "a", "sha256": "f" * 64}]},
        "two keys have one name",
    ),
    "key twice": ({"balancer_api_keys": [{"name": "a", "sha256": HASH}, {"name": "b", "sha256": HASH}]}, "one key"),
    "unknown field": ({"balancer_api_keys": [{"name": "a", "sha256": HASH, "rate": 1}]}, "unknown field rate"),
    "negative rate": ({"balancer_api_keys": [{"name": "a", "sha256": HASH, "rate_hz": -1}]}, "no whole number"),
}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with one for each of REFUSED, and what Ansible said of each: one run has a host for each."""
    place = tmp_path_factory.mktemp("refused")
    hosts = {f"refused{number}": name for number, name in enumerate(REFUSED)}
    variables = {host: variables_of(place / name, **REFUSED[name][0]) for host, name in hosts.items()}
    for name in REFUSED:
        (place / name).mkdir()
    (place / "hosts.yml").write_text(json.dumps({"all": {"hosts": variables}}))
    done = play("balance", {}, inventory=str(place / "hosts.yml"))
    assert HASH[:-1] not in done.stdout + done.stderr
    told = re.split(r"^(?=fatal: \[|\[ERROR\]|PLAY RECAP|TASK \[)", done.stdout + done.stderr, flags=re.MULTILINE)
    failed = [re.match(r"fatal: \[(\w+)", each) for each in told]
    said = {hosts[found[1]]: each for found, each in zip(failed, told, strict=True) if found}
    return place, said


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_with_the_remedy(refusals: tuple[Path, dict[str, str]], name: str) -> None:
    place, told = refusals
    said = re.sub(r"\s+", " ", told[name]).replace("''", "'")  # as YAML writes a quote within quotes
    assert REFUSED[name][1] in said
    assert "make key NAME=alice" in said or "as a browser sends it" in said
    assert not (place / name / "etc").exists()


@pytest.mark.parametrize("name", ["alice", "1.10", "on"], ids=["word", "number", "yes-or-no"])
def test_make_key_prints_a_key_and_what_the_inventory_keeps_of_it(name: str) -> None:
    command = [sys.executable, "tools/make_key.py"]
    said = subprocess.run([*command, name], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    _, key, _, kept = said.splitlines()
    assert yaml.safe_load(kept) == [{"name": name, "sha256": hashlib.sha256(key.strip().encode()).hexdigest()}]
    assert len(key.strip()) == 43
    refused = subprocess.run([*command, "Ä b"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "make key NAME=alice" in refused.stderr


# --- TLS


def shaken_hands(balancer: InFront, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> dict[str, Any]:
    """Open and close a connection; return what was agreed on."""
    with (
        socket.create_connection(("127.0.0.1", balancer.https), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as connection,
    ):
        cipher = connection.cipher()
        return {
            "version": connection.version(),
            "cipher": cipher and cipher[0],
            "session": connection.session,
            "reused": connection.session_reused,
        }


def of_tls_1_2(balancer: InFront, ciphers: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=balancer.certificate)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)
    return context


SOUND = ["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-GCM-SHA256"]


def test_the_newest_tls_is_agreed_on(balancer: InFront) -> None:
    context = ssl.create_default_context(cafile=balancer.certificate)
    assert shaken_hands(balancer, context)["version"] == "TLSv1.3"


@pytest.mark.parametrize("ciphers", [SOUND, SOUND[::-1]], ids=["ChaCha first", "AES first"])
def test_the_client_chooses_among_sound_ciphers(balancer: InFront, ciphers: list[str]) -> None:
    assert shaken_hands(balancer, of_tls_1_2(balancer, ":".join(ciphers)))["cipher"] == ciphers[0]


def test_an_unsound_cipher_is_refused(balancer: InFront) -> None:
    with pytest.raises(ssl.SSLError, match="handshake failure"):
        shaken_hands(balancer, of_tls_1_2(balancer, "ECDHE-ECDSA-AES128-SHA256"))


def test_a_session_is_resumed_without_a_ticket(balancer: InFront) -> None:
    context = of_tls_1_2(balancer, SOUND[0])
    session = shaken_hands(balancer, context)["session"]
    assert not session.has_ticket
    assert shaken_hands(balancer, context, session)["reused"]


@pytest.mark.parametrize("path", ["/version?a=b", "/predict?top=1", "/a.css", "/.well-known", "/v2/models/m"])
def test_what_comes_in_the_clear_is_sent_on(balancer: InFront, path: str) -> None:
    for port in (balancer.http, balancer.https):
        answer = requests.post(f"http://127.0.0.1:{port}{path}", b"image", allow_redirects=False, timeout=20)
        assert (answer.status_code, answer.headers["Location"]) == (308, balancer.secure + path)
        assert answer.headers["X-Request-Id"]
        document = answer.json()
        if path.startswith("/v2"):
            assert answer.headers["Content-Type"] == "application/json"
            assert "HTTPS" in document["error"]
            continue
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert (document["type"], document["status"]) == ("/problems/https-only", 308)
        assert answer.content.endswith(b"}\n")


def test_what_has_to_be_in_the_clear_is_answered(balancer: InFront) -> None:
    proof = balancer.folder / "state/acme/.well-known/acme-challenge/token"
    proof.parent.mkdir(parents=True, exist_ok=True)
    proof.write_text("proof")
    answer = requests.get(f"{balancer.plain}/.well-known/acme-challenge/token", timeout=20)
    assert (answer.text, answer.headers["Content-Type"]) == ("proof", "text/plain")
    assert requests.get(f"{balancer.plain}/healthz", timeout=20).json() == {"status": "ready"}


OWN = (
    *("/pool_metrics", "/healthz", "/nginx_status", "/status", "/autoscaler"),
    *("/.well-known/acme-challenge/nothing", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/folder"),
)


@pytest.mark.parametrize("secure", [False, True], ids=["in the clear", "by TLS"])
@pytest.mark.parametrize("length", [0, 9_000_000])
@pytest.mark.parametrize("path", OWN)
def test_what_the_balancer_answers_by_itself_is_never_a_page_of_nginx(
    balancer: InFront, path: str, length: int, secure: bool
) -> None:
    """No agent runs here."""
    (balancer.folder / "state/acme/.well-known/acme-challenge/folder").mkdir(parents=True, exist_ok=True)
    context = ssl.create_default_context(cafile=balancer.certificate)
    connection = (
        http.client.HTTPSConnection("127.0.0.1", balancer.https, timeout=20, context=context)
        if secure
        else http.client.HTTPConnection("127.0.0.1", balancer.http, timeout=20)
    )
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Content-Length": str(length)})  # and no body
        answer = connection.getresponse()
        body = answer.read()
    assert b"<html" not in body
    assert answer.status == 413 or not length
    assert answer.status < 300 or answer.headers["Content-Type"] == "application/problem+json"
    if path == "/pool_metrics" and not length:
        assert (answer.status, json.loads(body)["type"]) == (503, "/problems/unavailable")


# --- HTTP/2


def test_http_2_is_spoken_under_tls(balancer: InFront) -> None:
    with httpx.Client(http2=True, verify=ssl.create_default_context(cafile=balancer.certificate)) as client:
        page = client.get(f"{balancer.secure}/")
        answer = client.post(f"{balancer.secure}/predict", content=b"image", headers={"X-API-Key": KEYS["alice"]})
        refused = client.post(f"{balancer.secure}/predict", content=b"image")
    assert {each.http_version for each in (page, answer, refused)} == {"HTTP/2"}
    assert (page.status_code, answer.status_code, answer.text, refused.status_code) == (200, 200, "https", 401)
    assert refused.json()["type"] == "/problems/unauthorized"


@pytest.mark.parametrize("path", ["/predict", "/v2/models/m/infer", "/status", "/nowhere"])
def test_what_is_too_large_is_told_by_a_problem_document_in_http_2_too(balancer: InFront, path: str) -> None:
    context = ssl.create_default_context(cafile=balancer.certificate)
    with httpx.Client(http2=True, verify=context) as client:
        answer = client.post(f"{balancer.secure}{path}", content=b"x", headers={"Content-Length": "9000000"})
    assert (answer.http_version, answer.status_code) == ("HTTP/2", 413)
    if path.startswith("/v2"):
        assert (answer.headers["Content-Type"], list(answer.json())) == ("application/json", ["error"])
    else:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["type"] == "/problems/too-large"


def test_a_connection_has_a_thousand_requests(balancer: InFront) -> None:
    context = ssl.create_default_context(cafile=balancer.certificate)
    with (
        socket.create_connection(("127.0.0.1", balancer.https), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n" * 1001)
        answers = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answers.count(b"HTTP/1.1 200 ") == 1000


def test_http_1_is_spoken_with_those_who_want_it(balancer: InFront) -> None:
    with httpx.Client(verify=ssl.create_default_context(cafile=balancer.certificate)) as client:
        assert client.get(f"{balancer.secure}/").http_version == "HTTP/1.1"


def test_a_connection_that_opens_and_drops_streams_ends_and_harms_nobody(balancer: InFront) -> None:
    """Rapid reset: each stream is dropped as soon as it is open, so that it never counts as one under way."""
    context = ssl.create_default_context(cafile=balancer.certificate)
    context.set_alpn_protocols(["h2"])
    head = [(":method", "GET"), (":authority", "x"), (":scheme", "https"), (":path", "/version")]
    opened, ended = 0, False
    with (
        socket.create_connection(("127.0.0.1", balancer.https), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        client.initiate_connection()
        connection.sendall(client.data_to_send())
        client.receive_data(connection.recv(65536))
        assert client.remote_settings.max_concurrent_streams == 32
        while not ended and opened < 20_000:
            for _ in range(200):
                stream = client.get_next_available_stream_id()
                client.send_headers(stream, head, end_stream=True)
                client.reset_stream(stream)
                opened += 1
            connection.sendall(client.data_to_send())
            connection.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                received = connection.recv(65536)
                events = client.receive_data(received)
                ended = not received or any(isinstance(each, h2.events.ConnectionTerminated) for each in events)
    assert ended
    assert balancer.ask(X_API_Key=KEYS["default"]).status_code == 200


def test_nginx_has_nothing_to_complain_of(balancer: InFront) -> None:
    """What a deprecated directive or an impossible limit would leave in the log."""
    lines = (balancer.folder / "log/error.log").read_text().splitlines()
    # There is no agent here, and nginx says so when it asks for one.
    assert [line for line in lines if "[error]" not in line and "pool.sock" not in line] == []
    assert [line for line in lines if "limiting" in line] == []  # refusals are many, and none is news


assert Worker  # the fixture that is taken over serves it
