"""A system on this machine, on free ports and in a folder of its own, deployed by `make up`."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import itertools
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import yaml

from deployed.checkout import REPOSITORY, SHARED, run

_KERNELS_OWN = Path("/proc/sys/net/ipv4/ip_local_port_range")  # the first and the last
_FIRST_PORT = 10_000
_STRETCH = 100  # ports of a process before it meets those of the process with the next number


def _candidates() -> Iterator[int]:
    """Yield ports without end: those below the kernel's own, else 0, which is any that the kernel has."""
    try:
        between = int(_KERNELS_OWN.read_text().split()[0]) - _FIRST_PORT
    except OSError:  # a kernel that does not tell
        between = 0
    for number in itertools.count(os.getpid() * _STRETCH):
        yield _FIRST_PORT + number % between if between >= _STRETCH else 0


_ports = _candidates()


def free_ports(count: int, address: str = "127.0.0.1") -> list[int]:
    """Return ports of the loopback interface that nobody listens on now, each time others.

    A program listens there only later, or not all the time. So they are none that the kernel gives to connections
    which leave this machine, and processes that start one after the other get different ones.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found: list[int] = []
    with contextlib.ExitStack() as held:
        while len(found) < count:
            one = held.enter_context(socket.socket(family))
            try:
                one.bind((address, next(_ports)))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            found.append(one.getsockname()[1])
    return found


def processes_below(folder: Path) -> list[int]:
    """Process ids of everything that names a folder in its command."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class Deployment:
    """A system deployed on this machine by `make up`.

    Attributes:
        folder: Stands for the checkout: inventory/local with free ports, and .run/ beside it.
        url: The balancer's address.
        workers: Each worker's name and address.
        model: Name of the model that was asked for.
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
        """Run a target of the Makefile on this deployment.

        Ansible's usual output counts what was changed; `output="brief"` is what people see.

        Raises:
            CommandError: It failed, though it had to succeed.
        """
        mirror = SHARED / "models"
        words = [target, f"INVENTORY={self.inventory}"]
        words += [f"MODEL={self.model}"] if target != "experiment" else []  # which measures what is deployed
        words += [f"MODEL_MIRROR={mirror}"] if mirror.exists() else []
        return run("make", *words, *arguments, check=check, timeout_s=600, ANSIBLE_STDOUT_CALLBACK=output)

    def play(self, name: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one playbook alone on this deployment.

        Raises:
            CommandError: It failed, though it had to succeed.
        """
        words = ["ansible-playbook", "-i", str(self.inventory), f"playbooks/{name}.yml", *arguments]
        return run(*words, check=check, timeout_s=600)


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
