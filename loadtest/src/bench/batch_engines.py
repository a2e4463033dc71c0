"""What `make batching` measures: a network, photographs at once, threads; by LiteRT, TensorFlow or JAX."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagerec_model.errors import ModelError

BATCHES = (1, 2, 4, 8, 16)
THREADS = (1, 2)
_SIDE = 224


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to run a network.

    Attributes:
        model: Its title.
        threads: Threads that compute; 0: as many as the engine likes, or a GPU.
        batch: Pictures of a run.
        run: Runs it once.
    """

    model: str
    threads: int
    batch: int
    run: Callable[[], object]


def litert(models: Sequence[str], mirror: str, folder: Path) -> tuple[str, list[Setting]]:
    """Load bundles into LiteRT, each once for every number of photographs and threads.

    Args:
        models: Names of models, as MODEL= takes them.
        mirror: Folder or URL that a model is looked for before the network; may be empty.
        folder: Bundles are written there.

    Returns:
        What computes, and the settings.

    Raises:
        ModelError: There is no such model.
    """
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415  not where a GPU measures

    from imagerec_model.get import get  # noqa: PLC0415  likewise
    from imagerec_worker.batch_classifier import for_any_number  # noqa: PLC0415  likewise

    def settings() -> Iterator[Setting]:
        for name in models:
            bundle = get(name, folder, mirror=mirror or None)[0]
            network = for_any_number(bundle.model_path.read_bytes())
            for threads in THREADS:
                for batch in BATCHES:
                    interpreter = Interpreter(model_content=network, num_threads=threads)
                    (given,) = interpreter.get_input_details()
                    shape = (batch, *given["shape"][1:].tolist())
                    interpreter.resize_tensor_input(given["index"], shape)
                    interpreter.allocate_tensors()
                    pixels = np.random.default_rng(1).integers(0, 256, shape).astype(given["dtype"])
                    yield Setting(bundle.title, threads, batch, _once(interpreter, given["index"], pixels))

    return "the processor, by LiteRT", list(settings())


def _once(interpreter: Any, index: int, pixels: Any) -> Callable[[], object]:
    (answered,) = interpreter.get_output_details()

    def run() -> object:
        interpreter.set_tensor(index, pixels)
        interpreter.invoke()
        return interpreter.get_tensor(answered["index"])

    return run


def tensorflow(_models: Sequence[str], _mirror: str, _folder: Path) -> tuple[str, list[Setting]]:
    """Compile Keras' network by TensorFlow, for the first GPU that it finds, else for the processor.

    Returns:
        What computes, and the settings.

    Raises:
        ModelError: TensorFlow is not installed.
    """
    from imagerec_model.export import use_tensorflow  # noqa: PLC0415

    use_tensorflow()
    import tensorflow as tf  # noqa: PLC0415  # of the extra

    gpus = tf.config.list_physical_devices("GPU")
    device = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "a GPU") if gpus else "the processor"
    run = _compiled(tf.function)
    return f"{device}, by TensorFlow {tf.__version__}", _settings(lambda pixels: run(tf.constant(pixels)).numpy())


def jax(_models: Sequence[str], _mirror: str, _folder: Path) -> tuple[str, list[Setting]]:
    """Compile Keras' network by JAX, for the first device that it finds.

    Returns:
        What computes, and the settings.

    Raises:
        ModelError: JAX or Keras is not installed.
    """
    if not all(map(importlib.util.find_spec, ("jax", "keras"))):
        raise ModelError("JAX or Keras is not installed: run `make setup-keras` and `.venv-keras/bin/pip install jax`")
    os.environ["KERAS_BACKEND"] = "jax"
    import jax as engine  # noqa: PLC0415  # a user's own

    (first, *_) = engine.devices()
    device = "the processor" if first.platform == "cpu" else first.device_kind
    run = _compiled(engine.jit)
    return f"{device}, by JAX {engine.__version__}", _settings(lambda pixels: np.asarray(run(pixels)))


def _compiled(compiler: Callable[[Callable[[Any], Any]], Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """Compile Keras' MobileNetV2 in float32, with random weights: what a run takes does not depend on them."""
    import keras  # noqa: PLC0415  # of the extra

    network = keras.applications.MobileNetV2(input_shape=(_SIDE, _SIDE, 3), weights=None)
    return compiler(lambda pixels: network(pixels, training=False))


def _settings(run: Callable[[Any], object]) -> list[Setting]:
    """Take pictures from the host's memory, and answers back to it, as a server has them."""

    def once(batch: int) -> Callable[[], object]:
        pixels = np.random.default_rng(1).random((batch, _SIDE, _SIDE, 3), np.float32)
        return lambda: run(pixels)

    return [Setting("MobileNetV2 1.0 224, random weights, float32", 0, batch, once(batch)) for batch in BATCHES]


ENGINES = {"litert": litert, "tensorflow": tensorflow, "jax": jax}
