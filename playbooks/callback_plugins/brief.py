"""Ansible stdout callback: what a run is at, and at its end what it has to say, or why it failed.

The Makefile chooses it. Messages of `debug` tasks are kept for the end, so the summary stands last. Ansible's usual
output comes back with ``ARGS=-v`` or ``ANSIBLE_STDOUT_CALLBACK=default``.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: brief
type: stdout
short_description: Progress in a few lines, and one summary at the end
description:
  - Names each play once as it begins. On a terminal a last line shows the task that is running.
  - Prints at the end what the `debug` tasks said and how long it took; after a failure the hosts and the reasons last.
author: imagerec
"""

_OWN_WORDS = ("assert", "fail")
_LAST_LINES = 20


def reason_of(result: dict[str, Any]) -> str:
    """Return why a task failed: its message and what a command printed, or that of each failed item, once."""
    failed = [item for item in result.get("results", []) if item.get("failed") or item.get("unreachable")]
    if failed:
        return "; ".join(dict.fromkeys(reason_of(item) for item in failed))
    message = (
        str(result.get("msg") or result.get("censored") or "it failed without a reason")
        .strip()
        .removeprefix("Task failed: ")
    )
    printed = str(result.get("stderr") or result.get("module_stderr") or result.get("stdout") or "").strip()
    if not printed or printed in message:
        return message
    printed = "\n".join(printed.splitlines()[-_LAST_LINES:])
    return printed if result.get("rc") and message == "non-zero return code" else f"{message}: {printed}"


class CallbackModule(CallbackBase):  # type: ignore[misc]  # Ansible has no types
    """The callback."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "brief"

    def __init__(self) -> None:
        super().__init__()
        self._begun_s = time.monotonic()
        self._plays: set[str] = set()
        self._notes: dict[str, None] = {}
        self._failures: dict[str, str] = {}
        self._live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"

    def _say(self, text: str, *, error: bool = False) -> None:
        if self._live:
            sys.stdout.write("\r\033[K")
            sys.stdout.flush()
        self._display.display(text, stderr=error)

    def _show(self, text: str) -> None:
        """Show what is going on in the last line of a terminal, which the next line takes the place of."""
        if self._live:
            columns = os.get_terminal_size(sys.stdout.fileno()).columns
            sys.stdout.write(f"\r\033[K  {text} ({time.monotonic() - self._begun_s:.0f} s)"[: max(columns, 20)])
            sys.stdout.flush()

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Name the play, unless another of its name was there."""
        name = play.get_name().strip()
        if name not in self._plays:
            self._plays.add(name)
            self._say(name)

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:  # noqa: ARG002
        """Show the task while it runs."""
        self._show(task.get_name().strip())

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        """Show the handler while it runs."""
        self._show(task.get_name().strip())

    def v2_runner_retry(self, result: Any) -> None:
        """Show that a task is tried again."""
        self._show(f"{result.host.get_name()}: {result.task.get_name().strip()}, again")

    def v2_runner_on_ok(self, result: Any) -> None:
        """Keep what the play has to say for the end."""
        self._handle_warnings(result.result)
        if result.task.action.rpartition(".")[2] == "debug" and "msg" in result.result:
            message = result.result["msg"]
            self._notes["\n".join(message) if isinstance(message, list) else str(message)] = None

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Keep the reason: a host's last one counts, since a rescue may have more to say."""
        if not ignore_errors:
            action = result.task.action.rpartition(".")[2]
            task = "" if action in _OWN_WORDS else f"{result.task.get_name().rpartition(' : ')[2].strip()}: "
            self._failures[result.host.get_name()] = task + reason_of(result.result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Keep why the host cannot be reached."""
        if not result.task.ignore_unreachable:
            self._failures[result.host.get_name()] = reason_of(result.result)

    def v2_playbook_on_no_hosts_matched(self) -> None:
        """Say that a play is for none of the hosts."""
        self._say("  none of the inventory's hosts is meant")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Print the summary, or why there is none."""
        hosts_by_reason: dict[str, list[str]] = {}
        for host in sorted({*stats.failures, *stats.dark}):
            hosts_by_reason.setdefault(self._failures.get(host, "it failed without a reason"), []).append(host)
        took = f"{time.monotonic() - self._begun_s:.0f} s"
        for note in self._notes:
            self._say(f"\n{note}")
        if hosts_by_reason:
            self._say(f"\nFailed after {took}.", error=True)
            for reason, hosts in hosts_by_reason.items():
                self._say(f"{', '.join(hosts)}: {reason}", error=True)
            return
        self._say(f"\nDone in {took}.")
