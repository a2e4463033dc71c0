"""What a setting of the monitoring says reaches the file that its program reads, also where it is given as text."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.ansible.evaluation import evaluated, variables_of
from tests.conftest import REPOSITORY

ROLE = REPOSITORY / "roles/monitoring"
WORKERS = [{"name": "w1", "address": "10.0.0.1", "port": 5, "processes": "3"}]


def monitoring(name: str, **given: Any) -> Any:
    """What a file of the monitoring says where these settings are given."""
    file = str(ROLE / f"templates/etc/imagerec-monitoring/{name}.yml.j2")
    own = {f"monitoring_{setting}": value for setting, value in ({"workers": WORKERS} | given).items()}
    known = variables_of("monitoring", own | {"file": file})
    return yaml.safe_load(str(evaluated("{{ lookup('ansible.builtin.template', file, convert_data=false) }}", known)))


@pytest.mark.parametrize(("interval", "timeout"), [(5, "5s"), ("15", "10s")])
def test_prometheus_asks_as_often_as_is_said_and_waits_no_longer(interval: object, timeout: str) -> None:
    said = monitoring("prometheus", interval_s=interval)["global"]
    assert (said["scrape_interval"], said["evaluation_interval"]) == (f"{interval}s", f"{interval}s")
    assert said["scrape_timeout"] == timeout


def test_prometheus_asks_each_program_at_its_port_and_the_service_as_its_clients_do() -> None:
    given = {"prometheus_port": 1000, "alertmanager_port": 1001, "nginx_exporter_port": 1002}
    given |= {"blackbox_exporter_port": 1003, "balancer": "10.0.0.9:80", "health_url": "https://10.0.0.9/healthz"}
    given |= {"hosts": [{"name": "h", "address": "10.0.0.2", "port": 6}]}
    said = monitoring("prometheus", **given)
    (alerts,) = said["alerting"]["alertmanagers"]
    assert alerts["static_configs"] == [{"targets": ["127.0.0.1:1001"]}]
    jobs = {job["job_name"]: job for job in said["scrape_configs"]}
    targets = {name: job["static_configs"][0]["targets"] for name, job in jobs.items()}
    assert targets == {
        "prometheus": ["127.0.0.1:1000"],
        "alertmanager": ["127.0.0.1:1001"],
        "nginx": ["127.0.0.1:1002"],
        "pool": ["10.0.0.9:80"],
        "worker": ["10.0.0.1:5"],
        "node": ["10.0.0.2:6"],
        "service": ["https://10.0.0.9/healthz"],
    }
    assert jobs["service"]["params"]["module"] == list(monitoring("blackbox")["modules"])
    assert jobs["service"]["relabel_configs"] == [
        {"source_labels": ["__address__"], "target_label": "__param_target"},
        {"target_label": "__address__", "replacement": "127.0.0.1:1003"},
    ]


def test_alerts_are_sent_on_where_an_address_is_set() -> None:
    said = monitoring("alertmanager", webhook_url="http://h")
    (receiver,) = said["receivers"]
    assert receiver["name"] == said["route"]["receiver"]
    assert receiver["webhook_configs"] == [{"url": "http://h", "send_resolved": True}]
    assert "webhook_configs" not in monitoring("alertmanager")["receivers"][0]


def test_the_rules_compare_with_what_the_deployment_says() -> None:
    given = {"p99_s": 2, "refused_share": "0.2", "disk_share": 0.3, "certificate_days": 4}
    said = monitoring("objectives", **{f"objective_{name}": value for name, value in given.items()})
    (group,) = said["groups"]
    expressions = {rule["record"]: rule["expr"] for rule in group["rules"]}
    assert expressions.pop("imagerec:worker:processes") == "vector(3)"
    assert expressions == {
        "imagerec:objective:p99_seconds": "vector(2.0)",
        "imagerec:objective:refused_share": "vector(0.2)",
        "imagerec:objective:disk_share": "vector(0.3)",
        "imagerec:objective:certificate_seconds": "vector(345600.0)",
    }
    rules = (ROLE / "files/rules.yml").read_text()
    assert set(re.findall(r"imagerec:objective:\w+", rules)) == expressions.keys()
