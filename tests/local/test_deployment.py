"""`make up` on inventory/local, as a newcomer has it: real nginx, real gunicorn, real photographs."""

from __future__ import annotations

import io
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image
from skimage import data

from imagerec_worker.bundle import load_bundle
from imagerec_worker.classifier import Classifier
from imagerec_worker.preprocess import preprocess
from loadtest.experiments.processes import tree
from tests.conftest import REPOSITORY, SHARED, Deployment, json_lines, local_deployment

CATS = {"tabby", "tiger cat", "Egyptian cat"}


def jpeg(pixels: object, quality: int = 90) -> bytes:
    """Encode an array of pixels as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)  # type: ignore[arg-type]
    return buffer.getvalue()


@pytest.fixture(scope="module")
def cat() -> bytes:
    return jpeg(data.chelsea())


def predict(deployment: Deployment, body: bytes, **params: str) -> requests.Response:
    return requests.post(
        f"{deployment.url}/predict",
        data=body,
        params=params,
        headers={"Content-Type": "image/jpeg"},
        timeout=20,
    )


def recap(output: str) -> dict[str, dict[str, int]]:
    """Read Ansible's last table: host → counter → number."""
    return {
        match["host"]: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", match["counts"])}
        for match in re.finditer(r"^(?P<host>\S+)\s+: (?P<counts>ok=.*)$", output, re.MULTILINE)
    }


def supervisorctl(system: Deployment, *words: str) -> str:
    """Tell the deployment's supervisor something; return what it says."""
    command = ["supervisorctl", "-c", system.folder / ".run/supervisor/supervisord.conf", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_page_is_served(deployment: Deployment) -> None:
    answer = requests.get(deployment.url, timeout=60)
    assert answer.status_code == 200
    assert "<title>" in answer.text
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_every_file_of_the_page_is_served(deployment: Deployment) -> None:
    for path in (REPOSITORY / "services/web").rglob("*"):
        if path.suffix in {".js", ".css", ".svg"}:
            answer = requests.get(f"{deployment.url}/{path.relative_to(REPOSITORY / 'services/web')}", timeout=60)
            assert answer.status_code == 200, path
            assert answer.content == path.read_bytes()


def test_a_photograph_is_classified_through_the_balancer(deployment: Deployment, cat: bytes) -> None:
    answer = predict(deployment, cat).json()
    assert answer["model"]["name"] == deployment.model
    assert len(answer["predictions"]) == 5
    probabilities = [prediction["probability"] for prediction in answer["predictions"]]
    assert probabilities == sorted(probabilities, reverse=True)
    if deployment.model == "imagenet":
        assert answer["predictions"][0]["label"] in CATS


@pytest.mark.parametrize("name", ["china.jpg", "flower.jpg"])
def test_multipart_and_raw_bodies_get_the_same_answer(deployment: Deployment, name: str) -> None:
    from sklearn.datasets import load_sample_image

    body = jpeg(load_sample_image(name))
    raw = predict(deployment, body).json()
    form = requests.post(f"{deployment.url}/submit", files={"image": body}, timeout=20).json()
    assert raw["predictions"] == form["predictions"]


def test_both_workers_answer(deployment: Deployment, cat: bytes) -> None:
    workers = Counter(predict(deployment, cat).json()["worker"] for _ in range(40))
    assert set(workers) == set(deployment.workers)


def test_every_answer_says_where_the_time_went(deployment: Deployment, cat: bytes) -> None:
    header = predict(deployment, cat).headers["Server-Timing"]
    durations = {name: float(value) for name, value in re.findall(r"(\w+);dur=([\d.]+)", header)}
    assert {"edge", "upstream", "queue", "decode", "inference", "total"} <= set(durations)
    assert durations["inference"] > 0
    assert durations["edge"] >= durations["upstream"] - 2  # nginx's clock has whole milliseconds


def test_the_access_log_names_the_worker_and_the_times(deployment: Deployment, cat: bytes) -> None:
    answer = predict(deployment, cat)
    log = deployment.folder / ".run/balancer/log/access.log"
    lines: list[dict[str, object]] = []

    def is_written() -> bool:
        lines[:] = [entry for entry in json_lines(log) if entry["id"] == answer.headers["X-Request-Id"]]
        return bool(lines)

    until(is_written)
    assert lines[0]["worker"] == answer.json()["worker"]
    assert lines[0]["upstream_addr"] in {url.removeprefix("http://") for url in deployment.workers.values()}
    assert float(str(lines[0]["upstream_response_s"])) > 0


def test_the_pool_is_told(deployment: Deployment) -> None:
    status = requests.get(f"{deployment.url}/status", timeout=60).json()
    assert re.fullmatch("[0-9a-f]{64}", status.pop("configuration"))
    limits = {"max_conns": 16, "address_rate_hz": 500, "address_connections": 512}
    assert status == {"policy": "random", "pool_size": 2, "workers": ["worker1", "worker2"], "limits": limits}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        pytest.param("GET", "/nothing-here", 404, id="unknown-path"),
        pytest.param("GET", "/metrics", 404, id="metrics-are-for-workers-only"),
        pytest.param("GET", "/predict", 405, id="wrong-method-for-the-api"),
        pytest.param("POST", "/", 405, id="wrong-method-for-the-page"),
        pytest.param("POST", "/predict", 400, id="no-image"),
    ],
)
def test_errors_are_problem_json(deployment: Deployment, method: str, path: str, status: int) -> None:
    answer = requests.request(method, deployment.url + path, timeout=60)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["status"] == status


