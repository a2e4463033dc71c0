"""Settings of the autoscaler: one JSON file, written by the deployment."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagerec_autoscaler.law import Rules

_PATHS = ("access_log", "pool_socket", "standby", "socket")


class SettingsError(Exception):
    """The file does not make valid settings; the message says why."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the autoscaler must know.

    Attributes:
        access_log: The balancer's access log.
        pool_socket: Where the agent of the pool answers.
        standby: The file in which this program says who sleeps; the only thing that it changes.
        socket: Where this program answers.
        minimum: See :class:`imagerec_autoscaler.law.Rules`, as for those that follow.
        maximum: More than there are workers only with a hook.
        objective_s: Seconds.
        utilisation: A share above 0 and below 1.
        down_after_s: Seconds.
        start_timeout_s: Seconds in which a woken worker must serve.
        processes: Processes of each worker, by its name.
        workers: What the inventory says of each worker, by its name: ``address`` and ``port`` are needed.
        hook: Command that is told how many workers are wanted, its last argument; empty for none.
        address: Virtual address that the acting balancer holds; empty where there is none.
        peers: Where the autoscalers of the other balancers answer, those first that go before this one.
        before: How many of them go before this one where there is no virtual address.
        hold: minimum and maximum while the run of Ansible lives that has the lock of that name; empty for none.
    """

    access_log: Path
    pool_socket: Path
    standby: Path
    socket: Path
    minimum: int
    maximum: int
    objective_s: float
    utilisation: float = 0.7
    down_after_s: float = 30.0
    start_timeout_s: float = 30.0
    processes: Mapping[str, int] = field(default_factory=dict)
    workers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    hook: tuple[str, ...] = ()
    address: str = ""
    peers: tuple[str, ...] = ()
    before: int = 0
    hold: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rules(self) -> Rules:
        """The numbers of the law."""
        return Rules(self.minimum, self.maximum, self.objective_s, self.utilisation, self.down_after_s)

    @property
    def held(self) -> Settings:
        """The settings while what ``hold`` names lives."""
        return dataclasses.replace(self, minimum=self.hold["minimum"], maximum=self.hold["maximum"], hold={})


def faults(settings: Settings) -> list[str]:
    """Return what is wrong with settings, in words."""
    workers = len(settings.processes)
    checks = {
        f"minimum is {settings.minimum}; choose 1 or more": settings.minimum >= 1,
        f"minimum {settings.minimum} is above maximum {settings.maximum}": settings.minimum <= settings.maximum,
        f"maximum is {settings.maximum}, there are {workers} workers and no hook that gets more": bool(settings.hook)
        or not workers
        or settings.maximum <= workers,
        f"utilisation is {settings.utilisation:g}; choose more than 0 and less than 1": 0 < settings.utilisation < 1,
        "objective_s, down_after_s and start_timeout_s must be above 0": min(
            settings.objective_s, settings.down_after_s, settings.start_timeout_s
        )
        > 0,
    }
    return [text for text, holds in checks.items() if not holds]


def read_settings(path: Path) -> Settings:
    """Read a file of settings.

    Raises:
        SettingsError: it cannot be read, lacks a setting, or has one that is unknown or cannot be.
    """
    try:
        given = dict(json.loads(path.read_text(encoding="utf-8")))
        values: dict[str, Any] = {
            name: Path(value) if name in _PATHS else tuple(value) if name in {"hook", "peers"} else value
            for name, value in given.items()
        }
        settings = Settings(**values)
        wrong = faults(settings) + (faults(settings.held) if settings.hold else [])
    except (OSError, ValueError, TypeError, KeyError) as error:
        known = ", ".join(each.name for each in dataclasses.fields(Settings))
        raise SettingsError(f"{path} cannot be read: {error}; deploy the balancer again (it knows {known})") from error
    if wrong:
        raise SettingsError(
            f"{path}: {'; '.join(wrong)}; change the autoscaler_ settings and deploy the balancer again"
        )
    return settings
