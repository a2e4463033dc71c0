"""A network small enough to be written by hand, so that the worker is tested with a real model everywhere.

It averages the picture and says which of red, green and blue is strongest. Tests of real recognition use the
ImageNet model, and skip where the folder ``IMAGEREC_SHARED`` has none.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
import pytest
import skimage.data
from ai_edge_litert import schema_py_generated as tflite
from flask import Flask
from flask.testing import FlaskClient

from imagerec_worker import held_lines, overhead, waiting
from imagerec_worker.app import create_app
from imagerec_worker.bundle import Bundle, ClassName, write_bundle
from imagerec_worker.manifest import Manifest
from imagerec_worker.settings import Settings
from tests.conftest import REPOSITORY, SHARED, free_ports
from tests.unit.worker.both_ways import answer_both_ways

COLOURS = (ClassName("n00000001", "red"), ClassName("n00000002", "green"), ClassName("n00000003", "blue"))
GAIN = 8.0


def _tensor(
    name: str, shape: list[int], kind: int, buffer: int = 0, quantisation: tuple[float, int] | None = None
) -> Any:
    tensor = tflite.TensorT()
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, kind, buffer
    if quantisation:
        tensor.quantization = tflite.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [quantisation[0]], [quantisation[1]]
    return tensor


def colour_network(
    size: int = 16,
    softmax: bool = True,
    background: bool = False,
    input_quantisation: tuple[float, int] | None = None,
    classes: int = len(COLOURS),
    *,
    averaged: tuple[int, ...] = (1, 2),
    output_quantisation: tuple[float, int] | None = None,
) -> bytes:
    """Return a LiteRT file: the mean of each channel, times GAIN, and softmax over red, green and blue.

    Of more classes these three are the last. Its input is ``[1, size, size, 3]``, float32, or uint8 with the given
    scale and zero point; its output is float32, or int8 likewise. What is averaged are these sides of the input: with
    the first one all pictures of a batch.
    """
    kinds, operators_of = tflite.TensorType, tflite.BuiltinOperator
    outputs = classes + background
    weights = np.zeros((outputs, 3), np.float32)
    weights[-3:] = np.eye(3, dtype=np.float32) * GAIN
    data = [b"", np.array(averaged, np.int32).tobytes(), weights.tobytes(), np.zeros(outputs, np.float32).tobytes()]
    tensors = [
        _tensor(
            "input", [1, size, size, 3], kinds.UINT8 if input_quantisation else kinds.FLOAT32, 0, input_quantisation
        ),
        _tensor("real", [1, size, size, 3], kinds.FLOAT32),
        _tensor("axes", [len(averaged)], kinds.INT32, 1),
        _tensor("mean", [1, 3], kinds.FLOAT32),
        _tensor("weights", [outputs, 3], kinds.FLOAT32, 2),
        _tensor("bias", [outputs], kinds.FLOAT32, 3),
        _tensor("logits", [1, outputs], kinds.FLOAT32),
        _tensor("probabilities", [1, outputs], kinds.FLOAT32),
    ]
    softmax_options = tflite.SoftmaxOptionsT()
    softmax_options.beta = 1.0
    pixels = 1 if input_quantisation else 0
    steps: list[tuple[int, list[int], int, int, Any]] = [
        (operators_of.MEAN, [pixels, 2], 3, tflite.BuiltinOptions.ReducerOptions, tflite.ReducerOptionsT()),
        (
            operators_of.FULLY_CONNECTED,
            [3, 4, 5],
            6,
            tflite.BuiltinOptions.FullyConnectedOptions,
            tflite.FullyConnectedOptionsT(),
        ),
    ]
    if input_quantisation:
        steps.insert(0, (operators_of.DEQUANTIZE, [0], 1, tflite.BuiltinOptions.NONE, None))
    if softmax:
        steps.append((operators_of.SOFTMAX, [6], 7, tflite.BuiltinOptions.SoftmaxOptions, softmax_options))
    last = 7 if softmax else 6
    if output_quantisation:
        tensors.append(_tensor("quantised", [1, outputs], kinds.INT8, 0, output_quantisation))
        steps.append((operators_of.QUANTIZE, [last], 8, tflite.BuiltinOptions.NONE, None))
        last = 8
    graph = tflite.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs = tensors, [0], [last]
    model = tflite.ModelT()
    model.version, model.subgraphs, model.buffers, model.operatorCodes, graph.operators = 3, [graph], [], [], []
    for content in data:
        buffer = tflite.BufferT()
        buffer.data = np.frombuffer(content, np.uint8) if content else None
        model.buffers.append(buffer)
    for index, (kind, inputs, output, options_kind, options) in enumerate(steps):
        code = tflite.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = kind
        code.version = 1
        model.operatorCodes.append(code)
        operator = tflite.OperatorT()
        operator.opcodeIndex, operator.inputs, operator.outputs = index, inputs, [output]
        operator.builtinOptionsType, operator.builtinOptions = options_kind, options
        graph.operators.append(operator)
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def write_colour_bundle(folder: Path, **changes: Any) -> Bundle:
    """Write a bundle of the colour network; ``changes`` replace its model, classes or entries of its manifest."""
    model, classes = changes.pop("model", colour_network()), changes.pop("classes", COLOURS)
    entries: dict[str, Any] = {
        "name": "colours",
        "version": "1.0",
        "title": "Red, green or blue",
        "input_size": 16,
        "scale": 1 / 255,
        "offset": 0.0,
        "activation": "softmax",
        "quantisation": "float32",
        "source": "written by the tests",
        "licence": "none",
    }
    return write_bundle(folder, Manifest(**(entries | changes)), model=model, classes=classes)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What the worker remembers of a test's last connection and requests is nothing to the next test of its process."""
    yield
    overhead.PROCESS.mean_s = None
    waiting._waited_s.set(None)
    held_lines.flush()


