"""Features of photographs: computed on every core, kept by content, so that a photograph is computed once."""

from __future__ import annotations

import contextlib
import hashlib
import io
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imagerec_model.efficientnet import FEATURES
from imagerec_model.errors import ModelError
from imagerec_model.learn.network import Network, write_features_bundle
from imagerec_model.learn.photographs import LIMITS, LeftOut, Photograph, read
from imagerec_model.progress import progress
from imagerec_worker.bundle import load_bundle
from imagerec_worker.classifier import Classifier
from imagerec_worker.errors import ProblemError, UnsupportedFormatError
from imagerec_worker.preprocess import preprocess

Features = npt.NDArray[np.float32]

# So many photographs go to a process at a time: enough that handing over costs nothing, few enough for the bar.
_BATCH = 4


class Store:
    """Features on disk, one file a photograph, named by the photograph's content.

    Args:
        folder: where they are; its name must change with whatever the features depend on.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, sha256: str) -> Features | None:
        """Return the features of a content, float32 `[1280]`; None when they are not there whole."""
        try:
            found: Features = np.load(self._path(sha256), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        return found if found.shape == (FEATURES,) and found.dtype == np.float32 else None

    def put(self, sha256: str, features: Features) -> None:
        """Keep the features of a content: the file appears at once and whole, or not at all."""
        path = self._path(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}")
        content = io.BytesIO()
        np.save(content, features)
        try:
            aside.write_bytes(content.getvalue())  # numpy itself would not say that the disk is full
            aside.replace(path)
        finally:
            with contextlib.suppress(OSError):
                aside.unlink()

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / f"{sha256}.npy"


def extract(
    photographs: Sequence[Photograph], network: Network, cache: Path, processes: int | None = None
) -> tuple[dict[str, Features], list[LeftOut]]:
    """Return the features of photographs, from the cache where they are there.

    Args:
        photographs: each content once.
        network: which computes them.
        cache: folder that keeps features from one time to the next.
        processes: how many work; as many as there are cores when None.

    Returns:
        Float32 `[1280]` by the photograph's sha256, and the photographs that could not be decoded.

    Raises:
        ModelError: a process was killed, or the disk is full; what was computed is kept.
    """
    folder = cache / network.version
    store = Store(folder)
    found = {one.sha256: kept for one in photographs if (kept := store.get(one.sha256)) is not None}
    missing = [one for one in photographs if one.sha256 not in found]
    failures: list[LeftOut] = []
    with progress("features of the photographs", len(photographs), already=len(found)) as report:
        for done in _compute(missing, network, folder, processes or len(os.sched_getaffinity(0))):
            for photograph, answer in done:
                if isinstance(answer, str):
                    failures.append(LeftOut(photograph.path, answer))
                else:
                    found[photograph.sha256] = answer
            count = len(found) + len(failures)
            report(count, f"{count} of {len(photographs)}")
    return found, failures


_Answers = list[tuple[Photograph, Features | str]]


def _compute(photographs: list[Photograph], network: Network, folder: Path, processes: int) -> Iterator[_Answers]:
    if not photographs:
        return
    batches = [photographs[start : start + _BATCH] for start in range(0, len(photographs), _BATCH)]
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as scratch:
        bundle = write_features_bundle(Path(scratch) / "features", network)
        pool = ProcessPoolExecutor(min(processes, len(batches)), context, _start, (bundle.path, folder))
        try:
            with _unheard_by_children():
                futures = [pool.submit(_answer, batch) for batch in batches]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise ModelError(
                "a process that computed features was killed, perhaps for want of memory; close other programs and "
                "run the same command again, which goes on from there"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _unheard_by_children() -> Iterator[None]:
    """Let processes begin that never hear Ctrl-C: the parent alone does, so that a batch is finished and kept.

    A process has the mask of whoever started it. Whatever comes meanwhile reaches the parent afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Process(NamedTuple):
    classifier: Classifier
    store: Store


_process: _Process


def _start(bundle: Path, folder: Path) -> None:
    """Set up a process."""
    global _process  # noqa: PLW0603  # the pool's own way to hand something to every task
    _process = _Process(Classifier(load_bundle(bundle)), Store(folder))


def _answer(photographs: list[Photograph]) -> _Answers:
    return [(one, _features(one)) for one in photographs]


def _features(photograph: Photograph) -> Features | str:
    bundle = _process.classifier.bundle
    try:
        content = read(photograph.path)
        if hashlib.sha256(content).hexdigest() != photograph.sha256:
            return "changed while it was read"
        pixels, _ = preprocess(content, bundle.input_size, LIMITS.max_pixels, bundle.crop)
    except UnsupportedFormatError:
        return "is no JPEG, PNG, WebP or GIF that workers decode; save it anew as JPEG"
    except (ModelError, ProblemError) as error:
        return str(error)
    features = _process.classifier.probabilities(pixels)
    _process.store.put(photograph.sha256, features)
    return features
