"""A slice on this machine, by its name: its commands, and commands on its machines."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

from deployed.checkout import REPOSITORY, SHARED, CommandError, run
from rspec.local_slice.naming import Names

URL = "http://10.10.1.1"  # the balancer's slice address; only the slice's own machines reach it
# The default model where its mirror stands beside the checkout, so that nothing needs the Internet for it.
MODEL = {"model_mirror": str(SHARED / "models")} if (SHARED / "models").exists() else {"model": "lite0"}


@dataclasses.dataclass(frozen=True, slots=True)
class Slice:
    """A slice on this machine.

    Attributes:
        name: The slice's name.
    """

    name: str

    @property
    def names(self) -> Names:
        """What the slice's things are called."""
        return Names(self.name, REPOSITORY)

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout, for this slice's manifest.

        Raises:
            CommandError: It failed, though it had to succeed.
        """
        return run(*words, check=check, GENI_MANIFEST=str(self.names.manifest))

    def make(self, target: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a target of the Makefile for this slice."""
        return self.run("make", target, f"SLICE={self.name}", *arguments, check=check)

    def tool(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one step of `rspec.local_slice` for this slice."""
        command, *rest = words
        return self.run("python", "-m", "rspec.local_slice", command, "--slice", self.name, *rest, check=check)

    def deploy(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the whole of site.yml on the slice."""
        model = [f"{name.upper()}={value}" for name, value in MODEL.items()]
        return self.make("deploy", "INVENTORY=inventory/slice", *model, *arguments)

    def play(
        self, *playbooks: str, variables: dict[str, str] | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run some playbooks on the slice."""
        extra = [part for key, value in (variables or {}).items() for part in ("-e", f"{key}={value}")]
        return self.run("ansible-playbook", "-i", "inventory/slice", *playbooks, *extra, check=check)

    def on(self, machine: str, command: str, text: str | bytes = b"", *, check: bool = True) -> str:
        """Run a command on a machine, with something on its standard input; return what it printed.

        Raises:
            CommandError: It failed, though it had to succeed.
        """
        done = subprocess.run(  # noqa: S603  the words are ours; the shell is the machine's
            self._words(machine, command),
            input=text.encode() if isinstance(text, str) else text,
            capture_output=True,
            check=False,
            timeout=300,
        )
        if check and done.returncode != 0:
            raise CommandError(f"{machine}: {command} failed: {done.stderr.decode()[-3000:]}")
        return done.stdout.decode()

    def start(self, machine: str, command: str) -> subprocess.Popen[bytes]:
        """Start a command on a machine; its standard input and what it prints are pipes."""
        words = self._words(machine, command)
        # ssh makes its standard error non-blocking, also for others who have the same one, and Ansible refuses such.
        with Path("/dev/stderr").open("ab") as error:
            return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=error)  # noqa: S603  our words

    def _words(self, machine: str, command: str) -> list[str]:
        return ["ssh", "-F", str(self.names.ssh_config), "-o", "BatchMode=yes", machine, command]
