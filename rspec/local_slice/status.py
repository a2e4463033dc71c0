"""Describe a slice."""

from __future__ import annotations

from rspec.local_slice.host import succeeds
from rspec.local_slice.limits import limiter_of
from rspec.local_slice.naming import Names
from rspec.local_slice.plan import need_plan


def status(names: Names) -> str:
    """Describe a slice as a table: each machine, whether it is on, and its addresses.

    Raises:
        SliceError: there is no such slice in this checkout.
    """
    plan = need_plan(names)
    limiter = limiter_of(names.slice_name)
    rows = [("MACHINE", "STATE", "SSH", "CONTROL", "CORES", "MEMORY", "SLICE ADDRESSES")]
    for machine in plan.machines:
        on = limiter.running(machine.name)
        login = ["ssh", "-F", str(names.ssh_config), "-o", "BatchMode=yes", "-o", "ConnectTimeout=3"]
        rows.append(
            (
                machine.name,
                "on" if on else "off",
                "yes" if on and succeeds([*login, machine.name, "true"]) else "no",
                machine.control_address,
                "-" if machine.cores is None else f"{machine.cores:g}",
                "-" if machine.memory_mb is None else f"{machine.memory_mb} MB",
                " ".join(str(port.ip.ip) for port in plan.ports(machine.name)) or "-",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(table)
