"""The plain way: `gunicorn --worker-class gthread bench.peers.flask_peer:app`, behind nginx.

`/predict` takes the file of a form, as Flask's manual shows it; `/raw` takes the raw photograph.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, request

from bench.peers.recogniser import Recogniser

app = Flask(__name__)
recognise = Recogniser()


@app.post("/predict")
def predict() -> dict[str, Any]:
    """Recognise the file of a form."""
    return recognise(request.files["image"].read())


@app.post("/raw")
def raw() -> dict[str, Any]:
    """Recognise the body."""
    return recognise(request.get_data())
