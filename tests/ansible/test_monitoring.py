"""What the role monitoring writes: promtool reads it, and each alert fires when it must and has a run-book."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from imagerec_pool.history import WINDOWS_H, question
from tests.ansible.plays import play
from tests.conftest import REPOSITORY, free_ports
from tests.metric_names import dashboard_expressions, rules_of, shown

ROLE = REPOSITORY / "roles/monitoring"
ALERTS = REPOSITORY / "tests/ansible/alerts.yml"
WRONG = {
    "monitoring_alertmanager_port": 9090,
    "monitoring_interval_s": 60,
    "monitoring_objective_p99_s": 0,
    "monitoring_objective_disk_share": 10,
    "monitoring_retention_size": "much",
    "monitoring_webhook_url": "example.org",
    "monitoring_address": "10.10.1.1:9100",
    "monitoring_workers": [],
}


def promtool(*words: str | Path, folder: Path = REPOSITORY) -> str:
    """Run promtool, and return what it said."""
    done = subprocess.run(["promtool", *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder that the role has written, and what it said of settings that cannot work."""
    place = tmp_path_factory.mktemp("monitoring")
    known = {
        "monitoring_hosts": [
            {"name": "balancer", "address": "10.10.1.1", "port": 9100},
            {"name": "worker1", "address": "2001:DB8::2", "port": 9100},
        ],
        "monitoring_workers": [
            {"name": "worker1", "address": "2001:DB8::2", "port": 5000, "processes": 2},
            {"name": "worker2", "address": "10.10.1.12", "port": 5001, "processes": 4},
        ],
    }
    hosts = {
        "good": {
            "monitoring_config_dir": str(place / "good [1]"),
            "monitoring_webhook_url": "http://127.0.0.1:1/alerts",
        },
        "scaled": {"monitoring_config_dir": str(place / "scaled"), "monitoring_ask_workers": "false"},
        "bad": {"monitoring_config_dir": str(place / "bad")} | WRONG,
    }
    (place / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts, "vars": known}}))
    done = play("monitor", {}, inventory=str(place / "hosts.yml"))
    assert "good" in done.stdout
    assert not (place / "bad").exists()
    return place / "good [1]", " ".join((done.stdout + done.stderr).split()).replace("''", "'")


@pytest.mark.slow
def test_what_cannot_work_is_refused_all_at_once(played: tuple[Path, str]) -> None:
    for name in WRONG:
        assert re.search(f"bad: .*{name}", played[1]), name


@pytest.mark.parametrize("installs", ["true", "false"], ids=["installed-here", "must-be-there"])
def test_a_program_that_cannot_be_had_is_refused_with_the_remedy(installs: str) -> None:
    look = yaml.safe_load((ROLE / "vars/main.yml").read_text())["__monitoring_look"]
    command = look["install" if installs == "true" else "there"]
    asked = ["sh", "-c", command, "sh", "prometheus", "imagerec-nothing"]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout == "imagerec-nothing\n"


def test_promtool_accepts_the_configuration(played: tuple[Path, str]) -> None:
    said = promtool("check", "config", played[0] / "prometheus.yml")
    assert said.count("SUCCESS") == 4  # the files of rules, prometheus.yml and both of its files