def test_a_body_over_the_limit_is_refused_by_the_balancer(deployment: Deployment) -> None:
    answer = predict(deployment, b"\xff\xd8" + bytes(30_000_000))
    assert answer.status_code == 413
    assert answer.json()["type"] == "/problems/too-large"


def test_metrics_of_a_worker_count_its_requests(deployment: Deployment) -> None:
    text = requests.get(f"{deployment.workers['worker1']}/metrics", timeout=60).text
    assert re.search(r"^imagerec_\w+\{?.*\}? [\d.]+$", text, re.MULTILINE)


@pytest.mark.slow
def test_check_mode_is_clean(deployment: Deployment) -> None:
    hosts = recap(deployment.make("up", "ARGS=--check --diff").stdout)
    assert {host: counts["changed"] for host, counts in hosts.items()} == dict.fromkeys(hosts, 0)


def test_verify_is_read_only_and_passes(deployment: Deployment) -> None:
    output = deployment.make("verify").stdout
    assert {counts["changed"] for counts in recap(output).values()} == {0}
    assert f"serves {deployment.model}" in output


def test_a_killed_process_is_replaced_and_the_listener_stays(deployment: Deployment, cat: bytes) -> None:
    url = deployment.workers["worker1"]
    _, child, *_ = tree(int(supervisorctl(deployment, "pid", "worker1")))
    os.kill(child, signal.SIGKILL)
    answers = [
        requests.post(f"{url}/predict", data=cat, headers={"Content-Type": "image/jpeg"}, timeout=20) for _ in range(5)
    ]
    assert [answer.status_code for answer in answers] == [200] * 5


@pytest.mark.slow
def test_the_hundred_photographs_are_recognised_through_the_balancer(deployment: Deployment) -> None:
    folder = SHARED / "images/imagenet-sample"
    if deployment.model != "imagenet" or not folder.exists():
        pytest.skip("needs the models and the photographs of IMAGEREC_SHARED")
    photographs = sorted(folder.glob("*.JPEG"))
    right = sum(
        predict(deployment, path.read_bytes(), top="1").json()["predictions"][0]["wnid"] == path.name.split("_")[0]
        for path in photographs
    )
    assert len(photographs) == 100
    assert right >= 82


