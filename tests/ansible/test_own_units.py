"""What a host's own nginx and exporters did before the first deployment is what they do after `make down`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ansible.test_wiring import load, tasks_in
from tests.conftest import REPOSITORY
from tests.power import disk

# systemd as far as the roles ask it: a folder by unit, with an empty file for each thing that it is.
SYSTEMCTL = """#!/bin/sh
for word; do case $word in -*) ;; *) unit=$word ;; esac; done
cd {folder}/"$unit" || exit 1
load=loaded state=disabled active=inactive
[ -e enabled ] && state=enabled
[ -e masked ] && state=masked load=masked
[ -e active ] && active=active
[ -e removed ] && [ ! -e masked ] && load=not-found state=
case $1 in
show) printf 'LoadState=%s\\nUnitFileState=%s\\nActiveState=%s\\n' $load "$state" $active ;;
mask) touch masked ;;
unmask) rm -f masked ;;
enable) [ ! -e removed ] && touch enabled ;;
disable) [ ! -e removed ] && rm -f enabled ;;
start) [ ! -e masked ] && [ ! -e removed ] && touch active ;;
stop) [ ! -e removed ] && rm -f active ;;
esac
"""
UNITS = {"balancer": "nginx.service", "monitoring": "prometheus-node-exporter.service"}


STATES: dict[str, set[str]] = {
    "masked enabled": {"masked", "enabled"},
    "enabled active": {"enabled", "active"},
    "active": {"active"},
    "nothing": set(),
}
CASES = {f"{role}, {states}": (role, before) for role in UNITS for states, before in STATES.items()}
LATER = ["prometheus", "alertmanager", "node_exporter"]  # what a host watches that becomes a balancer


class Host:
    """A folder with a systemctl and units, one of which is as it was before the first deployment."""

    def __init__(self, folder: Path, role: str, before: set[str], *more: str) -> None:
        self.folder, self.role, self.unit = folder, role, folder / UNITS[role]
        for unit in (self.unit, *(folder / name for name in more)):
            unit.mkdir(parents=True)
            for state in before:
                (unit / state).touch()
        (folder / "bin").mkdir()
        (folder / "bin/systemctl").write_text(SYSTEMCTL.format(folder=folder))
        (folder / "bin/systemctl").chmod(0o755)

    def variables(self, programs: list[str]) -> dict[str, Any]:
        """What a host of the inventory is told, and what the role itself says."""
        said = [load(REPOSITORY / f"roles/{self.role}/{part}/main.yml") for part in ("defaults", "vars")]
        own = {"role": self.role, "bin": str(self.folder / "bin"), "monitoring_programs": programs}
        return said[0] | said[1] | own | {f"{self.role}_config_dir": str(self.folder / "etc")}

    def take(self, *names: str) -> None:
        """Put other programs into the place of units, as the roles do."""
        for name in names:
            for word in ("mask", "stop"):
                subprocess.run([self.folder / "bin/systemctl", word, name], check=True)

    def states(self) -> set[str]:
        return {path.name for path in self.unit.iterdir()}


def do(place: Path, state: str, hosts: dict[str, dict[str, Any]], *options: str) -> str:
    """Have each host run the task of its role that writes down, or gives back; return what the run says."""
    tasks = []
    for role in UNITS:
        files = sorted((REPOSITORY / f"roles/{role}/tasks").glob("*.yml"))
        (task,) = [
            task for path in files for task in tasks_in(load(path)) if task.get("own_units", {}).get("state") == state
        ]
        tasks.append({"when": f"role == '{role}'", "block": [task]})
    play = {"hosts": "all", "connection": "local", "gather_facts": False, "tasks": tasks}
    play["environment"] = {"PATH": "{{ bin }}:{{ lookup('ansible.builtin.env', 'PATH') }}"}
    play["vars"] = {"ansible_python_interpreter": sys.executable}
    (place / f"{state}.yml").write_text(yaml.safe_dump([play]))
    (place / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts}}))
    command = ["ansible-playbook", "-i", place / "hosts.yml", place / f"{state}.yml", *options]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def given_back(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Host]:
    """The host of each case in the end. One was never deployed, one was watched by more programs later."""
    place = tmp_path_factory.mktemp("own-units")
    hosts = {case: Host(place / str(number), *parts) for number, (case, parts) in enumerate(CASES.items())}
    more = ["prometheus.service", "prometheus-alertmanager.service"]
    hosts["later"] = Host(place / "later", "monitoring", {"enabled", "active"}, *more)
    hosts["removed"] = Host(place / "removed", "balancer", {"enabled", "active"})

    def told(programs: list[str]) -> dict[str, dict[str, Any]]:
        return {
            f"host{number}": host.variables(programs if name == "later" else ["node_exporter"])
            for number, (name, host) in enumerate(hosts.items())
        }

    do(place, "remembered", told(["node_exporter"]))
    for host in hosts.values():  # as the role goes on
        host.take(host.unit.name)
    do(place, "remembered", told(LATER))  # the next deployment finds what the first one did
    hosts["later"].take(*more)
    (hosts["removed"].unit / "removed").touch()
    hosts["none"] = Host(place / "none", "balancer", {"enabled", "active"})
    assert "changed=1" in do(place, "given_back", told([]), "--check")
    assert all("masked" in host.states() for name, host in hosts.items() if name != "none")
    do(place, "given_back", told([]))
    assert "changed=1" not in do(place, "given_back", told([]))
    return hosts


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_unit_is_given_back_as_it_was(given_back: dict[str, Host], case: str) -> None:
    assert given_back[case].states() == CASES[case][1]


def test_a_host_without_a_balancer_keeps_its_nginx(given_back: dict[str, Host]) -> None:
    """`make down` for the second time, or where nothing was deployed."""
    assert given_back["none"].states() == {"enabled", "active"}


def test_each_unit_is_written_down_before_it_is_changed_first(given_back: dict[str, Host]) -> None:
    """A worker that is watched becomes a balancer, where more programs run."""
    units = sorted(given_back["later"].folder.glob("*.service"))
    assert len(units) == len(LATER)
    assert [{path.name for path in unit.iterdir()} for unit in units] == [{"enabled", "active"}] * len(LATER)


def test_a_unit_whose_package_is_gone_is_left_alone(given_back: dict[str, Host]) -> None:
    assert "masked" not in given_back["removed"].states()


def test_what_is_written_down_outlives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty record is no record: the unit would be left as the deployment made it."""
    with disk(tmp_path) as own:
        monkeypatch.setenv("ANSIBLE_REMOTE_TMP", str(own.folder / "ansible"))  # a host has one disk for both
        hosts = {role: Host(tmp_path / role, role, {"enabled", "active"}) for role in UNITS}
        variables = {role: host.variables(["node_exporter"]) for role, host in hosts.items()}
        for role, told in variables.items():
            told[f"{role}_config_dir"] = str(own.folder / role)
        do(tmp_path, "remembered", variables)
        with own.cut(names=False) as left:
            records = {path.name: path.read_text() for path in left.glob("*/own/*")}
            assert sorted(records) == sorted(UNITS.values())
            assert [name for name, text in records.items() if "UnitFileState=enabled" not in text] == []
