"""What the roles write, against golden files; UPDATE_GOLDEN=1 rewrites them, and the diff is for people to read."""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.ansible.rendering import VARIANTS, render_all
from tests.conftest import REPOSITORY

GOLDEN = Path(__file__).parent / "golden"
NAMES = [str(variant["name"]) for variant in VARIANTS]
FILES = [
    *(f"nginx-{name}.conf" for name in NAMES),
    "gunicorn.conf.py",
    "imagerec-worker.service",
    "imagerec-worker.socket",
    "imagerec-balancer.service",
    "imagerec-balancer.socket",
    "imagerec-balancer-logs.service",
    "imagerec-balancer-logs.timer",
    "logrotate.conf",
    "imagerec-pool.service",
    "pool.json",
    "imagerec-autoscaler.service",
    "autoscaler.json",
    "servers.conf",
    "supervisor-imagerec-worker.conf",
    "ready",
]
SUBNET = "2001:DB8::"


def wanted(place: Path) -> dict[str, dict[str, object]]:
    """The variables of each rendering, which has a folder of its name in this place."""
    user = "root" if os.geteuid() == 0 else ""
    free_key = {"name": "batch", "sha256": "0" * 64, "rate_hz": 0, "connections": 0}
    given = numbers()
    assert {"balancer_read_timeout_s", "worker_graceful_timeout_s", "worker_max_requests"} <= given.keys()
    of_ipv6 = [variant for variant in VARIANTS if variant["name"] in {"random", "self_signed"}]
    return {
        "slice": {},
        "acceptable": {"state": str(place / "acceptable"), "user": user},
        "numbers": dict(given),
        "texts": {name: str(value) for name, value in given.items()},
        "ipv6": {"subnet": SUBNET, "variants": of_ipv6},
        "ipv6-acceptable": {
            "state": str(place / "ipv6-acceptable"),
            "user": user,
            "subnet": SUBNET,
            "variants": of_ipv6,
        },
        "backlog": {"worker_backlog": 99, "worker_batch_max": 8, "worker_batch_window_ms": 2.5, "variants": []},
        "asleep": {
            "state": str(place / "asleep"),
            "user": user,
            "variants": [{"name": "asleep"}],
            "worker_stands_by": True,
            "worker_idle_exit_s": 7,
            "pool_standby_file": "/var/lib/imagerec-autoscaler/standby.json",
            "balancer_autoscaler_socket": "/run/imagerec-autoscaler/autoscaler.sock",
        },
        "nested": {"variants": [], "balancer_log_dir": "/var/log/imagerec/nginx/"},
        "free": {"variants": [{"name": "free", "limit": 0, "api_keys": [free_key]}]},
    }


@pytest.fixture(scope="session")
def renderings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each rendering, with everything that the roles would write; one run makes all."""
    place = tmp_path_factory.mktemp("rendered")
    variables = wanted(place)
    folders = {name: place / name for name in variables}
    for folder in folders.values():
        folder.mkdir()
    render_all({folders[name]: own for name, own in variables.items()})
    return folders


@pytest.fixture(scope="session")
def rendered(renderings: dict[str, Path]) -> Path:
    """A folder with everything that the roles would write for a slice, and every variant of nginx.conf."""
    return renderings["slice"]


@pytest.fixture(scope="session")
def acceptable(renderings: dict[str, Path]) -> Path:
    """The same for this machine: with folders that are there, and a certificate with its key."""
    folder = renderings["acceptable"]
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", "/CN=test", "-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")),
        ],
        check=True,
        capture_output=True,
    )
    return folder


def accepted(configuration: Path) -> None:
    """Let nginx itself check a configuration."""
    done = subprocess.run(
        ["/usr/sbin/nginx", "-e", "stderr", "-t", "-c", str(configuration)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def numbers() -> dict[str, int | float]:
    """Every numeric option of every role, with its default."""
    found: dict[str, int | float] = {"worker_processes": 2}
    for path in REPOSITORY.glob("roles/*/meta/argument_specs.yml"):
        for name, option in yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"].items():
            if option["type"] in {"int", "float"} and not isinstance(option["default"], str):
                found[name] = option["default"]
    return found


@pytest.mark.slow
def test_numbers_given_as_text_are_rendered_as_numbers(renderings: dict[str, Path]) -> None:
    """Whatever stands after `-e name=` is text to Ansible, also 40."""
    for name in FILES:
        assert (renderings["texts"] / name).read_text() == (renderings["numbers"] / name).read_text(), name


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


def test_ipv6_addresses_stand_in_brackets(renderings: dict[str, Path]) -> None:
    """The golden file holds the lines that differ from those of IPv4, so that it changes with nothing else."""
    lines = []
    nginx = ("nginx-random.conf", "nginx-self_signed.conf", "servers.conf", "imagerec-balancer.socket")
    for name in (*nginx, "gunicorn.conf.py", "imagerec-worker.socket", "ready"):
        both = [(folder / name).read_text().splitlines() for folder in (renderings["slice"], renderings["ipv6"])]
        lines += [f"{name}: {line[2:].strip()}\n" for line in difflib.ndiff(*both) if line.startswith("+ ")]
    if os.environ.get("UPDATE_GOLDEN") == "1":
        (GOLDEN / "ipv6.txt").write_text("".join(lines))
    assert "".join(lines) == (GOLDEN / "ipv6.txt").read_text()


def test_one_number_says_how_many_may_wait_for_a_worker(renderings: dict[str, Path]) -> None:
    """Whoever opens the listener: systemd's socket unit or gunicorn."""
    assert "\nbacklog = 99\n" in (renderings["backlog"] / "gunicorn.conf.py").read_text()
    assert "\nBacklog=99\n" in (renderings["backlog"] / "imagerec-worker.socket").read_text()


