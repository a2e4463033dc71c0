"""`make monitor` on what `make up` has deployed: the distribution's real Prometheus, Alertmanager and exporters."""

from __future__ import annotations

import collections
import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from skimage import data

from imagerec_pool.history import WINDOWS_H, question
from tests.conftest import Deployment, free_ports
from tests.local.test_deployment import jpeg, pool_of, predict, recap, supervisorctl, until, words
from tests.metric_names import dashboard_expressions, metrics_in, rules_of

pytestmark = pytest.mark.slow

PROGRAMS = ("prometheus", "alertmanager", "node_exporter", "nginx_exporter", "blackbox_exporter")
JOBS = ["alertmanager", "nginx", "node", "pool", "prometheus", "service", "worker", "worker"]
# What is not there without an autoscaler, without TLS, and while nothing is wrong.
AUTOSCALER = {f"imagerec_autoscaler_{what}" for what in ("up", "active", "minimum", "maximum", "target")}
ABSENT = {*AUTOSCALER, "probe_ssl_earliest_cert_expiry", "ALERTS"}


@dataclass(frozen=True, slots=True)
class Watched:
    """A deployment that is watched.

    Attributes:
        deployment: What is watched.
        settings: The arguments of `make monitor`.
        ports: Where each program listens on 127.0.0.1.
        output: What `make monitor` said.
    """

    deployment: Deployment
    settings: str
    ports: dict[str, int]
    output: str

    def ask(self, path: str, **parameters: str) -> Any:
        """What Prometheus answers."""
        url = f"http://127.0.0.1:{self.ports['prometheus']}/api/v1/{path}"
        return requests.get(url, params=parameters, timeout=60).json()["data"]

    def number(self, expression: str) -> float:
        """The value of an expression that has one; 0 of none."""
        found = self.ask("query", query=expression)["result"]
        return float(found[0]["value"][1]) if found else 0.0


def settings(ports: dict[str, int]) -> str:
    return " ".join(f"-e monitoring_{name}_port={port}" for name, port in ports.items()) + " -e monitoring_interval_s=1"


def test_a_taken_port_is_refused_before_anything_changes(deployment: Deployment) -> None:
    ports = dict(zip(PROGRAMS, free_ports(len(PROGRAMS)), strict=True))
    with socket.create_server(("127.0.0.1", ports["nginx_exporter"])):
        refused = deployment.make("monitor", f"ARGS={settings(ports)}", check=False)
    assert refused.returncode != 0
    assert f"balancer cannot listen on 127.0.0.1:{ports['nginx_exporter']}" in words(refused)
    assert "another monitoring_nginx_exporter_port" in words(refused)
    assert not (deployment.folder / ".run/balancer/etc-monitoring").exists()


def commands_of(deployment: Deployment) -> collections.Counter[bytes]:
    """The commands that run; one that is started anew has another id, and the same command."""
    found: collections.Counter[bytes] = collections.Counter()
    for pid in deployment.processes():
        with contextlib.suppress(OSError):
            found[Path(f"/proc/{pid}/cmdline").read_bytes()] += 1
    return found


@contextlib.contextmanager
def known_to_the_agent(deployment: Deployment, port: int) -> Iterator[None]:
    """Let the agent ask at this port for the history; the deployment's own may be that of another Prometheus."""
    settings = deployment.folder / ".run/balancer/etc-pool/pool.json"
    log = deployment.folder / ".run/balancer/log/pool.log"
    deployed = settings.read_text()
    assert json.loads(deployed)["prometheus"] == "http://127.0.0.1:9090"

    def begin_anew(text: str) -> None:
        settings.write_text(text)
        begun = log.read_text().count('"pool": ')
        supervisorctl(deployment, "signal", "HUP", "balancer-pool")
        until(lambda: log.read_text().count('"pool": ') > begun)
        until(lambda: set(pool_of(deployment).values()) == {"up"})

    try:
        begin_anew(json.dumps(json.loads(deployed) | {"prometheus": f"http://127.0.0.1:{port}"}))
        # It counts from 0 again: what Prometheus is told first is no increase.
        answered: set[str] = set()

        def both_have_answered() -> bool:
            answered.add(predict(deployment, jpeg(data.chelsea())).headers["X-Worker"])
            return len(answered) == 2

        until(both_have_answered)
        yield
    finally:
        begin_anew(deployed)


@pytest.fixture(scope="module")
def watched(deployment: Deployment) -> Iterator[Watched]:
    """`make monitor`, and afterwards nothing of it is left."""
    ports = dict(zip(PROGRAMS, free_ports(len(PROGRAMS)), strict=True))
    before = {path.name for path in (deployment.folder / ".run/balancer").iterdir()}
    others = commands_of(deployment)
    try:
        with known_to_the_agent(deployment, ports["prometheus"]):
            output = deployment.make("monitor", f"ARGS={settings(ports)}").stdout
            yield Watched(deployment, settings(ports), ports, output)
    finally:
        deployment.play("monitoring_down")
    assert {path.name for path in (deployment.folder / ".run/balancer").iterdir()} == before
    assert list((deployment.folder / ".run/supervisor/conf.d").glob("*prometheus*")) == []
    commands = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    for name, port in ports.items():
        with contextlib.closing(socket.socket()) as tried:
            assert tried.connect_ex(("127.0.0.1", port)) != 0, name
        assert f"127.0.0.1:{port}" not in commands
    assert commands_of(deployment) <= others


