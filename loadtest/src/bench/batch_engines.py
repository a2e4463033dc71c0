"""What `make batching` measures: a network, photographs at once, threads; by LiteRT or by TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imagerec_model.get import get
from imagerec_worker.batch_classifier import for_any_number

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
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415  not where TensorFlow measures

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
    """Make Keras' MobileNetV2 in float32, with random weights: what a run takes does not depend on them.

    It runs on the first GPU that TensorFlow finds, else on the processor. Pictures come from the host's memory, and
    answers go back there, as a server has them.

    Returns:
        What computes, and the settings.

    Raises:
        ModelError: TensorFlow is not installed.
    """
    from imagerec_model.export import use_tensorflow  # noqa: PLC0415

    use_tensorflow()
    import keras  # noqa: PLC0415  # of the extra
    import tensorflow as tf  # noqa: PLC0415  # of the extra

    gpus = tf.config.list_physical_devices("GPU")
    device = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "a GPU") if gpus else "the processor"
    network = keras.applications.MobileNetV2(input_shape=(_SIDE, _SIDE, 3), weights=None)
    compiled = tf.function(lambda pixels: network(pixels, training=False))

    def once(batch: int) -> Callable[[], object]:
        pixels = np.random.default_rng(1).random((batch, _SIDE, _SIDE, 3), np.float32)
        return lambda: compiled(tf.constant(pixels)).numpy()

    title = "MobileNetV2 1.0 224, random weights, float32"
    return f"{device}, by TensorFlow {tf.__version__}", [Setting(title, 0, batch, once(batch)) for batch in BATCHES]


ENGINES = {"litert": litert, "tensorflow": tensorflow}
