"""The steps by which a slice comes up and goes down; each can be repeated, and says whether it changed anything."""

from __future__ import annotations

import ipaddress
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rspec.checks import load_checked
from rspec.geni_compat import GeniLibError
from rspec.local_slice import base, machines, network, preflight, registry
from rspec.local_slice.cores import LEAST_CORES
from rspec.local_slice.host import SliceError, mount_points_below, write
from rspec.local_slice.limits import limiter_of
from rspec.local_slice.manifest import manifest_text, write_manifest
from rspec.local_slice.naming import Names
from rspec.local_slice.plan import Plan, load_plan, need_plan
from rspec.local_slice.planning import differences, make_plan
from rspec.model import Request, RSpecError
from rspec.request import ProfileError, write_request


@dataclass(frozen=True, slots=True)
class Result:
    """What a step did."""

    changed: bool
    message: str
    notices: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def _facts(plan: Plan) -> dict[str, Any]:
    return {
        "machines": [machine.name for machine in plan.machines],
        "control_subnet": plan.control_subnet,
        "addresses": {machine.name: machine.control_address for machine in plan.machines},
    }


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a slice is to be.

    Args:
        request: file of the request RSpec, None for one written from the profile.
        parameters: the profile's parameters for a request that is written.
        cpu_scale: share of a host core that stands for one core of a scaled machine.
        cpu_scaled: regular expression of the names of the machines that are scaled.
        control_subnet: the control network, None for the first free one that follows from the name.
        release: code name of the machines' release, None for the host's own.
    """

    request: Path | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    cpu_scale: float = 1.0
    cpu_scaled: str = ".*"
    control_subnet: str | None = None
    release: str | None = None


def _read_request(wishes: Wishes) -> tuple[Request, str]:
    """The request and its text, which is written first where no file is named."""
    with tempfile.TemporaryDirectory(prefix="imagerec-") as folder:
        path = wishes.request
        try:
            if path is None:
                path = Path(folder) / "request.xml"
                words = [word for name, value in wishes.parameters.items() for word in (f"--{name}", value)]
                write_request(words, path)
            return load_checked(path), path.read_text()
        except (RSpecError, ProfileError, GeniLibError) as error:
            raise SliceError(str(error)) from error


def plan_slice(names: Names, wishes: Wishes, *, check: bool) -> Result:
    """Check the request and the host, claim the name, and save what is to be made.

    Args:
        names: the slice's names.
        wishes: what it is to be.
        check: only say what would be done.

    Raises:
        SliceError: with every problem found at once.
    """
    request, text = _read_request(wishes)
    registry.refuse_foreign(names)
    saved = load_plan(names)
    release = wishes.release or (saved.release if saved else base.host_release())
    found = preflight.problems(names, request, release, limiter_of(names.slice_name), fresh=saved is None)
    if found:
        listed = "".join(f"\n  - {problem}" for problem in found)
        raise SliceError(f"this host cannot be slice {names.slice_name!r}:{listed}")
    scale: dict[str, Any] = {"cpu_scale": wishes.cpu_scale, "cpu_scaled": wishes.cpu_scaled}
    if saved is None:
        subnet = preflight.choose_subnet(names, request, wishes.control_subnet)
        plan = make_plan(names, request, subnet, base.base_name(release), **scale)
    else:
        subnet = ipaddress.IPv4Network(wishes.control_subnet or saved.control_subnet)
        plan = make_plan(names, request, subnet, saved.base, **scale)
        other = differences(saved, plan)
        if other:
            raise SliceError(
                f"slice {names.slice_name!r} is already up and is not what is asked for ({'; '.join(other)}): "
                f"take it down first (make slice-down SLICE={names.slice_name}) or choose another name (SLICE=...)"
            )
    changed = registry.holder(names) is None or saved is None
    if changed and not check:
        registry.claim(names)
        write(names.request_file, text)
        plan.save(names.plan_file)
    notices = preflight.notices(request, plan, release)
    return Result(changed, f"{len(plan.machines)} machines on {plan.control_subnet}", notices, _facts(plan))


def build_base(names: Names) -> Result:
    """Build the base image that the plan names, unless it is there."""
    plan = need_plan(names)
    built = base.build(names, plan.release)
    return Result(built, f"base image {plan.base}")


def lay_network(names: Names) -> Result:
    """Make namespaces, links, rates and the way out, as far as they are missing."""
    plan = need_plan(names)
    shaped = any(port.sends.delay_ms or port.sends.loss for wiring in plan.wirings for port in wiring.ports)
    changed = network.add_network(names, plan, netem=shaped and network.can_shape("netem"))
    changed |= registry.forward()
    return Result(changed, f"{len(plan.wirings)} links")


def make_disks(names: Names) -> Result:
    """Mount every machine's disk, write what is its own, and how to log in."""
    plan = need_plan(names)
    changed = machines.make_login_key(names)
    for machine in plan.machines:
        changed |= machines.mount_disk(names, plan, machine.name)
        changed |= machines.write_files(names, plan, machine)
    changed |= machines.write_ssh_files(names, plan)
    return Result(changed, f"{len(plan.machines)} disks over {plan.base}")


