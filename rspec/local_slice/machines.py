"""The machines of a slice: their disks (an overlay over the base image), their own files, on, ready and off."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
import uuid
from pathlib import Path

from rspec.local_slice.cores import allowed_cores
from rspec.local_slice.host import SliceError, give_to_owner_of, mount_points_below, run, succeeds, write
from rspec.local_slice.limiter import Limiter
from rspec.local_slice.naming import LOGIN, Names
from rspec.local_slice.plan import Machine, Plan
from rspec.ssh import ssh_path

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|[\r\x00-\x08]")
_NSPAWN_LEFTOVERS = Path("/run/systemd/nspawn/propagate")


def root(names: Names, machine: str) -> Path:
    """Where a machine's whole file system is mounted on the host."""
    return names.folder(machine) / "root"


def name_servers(folder: Path = Path("/")) -> tuple[str, list[str]]:
    """A resolv.conf for the machines.

    Args:
        folder: the root of the host's file system.

    Returns:
        The text, and notices where the host's own resolver cannot serve them.
    """
    for name in ("etc/resolv.conf", "run/systemd/resolve/resolv.conf"):
        path = folder / name
        if not path.is_file():
            continue
        text = path.read_text(errors="replace")  # a comment may be in another encoding
        lines = [line for line in text.splitlines() if line.startswith(("nameserver", "search", "domain"))]
        # A name server on the host's loopback is out of the machines' reach.
        lines = [line for line in lines if not re.match(r"nameserver\s+(127\.|::1)", line)]
        if any(line.startswith("nameserver") for line in lines):
            return "".join(f"{line}\n" for line in lines), []
    return "", ["this host names no name server but its own loopback: the machines resolve only each other's names"]


def _hosts_file(plan: Plan, own: str) -> str:
    """The hosts file of a machine: each machine by its experiment address, as testbeds do it."""
    mine = {port.ip.network for port in plan.ports(own)}
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    for machine in plan.machines:
        ports = plan.ports(machine.name)
        # Of several addresses, the one on a link of ours comes first: it is the one we can reach.
        ports.sort(key=lambda port: port.ip.network not in mine)
        for position, port in enumerate(ports):
            extra = f" {machine.name}" if position == 0 else ""
            lines.append(f"{port.ip.ip} {port.interface.replace(':', '-')}{extra}")
    return "\n".join(lines) + "\n"


def make_login_key(names: Names) -> bool:
    """Make the slice's own SSH key unless it is there; return whether it was made."""
    if names.key_file.is_file():
        return False
    names.state.mkdir(parents=True, exist_ok=True)
    names.key_file.with_suffix(".pub").unlink(missing_ok=True)
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", names.mark, "-f", names.key_file])
    give_to_owner_of(names.project, names.key_file, names.key_file.with_suffix(".pub"))
    return True


def mount_disk(names: Names, plan: Plan, machine: str) -> bool:
    """Mount a machine's disk unless it is mounted; return whether it was not.

    Raises:
        SliceError: the file system of the checkout cannot carry an overlay, or the disk is full.
    """
    folder = names.folder(machine)
    target = root(names, machine)
    for part in (folder / "upper", folder / "work", target):
        part.mkdir(parents=True, exist_ok=True)
    if target in mount_points_below(target):
        return False
    lower = names.cache / plan.base
    options = f"lowerdir={lower},upperdir={folder / 'upper'},workdir={folder / 'work'}"
    run(["mount", "-t", "overlay", names.machine(machine), "-o", options, target])
    return True


def write_files(names: Names, plan: Plan, machine: Machine) -> bool:
    """Write what is a machine's own into its mounted disk; return whether anything changed."""
    top = root(names, machine.name)
    # Derived, not random: journals and leases keep their identity when the slice is made again.
    identity = uuid.uuid5(uuid.NAMESPACE_DNS, names.machine(machine.name)).hex
    changed = write(top / "etc/machine-id", f"{identity}\n", 0o444)
    changed |= write(top / "etc/hostname", f"{machine.name}\n")
    changed |= write(top / "etc/hosts", _hosts_file(plan, machine.name))
    changed |= write(top / "etc/resolv.conf", name_servers()[0])
    host_key = top / "etc/ssh/ssh_host_ed25519_key"
    if not host_key.is_file():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", machine.name, "-f", host_key])
        changed = True
    home = top / "home" / LOGIN
    owner = home.stat()
    keys = home / ".ssh" / "authorized_keys"
    if write(keys, names.key_file.with_suffix(".pub").read_text(), 0o600):
        changed = True
        keys.parent.chmod(0o700)
    for path in (keys.parent, keys):
        shutil.chown(path, owner.st_uid, owner.st_gid)
    return changed


