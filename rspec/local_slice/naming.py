"""Every name that a slice leaves on the host, derived from the slice's own name."""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rspec.local_slice.host import SliceError

# What every name of ours begins with: namespaces, control groups, firewall comments, machines.
PREFIX = "imagerec"
REGISTRY = Path("/run/imagerec-slice")
LOGIN = "slice"

_SLICE_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_INTERFACE_NAME_LIMIT = 15
_CONTROL_RANGE = ipaddress.IPv4Network("10.192.0.0/10")


@dataclass(frozen=True, slots=True)
class Names:
    """The names and folders of one slice.

    Args:
        slice_name: up to 32 of a-z, 0-9 and inner hyphens.
        project: the checkout; state stands in its `.run`, base images in its `.cache`.
    """

    slice_name: str
    project: Path

    def __post_init__(self) -> None:
        if not _SLICE_NAME.fullmatch(self.slice_name):
            raise SliceError(
                f"{self.slice_name!r} cannot name a slice: use up to 32 of a-z, 0-9 and, between them, hyphens"
            )

    @property
    def mark(self) -> str:
        """Name of the switch's network namespace, and the comment on every firewall rule of the slice."""
        return f"{PREFIX}-{self.slice_name}"

    @property
    def interface(self) -> str:
        """The one interface of the slice on the host: at most 15 characters, as the kernel wants."""
        plain = f"ir-{self.slice_name}"
        if len(plain) <= _INTERFACE_NAME_LIMIT:
            return plain
        digest = hashlib.sha256(self.slice_name.encode()).hexdigest()
        return f"ir-{self.slice_name[:5]}-{digest[:6]}"

    def machine(self, name: str) -> str:
        """Name of a machine's network namespace, also its name for systemd-nspawn."""
        return f"{self.mark}.{name}"

    @property
    def state(self) -> Path:
        """Folder of everything that belongs to this slice alone."""
        return self.project / ".run" / "slices" / self.slice_name

    @property
    def plan_file(self) -> Path:
        """The slice as planned (JSON)."""
        return self.state / "plan.json"

    @property
    def key_file(self) -> Path:
        """Private key of the machines' login."""
        return self.state / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """Host keys of the machines."""
        return self.state / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        """How `ssh` reaches each machine by its name."""
        return self.state / "ssh_config"

    def folder(self, machine: str) -> Path:
        """Folder of one machine: its overlay and its console's log."""
        return self.state / "machines" / machine

    @property
    def manifest(self) -> Path:
        """The manifest RSpec that deployments read."""
        return self.project / "rspec" / "manifests" / f"{self.slice_name}.xml"

    @property
    def cache(self) -> Path:
        """Folder of the base images, shared by all slices of the checkout."""
        return self.project / ".cache" / "slice"

    @property
    def claim(self) -> Path:
        """File that says which checkout holds this slice name on the host."""
        return REGISTRY / self.slice_name

    def control_subnets(self) -> Iterator[ipaddress.IPv4Network]:
        """The /24 subnets this slice may use for its control network, in the order to try them.

        The first depends on the slice's name only; the others follow it, around the whole range.
        """
        count = 2 ** (24 - _CONTROL_RANGE.prefixlen)
        start = int.from_bytes(hashlib.sha256(self.slice_name.encode()).digest()[:4], "big") % count
        for step in range(count):
            base = int(_CONTROL_RANGE.network_address) + ((start + step) % count) * 256
            yield ipaddress.IPv4Network((base, 24))

    def mac_address(self, interface: str) -> str:
        """A locally administered MAC address (colon notation) for an interface of this slice."""
        digest = hashlib.sha256(f"{self.slice_name}/{interface}".encode()).hexdigest()
        return ":".join(["02", *(digest[at : at + 2] for at in range(0, 10, 2))])