def boot(names: Names, machine: str) -> Result:
    """Switch one machine on, unless it is."""
    plan = need_plan(names)
    changed = machines.switch_on(names, plan.machine(machine), limiter_of(names.slice_name))
    return Result(changed, f"{machine} is {'switched on' if changed else 'on'}")


def wait(names: Names, machine: str, timeout_s: float) -> Result:
    """Wait until one machine is ready."""
    plan = need_plan(names)
    found = machines.wait_ready(names, plan.machine(machine), limiter_of(names.slice_name), timeout_s)
    return Result(False, f"{machine} is ready", found)


def limit(names: Names, machine: str, cores: float | None, slower: float) -> Result:
    """Give a machine that is on so many cores of this host, or as many as planned, divided by `slower`.

    Raises:
        SliceError: neither cores nor a planned limit is known, or it would be less than the kernel can deal out.
    """
    wanted = cores or need_plan(names).machine(machine).cores
    if wanted is None:
        raise SliceError(f"machine {machine} has no CPU limit to start from: give --cores, or make the slice with one")
    if wanted / slower < 0.999 * LEAST_CORES:
        raise SliceError(f"{wanted / slower:g} cores are too few: {LEAST_CORES:g} is the least that can be dealt out")
    limiter_of(names.slice_name).limit_cpu(machine, wanted / slower)
    return Result(True, f"{machine} has {wanted / slower:g} cores", facts={"cores": wanted / slower})


def hand_over(names: Names) -> Result:
    """Write the manifest, by which inventories find the machines."""
    plan = need_plan(names)
    changed = write_manifest(names, plan)
    return Result(changed, f"manifest {names.manifest}", facts=_facts(plan) | {"manifest": str(names.manifest)})


def outlook(names: Names, command: str, machine: str | None) -> Result:
    """Say whether a step would change anything, without doing it."""
    plan = load_plan(names)
    if command == "down":
        return Result(names.state.exists() or names.manifest.exists(), f"slice {names.slice_name!r} would be gone")
    if plan is None:
        return Result(True, f"slice {names.slice_name!r} would be made")
    mounted = mount_points_below(names.state)
    would = {
        "base": lambda: not (names.cache / plan.base).is_dir(),
        "network": lambda: len(network.namespaces(names)) <= len(plan.machines),
        "disks": lambda: len(mounted) < len(plan.machines),
        "boot": lambda: not limiter_of(names.slice_name).running(machine or ""),
        "manifest": lambda: not names.manifest.is_file() or names.manifest.read_text() != manifest_text(names, plan),
    }
    return Result(would.get(command, bool)(), f"{command} was only looked at")
