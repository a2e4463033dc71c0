"""The WSGI entry: ``gunicorn imagerec_worker.wsgi:app``, configured by ``IMAGEREC_*`` variables."""

from __future__ import annotations

import contextlib
import ctypes
import os

# Before numpy is loaded: one thread a process is the plan, a pool of them is memory for nothing.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from gunicorn.errors import AppImportError

from imagerec_worker.app import create_app
from imagerec_worker.bundle import BundleError
from imagerec_worker.settings import SettingsError

# With each large block that is freed the C library raises the size from which it maps memory and the amount of freed
# memory that it keeps; after a few large images it would keep the next ones whole (mallopt(3)). Held fast, it keeps
# what a photograph needs, whose pages would else be fetched anew for every request, and gives the rest back.
# The thread of the log would have a heap of its own with 64 MiB of addresses, of which a forked child could take memory
# that no limit of addresses sees.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT_BYTES, _MAPPED_FROM_BYTES = 16 * 1024 * 1024, 4 * 1024 * 1024
with contextlib.suppress(OSError, AttributeError):  # another C library has its own ways
    _library = ctypes.CDLL(None)
    _library.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    _library.mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM_BYTES)
    _library.mallopt(_M_ARENA_MAX, 1)

try:
    app = create_app()
except (BundleError, SettingsError) as error:
    # gunicorn prints this one without a traceback and gives up instead of starting processes for ever.
    raise AppImportError(f"error: imagerec-worker cannot start: {error}") from error
