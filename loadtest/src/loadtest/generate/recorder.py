"""Write a trial's samples as it goes; see `loadtest.generate.samples` for what stands in the file.

The stream is flushed to a byte boundary with every batch, so a reader of a file without its end gets all batches that
had reached the disk.
"""

import json
import os
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadtest.errors import LoadtestError
from loadtest.generate.samples import COLUMNS, GZIP, Sample, row_of

_BATCH_EVERY_S = 0.25


class RecorderError(LoadtestError):
    """Samples can no longer be written; those before are safe."""


class Recorder:
    """Appends samples to a new file; never overwrites one.

    Formatting happens in add (about 5 µs), compression and writing in a thread which holds no interpreter lock for
    them, so that recording does not delay the generator.

    Args:
        path: The file to create.
        header: What was asked of the trial, as JSON values.
        columns: COLUMNS or IDENTIFIED.
        seen: Called with each sample that is recorded.

    Raises:
        LoadtestError: The file exists or cannot be created.
    """

    def __init__(
        self,
        path: Path,
        header: dict[str, Any],
        columns: tuple[str, ...] = COLUMNS,
        seen: Callable[[Sample], None] | None = None,
    ) -> None:
        self._path = path
        self._columns = columns
        self._seen = seen
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            raise LoadtestError(f"{path} exists and samples are never overwritten; choose another folder") from None
        except OSError as error:
            raise LoadtestError(f"cannot create {path}: {error.strerror}") from error
        self._deflate = zlib.compressobj(9, zlib.DEFLATED, GZIP)
        self._pending: list[str] = [_line({"trial": header, "columns": columns})]
        self._samples = 0
        self._failure: str | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._write_batches, name="recorder", daemon=True)
        self._thread.start()

    def add(self, sample: Sample) -> None:
        """Record one sample; it reaches the disk within about a quarter of a second.

        Raises:
            RecorderError: An earlier batch could not be written.
        """
        if self._failure:
            raise RecorderError(self._failure)
        self._samples += 1
        self._pending.append(_line(row_of(sample, self._columns)))
        if self._seen:
            self._seen(sample)

    def close(self, footer: dict[str, Any] | None) -> None:
        """Write what is left and the end mark; without a footer the trial stays marked as incomplete.

        Raises:
            RecorderError: Not all of it could be written.
        """
        self._closing.set()
        self._thread.join()
        if self._failure is None:
            if footer is not None:
                self._pending.append(_line({"end": footer, "samples": self._samples}))
            self._write(zlib.Z_SYNC_FLUSH if footer is None else zlib.Z_FINISH)
        os.close(self._fd)
        if self._failure:
            raise RecorderError(self._failure)

    def _write_batches(self) -> None:
        while not self._closing.wait(_BATCH_EVERY_S) and self._failure is None:
            self._write(zlib.Z_SYNC_FLUSH)

    def _write(self, flush: int) -> None:
        count = len(self._pending)
        lines = self._pending[:count]
        del self._pending[:count]  # each step is atomic: what add appends meanwhile stays for the next batch
        if not lines:
            return
        data = self._deflate.compress("".join(lines).encode()) + self._deflate.flush(flush)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
            if flush == zlib.Z_FINISH:
                os.fsync(self._fd)
        except OSError as error:
            self._failure = (
                f"cannot write samples to {self._path}: {error.strerror}; those recorded before are kept. "
                "Free some space, then run the same command with --resume"
            )


def _line(value: object) -> str:
    return json.dumps(value, separators=(",", ":")) + "\n"
