"""`make monitor` on six machines with systemd: everybody gives metrics, and nothing of it is left afterwards."""

from __future__ import annotations

import json
import re

import pytest

from deployed.slice import Slice
from tests.slice.test_system import HOSTS

# The distribution's packages are fetched onto six machines.
pytestmark = pytest.mark.long

UNITS = "systemctl list-units --all --plain --no-legend 'imagerec-*' | awk '{print $1}' | sort"


def test_every_machine_gives_metrics_and_nothing_of_it_is_left(deployed: Slice) -> None:
    before = {machine: deployed.on(machine, UNITS) for machine in HOSTS}
    try:
        said = " ".join(deployed.make("monitor", "INVENTORY=inventory/slice").stdout.split())
        found = re.search(r"(\d+) of (\d+) targets give metrics", said)
        assert found, said
        assert found[1] == found[2], said
        answer = deployed.on("balancer", "curl -sf 'http://127.0.0.1:9090/api/v1/query?query=up'")
        instances = [(one["metric"]["job"], one["value"][1]) for one in json.loads(answer)["data"]["result"]]
        assert sorted(job for job, _ in instances).count("node") == len(HOSTS)
        assert sorted(job for job, _ in instances).count("worker") == 4
        assert {value for _, value in instances} == {"1"}
        again = deployed.make("monitor", "INVENTORY=inventory/slice").stdout
        assert set(re.findall(r"^\w+ +: ok=\d+ +changed=(\d+)", again, re.MULTILINE)) == {"0"}
    finally:
        deployed.play("playbooks/monitoring_down.yml")
    assert {machine: deployed.on(machine, UNITS) for machine in HOSTS} == before
