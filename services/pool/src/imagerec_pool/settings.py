"""Settings of the agent: one JSON file, written by the deployment."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class SettingsError(Exception):
    """The file does not make valid settings; the message says why."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the agent must know.

    Attributes:
        servers: File with nginx's list of servers, one line each.
        serves: File that sets nginx's variable of whether anybody serves.
        access_log: The balancer's access log.
        nginx_pid: File with the process id of nginx.
        socket: Where this program listens; nginx asks it there.
        probe_interval_s: Seconds from one probe of a worker to the next.
        silent_s: Seconds without any answer after which a worker is down.
        failing_retry_s: Seconds after which a worker that answered by 500s is tried again.
        standby: File in which the autoscaler says who sleeps; None without one.
        autoscaler: Where the autoscaler answers, a Unix socket; None without one.
        prometheus: Where the Prometheus of this host would answer, such as http://127.0.0.1:9090; None without one.
    """

    servers: Path
    serves: Path
    access_log: Path
    nginx_pid: Path
    socket: Path
    probe_interval_s: float = 0.4
    silent_s: float = 1.2
    failing_retry_s: float = 10.0
    standby: Path | None = None
    autoscaler: Path | None = None
    prometheus: str | None = None


def read_settings(path: Path) -> Settings:
    """Read a file of settings.

    Raises:
        SettingsError: it cannot be read, lacks a setting, or has one that is unknown or no positive number.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be read: {error}; deploy the balancer again") from error
    known = {field.name: field for field in dataclasses.fields(Settings)}
    needed = {name for name, field in known.items() if field.default is dataclasses.MISSING}
    wrong = [f"{name} is unknown" for name in sorted(given.keys() - known.keys())]
    wrong += [f"{name} is missing" for name in sorted(needed - given.keys())]
    values: dict[str, Path | float | str] = {}
    for name in known.keys() & given.keys():
        try:
            values[name] = _value(name, given[name], path=name in needed | {"standby", "autoscaler"})
        except (TypeError, ValueError):
            wrong.append(f"{name} is {given[name]!r}")
    wrong += [f"{name} must be above 0" for name, value in values.items() if isinstance(value, float) and value <= 0]
    if wrong:
        raise SettingsError(f"{path}: {'; '.join(wrong)}; deploy the balancer again")
    return Settings(**values)  # type: ignore[arg-type]


def _value(name: str, given: Any, path: bool) -> Path | float | str:
    if name == "prometheus":
        if not str(given).startswith(("http://", "https://")):
            raise ValueError(given)
        return str(given)
    return Path(given) if path else float(given)
