"""Which checkout holds which slice name on this host, and what the slices changed in the host as a whole."""

from __future__ import annotations

from pathlib import Path

from rspec.local_slice.host import SliceError, write
from rspec.local_slice.naming import REGISTRY, Names

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
# Exists while forwarding is on because of us, and so goes off with the last slice. A slice cannot have this name.
_WE_FORWARD = REGISTRY / ".ip_forward"


def holder(names: Names) -> Path | None:
    """The checkout that holds the slice's name, where its state still exists; else None."""
    if not names.claim.is_file():
        return None
    project = Path(names.claim.read_text().strip())
    return project if Names(names.slice_name, project).state.is_dir() else None


def refuse_foreign(names: Names) -> None:
    """Refuse a name that another checkout holds.

    Raises:
        SliceError: naming that checkout.
    """
    other = holder(names)
    if other is not None and other != names.project:
        raise SliceError(
            f"slice {names.slice_name!r} is already up on this host, from {other}: take it down there "
            f"(make slice-down SLICE={names.slice_name}) or choose another name (SLICE=...)"
        )


def claim(names: Names) -> None:
    """Take the slice's name for this checkout."""
    write(names.claim, f"{names.project}\n")


def forward() -> bool:
    """Let the host pass packets on, remembering that it did not; return whether it did not."""
    if FORWARDING.read_text().strip() == "1":
        return False
    write(_WE_FORWARD, "0\n")
    FORWARDING.write_text("1\n")
    return True


def release(names: Names) -> bool:
    """Give the slice's name back and, after the last slice, undo `forward`; return whether it was held."""
    held = names.claim.is_file()
    names.claim.unlink(missing_ok=True)
    if REGISTRY.is_dir() and {path.name for path in REGISTRY.iterdir()} <= {_WE_FORWARD.name}:
        if _WE_FORWARD.is_file():
            FORWARDING.write_text(_WE_FORWARD.read_text())
            _WE_FORWARD.unlink()
        REGISTRY.rmdir()
    return held
