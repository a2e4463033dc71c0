#!/usr/bin/python
"""Ansible module: whether a host still is as the last deployment left it, and whether its service answers."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import stat
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.running import not_active, outdated_files, process_of
from ansible.module_utils.supervised import RUNNING, UnixConnection, about, connect

DOCUMENTATION = """
module: service_seal
short_description: Remembers how a deployment left a host, and tells whether it still is so
description:
  - Present writes how files, folders and links are, where the service answers, and what the deployment was made from.
  - Read compares, asks the service, and changes nothing. A seal older than a day is none.
options:
  path:
    description: The file of the seal.
    type: path
    required: true
  state:
    description: What to do with it.
    choices: [present, read, absent]
    default: read
  covers:
    description: >-
      Files, folders and links; a folder's content is not looked at. With /* behind a folder, each file right in it.
      With /** behind it, the size of each file below it, without Python's caches.
    type: list
  overlook:
    description: Text in a covered file that counts as if it were not there.
    type: str
  inputs:
    description: Digest of what the deployment was made from.
    type: str
  ready_url:
    description: Answers 200 where the service is ready.
    type: str
  ready_socket:
    description: The Unix socket where it answers; empty where it listens on an address.
    type: str
  name:
    description: Of the service.
    type: str
  supervisor:
    description: The socket of supervisord and the names of the programs, where supervisor keeps them.
    type: dict
  units:
    description: The units that are active, where systemd keeps them.
    type: list
author: imagerec
"""
RETURN = """
intact:
  description: Whether all is as it was left and the service is ready.
  returned: for read
  type: bool
inputs:
  description: Digest of what the last deployment was made from; empty without a seal.
  returned: for read
  type: str
why:
  description: What differs.
  returned: for read
  type: str
"""
A_DAY_S = 86400
KEPT = ("name", "inputs", "overlook", "ready_url", "ready_socket", "supervisor", "units")


def sizes_below(folder: str) -> str:
    """Return a digest of the sizes of all files, which is quick where their content would not be."""
    files = (f"{place}/{name}" for place, _, names in os.walk(folder) for name in names if not name.endswith(".pyc"))
    told = sorted(f"{os.lstat(file).st_size} {file}" for file in files)
    return hashlib.sha256("\n".join(told).encode(errors="surrogateescape")).hexdigest()


def state_of(path: str, overlook: str = "") -> list[Any] | None:
    """Return the kind, mode, owner and content of a file, a folder or a link; None where there is nothing."""
    if path.endswith("/**"):
        return ["tree", sizes_below(path[:-3])]
    try:
        about = os.lstat(path)
    except FileNotFoundError:
        return None
    content = ""
    if Path(path).is_file():
        content = hashlib.sha256(Path(path).read_bytes().replace(overlook.encode(), b"")).hexdigest()
    if stat.S_ISLNK(about.st_mode):
        return ["link", str(Path(path).readlink()), content]
    kind = "folder" if stat.S_ISDIR(about.st_mode) else "file"
    return [kind, stat.S_IMODE(about.st_mode), about.st_uid, content]


def states(covers: list[str], overlook: str = "") -> dict[str, list[Any] | None]:
    """Return the state of each path that is covered."""
    paths: list[str] = []
    for each in covers:
        folder = Path(each[:-2])
        paths += sorted(str(file) for file in folder.iterdir() if file.is_file()) if each.endswith("/*") else [each]
    return {path: state_of(path, overlook) for path in paths}


def is_supervised(path: str, name: str) -> bool:
    """Ask supervisord over its socket whether it keeps a program that runs."""
    return bool(about(connect(path, timeout_s=5), name).get("state") == RUNNING)


def is_ready(url: str, path: str) -> bool:
    """Ask the service itself, past any proxy, over a Unix socket where there is a path of one."""
    try:
        if path:
            with contextlib.closing(UnixConnection(path, timeout_s=3)) as connection:
                connection.request("GET", urllib.parse.urlsplit(url).path)
                return bool(connection.getresponse().status == http.client.OK)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=3) as answer:
            return bool(answer.status == 200)
    except (OSError, http.client.HTTPException, ValueError):
        return False


def difference(seal: dict[str, Any], now_s: float) -> str:
    """Return what is not as the seal says; empty where all is."""
    if not 0 <= now_s - seal["at_s"] <= A_DAY_S:
        return "it was sealed more than a day ago"
    for path, state in seal["covers"].items():
        if state_of(path, seal["overlook"]) != state:
            return f"{path} is not as it was left"
    supervisor = seal["supervisor"]
    for program in supervisor["programs"] if supervisor else []:
        if not is_supervised(supervisor["socket"], program):
            return f"supervisor does not run {program}"
    for unit in not_active(seal["units"]):
        return f"{unit} is not active"
    for file in outdated_files(process_of(seal["name"], supervisor.get("socket"))):
        return f"the process runs {file} as it was before an update"
    return "" if is_ready(seal["ready_url"], seal["ready_socket"]) else f"{seal['ready_url']} does not answer 200"


def read(path: Path) -> dict[str, Any]:
    """Return what the module says of a seal."""
    try:
        seal = json.loads(path.read_text(encoding="utf-8"))
        why = difference(seal, time.time())
        return {"changed": False, "intact": not why, "inputs": seal["inputs"], "why": why}
    except FileNotFoundError:
        why = "there is no seal"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"the seal {path} cannot be read: {error}"
    return {"changed": False, "intact": False, "inputs": "", "why": why}


def main() -> None:
    """Write it, read it or take it away."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "state": {"choices": ["present", "read", "absent"], "default": "read"},
            "covers": {"type": "list", "elements": "path", "default": []},
            "inputs": {"type": "str", "default": ""},
            "overlook": {"type": "str", "default": ""},
            "ready_url": {"type": "str", "default": ""},
            "ready_socket": {"type": "str", "default": ""},
            "name": {"type": "str", "default": ""},
            "supervisor": {"type": "dict", "default": {}},
            "units": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    path = Path(wanted["path"])
    if wanted["state"] == "read":
        module.exit_json(**read(path))
    if not module.check_mode:
        try:
            path.unlink(missing_ok=True)
            if wanted["state"] == "present":
                seal = {key: wanted[key] for key in KEPT}
                seal |= {"at_s": time.time(), "covers": states(wanted["covers"], wanted["overlook"])}
                beside = path.with_name(f"{path.name}.new")
                beside.write_text(json.dumps(seal, indent=1) + "\n", encoding="utf-8")
                beside.replace(path)
        except OSError as error:
            module.fail_json(msg=f"the seal {path} cannot be written: {error.strerror}")
    # No change of the deployment: what it says of the host is only a note about it.
    module.exit_json(changed=False)


if __name__ == "__main__":
    main()
