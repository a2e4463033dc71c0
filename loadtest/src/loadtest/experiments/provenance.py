"""What a run folder says of where it came from."""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtest.errors import LoadtestError
from loadtest.experiments.cells import Level

# What a measurement depends on; the rest of the checkout may differ from its commit.
_PARTS = ("loadtest", "playbooks", "roles", "inventory", "services", "rspec", "profile.py")
_PACKAGES = ("imagerec-loadtest", "aiohttp", "numpy", "pillow")


def client_facts() -> dict[str, Any]:
    """This machine: system, processor, cores, memory, and the versions of what measures."""
    return {
        "system": platform.platform(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1 << 20),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def source_state(*parts: str) -> dict[str, Any]:
    """The commit of the checkout this code runs from, and whether files differ from it; None where there is none.

    Args:
        parts: The files and folders of the checkout that count; all where none is named.
    """
    git = shutil.which("git")
    folder = Path(__file__).parent
    if git is None:
        return {"commit": None, "dirty": None}
    commit = _git(git, folder, "rev-parse", "HEAD")
    changes = _git(git, folder, "status", "--porcelain", "--", *(f":/{part}" for part in parts))
    if commit is None or changes is None:
        return {"commit": None, "dirty": None}
    return {"commit": commit, "dirty": bool(changes)}


def measured_source() -> dict[str, Any]:
    """The commit of this checkout, and whether what a measurement depends on differs from it; see `source_state`."""
    return source_state(*_PARTS)


def source_of(record: dict[str, Any]) -> dict[str, Any]:
    """The commit that a level's record names, and whether the checkout had changes; None where it was not known.

    What the playbook says of the controller's checkout counts before what the client saw of its own.
    """
    facts = record.get("facts") or {}
    found = facts if facts.get("commit") else record.get("source") or {}
    return {"commit": found.get("commit"), "dirty": found.get("dirty")}


def read_facts(path: Path | None) -> dict[str, Any]:
    """Read what a playbook knows of the deployment: commit, dirty, hosts, settings of nginx and gunicorn.

    Raises:
        LoadtestError: The file is not a JSON object.
    """
    if path is None:
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LoadtestError(f"cannot read the facts {path}: {error}") from error
    if not isinstance(facts, dict):
        raise LoadtestError(f"the facts {path} are not a JSON object")
    return facts


def machine_signature(level: dict[str, Any], *, models: bool = True) -> dict[str, Any]:
    """What must be equal for two sets of samples to be alike: the machines, and with `models` the model."""
    client = level["client"]
    hosts = level["facts"].get("hosts") or {}
    signature = {f"client {key}": client[key] for key in ("machine", "processor", "cores")}
    for name, facts in sorted(hosts.items()):
        for key in ("processor", "cores", "architecture"):
            if isinstance(facts, dict) and key in facts:
                signature[f"{name} {key}"] = facts[key]
    model = level["version"]["model"] if models else {}
    signature.update({f"model {key}": model.get(key) for key in ("name", "version", "digest")})
    return signature


def deployment_signature(record: dict[str, Any], levels: Sequence[Level] = ()) -> dict[str, Any]:
    """What else must be equal: how the service was deployed, as far as a level's record says it.

    Args:
        record: The record.
        levels: What one of these decides by a factor of its own is left out: so records of several levels are alike.
    """
    status, version, facts = (record.get(key) or {} for key in ("status", "version", "facts"))
    scaled, cores = record.get("autoscaler") or {}, facts.get("cpu_cores") or {}
    decided: dict[tuple[str, ...], dict[str, Any]] = {
        ("policy",): {"policy": status.get("policy")},
        ("pool_size",): {"workers": status.get("workers")},
        ("batch",): {"batch": version.get("batch")},
        ("workers_awake",): {f"autoscaler {key}": scaled.get(key) for key in ("minimum", "maximum")},
        ("cpu_share", "slow_worker"): {f"cores of {host}": share for host, share in cores.items()},
        (): {
            "limits": status.get("limits"),
            "autoscaler objective_s": scaled.get("objective_s"),
            "release of the workers": (facts.get("releases") or {}).get("worker"),
        },
    }
    for host, lines in (facts.get("gunicorn") or {}).items():
        settings = {name: value for name, _, value in (line.partition(" = ") for line in lines)}
        settings.pop("worker_class", None)  # by the batch of whichever level came before
        decided[()] |= {f"{host} gunicorn {name}": value for name, value in settings.items()}
    usual = Level()
    return {
        key: value
        for factors, told in decided.items()
        if all(getattr(level, factor) == getattr(usual, factor) for level in levels for factor in factors)
        for key, value in told.items()
    }


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Name what differs between two signatures."""
    return [
        f"{key}: {one.get(key)!r} and {other.get(key)!r}"
        for key in sorted({*one, *other})
        if one.get(key) != other.get(key)
    ]


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model"):
                return value.strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(git: str, folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 — fixed arguments
            [git, "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