@pytest.mark.slow
def test_served_and_offline_answers_are_identical(deployment: Deployment) -> None:
    from sklearn.datasets import load_sample_image

    classifier = Classifier(load_bundle(deployment.folder / ".run/worker1/models/current"))
    for picture in (data.chelsea(), data.coffee(), load_sample_image("china.jpg")):
        body = jpeg(picture)
        pixels, _ = preprocess(body, classifier.bundle.input_size, picture.size, classifier.bundle.crop)
        offline = [prediction._asdict() for prediction in classifier.classify(pixels, 5)]
        served = predict(deployment, body).json()["predictions"]
        assert [each["wnid"] for each in served] == [each["wnid"] for each in offline]
        assert [each["probability"] for each in served] == pytest.approx([each["probability"] for each in offline])


@pytest.mark.slow
def test_a_taken_port_is_refused_before_anything_changes(tmp_path: Path) -> None:
    system = local_deployment(tmp_path)
    port = int(system.url.rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        refused = system.make("up", check=False)
    assert refused.returncode != 0
    assert f"127.0.0.1:{port}" in refused.stdout
    assert "balancer_port" in refused.stdout
    assert not (tmp_path / ".run").exists()


@pytest.mark.slow
def test_policy_and_pool_size_are_changed_by_playbook(deployment: Deployment, cat: bytes) -> None:
    """The balancers' playbook runs alone; without settings it brings the inventory's back."""
    try:
        deployment.play("balancers", "-e", "balancer_policy=least_conn", "-e", "balancer_pool_size=1")
        status = requests.get(f"{deployment.url}/status", timeout=60).json()
        del status["configuration"], status["limits"]
        assert status == {"policy": "least_conn", "pool_size": 1, "workers": ["worker1"]}
        assert {predict(deployment, cat).json()["worker"] for _ in range(10)} == {"worker1"}
    finally:
        deployment.play("balancers")
    assert requests.get(f"{deployment.url}/status", timeout=60).json()["policy"] == "random"


def pool_of(deployment: Deployment) -> dict[str, str]:
    """What the balancer says of each worker; nothing while its agent begins anew, or takes more than a second."""
    answer = requests.get(f"{deployment.url}/workers", timeout=60)
    return {worker["name"]: worker["state"] for worker in answer.json().get("workers", [])}


def test_the_live_figures_are_the_access_log_s(deployment: Deployment, cat: bytes) -> None:
    """As many requests, as long, by the same workers."""
    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(lambda number: predict(deployment, cat if number % 5 else b"no image"), range(60)))
    assert Counter(answer.status_code for answer in answers) == {200: 48, 415: 12}
    mine = {answer.headers["X-Request-Id"] for answer in answers}
    log = deployment.folder / ".run/balancer/log/access.log"
    told: dict[str, Any] = {}
    recent: list[dict[str, Any]] = []

    def are_told() -> bool:
        told.update(requests.get(f"{deployment.url}/live-figures", timeout=60).json())
        entries = json_lines(log)
        asked = [each for each in entries if each["method"] == "POST" and each["path"] in {"/predict", "/submit"}]
        recent[:] = [each for each in asked if told["time"] - told["window_s"] < int(each["msec"]) <= told["time"]]
        counted = sum(told["requests"][outcome] for outcome in ("answered", "refused", "errors", "lost"))
        return mine <= {each["id"] for each in recent} and counted == len(recent)

    until(are_told)
    assert told["requests"]["rate_hz"] == pytest.approx(len(recent) / told["window_s"], abs=0.051)
    answered = [each for each in recent if each["worker"] and each["status"] in range(200, 429)]
    times_ms = [each["request_s"] * 1000 for each in answered]
    assert told["requests"]["mean_ms"] == pytest.approx(np.mean(times_ms), rel=0.01)
    for name, share in (("p50_ms", 50), ("p99_ms", 99)):
        assert told["requests"][name] == pytest.approx(np.percentile(times_ms, share, method="inverted_cdf"), rel=0.01)
    given = Counter(each["worker"] for each in recent if each["worker"])
    shares = {worker["name"]: worker["share"] for worker in told["workers"]}
    assert shares == pytest.approx({name: given[name] / given.total() for name in deployment.workers}, abs=0.001)