@pytest.fixture
def logged(capfd: pytest.CaptureFixture[str]) -> Callable[[], list[Any]]:
    """Return the lines of requests since the last call, parsed."""

    def read() -> list[Any]:
        held_lines.flush()
        said = capfd.readouterr().err
        assert said == "" or said.endswith("\n")
        return [json.loads(line) for line in said.splitlines() if line.startswith("{")]

    return read


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of the colour network."""
    return write_colour_bundle(tmp_path_factory.mktemp("bundles") / "colours")


@pytest.fixture(scope="session")
def write_colours() -> Callable[..., Bundle]:
    """The function that writes a bundle of a colour network."""
    return write_colour_bundle


@pytest.fixture(scope="session")
def network() -> Callable[..., bytes]:
    """The function that makes a colour network."""
    return colour_network


@pytest.fixture(scope="session")
def imagenet(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of the int8 ImageNet model that stands beside the repository."""
    folder = SHARED / "models/imagenet-mobilenet-v2-int8"
    if not folder.is_dir():
        pytest.skip("needs the ImageNet model of IMAGEREC_SHARED")
    classes = json.loads((folder / "imagenet_classes.json").read_text())
    manifest = Manifest(
        name="imagenet",
        version="1.0-int8",
        title="MobileNetV2 1.0 224, ImageNet, int8",
        input_size=224,
        scale=0.00784313725,
        offset=-1.0,
        activation="softmax",
        background=True,
        quantisation="int8",
        source="IMAGEREC_SHARED/models",
        licence="Apache-2.0",
    )
    return write_bundle(
        tmp_path_factory.mktemp("bundles") / "imagenet",
        manifest,
        model=folder / "tf2_mobilenet_v2_1.0_224_ptq.tflite",
        classes=[ClassName(entry["wnid"], entry["label"]) for entry in classes],
    )


@pytest.fixture(scope="session")
def imagenet_sample() -> list[tuple[str, bytes]]:
    """WordNet id and file of 100 labelled ImageNet photographs."""
    folder = SHARED / "images/imagenet-sample"
    if not folder.is_dir():
        pytest.skip("needs the photographs of IMAGEREC_SHARED")
    return [(path.name.split("_")[0], path.read_bytes()) for path in sorted(folder.iterdir())]


