"""The WSGI entry: ``gunicorn imagerec_worker.wsgi:app``, configured by ``IMAGEREC_*`` variables."""

from __future__ import annotations

import os

# Before numpy is loaded: one thread a process is the plan, a pool of them is memory for nothing.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from gunicorn.errors import AppImportError

from imagerec_worker.app import create_app
from imagerec_worker.bundle import BundleError
from imagerec_worker.settings import SettingsError

try:
    app = create_app()
except (BundleError, SettingsError) as error:
    # gunicorn prints this one without a traceback and gives up instead of starting processes for ever.
    raise AppImportError(f"error: imagerec-worker cannot start: {error}") from error