def test_a_pool_that_follows_its_load_has_workers_that_sleep(renderings: dict[str, Path]) -> None:
    folder = renderings["asleep"]
    program = "/opt/imagerec-worker/current/venv/bin/python"
    command = f"{program} -m imagerec_worker.on_demand 10.10.1.1 5000 2048 {program} -m gunicorn --config "
    unit = (folder / "imagerec-worker.service").read_text()
    assert f"\nExecStart=:{command}" in unit
    assert "\nSuccessExitStatus=77\nRestartPreventExitStatus=77\n" in unit
    assert f"\ncommand = {command}" in (folder / "supervisor-imagerec-worker.conf").read_text()
    configuration = (folder / "gunicorn.conf.py").read_text()
    assert "\nbegin(7)" in configuration
    assert "import child_exit, on_exit, on_starting" in configuration
    assert json.loads((folder / "pool.json").read_text())["standby"] == "/var/lib/imagerec-autoscaler/standby.json"
    nginx = (folder / "nginx-asleep.conf").read_text()
    assert 'proxy_pass "http://unix:/run/imagerec-autoscaler/autoscaler.sock";' in nginx
    accepted(folder / "nginx-asleep.conf")


def test_a_worker_of_batches_has_their_worker_class(renderings: dict[str, Path]) -> None:
    written = (renderings["backlog"] / "gunicorn.conf.py").read_text()
    assert '\nworker_class = "imagerec_worker.batch_worker.BatchWorker"\n' in written
    unit = (renderings["backlog"] / "imagerec-worker.service").read_text()
    assert '"IMAGEREC_BATCH_MAX=8"\n' in unit
    assert '"IMAGEREC_BATCH_WINDOW_MS=2.5"\n' in unit


def test_nginx_accepts_ipv6_addresses(renderings: dict[str, Path]) -> None:
    accepted(renderings["ipv6-acceptable"] / "nginx-random.conf")


@pytest.mark.parametrize("name", [name for name in NAMES if name != "http2"])  # that one is for a newer nginx
def test_nginx_accepts_its_configuration(acceptable: Path, name: str) -> None:
    accepted(acceptable / f"nginx-{name}.conf")


def test_a_broken_configuration_is_refused_before_it_lands(tmp_path: Path) -> None:
    """The role's `validate:` runs nginx itself, so what nginx refuses never replaces what works."""
    playbook = tmp_path / "land.yml"
    playbook.write_text(
        f"""
- hosts: localhost
  connection: local
  gather_facts: false
  vars:
    ansible_python_interpreter: "{{{{ ansible_playbook_python }}}}"
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
    for name in (name for name in FILES if name.startswith("imagerec-")):
        text = (rendered / name).read_text()
        (tmp_path / name).write_text(re.sub("/opt/imagerec-[a-z]+/current/venv/bin/python", "/usr/bin/true", text))
    done = subprocess.run(
        [analyze, "verify", "--man=no", "--recursive-errors=no", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "imagerec" not in done.stderr, done.stderr


def test_a_folder_may_stand_in_another_of_those_that_systemd_lets_a_service_write(renderings: dict[str, Path]) -> None:
    for name in ("imagerec-balancer.service", "imagerec-balancer-logs.service"):
        assert "\nLogsDirectory=imagerec/nginx\n" in (renderings["nested"] / name).read_text()


def test_the_name_of_a_zone_tells_what_it_counts_by(rendered: Path) -> None:
    """nginx refuses a reload in which a zone that is there counts by something else."""
    keys: dict[str, set[str]] = {}
    for file in rendered.glob("nginx-*.conf"):
        for key, zone in re.findall(r"limit_(?:req|conn)_zone (\S+) zone=(\w+)", file.read_text()):
            keys.setdefault(zone, set()).add(key)
    assert len(keys) > 4
    assert {zone: found for zone, found in keys.items() if len(found) > 1} == {}


def test_a_key_without_a_limit_brings_no_limit_for_all(renderings: dict[str, Path]) -> None:
    """Where a location has no limit of its own, the one on the log's lines must stay a dry run there."""
    text = (renderings["free"] / "nginx-free.conf").read_text()
    _, _, api = text.partition("location ~ ^/(predict|")
    assert "limit_req" not in api.partition("proxy_pass")[0]


DIRECTIVES = {"random": ["random;"], "round_robin": [], "least_conn": ["least_conn;"]}
DIRECTIVES |= {"random_two": ["random two least_conn;"]}


@pytest.mark.parametrize("policy", DIRECTIVES)
def test_the_policy_is_nginx_s_own(rendered: Path, policy: str) -> None:
    text = (rendered / f"nginx-{policy}.conf").read_text()
    upstream = text.partition("    upstream workers {\n")[2].partition("    }\n")[0]
    lines = [line.partition("#")[0].strip() for line in upstream.splitlines()]
    assert [line for line in lines if line and not line.startswith(("zone ", "include "))] == DIRECTIVES[policy]


def test_nginx_writes_nothing_into_folders_that_it_was_built_for(rendered: Path) -> None:
    built = subprocess.run(["/usr/sbin/nginx", "-V"], capture_output=True, text=True, check=True).stderr
    folders = [name.replace("-", "_") for name in re.findall(r"--http-([a-z-]+)-temp-path=", built)]
    assert "client_body" in folders
    text = (rendered / "nginx-random.conf").read_text()
    assert [name for name in folders if f'\n    {name}_temp_path "/var/lib/imagerec-balancer/' not in text] == []
