"""The script that installs packages gives back the policy that keeps them from being started, also after a signal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.conftest import REPOSITORY, SIGNALS, heed_signals

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="installing packages needs root")


def start(
    folder: Path, install: str, installed: str = "", stdout: int | None = None, **environment: str
) -> subprocess.Popen[bytes]:
    """Start it with an apt-get that does nothing but what is given, and no package installed unless that is said."""
    apt = f'[ "$1" = update ] || {{ {install}; }}'
    for name, text in {"apt-get": apt, "dpkg-query": f"echo '{installed}'"}.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return subprocess.Popen(
        [REPOSITORY / "tools/install_packages", "nginx"],
        env=os.environ | {"PATH": f"{folder}:/usr/bin:/bin", "POLICY_RC_D": str(folder / "policy")} | environment,
        stdout=stdout,
        start_new_session=True,
        preexec_fn=heed_signals,  # noqa: PLW1509  # these tests have no threads
    )


def wait_for(file: Path, running: subprocess.Popen[bytes]) -> None:
    while not file.exists():
        assert running.poll() is None
        time.sleep(0.05)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_leaves_no_policy_behind(tmp_path: Path, number: signal.Signals) -> None:
    running = start(tmp_path, f"touch {tmp_path}/begun; exec sleep 60")
    wait_for(tmp_path / "begun", running)
    assert (tmp_path / "policy").exists()
    os.killpg(running.pid, number)
    assert running.wait(timeout=60) != 0
    assert not (tmp_path / "policy").exists()


def test_another_run_leaves_the_policy_of_one_that_installs(tmp_path: Path) -> None:
    running = start(tmp_path, f"touch {tmp_path}/begun; exec sleep 60")
    try:
        wait_for(tmp_path / "begun", running)
        written = (tmp_path / "policy").read_text()
        assert start(tmp_path, "true", "ok installed").wait(timeout=60) == 0
        assert (tmp_path / "policy").read_text() == written
    finally:
        os.killpg(running.pid, signal.SIGTERM)
        running.wait(timeout=60)


def test_a_run_that_began_beside_another_has_a_policy_to_its_end(tmp_path: Path) -> None:
    """As by apt's lock, the second one installs once the first has ended."""
    first = start(tmp_path, f"touch {tmp_path}/begun; while [ ! -e {tmp_path}/enough ]; do sleep 0.05; done")
    wait_for(tmp_path / "begun", first)
    turn = f"while [ -e /proc/{first.pid} ]; do sleep 0.05; done"
    (tmp_path / "second").mkdir()
    second = start(
        tmp_path / "second",
        f"{turn}; test -e {tmp_path}/policy",
        stdout=subprocess.PIPE,
        POLICY_RC_D=str(tmp_path / "policy"),
    )
    with second:
        assert second.stdout
        said = second.stdout.readline()
        (tmp_path / "enough").touch()
        assert said.startswith(b"Installing nginx")
        assert first.wait(timeout=60) == 0
    assert second.returncode == 0
    assert not (tmp_path / "policy").exists()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("# of imagerec, while it installs", None, id="of-a-killed-run"),
        pytest.param("# of imagerec, while 4194305 installs\n", None, id="of-a-run-that-has-gone"),
        pytest.param("# the site's own", "# the site's own", id="the-host-s-own"),
    ],
)
def test_only_its_own_policy_is_removed(tmp_path: Path, before: str, after: str | None) -> None:
    policy = tmp_path / "policy"
    policy.write_text(before)
    assert start(tmp_path, "true").wait(timeout=60) == 0
    assert (policy.read_text() if policy.exists() else None) == after


def test_a_policy_that_a_power_cut_has_left_is_removed_where_nothing_is_missing(tmp_path: Path) -> None:
    policy = tmp_path / "policy"
    policy.write_text("#!/bin/sh\n# of imagerec, while it installs\nexit 101\n")
    assert start(tmp_path, "false", installed="install ok installed").wait(timeout=60) == 0
    assert not policy.exists()


@pytest.mark.parametrize(
    ("text", "stays"),
    [("#!/bin/sh\nexit {}\n", False), ("#!/bin/sh\nexit 101\n", True), (None, False)],
    ids=["of-a-deployment", "the-host-s-own", "none"],
)
def test_the_next_deployment_removes_a_policy_that_a_power_cut_has_left(
    tmp_path: Path, text: str | None, *, stays: bool
) -> None:
    """What Ansible writes while apt runs: a number that forbids, and that nobody else writes."""
    roles = [path.read_text() for path in (REPOSITORY / "roles").glob("*/tasks/*.yml")]
    numbers = re.findall(r"policy_rc_d: (\d+)", "".join(roles))
    assert len(numbers) == sum(text.count("builtin.apt:") for text in roles) == 3
    assert len(set(numbers)) == 1
    policy = tmp_path / "policy-rc.d"
    if text is not None:
        policy.write_text(text.format(numbers[0]))
        assert subprocess.run(["sh", policy], check=False).returncode == 101
    plays = yaml.safe_load((REPOSITORY / "playbooks/preflight.yml").read_text())
    (task,) = (task for play in plays for task in play.get("tasks", []) if task.get("register") == "left_policy")
    *command, path = task["ansible.builtin.command"]["argv"]
    assert path == "/usr/sbin/policy-rc.d"
    for said in ("" if stays or text is None else "removed\n", ""):
        assert subprocess.run([*command, policy], capture_output=True, text=True, check=True).stdout == said
    assert policy.exists() == stays


def test_what_is_installed_is_not_started_at_the_next_boot_either(tmp_path: Path) -> None:
    """Whichever package has the unit: nginx's stands in nginx-common."""
    listed = f"cat {tmp_path}/before; [ ! -e {tmp_path}/installed ] || cat {tmp_path}/new"
    (tmp_path / "new").write_text("nginx.service\nnginx@.service\nx.timer\n")
    (tmp_path / "before").write_text("ssh.service\n")
    for name, text in {"ls": listed, "systemctl": f'echo "$@" >> {tmp_path}/asked'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    assert start(tmp_path, f"touch {tmp_path}/installed", SYSTEMD_RUNS=str(tmp_path)).wait(timeout=60) == 0
    assert (tmp_path / "asked").read_text() == "--quiet disable nginx.service\n"
