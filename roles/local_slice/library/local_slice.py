#!/usr/bin/python
"""Ansible module: one step of a local slice, done by the checkout's own `rspec.local_slice`."""

from __future__ import annotations

import json
import sys
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: local_slice
short_description: Do one step of bringing a local slice up or down
description:
  - Runs C(python -m rspec.local_slice) in the checkout, with the Python that runs this module. Each step can be
    repeated and says whether it changed anything; in check mode it says whether it would.
options:
  step:
    description: What to do, in the order in which a slice comes up; C(down) removes it.
    type: str
    required: true
    choices: [plan, base, network, disks, boot, wait, manifest, down]
  project:
    description: The checkout.
    type: path
    required: true
  slice:
    description: Name of the slice.
    type: str
    required: true
  machine:
    description: Name of the machine to switch on or to wait for.
    type: str
  timeout_s:
    description: Seconds to wait for the machine.
    type: int
    default: 120
  request:
    description: File of the request RSpec; empty for one written from O(parameters).
    type: str
    default: ""
  parameters:
    description: Parameters of C(profile.py) for the request that is written.
    type: dict
    default: {}
  cpu_scale:
    description: Share of a host core that stands for one core of a scaled machine.
    type: float
    default: 1.0
  cpu_scaled:
    description: Regular expression of the names of the machines that are scaled.
    type: str
    default: ".*"
  control_subnet:
    description: The control network; empty for the first free one that follows from the name.
    type: str
    default: ""
  release:
    description: Code name of the machines' release; empty for the host's own.
    type: str
    default: ""
author: imagerec
attributes:
  check_mode:
    description: Can run in check mode.
    support: full
"""
EXAMPLES = """
- name: Switch worker1 on
  local_slice:
    step: boot
    project: "{{ playbook_dir | dirname }}"
    slice: local
    machine: worker1
"""
RETURN = """
machines:
  description: Names of the machines, of C(plan) and C(manifest).
  type: list
  elements: str
  returned: sometimes
addresses:
  description: Control address of each machine, by name.
  type: dict
  returned: sometimes
manifest:
  description: Path of the manifest RSpec.
  type: str
  returned: when step is manifest
started_s:
  description: Unix time at which the step began.
  type: float
  returned: success
"""

STEPS = {
    "step": {
        "type": "str",
        "required": True,
        "choices": ["plan", "base", "network", "disks", "boot", "wait", "manifest", "down"],
    },
    "project": {"type": "path", "required": True},
    "slice": {"type": "str", "required": True},
    "machine": {"type": "str"},
    "timeout_s": {"type": "int", "default": 120},
    "request": {"type": "str", "default": ""},
    "parameters": {"type": "dict", "default": {}},
    "cpu_scale": {"type": "float", "default": 1.0},
    "cpu_scaled": {"type": "str", "default": ".*"},
    "control_subnet": {"type": "str", "default": ""},
    "release": {"type": "str", "default": ""},
}


def command_line(params: dict[str, Any], *, check: bool) -> list[str]:
    """The command of `rspec.local_slice` that does the step."""
    words = [sys.executable, "-m", "rspec.local_slice", params["step"], "--slice", params["slice"]]
    if check:
        words.append("--check")
    if params["step"] == "plan":
        words += ["--cpu-scale", str(params["cpu_scale"]), "--cpu-scaled", params["cpu_scaled"]]
        for name in ("request", "control_subnet", "release"):
            if params[name]:
                words += [f"--{name.replace('_', '-')}", params[name]]
        for name, value in params["parameters"].items():
            words += ["--parameter", f"{name}={value}"]
    if params["step"] == "wait":
        words += ["--timeout", str(params["timeout_s"])]
    if params["machine"]:
        words.append(params["machine"])
    return words


def main() -> None:
    """Run the step and report it to Ansible."""
    module = AnsibleModule(
        argument_spec=STEPS,
        required_if=[("step", "boot", ["machine"]), ("step", "wait", ["machine"])],
        supports_check_mode=True,
    )
    words = command_line(module.params, check=module.check_mode)
    code, out, err = module.run_command(words, cwd=module.params["project"])
    if code != 0:
        module.fail_json(msg=err.strip().removeprefix("error: ") or f"{words} ended with {code}")
    answer = json.loads(out)
    for notice in answer["notices"]:
        module.warn(notice)
    module.exit_json(
        changed=answer["changed"],
        msg=answer["message"],
        started_s=answer["started_s"],
        seconds=answer["seconds"],
        **answer["facts"],
    )


if __name__ == "__main__":
    main()
