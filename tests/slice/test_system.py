"""`site.yml` on six machines: served, spread evenly, sealed, and back by itself after what goes wrong with machines."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from deployed.slice import URL, Slice
from tests.conftest import REPOSITORY
from tests.slice.conftest import count, eventually, load

WORKERS = ["worker1", "worker2", "worker3", "worker4"]
HOSTS = {"balancer", "client", *WORKERS}
UPGRADE = ("playbooks/build.yml", "playbooks/workers.yml")
CATS = {"tabby", "tiger cat", "Egyptian cat"}


def recap(output: str) -> dict[str, dict[str, int]]:
    """Read Ansible's last table: host → counter → number."""
    return {
        match["host"]: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", match["counts"])}
        for match in re.finditer(r"^(?P<host>\S+)\s+: (?P<counts>ok=.*)$", output, re.MULTILINE)
    }


def version(system: Slice, worker: str) -> str:
    """The version of the model that a worker serves."""
    answer = json.loads(system.on(worker, "curl -sf http://$(hostname):5000/version"))
    return str(answer["model"]["version"])


def test_a_photograph_is_classified_from_the_client_through_the_balancer(deployed: Slice) -> None:
    command = f"curl -sf -H 'Content-Type: image/jpeg' --data-binary @/tmp/cat.jpg {URL}/predict"
    answer = json.loads(deployed.on("client", command))
    assert answer["worker"] in WORKERS
    assert len(answer["predictions"]) == 5
    if answer["model"]["name"] == "imagenet":
        assert answer["predictions"][0]["label"] in CATS


def test_the_page_is_served(deployed: Slice) -> None:
    assert "<title>" in deployed.on("client", f"curl -sf {URL}/")


def test_all_four_workers_answer_and_their_shares_are_even(deployed: Slice) -> None:
    from scipy import stats

    shares = count(deployed, 500)
    assert sorted(shares) == WORKERS
    # By chance one run in a hundred thousand fails; where a worker gets half of its share, four of five do.
    assert stats.chisquare(list(shares.values())).pvalue >= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(("options", "looks"), [((), False), (("ARGS=-e thorough=true",), True)])
def test_a_second_run_changes_nothing(deployed: Slice, options: tuple[str, ...], *, looks: bool) -> None:
    """One that passes by what is as it was left, and one that looks at everything."""
    output = deployed.deploy(*options).stdout
    hosts = recap(output)
    assert set(hosts) >= HOSTS
    assert {host: counts["changed"] for host, counts in hosts.items()} == dict.fromkeys(hosts, 0)
    tasks = ("Write gunicorn's configuration", "Write the whole nginx.conf", "Write the agent's settings")
    assert [task in output for task in tasks] == [looks] * len(tasks)


@pytest.mark.slow
def test_check_mode_is_clean(deployed: Slice) -> None:
    hosts = recap(deployed.deploy("ARGS=--check --diff").stdout)
    assert {host: counts["changed"] for host, counts in hosts.items()} == dict.fromkeys(hosts, 0)


def test_what_a_deployment_does_on_a_worker_yields_to_what_it_serves(deployed: Slice) -> None:
    asked = deployed.run("ansible", "-i", "inventory/slice", "worker1", "--module-name", "command", "--args", "nice")
    assert asked.stdout.splitlines()[-1] == "19"


def test_a_deployment_leaves_nothing_of_root_s_with_its_login(deployed: Slice) -> None:
    """What root leaves in the folder of Ansible's modules, Ansible's login cannot remove."""
    for host in sorted(HOSTS):
        assert deployed.on(host, "test ! -e ~/.ansible || find ~/.ansible -user root") == ""


@pytest.mark.parametrize(
    ("machine", "service", "bar"),
    [("worker1", "imagerec-worker", 1.5), ("balancer", "imagerec-balancer", 3.0), ("balancer", "imagerec-pool", 3.0)],
)
def test_the_running_unit_is_sealed(deployed: Slice, machine: str, service: str, bar: float) -> None:
    report = deployed.on(machine, f"sudo systemd-analyze security --no-pager {service}.service")
    score = re.search(r"Overall exposure level for \S+: ([\d.]+)", report)
    assert score is not None
    assert float(score[1]) <= bar


def test_the_sealed_worker_infers_with_its_fast_kernels(deployed: Slice) -> None:
    log = deployed.on("worker1", "sudo journalctl --no-pager --boot --unit imagerec-worker.service")
    assert "XNNPACK delegate" in log
    assert "cpuinfo" not in log


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["worker1", "balancer"])
def test_a_rebooted_machine_comes_back_by_itself(deployed: Slice, machine: str) -> None:
    before = deployed.on(machine, "cat /proc/sys/kernel/random/boot_id")
    deployed.on(machine, "sudo systemctl reboot", check=False)
    eventually(f"{machine} boots", lambda: deployed.on(machine, "cat /proc/sys/kernel/random/boot_id") != before)
    eventually("all workers answer", lambda: sorted(count(deployed, 30)) == WORKERS)


