"""What the processes of `make hotpath` serve: the worker's application, without the part that `BENCH_WITHOUT` names."""

from __future__ import annotations

import os

from imagerec_worker import request_log
from imagerec_worker.plain import PlainPredict
from imagerec_worker.wsgi import app

_WITHOUT = os.environ.get("BENCH_WITHOUT", "")

if _WITHOUT == "lines":
    for name in ("id_of", "write", "remember_phases"):
        setattr(request_log, name, lambda *_: "none")
if _WITHOUT == "layer":
    assert isinstance(app.wsgi_app, PlainPredict)
    app.wsgi_app = app.wsgi_app.application  # type: ignore[method-assign, assignment]