def test_every_target_gives_metrics(watched: Watched) -> None:
    assert "8 of 8 targets give metrics" in " ".join(watched.output.split())
    targets = watched.ask("targets", state="active")["activeTargets"]
    assert sorted(target["labels"]["job"] for target in targets) == JOBS
    all_answer(watched)
    until(lambda: watched.number("sum(imagerec:worker:processes)") >= 2)


def all_answer(watched: Watched) -> None:
    """Wait until the last question to each target was answered: each has but a second for its answer."""
    until(lambda: watched.number("sum(up)") == len(JOBS))


def test_nothing_listens_on_all_addresses(watched: Watched) -> None:
    for table in ("tcp", "tcp6"):
        with open(f"/proc/net/{table}") as lines:  # noqa: PTH123
            listening = [line.split()[1] for line in lines if line.split()[3] == "0A"]
        for name, port in watched.ports.items():
            addresses = {place.partition(":")[0] for place in listening if place.endswith(f":{port:04X}")}
            assert addresses <= {"0100007F"}, name


def test_a_request_is_counted_by_the_balancer_and_by_its_worker(watched: Watched) -> None:
    by_balancer = 'sum(imagerec_balancer_requests_total{status="200"})'
    by_workers = 'sum(imagerec_phase_seconds_count{phase="inference"})'
    timed = "sum(imagerec_balancer_response_seconds_count)"
    all_answer(watched)  # who did not would be missing in a sum
    before = {name: watched.number(name) for name in (by_balancer, by_workers, timed)}
    answers = [predict(watched.deployment, jpeg(data.chelsea())) for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}
    until(lambda: all(watched.number(name) == count + 5 for name, count in before.items()))
    served = watched.ask("query", query='imagerec_balancer_requests_total{status="200"}')["result"]
    assert {one["metric"]["worker"] for one in served} <= set(watched.deployment.workers)


def test_rules_and_dashboard_ask_for_metrics_that_are_there(watched: Watched) -> None:
    expressions = [*dashboard_expressions(), *map(question, WINDOWS_H), *(str(rule["expr"]) for rule in rules_of())]
    asked = set().union(*map(metrics_in, expressions))
    recorded = {rule["record"] for rule in rules_of() if "record" in rule}
    assert len(asked) > 30
    until(lambda: {*watched.ask("label/__name__/values"), *recorded, *ABSENT} >= asked)
    until(lambda: watched.number("imagerec:response_seconds:p99_5m") > 0)
    groups = watched.ask("rules")["groups"]
    assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
    assert {group["name"] for group in groups} == {"objectives", "measures", "alerts"}


def test_a_worker_that_is_down_is_on_its_way_to_an_alert(watched: Watched) -> None:
    def alerts() -> set[tuple[str, str]]:
        labels = [one["labels"] for one in watched.ask("alerts")["alerts"]]
        return {(one["alertname"], one.get("worker", "")) for one in labels}

    supervisorctl(watched.deployment, "stop", "worker2")
    try:
        until(lambda: ("WorkerDown", "worker2") in alerts())
    finally:
        supervisorctl(watched.deployment, "start", "worker2")
    until(lambda: ("WorkerDown", "worker2") not in alerts())


def test_the_history_is_what_prometheus_has_kept(watched: Watched) -> None:
    told: dict[str, Any] = {}

    def is_told() -> bool:
        assert predict(watched.deployment, jpeg(data.chelsea())).status_code == 200
        told.update(requests.get(f"{watched.deployment.url}/history?hours=1", timeout=60).json())
        return bool(told.get("on")) and any(told["points"]["requests"])

    until(is_told)
    points = told["points"]
    columns = {name: values for name, values in points.items() if isinstance(values, list)}
    newest = {name: next(value for value in reversed(values) if value is not None) for name, values in columns.items()}
    assert (newest["serving"] in {1, 2}, newest["members"]) == (True, 2)  # the fewest of a minute
    assert 0 < newest["p50_ms"] <= newest["p99_ms"]
    assert newest["errors"] == newest["refused"] == newest["lost"] == 0
    assert points["requests"][0] is None  # an hour ago nobody watched
    nobody = requests.get(f"{watched.deployment.url}/history?hours=3", timeout=60)
    assert (nobody.status_code, nobody.json()["type"]) == (400, "/problems/bad-parameter")


def test_a_changed_objective_is_read_by_the_same_process_and_changes_nothing_else(watched: Watched) -> None:
    started = watched.number('process_start_time_seconds{job="prometheus"}')
    output = watched.deployment.make("monitor", f"ARGS={watched.settings} -e monitoring_objective_p99_s=7").stdout
    # The file, the decision to read it, the signal, and the record of that.
    assert recap(output)["balancer"]["changed"] == 4
    until(lambda: watched.number("imagerec:objective:p99_seconds") == 7)
    assert watched.number('process_start_time_seconds{job="prometheus"}') == started