@pytest.fixture(scope="session")
def app(colours: Bundle) -> Flask:
    """The application with the colour network."""
    return create_app(Settings(bundle=colours.path, worker_name="worker1"))


@pytest.fixture(scope="session")
def both_ways(colours: Bundle) -> Flask:
    """The same, answering before Flask and by Flask."""
    return answer_both_ways(create_app(Settings(bundle=colours.path, worker_name="worker1")))


@pytest.fixture
def client(both_ways: Flask) -> FlaskClient:
    """A client of the application that needs no process."""
    return both_ways.test_client()


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: status, header fields, body."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Server:
    """A gunicorn process with one worker process on a free port."""

    process: subprocess.Popen[bytes]
    port: int

    def worker_pid(self) -> int:
        """Return the pid of the only worker process."""
        (pid,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(pid)

    def resident_bytes(self, field: str = "VmRSS") -> int:
        """Return what the worker process holds in memory now, or did at most (``VmHWM``)."""
        status = Path(f"/proc/{self.worker_pid()}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(field))
        return int(line.split()[1]) * 1024

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        """Send one request and return the answer, whatever its status."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data=body, headers=headers or {}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def exchange(self, *pieces: bytes, pause_s: float = 0.0) -> bytes:
        """Send raw bytes in pieces and return everything until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=120) as connection:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause_s)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while data := connection.recv(65536):
                answer += data
        return answer


def start_server(
    bundle: Path,
    worker_class: str,
    folder: Path,
    *options: str,
    application: str = "imagerec_worker.wsgi:app",
    **environment: str,
) -> Server:
    """Start gunicorn as the role does, with one process, and wait until it is ready."""
    (port,) = free_ports(1)
    with (folder / "gunicorn.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "--workers", "1", "--bind", f"127.0.0.1:{port}"),
                *("--worker-class", worker_class, "--no-control-socket", "--worker-tmp-dir", str(folder)),
                *("--timeout", "300"),  # a busy machine is no reason to replace the process
                *options,
                application,
            ],
            env=os.environ | {"IMAGEREC_BUNDLE": str(bundle), "IMAGEREC_WORKER_NAME": "worker1"} | environment,
            stderr=log,
        )
    server = Server(process, port)
    deadline_s = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline_s:
        with contextlib.suppress(OSError):
            if server.ask("GET", "/readyz").status == 200:
                return server
        time.sleep(0.1)
    process.kill()
    process.wait()
    raise AssertionError((folder / "gunicorn.log").read_text())


def stop_server(server: Server) -> None:
    """Stop gunicorn and its processes."""
    server.process.send_signal(signal.SIGTERM)
    try:
        server.process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        server.process.kill()
        server.process.wait()


@pytest.fixture(scope="module", params=["sync", "imagerec_worker.gunicorn_worker.ImageWorker"], ids=["sync", "image"])
def server(
    request: pytest.FixtureRequest, colours: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A real gunicorn with the colour network, once with each worker class; the plain class answers both ways."""
    application = "tests.unit.worker.both_ways:app" if request.param == "sync" else "imagerec_worker.wsgi:app"
    options = ("--pythonpath", str(REPOSITORY))
    folder = tmp_path_factory.mktemp("gunicorn")
    running = start_server(colours.path, request.param, folder, *options, application=application)
    yield running
    stop_server(running)


def form_body(*parts: tuple[str, str | None, bytes], boundary: str = "frontier") -> tuple[bytes, dict[str, str]]:
    """Return a multipart body of ``(name, filename or None, content)`` and its header fields."""
    body = b""
    for name, filename, content in parts:
        disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
        body += f"--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


@pytest.fixture(scope="session")
def form() -> Callable[..., tuple[bytes, dict[str, str]]]:
    """The function that writes a form."""
    return form_body


@pytest.fixture(scope="session")
def chelsea() -> npt.NDArray[np.uint8]:
    """A photograph of a cat, ``uint8 [300, 451, 3]``, that scikit-image ships."""
    return np.asarray(skimage.data.chelsea())


@pytest.fixture
def unused_port() -> int:
    """A port of the loopback interface that nobody listens on now."""
    return free_ports(1)[0]
