"""From a folder of photographs to a bundle with a report: every step of `learn`, in order."""

from __future__ import annotations

import errno
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from imagerec_model import get as getting
from imagerec_model.errors import ModelError
from imagerec_model.learn import folder, head, network, report
from imagerec_model.learn.examination import Result, examine
from imagerec_model.learn.features import extract
from imagerec_model.learn.photographs import Collection, collect, identity, label_of
from imagerec_model.learn.split import near_duplicates, split
from imagerec_model.progress import progress
from imagerec_worker.bundle import Bundle, BundleError, ClassName, load_bundle, write_bundle

# Raise it with whatever makes another head of the same photographs.
_REVISION = 1
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,39}")


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the network's weights come from, and where features are kept.

    Attributes:
        packages: folder that keeps packages.
        cache: folder that keeps features.
        mirror: see `package.read_member`.
        offline: see there.
    """

    packages: Path
    cache: Path
    mirror: str | None = None
    offline: bool = False


def check_name(name: str) -> None:
    """Refuse a name that cannot be a bundle's, or is another model's.

    Raises:
        ModelError: it says which names can be had.
    """
    if not _NAME.fullmatch(name):
        raise ModelError(
            f"{name!r} cannot be the name of a model; take NAME= of small letters, digits, dots and hyphens, up to 40"
        )
    if name in getting.NAMES or re.match(r"lite\d", name):
        raise ModelError(f"{name} is the name of a model that comes with this project; choose another NAME=")


def default_name(data: Path) -> str:
    """Return the name that a model gets from its folder of photographs."""
    return re.sub(r"[^a-z0-9]+", "-", data.resolve().name.lower()).strip("-")[:40] or "learnt"


def learn(data: Path, name: str, out: Path, sources: Sources, seed: int = 0) -> tuple[Bundle, Result]:
    """Learn the classes of a folder of photographs.

    Args:
        data: folder with one folder of photographs a class.
        name: of the bundle.
        out: folder of learnt bundles; the bundle, its report and its record are `out`/`name`.
        sources: of weights and features.
        seed: of the split. The same photographs and the same seed give the same bundle, byte for byte, on one machine.

    Returns:
        The bundle in its place, and what was found on the way.

    Raises:
        ModelError: something is wrong with the photographs or the name; nothing is written.
        DownloadError: the weights could not be had.
    """
    check_name(name)
    try:
        collection = collect(data)
        folder.check_free(out / name, collection)
        base = network.make(sources.packages, sources.mirror, offline=sources.offline)
        found, failures = extract(collection.photographs, base, sources.cache)
        collection = collection.without(failures)
        photographs = collection.photographs
        features = np.stack([found[one.sha256] for one in photographs])
        labels = np.array([one.label for one in photographs], np.intp)
        pairs = near_duplicates(features, labels)
        parts = split(photographs, pairs, seed)
        with progress("cross-validation", head.number_of_fits(parts.folds)) as bar:
            learnt = head.fit(features[parts.learning], labels[parts.learning], parts.folds, len(collection.names), bar)
        examination = examine(learnt, features, labels, parts)
        title = (
            f"{len(collection.names)} classes learnt from {len(parts.learning)} photographs, "
            f"EfficientNet-Lite0 {network.BASE.size}, int8"
        )
        manifest = network.manifest(name, _version(collection, base, seed), title, learnt.unsure_below)
        classes = [ClassName(identity(one), label_of(one)) for one in collection.names]
        with folder.replacing(out / name) as aside:
            write_bundle(aside, manifest, model=base.with_head(learnt.head), classes=classes)
            result = Result(name, collection, parts, pairs, learnt, examination)
            (aside / folder.REPORT).write_text(report.render(result), encoding="utf-8")
            folder.write_record(aside, report.figures(result) | {"seed": seed}, collection)
    except (OSError, BundleError) as error:
        cause = error.__cause__ if isinstance(error, BundleError) else error
        if not isinstance(cause, OSError) or cause.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise ModelError(
            f"there is no room on the disk of {out}, of {sources.cache} or of temporary files; free some and run the "
            "same command again, which goes on from there"
        ) from error
    return load_bundle(out / name), result


def _version(collection: Collection, base: network.Network, seed: int) -> str:
    facts = [(collection.names[one.label], one.sha256) for one in collection.photographs]
    return hashlib.sha256(repr((_REVISION, base.version, seed, facts)).encode()).hexdigest()[:12] + "-int8"
