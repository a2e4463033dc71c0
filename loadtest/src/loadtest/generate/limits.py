"""What the balancer refuses by its own limits, and what a load made it refuse."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from loadtest.generate.samples import Sample

_REFUSED = 429
BY_ADDRESS = "too-many-requests"  # the problem that the balancer names when one address asks too often


@dataclass(frozen=True, slots=True)
class Limits:
    """What the balancer says at /status; 0 means no limit.

    Attributes:
        max_conns: Requests that a worker may have at a time for each of its processes.
        address_rate_hz: Requests a second of one address.
        address_connections: Requests of one address that may be under way.
    """

    max_conns: int = 0
    address_rate_hz: int = 0
    address_connections: int = 0

    def text(self) -> str:
        """The limits that there are, in words."""
        words = (
            (self.max_conns, "{} requests at a time for each process of a worker (balancer_max_conns)"),
            (self.address_rate_hz, "{} a second from one address (balancer_address_rate_hz)"),
            (self.address_connections, "{} under way from one address (balancer_address_connections)"),
        )
        return ", ".join(text.format(limit) for limit, text in words if limit) or "none"


def limits_of(status: Mapping[str, Any] | None) -> Limits | None:
    """Read the limits from what the balancer says; None where it says none or there is no balancer."""
    told = (status or {}).get("limits")
    if not isinstance(told, dict):
        return None
    return Limits(**{field.name: int(told.get(field.name) or 0) for field in fields(Limits)})


def in_the_way(limits: Limits | None, rate_hz: float | None, users: int | None = None) -> str | None:
    """Say before a load is sent that the balancer will refuse some of it; None where it need not.

    Args:
        limits: The balancer's; None where they are not known.
        rate_hz: The highest rate of one address; None for a closed loop.
        users: Users of a closed loop.
    """
    if limits is None:
        return None
    if rate_hz is not None and 0 < limits.address_rate_hz < rate_hz:
        return (
            f"one address sends {rate_hz:g} requests a second and the balancer takes {limits.address_rate_hz} from one "
            "address: it will refuse the rest; set balancer_address_rate_hz to 0"
        )
    if users is not None and 0 < limits.address_connections < users:
        return (
            f"{users} users ask at a time and the balancer takes {limits.address_connections} requests from one "
            "address: it will refuse the rest; set balancer_address_connections to 0"
        )
    return None


def refusals(samples: Iterable[Sample], limits: Limits | None) -> str | None:
    """Say how many requests were refused, why, and which limits there are; None where none was."""
    everything = list(samples)
    reasons = Counter(sample.error or "no reason" for sample in everything if sample.status == _REFUSED)
    if not reasons:
        return None
    why = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    told = "its limits are not known" if limits is None else f"its limits: {limits.text()}"
    return f"the balancer refused {reasons.total()} of {len(everything)} requests ({why}); {told}"
