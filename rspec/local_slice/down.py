"""Take a slice down, whatever is left of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial

from rspec.local_slice import base, machines, network, preflight, registry
from rspec.local_slice.host import SliceError
from rspec.local_slice.limiter import Limiter
from rspec.local_slice.limits import limiter_of
from rspec.local_slice.naming import Names
from rspec.local_slice.options import Result


def _known_machines(names: Names, limiter: Limiter) -> list[str]:
    """Every machine of which anything is left, whether a plan knows it or not."""
    found = set(limiter.machines())
    found |= {name.removeprefix(f"{names.mark}.") for name in network.namespaces(names) if name != names.mark}
    folder = names.state / "machines"
    if folder.is_dir():
        found |= {path.name for path in folder.iterdir()}
    return sorted(found)


def take_down(names: Names, *, check: bool = False) -> Result:
    """Remove everything a slice made, found by its name: it needs no plan and mends what a crash left.

    Raises:
        SliceError: naming all that could not be removed; the rest is gone, and repeating it is safe.
    """
    if check:
        return Result(names.state.exists() or names.manifest.exists(), f"slice {names.slice_name!r} would be gone")
    if os.geteuid() != 0:
        raise SliceError("removing a slice needs root: run as root or through sudo")
    registry.refuse_foreign(names)
    missing = preflight.missing_programs()
    if missing:
        raise SliceError("; ".join(missing))
    limiter = limiter_of(names.slice_name)
    changed = names.state.exists() or names.manifest.exists()
    failures = []
    removals: list[Callable[[], bool]] = [
        *(partial(machines.remove_machine, names, name, limiter) for name in _known_machines(names, limiter)),
        partial(network.remove_network, names),
        limiter.remove_empty,
        partial(base.discard_unfinished, names),
        partial(machines.unmount_below, names.state),
    ]
    for remove in removals:
        try:
            changed |= remove()
        except (SliceError, OSError) as error:
            failures.append(str(error))
    if failures:
        raise SliceError("; ".join(failures) + "; run it again when that is mended")
    if names.state.exists():
        shutil.rmtree(names.state)
    names.manifest.unlink(missing_ok=True)
    changed |= registry.release(names)
    for folder in (names.state.parent, names.state.parent.parent):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return Result(changed, f"slice {names.slice_name!r} is {'gone' if changed else 'not there'}")
