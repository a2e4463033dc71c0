"""The base image: a Debian or Ubuntu of the host's own release, built once by debootstrap and shared."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rspec.local_slice.apt import carried_settings, sources_of_release, sources_text
from rspec.local_slice.host import SliceError, mount_points_below, run
from rspec.local_slice.naming import LOGIN, Names

# What a testbed's image has and a deployment counts on; services install their own packages themselves.
PACKAGES = (
    "ca-certificates",
    "curl",
    "dbus",
    "iproute2",
    "iputils-ping",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "python3-venv",
    "sudo",
    "systemd",
    "systemd-sysv",
)
# Timers that would start by themselves in the middle of a measurement.
_MASKED = ("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer")
_RECIPE = 1  # raise it when finish() changes, so that older images are not taken for current ones
SIZE_MB = 700  # of the image while it is built
_CERTIFICATES = Path("usr/local/share/ca-certificates")
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "ftp_proxy")


def host_release(text: str | None = None) -> str:
    """Code name of os-release(5), the host's own by default, such as bookworm; empty if no Debian or Ubuntu."""
    if text is None:
        text = Path("/etc/os-release").read_text()
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    distribution = fields.get("ID", "").strip('"')
    return fields.get("VERSION_CODENAME", "").strip('"') if distribution in {"debian", "ubuntu"} else ""


def base_name(release: str) -> str:
    """Folder name of the image of a release: it changes with the packages and with the recipe."""
    digest = hashlib.sha256(f"{_RECIPE} {' '.join(PACKAGES)}".encode()).hexdigest()
    return f"{release}-{platform.machine()}-{digest[:12]}"


def release_of(image: str) -> str:
    """Code name of the release of an image, by its folder name."""
    return image.partition("-")[0]


def problems(names: Names, image: str) -> list[str]:
    """Why a base image cannot be built here; empty where it can, or already is."""
    release = release_of(image)
    if not release:
        return [
            "the machines' release is not known, as this host is no Debian or Ubuntu: "
            "name one that its apt sources hold, as -e local_slice_release=bookworm"
        ]
    if (names.cache / image).is_dir():
        return []
    if image != base_name(release):
        return [
            f"the base image {image} is gone, and this checkout makes another one: take the slice down first "
            f"(make slice-down SLICE={names.slice_name})"
        ]
    found = []
    if shutil.which("debootstrap") is None:
        found.append("the program debootstrap is missing (package debootstrap)")
    if not sources_of_release(release):
        found.append(
            f"this host's apt has no http(s) source of {release!r} with the component main: "
            "add one under /etc/apt/sources.list.d, or choose a release it has with -e local_slice_release=NAME"
        )
    return found


@contextmanager
def _lock(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Let one process at a time build images in a folder; the kernel frees it when the process ends.

    Yields:
        Whether this process has it; always true when it waits.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)


def build(names: Names, image: str) -> bool:
    """Build a base image unless it is there; return whether it was built.

    It is built aside and renamed last, so that an interrupted build is never taken for an image.

    Raises:
        SliceError: it cannot be built here, or debootstrap or apt failed; the message holds their last words.
    """
    target = names.cache / image
    names.cache.mkdir(parents=True, exist_ok=True)
    with _lock(names.cache):
        if target.is_dir():
            return False
        found = problems(names, image)
        if found:
            raise SliceError("; ".join(found))
        partial = names.cache / f"{image}.partial"
        _discard(partial)
        release = release_of(image)
        sources = sources_of_release(release)
        components = ",".join(sources[0].components)
        try:
            run(
                [
                    "debootstrap",
                    "--variant=minbase",
                    f"--include={','.join(PACKAGES)}",
                    f"--components={components}",
                    release,
                    partial,
                    sources[0].uri,
                ],
                timeout_s=1800,
            )
        except SliceError as error:
            log = partial / "debootstrap" / "debootstrap.log"
            last = "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.is_file() else ""
            raise SliceError(f"the base image of {release} cannot be built: {error}\n{last}".rstrip()) from error
        finish(partial, release)
        partial.rename(target)
    return True


def finish(root: Path, release: str) -> None:
    """Turn a fresh debootstrap tree into what machines share: apt as on the host, a login, no keys of its own."""
    (root / "etc/apt/sources.list").write_text(sources_text(sources_of_release(release)))
    settings, _ = carried_settings()
    settings += "".join(
        f'Acquire::{name.removesuffix("_proxy")}::Proxy "{os.environ[name]}";\n'
        for name in _PROXY_VARIABLES
        if os.environ.get(name) and f"::{name.removesuffix('_proxy')}::Proxy " not in settings
    )
    (root / "etc/apt/apt.conf.d/90host").write_text(settings)
    for certificate in sorted(Path("/", _CERTIFICATES).glob("*.crt")):
        shutil.copy(certificate, root / _CERTIFICATES / certificate.name)
    inside = ["chroot", str(root)]
    run([*inside, "update-ca-certificates"])
    run([*inside, "useradd", "--create-home", "--shell", "/bin/bash", LOGIN])
    sudoers = root / "etc/sudoers.d" / LOGIN
    sudoers.write_text(f"{LOGIN} ALL=(ALL) NOPASSWD: ALL\n")
    sudoers.chmod(0o440)
    for unit in _MASKED:
        (root / "etc/systemd/system" / unit).unlink(missing_ok=True)
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    # Keys and ids are a machine's own; the indexes stay, so that a machine knows its packages from the start.
    for path in [*root.glob("etc/ssh/ssh_host_*"), root / "etc/machine-id", root / "var/lib/dbus/machine-id"]:
        path.unlink(missing_ok=True)
    run([*inside, "apt-get", "update", "--quiet"], timeout_s=600)
    run([*inside, "apt-get", "clean"])
    (root / "etc/resolv.conf").unlink(missing_ok=True)


def discard_unfinished(names: Names) -> bool:
    """Remove what interrupted builds left, unless a build is going on; return whether there was anything."""
    if not names.cache.is_dir():
        return False
    with _lock(names.cache, wait=False) as ours:
        partial = sorted(names.cache.glob("*.partial")) if ours else []
        for folder in partial:
            _discard(folder)
    return bool(partial)


def _discard(folder: Path) -> None:
    """Remove an unfinished tree, and the mounts that an interrupted debootstrap leaves in it."""
    for point in mount_points_below(folder):
        run(["umount", point])
    if folder.exists():
        shutil.rmtree(folder)