def write_ssh_files(names: Names, plan: Plan) -> bool:
    """Write known_hosts and ssh_config of the slice from the machines' own host keys."""
    known = ""
    config = f"# ssh -F {names.ssh_config} MACHINE\n"
    for machine in plan.machines:
        key = (names.folder(machine.name) / "upper/etc/ssh/ssh_host_ed25519_key.pub").read_text().split()
        known += f"{machine.control_address} {key[0]} {key[1]}\n"
        config += (
            f"Host {machine.name}\n  HostName {machine.control_address}\n  User {LOGIN}\n"
            f'  IdentityFile "{ssh_path(names.key_file)}"\n  IdentitiesOnly yes\n'
            f'  UserKnownHostsFile "{ssh_path(names.known_hosts)}"\n  StrictHostKeyChecking yes\n  LogLevel ERROR\n'
        )
    changed = write(names.known_hosts, known)
    changed |= write(names.ssh_config, config)
    give_to_owner_of(names.project, names.known_hosts, names.ssh_config)
    return changed


def console_path(names: Names, machine: str) -> Path:
    """The log of a machine's console."""
    return names.folder(machine) / "console.log"


def console_tail(names: Names, machine: str) -> str:
    """The last lines a machine wrote on its console, without colours."""
    try:
        text = console_path(names, machine).read_text(errors="replace")
    except FileNotFoundError:
        return "(its console is empty)"
    return "\n".join(_ESCAPE.sub("", text).splitlines()[-25:]) or "(its console is empty)"


def switch_on(names: Names, machine: Machine, limiter: Limiter) -> bool:
    """Start a machine whose disk and wires are there, unless it is on; return whether it was off."""
    if limiter.running(machine.name):
        return False
    limiter.kill(machine.name)
    limits = limiter.prepare(machine.name, machine.cores, machine.memory_mb)
    full_name = names.machine(machine.name)
    command = [
        *("taskset", "--cpu-list", ",".join(map(str, allowed_cores(machine.cores, machine.number)))),
        *limits,
        "systemd-nspawn",
        "--quiet",
        "--boot",
        f"--directory={root(names, machine.name)}",
        f"--machine={full_name}",
        f"--network-namespace-path=/run/netns/{full_name}",
        # To end connections, as the pool's agent does. By itself nspawn gives it only with a network that it made.
        "--capability=CAP_NET_ADMIN",
        *("--register=no", "--keep-unit", "--settings=no", "--resolv-conf=off", "--timezone=off", "--link-journal=no"),
        # A load generator tells by it what other programs on this host take.
        *(f"--bind-ro={path}:/run/imagerec-{whose}-cpu" for whose, path in limiter.used_cpu().items() if path.exists()),
    ]
    with console_path(names, machine.name).open("ab") as console:
        # Its own session: the machine outlives the command that started it.
        machine_process = subprocess.Popen(  # noqa: S603  every word is ours
            command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True, cwd="/"
        )
    machine_process.returncode = 0  # it outlives this command: nobody waits for it, and nobody is warned
    return True


def _answers(address: str, port: int = 22) -> bool:
    try:
        with socket.create_connection((address, port), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False


def wait_ready(names: Names, machine: Machine, limiter: Limiter, timeout_s: float) -> list[str]:
    """Wait until a machine lets us in by SSH and its systemd has started everything.

    Args:
        names: the slice's names.
        machine: a machine that is switched on.
        limiter: the slice's control groups, to see whether the machine is still on.
        timeout_s: seconds to wait.

    Returns:
        Notices about units that failed; empty for a machine in order.

    Raises:
        SliceError: it went off or was not ready in time; the message ends with its console's last lines.
    """
    deadline = time.monotonic() + timeout_s
    login = ["ssh", "-F", str(names.ssh_config), "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", machine.name]
    grace = time.monotonic() + 3
    while not (_answers(machine.control_address) and succeeds([*login, "true"])):
        reason = None
        if time.monotonic() > grace and not limiter.running(machine.name):
            reason = "went off while it booted"
        elif time.monotonic() > deadline:
            reason = f"does not answer by SSH within {timeout_s:.0f} s"
        if reason:
            raise SliceError(
                f"machine {machine.name} {reason}; its console's last lines "
                f"({console_path(names, machine.name)}):\n{console_tail(names, machine.name)}"
            )
        time.sleep(0.2)
    remaining = max(1.0, deadline - time.monotonic())
    # The exit code says "degraded" as well; the state's name is what counts.
    answer = run([*login, "systemctl is-system-running --wait || true"], timeout_s=remaining + 5).strip()
    if answer == "running":
        return []
    failed = run([*login, "systemctl list-units --failed --plain --no-legend | cut -d' ' -f1"]).split()
    return [f"machine {machine.name} is {answer}: {', '.join(failed) or 'no unit is named'}"]


def remove_machine(names: Names, machine: str, limiter: Limiter) -> bool:
    """Switch a machine off at once and remove its groups, mounts and what systemd-nspawn left behind."""
    changed = limiter.kill(machine)
    changed |= limiter.remove(machine)
    changed |= unmount_below(names.folder(machine))
    leftover = _NSPAWN_LEFTOVERS / names.machine(machine)
    if leftover.is_dir():
        leftover.rmdir()
        changed = True
    return changed


def unmount_below(folder: Path) -> bool:
    """Unmount everything at or below a folder; return whether there was anything."""
    points = mount_points_below(folder)
    for point in points:
        if not succeeds(["umount", point]):
            run(["umount", "--lazy", point])
    return bool(points)
