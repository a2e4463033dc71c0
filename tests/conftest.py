"""What every tier shares: the repository, the models beside it, a real deployment, and the refusal of skips."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parent.parent
SHARED = REPOSITORY.parent / "shared"
# A folder as people have them: blanks, letters beyond ASCII, a percent sign, longer than the path of a socket may be.
AWKWARD = "Größe 100 % – a folder with a name as long as people give them, in the middle of the path"

# What make hands on to the tests is not for the commands that they run: these would take it for their own.
for _name in [name for name in os.environ if name.startswith(("MAKE", "MFLAGS", "ARGS", "ANSIBLE"))]:
    del os.environ[_name]
# The environment's own ansible-playbook, also when the environment is not activated.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def heed_signals() -> None:
    """Heed signals that whoever started the tests ignores, as nohup does: no shell can trap an ignored one."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def free_ports(count: int, address: str = "127.0.0.1") -> list[int]:
    """Return ports of the loopback interface that nobody listens on now."""
    sockets = [socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) for _ in range(count)]
    try:
        for one in sockets:
            one.bind((address, 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With REFUSE_SKIPS=1, as in CI, a skipped test fails the run, unless it needs files that only some sites have."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("REFUSE_SKIPS") != "1" or reporter is None:
        return
    refused = [report for report in reporter.stats.get("skipped", []) if "../shared" not in str(report.longrepr)]
    if refused:
        for report in refused:
            reporter.write_line(f"refused skip: {report.nodeid}: {report.longrepr}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder of the repository."""
    return REPOSITORY


@dataclasses.dataclass(frozen=True, slots=True)
class Deployment:
    """A system deployed on this machine by ``make up``.

    Attributes:
        folder: stands for the checkout: inventory/local with free ports, and .run/ beside it.
        url: the balancer's address.
        workers: each worker's name and address.
        model: name of the model that was asked for.
    """

    folder: Path
    url: str
    workers: dict[str, str]
    model: str

    @property
    def inventory(self) -> Path:
        """The inventory that `make` is pointed at."""
        return self.folder / "inventory/local/hosts.yml"

    def processes(self) -> list[int]:
        """Process ids of everything that was started from the deployment's folder."""
        return processes_below(self.folder)

    def make(
        self, target: str, *arguments: str, check: bool = True, output: str = "default"
    ) -> subprocess.CompletedProcess[str]:
        """Run a target of the Makefile on this deployment; print what it said if it failed.

        Ansible's usual output counts what was changed; `output="brief"` is what people see.
        """
        mirror = SHARED / "models"
        return _run(
            "make",
            target,
            f"INVENTORY={self.inventory}",
            f"MODEL={self.model}",
            *([f"MODEL_MIRROR={mirror}"] if mirror.exists() else []),
            *arguments,
            check=check,
            output=output,
        )

    def play(self, name: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one playbook alone on this deployment; print what it said if it failed."""
        return _run("ansible-playbook", "-i", str(self.inventory), f"playbooks/{name}.yml", *arguments, check=check)


def processes_below(folder: Path) -> list[int]:
    """Process ids of everything that names a folder in its command."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def _run(*command: str, check: bool = True, output: str = "default") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env=os.environ | {"ANSIBLE_STDOUT_CALLBACK": output},
    )
    if check and done.returncode != 0:
        print(done.stdout[-8000:], done.stderr[-8000:])
        raise AssertionError(f"{' '.join(command[:2])} failed with {done.returncode}")
    return done


def local_deployment(folder: Path, model: str | None = None, address: str = "127.0.0.1") -> Deployment:
    """Prepare, not start, a deployment of inventory/local on free ports in a folder of its own."""
    inventory = folder / "inventory/local"
    shutil.copytree(REPOSITORY / "inventory/local", inventory)
    hosts = yaml.safe_load((inventory / "hosts.yml").read_text())
    groups = hosts["all"]["children"]
    balancer_port, *worker_ports = free_ports(1 + len(groups["workers"]["hosts"]), address)
    groups["balancers"]["hosts"]["balancer"]["balancer_port"] = balancer_port
    for host, port in zip(groups["workers"]["hosts"].values(), worker_ports, strict=True):
        host["worker_port"] = port
    (inventory / "hosts.yml").write_text(yaml.safe_dump(hosts))
    variables = inventory / "group_vars/all.yml"
    variables.write_text(variables.read_text().replace("slice_address: 127.0.0.1", f'slice_address: "{address}"'))
    url = f"http://[{address}]:" if ":" in address else f"http://{address}:"
    return Deployment(
        folder=folder,
        url=f"{url}{balancer_port}",
        workers={name: f"{url}{host['worker_port']}" for name, host in groups["workers"]["hosts"].items()},
        model=model or ("imagenet" if (SHARED / "models").exists() else "lite0"),
    )


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Nginx and two gunicorn workers, deployed by `make up` on free ports, removed by `make down` without a trace."""
    system = local_deployment(tmp_path_factory.mktemp("local") / AWKWARD)
    try:
        system.make("up")
        yield system
    finally:
        system.make("down")
    assert system.processes() == []
    assert [path.name for path in system.folder.iterdir()] == ["inventory"]
