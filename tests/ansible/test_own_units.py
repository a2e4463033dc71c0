"""What a host's own nginx and exporters did before the first deployment is what they do after `make down`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.ansible.plays import play

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


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the units stand of the systemctl that is found first."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/systemctl").write_text(SYSTEMCTL.format(folder=tmp_path))
    (tmp_path / "bin/systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return tmp_path


@pytest.mark.parametrize(
    "before",
    [{"masked", "enabled"}, {"enabled", "active"}, {"active"}, set()],
    ids=lambda states: " ".join(sorted(states)) or "nothing",
)
@pytest.mark.parametrize("role", UNITS)
def test_a_unit_is_given_back_as_it_was(systemctl: Path, role: str, before: set[str]) -> None:
    unit = systemctl / UNITS[role]
    unit.mkdir()
    for state in before:
        (unit / state).touch()
    variables = {"role": role, f"{role}_config_dir": str(systemctl / "etc"), "monitoring_programs": ["node_exporter"]}

    def do(what: str) -> None:
        done = play("own_units", variables | {"do": what})
        assert done.returncode == 0, done.stdout + done.stderr

    do("remember")
    subprocess.run(["systemctl", "mask", unit.name], check=True)  # as the role goes on
    subprocess.run(["systemctl", "stop", unit.name], check=True)
    do("remember")  # the next deployment finds what the first one did
    do("give_back")
    assert {path.name for path in unit.iterdir()} == before


def test_a_host_without_a_balancer_keeps_its_nginx(systemctl: Path) -> None:
    """`make down` for the second time, or where nothing was deployed."""
    unit = systemctl / UNITS["balancer"]
    unit.mkdir()
    for state in ("enabled", "active"):
        (unit / state).touch()
    done = play("own_units", {"role": "balancer", "do": "give_back", "balancer_config_dir": str(systemctl / "none")})
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in unit.iterdir()} == {"enabled", "active"}
