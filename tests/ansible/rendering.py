"""Renders the roles' templates: one run for as many renderings as a module of tests needs."""

from __future__ import annotations

import json
from pathlib import Path

from tests.ansible.plays import play

VARIANTS: list[dict[str, object]] = [
    *({"name": policy, "policy": policy} for policy in ("random", "round_robin", "least_conn", "random_two")),
    {"name": "unlimited", "limit": 0},
    {"name": "self_signed", "tls": "self_signed"},
    {"name": "files", "tls": "files", "tls_name": "images.example.org"},
    {"name": "acme", "tls": "acme", "tls_name": "images.example.org"},
    {"name": "acme-before", "tls": "acme", "tls_name": "images.example.org", "certificate": False},
    {"name": "http2", "tls": "files", "nginx": "1.26.3"},
    {
        "name": "in-front",
        "origins": ["https://demo.example.org", "http://localhost:3000"],
        "api_keys": [
            {"name": "alice", "sha256": "a" * 64},
            {"name": "batch", "sha256": "b" * 64, "rate_hz": 5, "connections": 2},
            {"name": "default", "sha256": "c" * 64, "rate_hz": 0},
        ],
    },
]


def render_all(wanted: dict[Path, dict[str, object]]) -> None:
    """Render all templates into folders, each with variables of its own.

    Args:
        wanted: The folders, which are there, and what differs from the usual: every variant of nginx.conf, for a slice.
    """
    hosts = {}
    for number, (folder, variables) in enumerate(wanted.items()):
        own = {"file": str(folder / "texts.json"), "user": "www-data", "variants": VARIANTS} | variables
        (folder / "variables.json").write_text(json.dumps(own))
        hosts[f"rendering{number}"] = {"own_variables": str(folder / "variables.json")}
    inventory = next(iter(wanted)) / "hosts.yml"
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
    done = play("render", {}, inventory=str(inventory))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for folder in wanted:
        for name, text in json.loads((folder / "texts.json").read_text()).items():
            (folder / name).write_text(text)


def render(folder: Path, **variables: object) -> None:
    """Render all templates into one folder."""
    render_all({folder: variables})
