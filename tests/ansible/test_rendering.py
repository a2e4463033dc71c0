"""What the roles write, against golden files; UPDATE_GOLDEN=1 rewrites them, and the diff is for people to read."""

from __future__ import annotations

import difflib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

GOLDEN = Path(__file__).parent / "golden"
POLICIES = ["random", "round_robin", "least_conn", "random_two"]
FILES = [
    *(f"nginx-{policy}.conf" for policy in POLICIES),
    "gunicorn.conf.py",
    "imagerec-worker.service",
    "imagerec-worker.socket",
    "imagerec-balancer.service",
    "supervisor-imagerec-worker.conf",
]


def render(folder: Path, policy: str, **variables: str) -> None:
    """Render all templates into a folder."""
    extra = {"folder": str(folder), "policy": policy, "user": "www-data"} | variables
    done = subprocess.run(
        [
            *("ansible-playbook", "-i", "localhost,", "tests/ansible/render.yml"),
            *(part for key, value in extra.items() for part in ("-e", f"{key}={value}")),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the roles would write for a slice, once for each policy."""
    folder = tmp_path_factory.mktemp("rendered")
    for policy in POLICIES:
        render(folder, policy)
    return folder


@pytest.mark.parametrize("name", FILES)
def test_rendered_file_equals_its_golden_file(rendered: Path, name: str) -> None:
    fresh = (rendered / name).read_text()
    golden = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.write_text(fresh)
    difference = "\n".join(
        difflib.unified_diff(golden.read_text().splitlines(), fresh.splitlines(), "golden", "fresh", lineterm="")
    )
    assert not difference


@pytest.mark.parametrize("policy", POLICIES)
def test_nginx_accepts_its_configuration(tmp_path: Path, policy: str) -> None:
    user = "root" if os.geteuid() == 0 else ""
    render(tmp_path, policy, state=str(tmp_path), user=user)
    done = subprocess.run(
        ["/usr/sbin/nginx", "-e", "stderr", "-t", "-c", str(tmp_path / f"nginx-{policy}.conf")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_broken_configuration_is_refused_before_it_lands(tmp_path: Path) -> None:
    """The role's `validate:` runs nginx itself, so what nginx refuses never replaces what works."""
    playbook = tmp_path / "land.yml"
    playbook.write_text(
        f"""
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - ansible.builtin.copy:
        content: "events {{}}\\nhttp {{ upstream workers {{ bogus; }} }}\\n"
        dest: {tmp_path}/nginx.conf
        mode: "0644"
        validate: /usr/sbin/nginx -e stderr -t -q -c %s
"""
    )
    (tmp_path / "nginx.conf").write_text("what works\n")
    done = subprocess.run(
        ["ansible-playbook", "-i", "localhost,", str(playbook)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert 'unknown directive "bogus"' in done.stdout + done.stderr
    assert (tmp_path / "nginx.conf").read_text() == "what works\n"


def test_systemd_accepts_the_units(rendered: Path, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze (package systemd)")
    for name in ("imagerec-worker.service", "imagerec-worker.socket", "imagerec-balancer.service"):
        text = (rendered / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/imagerec-worker/current/venv/bin/python", "/usr/bin/true"))
    done = subprocess.run(
        [analyze, "verify", "--man=no", "--recursive-errors=no", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "imagerec" not in done.stderr, done.stderr
