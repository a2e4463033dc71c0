"""What a host's own nginx and exporters did before the first deployment is what they do after `make down`."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.ansible.plays import play
from tests.power import disk

# systemd as far as the roles ask it: a folder by unit, with an empty file for each thing that it is.
SYSTEMCTL = """#!/bin/sh
for word; do case $word in -*) ;; *) unit=$word ;; esac; done
cd {folder}/"$unit" || exit 1
load=loaded state=disabled active=inactive
[ -e enabled ] && state=enabled
[ -e masked ] && state=masked load=masked
[ -e active ] && active=active
case $1 in
show) printf 'Id=%s\\nLoadState=%s\\nUnitFileState=%s\\nActiveState=%s\\n' "$unit" $load $state $active ;;
is-enabled) echo $state; [ $state = enabled ] ;;
mask) touch masked ;;
unmask) rm -f masked ;;
enable) touch enabled ;;
disable) rm -f enabled ;;
start) [ ! -e masked ] && touch active ;;
stop) rm -f active ;;
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


class Host:
    """A folder with a systemctl and one unit, which is as it was before the first deployment."""

    def __init__(self, folder: Path, role: str, before: set[str]) -> None:
        self.folder, self.role, self.unit = folder, role, folder / UNITS[role]
        self.unit.mkdir(parents=True)
        (folder / "bin").mkdir()
        (folder / "bin/systemctl").write_text(SYSTEMCTL.format(folder=folder))
        (folder / "bin/systemctl").chmod(0o755)
        for state in before:
            (self.unit / state).touch()

    def variables(self) -> dict[str, object]:
        """What a host of the inventory is told."""
        own = {"role": self.role, "bin": str(self.folder / "bin"), "monitoring_programs": ["node_exporter"]}
        return own | {f"{self.role}_config_dir": str(self.folder / "etc")}

    def systemctl(self, what: str) -> None:
        subprocess.run([self.folder / "bin/systemctl", what, self.unit.name], check=True)

    def states(self) -> set[str]:
        return {path.name for path in self.unit.iterdir()}


@pytest.fixture(scope="module")
def given_back(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """What the unit of each case is in the end; a run has a host for each. One host was never deployed."""
    place = tmp_path_factory.mktemp("own-units")
    hosts = {f"host{number}": Host(place / str(number), *case) for number, case in enumerate(CASES.values())}

    def do(what: str) -> None:
        variables = {name: host.variables() for name, host in hosts.items()}
        (place / "hosts.yml").write_text(json.dumps({"all": {"hosts": variables}}))
        done = play("own_units", {"do": what}, inventory=str(place / "hosts.yml"))
        assert done.returncode == 0, done.stdout + done.stderr

    do("remember")
    for host in hosts.values():  # as the role goes on
        host.systemctl("mask")
        host.systemctl("stop")
    do("remember")  # the next deployment finds what the first one did
    hosts["none"] = Host(place / "none", "balancer", {"enabled", "active"})
    do("give_back")
    return dict(zip([*CASES, "none"], (host.states() for host in hosts.values()), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_a_unit_is_given_back_as_it_was(given_back: dict[str, set[str]], case: str) -> None:
    assert given_back[case] == CASES[case][1]


def test_a_host_without_a_balancer_keeps_its_nginx(given_back: dict[str, set[str]]) -> None:
    """`make down` for the second time, or where nothing was deployed."""
    assert given_back["none"] == {"enabled", "active"}


def test_what_is_written_down_outlives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty record is no record: the unit would be left as the deployment made it."""
    with disk(tmp_path) as own:
        monkeypatch.setenv("ANSIBLE_REMOTE_TMP", str(own.folder / "ansible"))  # a host has one disk for both
        hosts = {role: Host(tmp_path / role, role, {"enabled", "active"}) for role in UNITS}
        variables = {role: host.variables() for role, host in hosts.items()}
        for role, told in variables.items():
            told[f"{role}_config_dir"] = str(own.folder / role)
        (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": variables}}))
        done = play("own_units", {"do": "remember"}, inventory=str(tmp_path / "hosts.yml"))
        assert done.returncode == 0, done.stdout + done.stderr
        with own.cut(names=False) as left:
            records = {path.name: path.read_text() for path in left.glob("*/own-*")}
            assert sorted(records) == ["own-nginx", "own-units"]
            assert [name for name, text in records.items() if "UnitFileState=enabled" not in text] == []
