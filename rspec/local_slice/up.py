"""Bring a slice up: each step can be repeated, and tells whether it changed anything."""

from __future__ import annotations

import ipaddress
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rspec.checks import load_checked
from rspec.geni_compat import GeniLibError
from rspec.local_slice import base, machines, network, preflight, registry
from rspec.local_slice.cores import LEAST_CORES, allowed_cores, too_few
from rspec.local_slice.host import SliceError, mount_points_below
from rspec.local_slice.limits import limiter_of
from rspec.local_slice.manifest import manifest_text, write_manifest
from rspec.local_slice.naming import Names
from rspec.local_slice.options import Options, Result
from rspec.local_slice.plan import Plan, load_plan, need_plan
from rspec.local_slice.planning import differences, make_plan
from rspec.model import Request, RSpecError
from rspec.request import ProfileError, write_request


def _read_request(options: Options) -> Request:
    """The request, which is written first where no file is named."""
    with tempfile.TemporaryDirectory(prefix="imagerec-") as folder:
        path = options.request
        try:
            if path is None:
                path = Path(folder) / "request.xml"
                words = [word for name, value in options.parameters.items() for word in (f"--{name}", value)]
                write_request(words, path)
            return load_checked(path)
        except (RSpecError, ProfileError, GeniLibError) as error:
            raise SliceError(str(error)) from error


def plan_slice(names: Names, options: Options, *, check: bool) -> Result:
    """Check the request and the host, claim the name, and save what is to be made.

    Args:
        names: the slice's names.
        options: what it is to be.
        check: only say what would be done.

    Raises:
        SliceError: with every problem found at once.
    """
    request = _read_request(options)
    registry.refuse_foreign(names)
    scale: dict[str, Any] = {"cpu_scale": options.cpu_scale, "cpu_scaled": options.cpu_scaled}
    saved = load_plan(names)
    asked = options.release or (saved.release if saved else base.host_release())
    image = saved.base if saved and saved.release == asked else base.base_name(asked)
    if saved is not None:
        subnet = options.control_subnet or ipaddress.IPv4Network(saved.control_subnet)
        plan = make_plan(names, request, subnet, image, **scale)
        other = differences(saved, plan)
        if other:
            raise SliceError(
                f"slice {names.slice_name!r} is already up and is not what is asked for ({'; '.join(other)}): "
                f"take it down first (make slice-down SLICE={names.slice_name}) or choose another name (SLICE=...)"
            )
    found = preflight.problems(names, request, image, limiter_of(names.slice_name), fresh=saved is None)
    if found:
        listed = "".join(f"\n  - {problem}" for problem in found)
        raise SliceError(f"this host cannot be slice {names.slice_name!r}:{listed}")
    if saved is None:
        subnet = preflight.choose_subnet(names, request, options.control_subnet)
        plan = make_plan(names, request, subnet, image, **scale)
    changed = registry.holder(names) is None or saved is None
    if changed and not check:
        registry.claim(names)
        plan.save(names.plan_file)
    notices = preflight.notices(request, plan)
    return Result(changed, f"{len(plan.machines)} machines on {plan.control_subnet}", notices)


def bring_up(names: Names, options: Options, *, check: bool = False) -> Result:
    """Plan a slice and make what is missing of it; what is done stands on standard error.

    Args:
        names: the slice's names.
        options: what it is to be.
        check: only say what would be done.

    Raises:
        SliceError: it cannot be made; what was made stays, and repeating it goes on from there.
    """
    planned = plan_slice(names, options, check=check)
    if check:
        return replace(planned, changed=planned.changed or _incomplete(names))
    plan, limiter = need_plan(names), limiter_of(names.slice_name)
    notices, changed = list(planned.notices), planned.changed
    shaped = any(port.sends.delay_ms or port.sends.loss for wiring in plan.wirings for port in wiring.ports)
    steps: list[tuple[str, Callable[[], bool]]] = [
        ("base image, once, in about two minutes", lambda: base.build(names, plan.base)),
        ("links", lambda: network.add_network(names, plan, netem=shaped and network.can_shape("netem"))),
        ("way out", registry.forward),
        ("disks", lambda: _make_disks(names, plan)),
        *((f"{each.name} on", partial(machines.switch_on, names, each, limiter)) for each in plan.machines),
    ]
    for what, step in steps:
        _tell(what)
        changed |= step()
    for machine in plan.machines:
        _tell(f"{machine.name} ready at {machine.control_address}")
        notices += machines.wait_ready(names, machine, limiter, options.timeout)
    changed |= write_manifest(names, plan)
    message = f"{planned.message}, manifest {names.manifest}"
    return Result(changed, message, notices)


def _tell(what: str) -> None:
    sys.stderr.write(f"{what} …\n")


def _make_disks(names: Names, plan: Plan) -> bool:
    """Mount every machine's disk, write what is its own, and how to log in."""
    changed = machines.make_login_key(names)
    for machine in plan.machines:
        changed |= machines.mount_disk(names, plan, machine.name)
        changed |= machines.write_files(names, plan, machine)
    return machines.write_ssh_files(names, plan) or changed


def _incomplete(names: Names) -> bool:
    """Whether anything of a slice that is planned is missing."""
    plan, limiter = load_plan(names), limiter_of(names.slice_name)
    return (
        plan is None
        or not (names.cache / plan.base).is_dir()
        or len(network.namespaces(names)) <= len(plan.machines)
        or len(mount_points_below(names.state)) < len(plan.machines)
        or not all(limiter.running(machine.name) for machine in plan.machines)
        or not names.manifest.is_file()
        or names.manifest.read_text() != manifest_text(names, plan)
    )


def switch_on(names: Names, machine: str) -> bool:
    """Switch one machine of a slice on, unless it is; return whether it was off."""
    return machines.switch_on(names, need_plan(names).machine(machine), limiter_of(names.slice_name))


def limit(names: Names, machine: str, cores: float | None, slower: float) -> Result:
    """Give a machine that is on so many cores of this host, or as many as planned, divided by `slower`.

    Raises:
        SliceError: neither cores nor a planned limit is known, or it would be less than the kernel can deal out.
    """
    planned = need_plan(names).machine(machine)
    wanted = cores or planned.cores
    if wanted is None:
        raise SliceError(f"machine {machine} has no CPU limit to start from: give --cores, or make the slice with one")
    if too_few(wanted / slower):
        raise SliceError(f"{wanted / slower:g} cores are too few: {LEAST_CORES:g} is the least that can be dealt out")
    limiter = limiter_of(names.slice_name)
    limiter.limit_cpu(machine, wanted / slower)
    limiter.place(machine, allowed_cores(wanted / slower, planned.number))
    return Result(True, f"{machine} has {wanted / slower:g} cores", facts={"cores": wanted / slower})
