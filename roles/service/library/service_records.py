#!/usr/bin/python
"""Ansible module: what a service's processes were made from, and whether it still is what they would be made from."""

from __future__ import annotations

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.running import outdated_files, process_of
from ansible.module_utils.supervised import holds, write

DOCUMENTATION = """
module: service_records
short_description: Records what a service's processes were made from, and compares
description:
  - A record is one file, written whole or not at all. Read changes nothing.
options:
  folder:
    description: Where the records are.
    type: path
    required: true
  name:
    description: Of the service.
    type: str
    required: true
  records:
    description: The text of each record by its name. One that is empty is compared with nothing.
    type: dict
    required: true
  state:
    description: What to do with them.
    choices: [present, read]
    default: read
  socket:
    description: Where the supervisord listens that keeps the service; without, systemd keeps it.
    type: path
author: imagerec
"""
RETURN = """
differ:
  description: The names of the records that are not as given.
  returned: always
  type: list
outdated:
  description: >-
    The files that the service's process runs and that the disk no longer has: a package's update replaces files and
    leaves the old ones to the processes that have them open.
  returned: for read
  type: list
"""


def main() -> None:
    """Compare them or write them."""
    module = AnsibleModule(
        argument_spec={
            "folder": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "records": {"type": "dict", "required": True},
            "state": {"choices": ["present", "read"], "default": "read"},
            "socket": {"type": "path"},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    folder = Path(wanted["folder"])
    files = {key: folder / f"{wanted['name']}.{key}" for key in wanted["records"]}
    differ = [key for key, text in wanted["records"].items() if text.strip() and not holds(files[key], text)]
    if wanted["state"] == "read":
        pid = process_of(wanted["name"], wanted["socket"])
        module.exit_json(changed=False, differ=differ, outdated=outdated_files(pid))
    if not module.check_mode:
        try:
            folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            for key in differ:
                write(files[key], wanted["records"][key])
        except OSError as error:
            module.fail_json(msg=f"the records of {wanted['name']} cannot be written to {folder}: {error.strerror}")
    module.exit_json(changed=bool(differ), differ=differ)


if __name__ == "__main__":
    main()
