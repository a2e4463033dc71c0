"""Ansible action: takes a host's deployment lock, or says who has it. It is held for as long as this run lives.

A run for some of the hosts gets none: the pool would be left half old and half new, and a rollback decides for all.
A host that no task can reach either is left alone: `out_of_reach` says why. Any other reason is a failure.
"""

from __future__ import annotations

import datetime
import getpass
import itertools
import json
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

FOLDER = Path(__file__).parent.parent / "lock"


def arguments_of(pid: int) -> list[str]:
    """Return a process's command line."""
    return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").rstrip("\0").split("\0")


def playbooks_of(arguments: list[str]) -> str:
    """Return the names of the playbooks on a command line of ansible-playbook."""
    pairs = itertools.pairwise(arguments)
    return " ".join(
        Path(word).name for option, word in pairs if word.endswith((".yml", ".yaml")) and not option.startswith("-")
    )


class ActionModule(ActionBase):  # type: ignore[misc]  # Ansible has no types
    """The action; `scope` tells several deployments on one host apart."""

    _requires_connection = True

    def _command(self, task_vars: dict[str, Any], *arguments: str) -> list[str]:
        """Return the command on the controller that runs the holder on the host."""
        # It is sent by the keeper, so that lists of processes show a short line.
        bootstrap = f"import sys; exec(sys.stdin.buffer.read({(FOLDER / 'holder.py').stat().st_size}))"
        if self._connection.transport == "local":
            return [sys.executable, "-c", bootstrap, *arguments]
        python = self._templar.template(task_vars.get("ansible_python_interpreter") or "python3")
        words = [python if str(python).startswith("/") else "python3", "-c", bootstrap, *arguments]
        ssh = self._connection
        line = f"exec {shlex.join(words)}"
        command: list[bytes] = ssh._build_command(ssh.get_option("ssh_executable"), "ssh", ssh.get_option("host"), line)
        return [os.fsdecode(word) for word in command]

    def _answers(self) -> bool:
        """Return whether an ordinary task reaches the host."""
        try:
            self._connection.exec_command("true")
        except AnsibleConnectionFailure:
            return False
        return True

    def run(self, tmp: None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Take the lock, or fail with the name of its holder."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        if limit := (task_vars or {}).get("ansible_limit"):
            result["msg"] = (
                f"--limit {limit} leaves out hosts, or at least what is done on the controller; a run is for all hosts "
                "of the inventory or for none: leave --limit away, and take a host that is gone out of the inventory"
            )
            return result | {"failed": True}
        if self._connection.transport not in {"local", "ssh"}:
            result["msg"] = f"a host reached by {self._connection.transport} cannot be locked; use ssh or local"
            return result | {"failed": True}
        if self._connection.transport == "ssh" and self._connection.get_option("password"):
            result["msg"] = (
                "a host reached with a password cannot be locked, since the lock has a connection of its own; give "
                "your public key to its user (ssh-copy-id) and leave the password out"
            )
            return result | {"failed": True}
        pid = os.getppid()  # Ansible forks a process for each task
        who = {
            "user": getpass.getuser(),
            "controller": socket.gethostname(),
            "since": datetime.datetime.now().astimezone().isoformat(" ", "seconds"),
            "playbook": playbooks_of(arguments_of(pid)),
            "pid": pid,
        }
        command = self._command(task_vars or {}, self._task.args.get("scope", "host"), json.dumps(who))
        keeper = subprocess.Popen(  # noqa: S603  the program is this folder's
            [sys.executable, str(FOLDER / "keeper.py"), str(pid), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert keeper.stdout is not None
        said = json.loads(keeper.stdout.readline() or b"{}")
        if "held_by" not in said:
            reason = said.get("error") or "the lock could not be asked for"
            if not self._answers():
                return result | {"out_of_reach": reason}
            result["msg"] = (
                f"{(task_vars or {}).get('inventory_hostname')} can be reached, but not locked against other "
                f"deployments ({reason}); the lock needs Python on the host and SSH with a key"
            )
            return result | {"failed": True}
        holder = said["held_by"]
        # Two names of the inventory may be one host: then this run has its lock already.
        if holder and any(holder.get(key) != who[key] for key in ("controller", "pid", "user")):
            result["msg"] = (
                "{host} is in the hands of another run: {user} on {controller} has run {playbook} since {since} "
                "(process {pid}); wait until it has ended, or end it, then run this again"
            ).format(**{"host": (task_vars or {}).get("inventory_hostname"), **UNKNOWN, **holder})
            result["failed"] = True
        return result


UNKNOWN = dict.fromkeys(("user", "controller", "playbook", "since", "pid"), "?")