def test_each_worker_and_each_host_is_asked_by_its_name(played: tuple[Path, str]) -> None:
    configuration = yaml.safe_load((played[0] / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in configuration["scrape_configs"]}
    assert jobs.keys() == {"prometheus", "alertmanager", "nginx", "pool", "worker", "node", "service"}
    assert jobs["worker"]["static_configs"] == [
        {"targets": ["[2001:db8::2]:5000"], "labels": {"instance": "worker1", "worker": "worker1"}},
        {"targets": ["10.10.1.12:5001"], "labels": {"instance": "worker2", "worker": "worker2"}},
    ]
    assert [config["labels"]["instance"] for config in jobs["node"]["static_configs"]] == ["balancer", "worker1"]
    assert jobs["pool"]["metrics_path"] == "/pool_metrics"


def test_workers_that_may_sleep_are_not_asked(played: tuple[Path, str]) -> None:
    text = (played[0].parent / "scaled/prometheus.yml").read_text()
    jobs = [job["job_name"] for job in yaml.safe_load(text)["scrape_configs"]]
    assert sorted(jobs) == ["alertmanager", "nginx", "node", "pool", "prometheus", "service"]


def test_nothing_listens_on_more_than_loopback_and_the_data_plane(played: tuple[Path, str]) -> None:
    units = {path.stem: path.read_text() for path in played[0].glob("*.service")}
    addresses = {
        name.removeprefix("imagerec-"): re.findall(r"listen-address='?(\S*?):\d+", text) for name, text in units.items()
    }
    assert addresses.pop("node-exporter") == ["10.10.1.1"]
    assert len(addresses) == 4
    assert all(found == ["127.0.0.1"] for found in addresses.values()), addresses
    assert "--cluster.listen-address=\n" in units["imagerec-alertmanager"].replace("'", "")


def test_systemd_accepts_the_units(played: tuple[Path, str]) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze (package systemd)")
    units = sorted(map(str, played[0].glob("*.service")))
    assert len(units) == 5
    done = subprocess.run(
        [analyze, "verify", "--man=no", "--recursive-errors=no", *units], capture_output=True, text=True, check=False
    )
    assert "imagerec" not in done.stderr, done.stderr


def test_each_program_s_configuration_is_written_where_its_unit_has_it(played: tuple[Path, str]) -> None:
    units = [path.read_text() for path in played[0].glob("*.service")]
    files = [Path(file) for unit in units for file in re.findall(r"--config\.file=([^']*?\.yml)", unit)]
    assert len(files) == 3
    assert [file for file in files if not file.exists()] == []


COMMANDS = {
    "alertmanager": (
        "prometheus-alertmanager",
        "--web.listen-address={0}",
        "--cluster.listen-address=",
        "--storage.path={1}/data",
    ),
    "blackbox": ("prometheus-blackbox-exporter", "--web.listen-address={0}"),
    "prometheus": ("prometheus", "--web.listen-address={0}", "--storage.tsdb.path={1}/data"),
}
GOOD = {
    "alertmanager": "route: {receiver: none}\nreceivers: [{name: none}]\n",
    "blackbox": "modules: {}\n",
    "prometheus": "global: {}\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_a_reload_that_has_no_effect_is_a_failure_and_is_tried_again(name: str, tmp_path: Path) -> None:
    """The programs themselves say whether they have read it: the signal arrives, and each goes on with what it had."""
    (port,) = free_ports(1)
    configuration = tmp_path / "configuration.yml"
    program, *options = (word.format(f"127.0.0.1:{port}", tmp_path) for word in COMMANDS[name])
    step = {
        "do": "main",
        "command": [f"/usr/bin/{program}", f"--config.file={configuration}", *options],
        "metrics_url": f"http://127.0.0.1:{port}/metrics",
    }

    def deploy(*settings: str) -> tuple[int, str]:
        steps: list[dict[str, object]] = [step | {"settings": each} for each in settings]
        done = play("supervise", {"folder": str(tmp_path), "port": port, "steps": steps})
        return done.returncode, " ".join(done.stdout.split())

    (tmp_path / "logrotate.conf").touch()
    configuration.write_text(GOOD[name])
    try:
        status, said = deploy("1", "2")
        assert status == 0, said[-3000:]
        if name == "blackbox":  # what follows takes long, and is the same of each
            configuration.write_text("nonsense: 1\n")
            status, said = deploy("3")
            assert status != 0
            assert "small on localhost goes on with its configuration of before" in said
            assert "nonsense" in said.partition("Mend what its last lines say, then run this again")[2]
            configuration.write_text(GOOD[name])
            status, said = deploy("3")
            assert status == 0, said[-3000:]
            assert "Reload it" in said
    finally:
        done = play("supervise", {"folder": str(tmp_path), "port": port, "steps": [{"do": "absent"}]})
    assert done.returncode == 0, done.stdout[-3000:]


def test_each_alert_fires_and_is_silent_as_it_must() -> None:
    promtool("test", "rules", ALERTS)
    cases = [case for test in yaml.safe_load(ALERTS.read_text())["tests"] for case in test.get("alert_rule_test", [])]
    names = {rule["alert"] for rule in rules_of() if "alert" in rule}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names


def test_each_alert_has_a_run_book() -> None:
    manual = (REPOSITORY / "docs/operate.md").read_text()
    titles = re.findall(r"^#+ (.+)", manual, re.MULTILINE)
    headings = {re.sub(r"[^a-z0-9 -]", "", title.lower()).strip().replace(" ", "-") for title in titles}
    for rule in rules_of():
        if "alert" in rule:
            path, _, anchor = rule["annotations"]["runbook"].partition("#")
            assert path == "docs/operate.md"
            assert anchor in headings, rule["alert"]
            assert anchor == f"alert-{rule['alert'].lower()}"


def test_each_expression_of_the_dashboards_parses(tmp_path: Path) -> None:
    expressions = [*dashboard_expressions(), *map(question, WINDOWS_H)]
    assert len(expressions) > 15 + len(WINDOWS_H)
    rules = [{"record": f"dashboard:{number}", "expr": shown(text)} for number, text in enumerate(expressions)]
    (tmp_path / "dashboard.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", tmp_path / "dashboard.yml")


def test_the_dashboard_is_what_grafana_imports() -> None:
    dashboard: dict[str, Any] = json.loads((ROLE / "files/grafana.json").read_text())
    identities = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(identities)) == len(identities)
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        assert panel["type"] == "row" or panel["datasource"]["uid"] == "${datasource}", panel["title"]


@pytest.mark.parametrize(
    ("folder", "private"), [("/var/lib", "/var/lib/private"), ("/var/lib/watch", "/var/lib/private/watch")]
)
def test_what_was_collected_is_removed_from_where_systemd_keeps_it(folder: str, private: str) -> None:
    role = [f"@{ROLE}/{part}/main.yml" for part in ("defaults", "vars")]
    words = ["ansible", "localhost", "-m", "debug", "-a", "msg={{ __monitoring_state_dirs | join(' ') }}"]
    words += [word for given in (*role, json.dumps({"monitoring_state_dir": folder})) for word in ("-e", given)]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    programs = ("imagerec-prometheus", "imagerec-alertmanager")
    wanted = [f"{place}/{program}" for place in (folder, private) for program in programs]
    assert re.findall(r"/var/lib\S+", done.stdout) == wanted


def test_the_hosts_stand_in_the_order_of_the_inventory(tmp_path: Path) -> None:
    """A set has another order in each run, and a file in another order is another file."""
    workers = [f"worker{number}" for number in range(1, 7)]
    hosts = {"balancers": ["balancer"], "workers": workers, "clients": ["client"]}
    inventory = {
        group: {"hosts": {name: {"slice_address": "10.10.1.1"} for name in names}} for group, names in hosts.items()
    }
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"children": inventory}}))
    asked = "msg={{ monitoring_hosts | map(attribute='name') | join(' ') }}"
    words = ["ansible", "-i", tmp_path / "hosts.yml", "balancer", "--playbook-dir", REPOSITORY / "playbooks"]
    words += ["-m", "debug", "-a", asked]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (told,) = re.findall(r"msg: (.*)", done.stdout)
    assert told.split() == ["balancer", *workers, "client"]
