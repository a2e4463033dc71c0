"""What a local slice is: its machines, wires and rates, kept in a file."""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rspec.local_slice.base import release_of
from rspec.local_slice.host import SliceError, write
from rspec.local_slice.naming import Names

CONTROL_DEVICE = "eth0"


@dataclass(frozen=True, slots=True)
class Shape:
    """What one end of a wire does to the packets that it sends.

    Args:
        rate_kbps: kilobits a second, None for as fast as the host.
        delay_ms: one-way delay in milliseconds.
        loss: share of packets dropped, from 0 to 1.
    """

    rate_kbps: int | None = None
    delay_ms: float = 0
    loss: float = 0


@dataclass(frozen=True, slots=True)
class Port:
    """One experiment interface of a machine."""

    interface: str
    machine: str
    device: str
    mac: str
    address: str  # with prefix length, as 10.10.1.11/24
    sends: Shape  # on the machine's own end
    receives: Shape  # on the switch's end; of a direct wire, nothing

    @property
    def ip(self) -> ipaddress.IPv4Interface:
        """The address as a number with its subnet."""
        return ipaddress.IPv4Interface(self.address)


@dataclass(frozen=True, slots=True)
class Wiring:
    """One link of the RSpec: a LAN (ports on a bridge of the switch) or a direct wire between two machines."""

    name: str
    lan: bool
    ports: tuple[Port, ...]


@dataclass(frozen=True, slots=True)
class Machine:
    """One node of the RSpec; None for cores or memory means no limit."""

    name: str
    control_address: str
    control_mac: str
    cores: float | None
    memory_mb: int | None
    exclusive: bool

    @property
    def number(self) -> int:
        """Its address in the control network as a number: consecutive within a slice."""
        return int(ipaddress.ip_address(self.control_address))


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole slice, ready to be made."""

    slice_name: str
    control_subnet: str
    gateway: str
    machines: tuple[Machine, ...]
    wirings: tuple[Wiring, ...]
    base: str  # folder of the base image under the cache

    @property
    def release(self) -> str:
        """Code name of the release that the machines run."""
        return release_of(self.base)

    def machine(self, name: str) -> Machine:
        """Return the machine of this name.

        Raises:
            SliceError: the slice has none; the message lists those it has, the nearest first.
        """
        for machine in self.machines:
            if machine.name == name:
                return machine
        names = [item.name for item in self.machines]
        near = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {near[0]}? It" if near else "it"
        raise SliceError(f"slice {self.slice_name!r} has no machine {name!r}; {hint} has {', '.join(names)}")

    def ports(self, machine: str) -> list[Port]:
        """The experiment interfaces of one machine, in the order of their devices."""
        found = [port for wiring in self.wirings for port in wiring.ports if port.machine == machine]
        return sorted(found, key=lambda port: int(port.device.removeprefix("eth")))

    def save(self, path: Path) -> None:
        """Write the plan as JSON."""
        write(path, json.dumps(dataclasses.asdict(self), indent=2) + "\n")


def load_plan(names: Names) -> Plan | None:
    """Read the plan of a slice; None where there is none.

    Raises:
        SliceError: the file is there but is no plan.
    """
    try:
        return _plan_of(json.loads(names.plan_file.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise SliceError(
            f"{names.plan_file} cannot be read ({type(error).__name__}: {error}); "
            f"remove the slice with `make slice-down SLICE={names.slice_name}`"
        ) from error


def _plan_of(data: dict[str, Any]) -> Plan:
    """The plan that was saved as `data`."""
    wirings = tuple(
        Wiring(
            name=item["name"],
            lan=item["lan"],
            ports=tuple(
                Port(**{**port, "sends": Shape(**port["sends"]), "receives": Shape(**port["receives"])})
                for port in item["ports"]
            ),
        )
        for item in data["wirings"]
    )
    machines = tuple(Machine(**item) for item in data["machines"])
    return Plan(**{**data, "machines": machines, "wirings": wirings})


def need_plan(names: Names) -> Plan:
    """Read the plan of a slice that must exist.

    Raises:
        SliceError: there is no such slice.
    """
    plan = load_plan(names)
    if plan is None:
        raise SliceError(
            f"there is no slice {names.slice_name!r} here; make it with `make slice-up SLICE={names.slice_name}`"
        )
    return plan