@pytest.mark.slow
def test_the_pool_shrinks_and_grows_again(deployed: Slice) -> None:
    deployed.play("playbooks/balancers.yml", variables={"balancer_pool_size": "2"})
    assert set(count(deployed, 30)) == {"worker1", "worker2"}
    deployed.play("playbooks/balancers.yml")
    eventually("all workers answer", lambda: sorted(count(deployed, 30)) == WORKERS)


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two bundles made from the deployed one: version 2.0, and one whose model is no model."""
    source = Path(json.loads((REPOSITORY / "dist/bundle.json").read_text())["path"])
    folder = tmp_path_factory.mktemp("bundles")
    newer, broken = folder / "newer", folder / "broken"
    for target, release in ((newer, "2.0"), (broken, "3.0")):
        shutil.copytree(source, target)
        description = json.loads((target / "bundle.json").read_text()) | {"version": release}
        (target / "bundle.json").write_text(json.dumps(description))
    (broken / "model.tflite").write_bytes(b"no model" * 1000)
    digest = subprocess.run(["sha256sum", broken / "model.tflite"], capture_output=True, text=True, check=True)
    description = json.loads((broken / "bundle.json").read_text())
    description["files"]["model.tflite"] = digest.stdout.split()[0]
    (broken / "bundle.json").write_text(json.dumps(description))
    return newer, broken


def cut(system: Slice, machine: str, state: str) -> None:
    """Set a machine's control interface down or up, from outside."""
    words = ["ip", "-n", system.names.machine(machine), "link", "set", "dev", "eth0", state]
    subprocess.run(words, check=True)
    if state == "up":
        gateway = str(json.loads(system.names.plan_file.read_text())["gateway"])
        route = ["ip", "-n", system.names.machine(machine), "route", "replace", "default", "via", gateway]
        subprocess.run(route, check=True)


@pytest.mark.slow
def test_an_upgrade_under_load_loses_nothing_though_a_host_vanishes_midway(
    deployed: Slice, releases: tuple[Path, Path]
) -> None:
    old = version(deployed, "worker3")
    words = [".venv/bin/ansible-playbook", "-i", "inventory/slice", *UPGRADE, "-e", f"model={releases[0]}"]
    environment = os.environ | {"GENI_MANIFEST": str(deployed.names.manifest)}
    with load(deployed, 8, at_least=100) as outcomes:
        with subprocess.Popen(words, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            printed = []
            for line in running.stdout:
                printed.append(line)
                if (
                    "Roll the workers over" in line
                    and len([item for item in printed if "Roll the workers" in item]) == 1
                ):
                    cut(deployed, "worker3", "down")
        cut(deployed, "worker3", "up")
        eventually("worker3 is reached again", lambda: deployed.on("worker3", "echo here"))
        assert running.returncode != 0
        assert re.search(r"worker3.*unreachable=1", "".join(printed))
        assert version(deployed, "worker1") == "2.0"
        assert version(deployed, "worker3") == old
        deployed.play(*UPGRADE, variables={"model": str(releases[0])})
        assert [version(deployed, worker) for worker in WORKERS] == ["2.0"] * 4
    assert set(outcomes) == {"200"}, outcomes


@pytest.mark.slow
def test_a_broken_upgrade_stops_at_the_first_worker_and_is_rolled_back(
    deployed: Slice, releases: tuple[Path, Path]
) -> None:
    failed = deployed.play(
        *UPGRADE, variables={"model": str(releases[1]), "service_ready_timeout_s": "10"}, check=False
    )
    assert failed.returncode != 0
    assert "imagerec-worker on worker1 did not answer 200" in failed.stdout
    assert [version(deployed, worker) for worker in WORKERS[1:]] == ["2.0"] * 3
    assert sorted(count(deployed, 30)) == WORKERS[1:]
    deployed.make("rollback", "INVENTORY=inventory/slice")
    assert [version(deployed, worker) for worker in WORKERS] == ["2.0"] * 4
    deployed.make("rollback", "INVENTORY=inventory/slice")
    assert "2.0" not in [version(deployed, worker) for worker in WORKERS]
    eventually("all workers answer", lambda: sorted(count(deployed, 30)) == WORKERS)


def test_a_restart_under_load_loses_nothing(deployed: Slice) -> None:
    with load(deployed, 20) as outcomes:
        for worker in WORKERS:
            deployed.on(worker, "sudo systemctl restart imagerec-worker.service")
    assert set(outcomes) == {"200"}, outcomes


def test_a_killed_worker_process_is_replaced(deployed: Slice) -> None:
    with load(deployed, 5) as outcomes:
        for _ in range(3):
            deployed.on("worker1", "sudo systemctl kill --signal=KILL --kill-who=main imagerec-worker.service")
            time.sleep(2)
    assert outcomes.get("200", 0) >= sum(outcomes.values()) - 3  # what was in the killed process's hands
    eventually("all workers answer", lambda: sorted(count(deployed, 30)) == WORKERS)
