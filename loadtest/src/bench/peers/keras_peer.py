"""The peer Keras: a service written as the course project's was, to measure how far this one has come.

Two Flask development servers that run Keras' ``predict`` on pictures squashed to 224 × 224, and a threaded Flask
development server before them that picks one at random and forwards the form. It needs TensorFlow (`make setup-keras`);
the weights are random, since the arithmetic is the same.

It runs as a file, in an environment that holds nothing of ours: ``keras_peer.py server PORT`` or
``keras_peer.py balancer PORT SERVER_PORT...``
"""

from __future__ import annotations

import logging
import random
import sys
from typing import Any

import numpy as np
import requests
from flask import Flask, jsonify, request
from PIL import Image


def server() -> Flask:
    """The original's server: one picture, one ``predict``."""
    import keras  # noqa: PLC0415  # the balancer does not pay for it

    model = keras.applications.MobileNetV2(weights=None)
    prepare = keras.applications.mobilenet_v2.preprocess_input
    app = Flask(__name__)

    @app.post("/predict")
    def predict() -> Any:
        pixels = np.asarray(Image.open(request.files["image"].stream).resize((224, 224)), np.float32)
        answer = model.predict(prepare(pixels[np.newaxis]), verbose=0)[0]
        return jsonify({"label": int(answer.argmax())})

    @app.get("/")
    def ready() -> str:
        model.predict(np.zeros((1, 224, 224, 3), np.float32), verbose=0)
        return "ready"

    return app


def balancer(ports: list[int]) -> Flask:
    """The original's balancer: a server at random, the form sent on."""
    app = Flask(__name__)

    @app.post("/submit")
    def submit() -> Any:
        port = random.choice(ports)  # noqa: S311  spreads load
        files = {"image": request.files["image"].read()}
        return requests.post(f"http://127.0.0.1:{port}/predict", files=files, timeout=120).json()

    @app.get("/")
    def ready() -> str:
        return "ready"

    return app


def main() -> None:
    """Run one of the two on the loopback."""
    kind, port, *servers = sys.argv[1:]
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app = server() if kind == "server" else balancer([int(each) for each in servers])
    app.run("127.0.0.1", int(port), threaded=True)


if __name__ == "__main__":
    main()
