"""What a run prints: progress in a few lines, one summary at the end, and after a failure the reason last."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ansible.test_make import make
from tests.conftest import REPOSITORY

PLAYBOOK = """
- name: Look at everything
  hosts: all
  gather_facts: false
  tasks:
    - name: Say something early
      ansible.builtin.debug:
        msg: The model is another one.
      run_once: true

    - name: Do something
      ansible.builtin.command: {argv: ["true"]}
      changed_when: false
      delegate_to: localhost
      vars: {ansible_connection: local}
      run_once: true

- name: Look at everything
  hosts: all
  gather_facts: false
  tasks:
"""
SUMMARY = """
    - name: Report
      ansible.builtin.debug:
        msg: [First line, Second line]
      run_once: true
"""
ASSERTION = """
    - name: Refuse a setting
      ansible.builtin.assert: {that: false, fail_msg: "the setting is wrong; choose another", quiet: true}
"""
COMMAND = """
    - name: Run a command
      ansible.builtin.command: {argv: [sh, -c, "echo begun; echo the disk is full >&2; exit 3"]}
      changed_when: false
"""
SECRET = """
    - name: Use a key
      ansible.builtin.command: {argv: ["false", "secret"]}
      changed_when: false
      no_log: true
"""
LOOP = """
    - name: Refuse some
      ansible.builtin.assert: {that: item != 2, fail_msg: "{{ item }} is wrong", quiet: true}
      loop: [1, 2, 3]
"""
RESCUED = """
    - name: Try
      block:
        - name: Fail at first
          ansible.builtin.fail: {msg: this is not the reason}
      rescue:
        - name: Fail again
          ansible.builtin.fail: {msg: this is the reason}
"""
SAVED = """
    - name: Try
      block:
        - name: Fail at first
          ansible.builtin.fail: {msg: nobody wants to know}
      rescue:
        - name: Go on
          ansible.builtin.debug: {msg: It went on.}
"""
UNREACHABLE = """
    - name: Ask the host
      ansible.builtin.ping:
      vars: {ansible_connection: ssh, ansible_host: 127.0.0.1, ansible_port: 1}
"""


def play(folder: Path, tasks: str) -> list[str]:
    playbook = folder / "play.yml"
    playbook.write_text(PLAYBOOK + tasks)
    inventory = folder / "hosts"
    settings = f"ansible_connection=local ansible_python_interpreter={sys.executable}"
    inventory.write_text(f"one {settings}\ntwo {settings}\n")
    return ["ansible-playbook", "-i", str(inventory), str(playbook)]


def run(folder: Path, tasks: str, callback: str = "brief") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        play(folder, tasks),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"ANSIBLE_STDOUT_CALLBACK": callback},
    )


def test_a_run_prints_its_plays_once_and_one_summary_last(tmp_path: Path) -> None:
    done = run(tmp_path, SUMMARY)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:-1] == ["Look at everything", "", "The model is another one.", "", "First line", "Second line", ""]
    assert lines[-1].startswith("Done in ")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("tasks", "reason"),
    [
        pytest.param(ASSERTION, "one, two: the setting is wrong; choose another", id="refused"),
        pytest.param(COMMAND, "one, two: Run a command: the disk is full", id="command"),
        pytest.param(LOOP, "one, two: 2 is wrong", id="item-of-a-loop"),
        pytest.param(
            SECRET,
            "one, two: Use a key: the output has been hidden",
            id="hidden",
        ),
        pytest.param(RESCUED, "one, two: this is the reason", id="rescue-says-more"),
    ],
)
def test_a_failure_prints_notes_then_hosts_and_reason_once(tmp_path: Path, tasks: str, reason: str) -> None:
    done = run(tmp_path, tasks + SUMMARY)
    assert done.returncode == 2
    assert done.stdout == "Look at everything\n\nThe model is another one.\n"
    blank, took, *said = done.stderr.splitlines()
    said = [line.partition(" due to the fact")[0] for line in said]  # Ansible's own words for what is hidden
    assert (blank, took.split()[0], said) == ("", "Failed", [reason])


def test_a_host_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, UNREACHABLE)
    assert done.returncode == 4
    # Ansible words it in two ways, by the moment at which ssh ends.
    named = re.findall(r"^([a-z, ]+): .*Connection refused$", done.stderr, re.MULTILINE)
    assert named in (["one, two"], ["one", "two"], ["two", "one"])


def test_what_a_rescue_has_mended_is_no_failure(tmp_path: Path) -> None:
    done = run(tmp_path, SAVED)
    assert done.returncode == 0
    assert "It went on." in done.stdout
    assert "nobody wants to know" not in done.stdout + done.stderr


def test_a_terminal_shows_the_running_task_in_a_line_that_goes_away(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        play(tmp_path, SUMMARY),
        cwd=REPOSITORY,
        env=os.environ | {"ANSIBLE_STDOUT_CALLBACK": "brief", "TERM": "xterm"},
        stdout=theirs,
    )
    os.close(theirs)
    seen = b""
    try:
        while piece := os.read(ours, 4096):
            seen += piece
    except OSError:  # it has closed the terminal
        pass
    finally:
        os.close(ours)
    assert running.wait() == 0
    text = seen.decode().replace("\r\n", "\n")
    assert "\r\033[K  Do something (" in text
    left = [line.rpartition("\r\033[K")[2] for line in text.split("\n")]
    assert not [line for line in left if "Do something" in line]


def test_who_wants_to_see_more_gets_the_usual_output() -> None:
    for argument in ("-v", "--verbose", "--check"):
        assert "TASK [" in make("down", f"ARGS={argument} -e nothing_reads_it=1").stdout, argument
    assert "TASK [" not in make("down", "ARGS=-e nothing_reads_it=1").stdout
