"""Everything that must be so before a slice is made, found out at once and without changing the host."""

from __future__ import annotations

import ipaddress
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rspec.local_slice import apt, base, network
from rspec.local_slice.host import SliceError, run, succeeds
from rspec.local_slice.limiter import Limiter
from rspec.local_slice.machines import name_servers
from rspec.local_slice.naming import Names
from rspec.local_slice.plan import Plan
from rspec.model import Request

# Program → Debian package.
PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "tc": "iproute2",
    "iptables": "iptables",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "mount": "mount",
    "unshare": "util-linux",
    "taskset": "util-linux",
}
DISK_MB_PER_MACHINE = 200  # what a deployment writes on a worker: its environment, a bundle, packages, logs
INOTIFY_PER_MACHINE = 8  # counted on Debian 12: systemd five, its login service, D-Bus and a console one each
_MB = 2**20


def missing_programs() -> list[str]:
    """One problem that names every missing program and the packages to install; empty where none is."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if not missing:
        return []
    packages = " ".join(sorted({PROGRAMS[name] for name in missing}))
    return [f"missing on this host: {', '.join(missing)}; install them with: apt-get install {packages}"]


def _nearest(folder: Path) -> Path:
    """The folder itself or the innermost of its parents that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def disk_problems(names: Names, machines: int, image: str) -> list[str]:
    """Refuse a disk on which the slice would not fit, with its base image where that is not built yet."""
    needed_mb = machines * DISK_MB_PER_MACHINE
    if not (names.cache / image).is_dir():
        needed_mb += base.SIZE_MB
    free_mb = shutil.disk_usage(_nearest(names.state)).free // _MB
    if free_mb >= needed_mb:
        return []
    return [
        f"{names.project} has {free_mb} MB free and {machines} machines need {needed_mb} MB: free some, "
        "or use a checkout on another disk"
    ]


def inotify_problems(machines: int, proc: Path = Path("/proc")) -> list[str]:
    """Refuse more machines than the kernel has inotify instances for: their root is this host's root."""
    limit = int((proc / "sys/fs/inotify/max_user_instances").read_text())
    used = sum(_is_inotify(entry) for entry in proc.glob("[0-9]*/fd/*"))
    needed = machines * INOTIFY_PER_MACHINE
    if used + needed <= limit:
        return []
    return [
        f"{machines} machines need {needed} inotify instances, and {used} of this host's {limit} are taken: raise "
        f"the limit (sysctl fs.inotify.max_user_instances={2 * (used + needed)}) or remove another slice"
    ]


def _is_inotify(descriptor: Path) -> bool:
    try:
        return "inotify" in str(descriptor.readlink())
    except OSError:  # closed meanwhile
        return False


def _try_overlay(names: Names) -> list[str]:
    """Try an overlay whose upper folder is where the machines' would be, in a mount namespace of its own."""
    try:
        with tempfile.TemporaryDirectory(prefix=".overlay-", dir=_nearest(names.state)) as name:
            parts = [Path(name) / part for part in ("lower", "upper", "work", "root")]
            for part in parts:
                part.mkdir()
            lower, upper, work, root = parts
            options = f"lowerdir={lower},upperdir={upper},workdir={work}"
            run(["unshare", "--mount", "mount", "-t", "overlay", "trial", "-o", options, root])
    except (SliceError, OSError) as error:
        return [f"no overlay can be mounted in {names.project}: {error}; use a checkout on a local disk (ext4, xfs)"]
    return []


def _rights(names: Names, request: Request, limiter: Limiter) -> Iterator[str]:
    yield from limiter.problems()
    yield from _try_overlay(names)
    if not succeeds(["unshare", "--net", "true"]):
        yield "network namespaces cannot be made here: the container or kernel this runs in forbids it"
        return
    capacity = any(item.capacity_kbps for link in request.links for item in link.properties)
    if capacity and not network.can_shape("tbf"):
        yield "the kernel cannot limit a link's rate (sch_tbf): load it (modprobe sch_tbf), or ask for --bandwidth 0"
    if not succeeds(["iptables", "-w", "-t", "nat", "-S"]):
        yield "iptables has no nat table here: the machines would have no way out for packages"


def _used_subnets(request: Request) -> Iterator[str]:
    networks = network.host_networks()
    for link in request.links:
        subnet = next(item.ip.network for item in request.interfaces if item.client_id in link.interfaces)
        for used, device in networks:
            if subnet.overlaps(used):
                yield (
                    f"link {link.client_id} uses {subnet}, but this host reaches {used} by {device}: give the link "
                    "other addresses in the request RSpec, and pass that file as RSPEC=FILE"
                )


def problems(names: Names, request: Request, image: str, limiter: Limiter, *, fresh: bool) -> list[str]:
    """Every reason why this host cannot be the slice; one that is there (not `fresh`) has its disk and subnets."""
    found = [] if os.geteuid() == 0 else ["machines and network namespaces need root: run as root or through sudo"]
    found += missing_programs()
    found += base.problems(names, image)
    if found:
        return found
    found += _rights(names, request, limiter)
    if fresh:
        found += _used_subnets(request)
        found += disk_problems(names, len(request.nodes), image)
        found += inotify_problems(len(request.nodes))
    return found


def notices(request: Request, plan: Plan) -> list[str]:
    """What the slice will not do as the request says, in plain words."""
    found = []
    if any(node.disk_image for node in request.nodes):
        found.append(f"the machines run {plan.release}; the disk images that the request names are the testbeds' own")
    properties = [item for link in request.links for item in link.properties]
    delayed = any(float(item.latency_ms or 0) or float(item.packet_loss or 0) for item in properties)
    if delayed and not network.can_shape("netem"):
        found.append("this kernel has no netem: the links' latency and loss are left out, their rates are kept")
    cores, memory_mb = len(os.sched_getaffinity(0)), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _MB
    asked = sum(machine.cores or 0 for machine in plan.machines)
    if asked > cores:
        found.append(
            f"the machines may use {asked:g} cores in all and this host has {cores}: under full load they share "
            "them; for workers whose capacities add up, lower CPU_SCALE (local_slice_cpu_scale)"
        )
    asked_mb = sum(node.ram_mb or 0 for node in request.nodes)
    if asked_mb > memory_mb:
        found.append(f"the machines may use {asked_mb} MB of memory in all and this host has {memory_mb} MB")
    return found + name_servers()[1] + apt.carried_settings()[1]


def choose_subnet(names: Names, request: Request, wanted: ipaddress.IPv4Network | None) -> ipaddress.IPv4Network:
    """Choose the control network: the one asked for, or the first of the slice's own that is free.

    Raises:
        SliceError: the one asked for is in use, or none is free.
    """
    taken = [(used, f"this host, by {device}") for used, device in network.host_networks()]
    taken += [(item.ip.network, f"the request, by {item.client_id}") for item in request.interfaces]
    if wanted is None:
        for subnet in names.control_subnets():
            if not any(subnet.overlaps(used) for used, _ in taken):
                return subnet
        raise SliceError("no /24 of 10.192.0.0/10 is free on this host; name one with -e local_slice_control_subnet")
    for used, owner in taken:
        if wanted.overlaps(used):
            raise SliceError(f"the control subnet {wanted} is used by {owner} ({used}): choose another one")
    return wanted
