"""Logging in to the machines of a slice: ssh finds the key and the host keys, whatever the checkout is called."""

from __future__ import annotations

import ipaddress
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from rspec.local_slice.host import run
from rspec.local_slice.machines import make_login_key, write_ssh_files
from rspec.local_slice.manifest import write_manifest
from rspec.local_slice.naming import Names
from rspec.local_slice.planning import make_plan
from rspec.model import load_request
from tests.conftest import REPOSITORY

REQUEST = REPOSITORY / "tests/unit/rspec/golden/lan-1.xml"
# It says that it is one and hears who asks, no more. By then ssh has read its files, and says which.
SERVER = "printf 'SSH-2.0-none\\r\\n'; head -n 1 > /dev/null"


@pytest.fixture
def names(tmp_path: Path) -> Names:
    """What logging in to a slice needs, in a checkout of an awkward name."""
    if shutil.which("ssh") is None:
        pytest.skip("there is no ssh")
    names = Names("unit", tmp_path / 'a "space" and 100 %')
    plan = make_plan(names, load_request(REQUEST), ipaddress.IPv4Network("10.200.7.0/24"), "bookworm-x")
    make_login_key(names)
    for machine in plan.machines:
        key = names.folder(machine.name) / "upper/etc/ssh/ssh_host_ed25519_key"
        key.parent.mkdir(parents=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
    write_ssh_files(names, plan)
    write_manifest(names, plan)
    return names


@pytest.mark.slow
@pytest.mark.parametrize("way", ["ssh", "ansible"])
def test_ssh_finds_the_keys_whatever_the_checkout_is_called(names: Names, tmp_path: Path, way: str) -> None:
    server = tmp_path / "server"
    server.write_text(SERVER)
    proxy = ["-o", f"ProxyCommand=sh {server}"]
    words = {
        "ssh": ["ssh", "-vvv", "-F", str(names.ssh_config), *proxy, "worker1", "true"],
        "ansible": ["ansible", "-vvv", "-i", "inventory/slice", "worker1", "-m", "raw", "-a", "true"],
    }[way]
    environment = os.environ | {
        "LC_ALL": "C.UTF-8",
        "GENI_MANIFEST": str(names.manifest),
        "ANSIBLE_SSH_EXTRA_ARGS": shlex.join(proxy),
        "ANSIBLE_SSH_VERBOSITY": "3",
    }
    done = subprocess.run(words, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert f"identity file {names.key_file} type 3" in said
    assert f"found key type ED25519 in file {names.known_hosts}:" in said