def until(probe: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not probe():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_worker_is_taken_out_and_back_under_load_and_nothing_is_lost(deployment: Deployment, cat: bytes) -> None:
    until(lambda: pool_of(deployment) == {"worker1": "up", "worker2": "up"})
    answers: list[tuple[int, str, str]] = []
    phase, over = ["before"], threading.Event()

    def ask() -> None:
        while not over.is_set():
            now = phase[0]
            answer = predict(deployment, cat)
            answers.append((answer.status_code, answer.json().get("worker", ""), now))

    users = [threading.Thread(target=ask) for _ in range(3)]
    for user in users:
        user.start()
    try:
        assert "worker2 is out of service" in deployment.make("drain", "HOST=worker2").stdout
        phase[0] = "out"
        until(lambda: pool_of(deployment) == {"worker1": "up", "worker2": "draining"})
        refused = deployment.make("drain", "HOST=worker1", check=False)
        assert "no worker but worker1 serves on balancer" in words(refused)
        phase[0] = "back"
        deployment.make("undrain", "HOST=worker2")
        until(lambda: pool_of(deployment) == {"worker1": "up", "worker2": "up"})
        count = len(answers)
        until(lambda: len(answers) >= count + 20)
    finally:
        over.set()
        for user in users:
            user.join()
    assert {status for status, _, _ in answers} == {200}
    assert {worker for _, worker, now in answers if now == "out"} == {"worker1"}
    assert {worker for _, worker, now in answers if now == "back"} == {"worker1", "worker2"}


def words(done: subprocess.CompletedProcess[str]) -> str:
    """What a command said, without line breaks."""
    return " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize("target", ["drain", "undrain"])
@pytest.mark.parametrize(
    ("name", "said"),
    [("worke2", "there is no worker worke2; did you mean worker2?"), ("", "name the worker: HOST=worker1")],
    ids=["misspelt", "none"],
)
def test_a_worker_that_is_not_there_is_refused(deployment: Deployment, target: str, name: str, said: str) -> None:
    refused = deployment.make(target, *([f"HOST={name}"] if name else []), check=False)
    assert refused.returncode != 0
    assert said in words(refused)


def test_health_says_that_nobody_serves_and_that_somebody_does_again(deployment: Deployment, cat: bytes) -> None:
    """The workers' processes are ended outright, and supervisor starts them again."""
    until(lambda: set(pool_of(deployment).values()) == {"up"})
    supervisorctl(deployment, "stop", "worker1", "worker2")
    seen: set[int] = set()

    def health() -> int:
        seen.add(predict(deployment, cat).status_code)
        return requests.get(f"{deployment.url}/healthz", timeout=60).status_code

    try:
        until(lambda: health() == 503)
        answer = requests.get(f"{deployment.url}/healthz", timeout=60)
        assert (answer.headers["Content-Type"], answer.json()["type"]) == (
            "application/problem+json",
            "/problems/unavailable",
        )
        assert answer.headers["Retry-After"]
        assert seen <= {502, 503}
        until(lambda: predict(deployment, cat).status_code == 503)
    finally:
        supervisorctl(deployment, "start", "worker1", "worker2")
    until(lambda: requests.get(f"{deployment.url}/healthz", timeout=60).json() == {"status": "serving", "workers": 2})
    assert predict(deployment, cat).status_code == 200


@pytest.mark.slow
def test_a_second_deployment_changes_nothing_while_a_worker_is_down(deployment: Deployment) -> None:
    supervisorctl(deployment, "stop", "worker2")
    try:
        until(lambda: pool_of(deployment).get("worker2") == "down")
        hosts = recap(deployment.play("balancers").stdout)
        assert hosts["balancer"]["changed"] == 0
        until(lambda: pool_of(deployment).get("worker2") == "down")
    finally:
        supervisorctl(deployment, "start", "worker2")
    until(lambda: pool_of(deployment).get("worker2") == "up")
