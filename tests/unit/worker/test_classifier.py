"""The classifier: right for every kind of network a bundle can describe, and wary of any other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from ai_edge_litert.interpreter import Interpreter

from imagerec_worker.batch_classifier import BatchClassifier
from imagerec_worker.bundle import Bundle, BundleError
from imagerec_worker.classifier import Classifier

UNIT = 1 / 255
NETWORKS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "softmax": ({}, {}),
    "logits": ({"softmax": False}, {"activation": "logits"}),
    "background": ({"background": True}, {"background": True}),
    "uint8 input": ({"input_quantisation": (UNIT, 0)}, {}),
    "uint8 input with a zero point": ({"input_quantisation": (2 * UNIT, 50)}, {}),
    "int8 output": ({"output_quantisation": (1 / 256, -128)}, {}),
}


def solid(red: int, green: int, blue: int) -> npt.NDArray[np.uint8]:
    return np.full((16, 16, 3), (red, green, blue), np.uint8)


def expected(red: int, green: int, blue: int) -> npt.NDArray[np.float64]:
    """Softmax of eight times the mean of each channel, what the colour network is written to say."""
    powers = np.exp(8 * np.array([red, green, blue]) / 255)
    return np.asarray(powers / powers.sum())


@pytest.mark.parametrize(("kind", "described"), NETWORKS.values(), ids=NETWORKS)
def test_probabilities_are_those_of_the_network(
    kind: dict[str, Any],
    described: dict[str, Any],
    write_colours: Callable[..., Bundle],
    network: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    classifier = Classifier(write_colours(tmp_path / "bundle", model=network(**kind), **described))
    coarse = {"background", "output_quantisation"} & kind.keys() or kind.get("input_quantisation", (UNIT, 0)) != (
        UNIT,
        0,
    )
    tolerance = 0.02 if coarse else 1e-3  # the background takes its share; a step of two pixel steps rounds
    for colour in ((255, 0, 0), (10, 200, 100), (0, 0, 250)):
        np.testing.assert_allclose(classifier.probabilities(solid(*colour)), expected(*colour), atol=tolerance)


def test_the_best_come_first_and_ties_keep_their_order(colours: Bundle) -> None:
    classifier = Classifier(colours)
    best = classifier.classify(solid(10, 200, 100), top=2)
    assert [(prediction.label, prediction.wnid) for prediction in best] == [
        ("green", "n00000002"),
        ("blue", "n00000003"),
    ]
    assert best[0].probability > best[1].probability
    assert [prediction.label for prediction in classifier.classify(solid(7, 7, 7), top=20)] == ["red", "green", "blue"]


@pytest.mark.parametrize("offset", [-1.0, -0.996078431], ids=["written as -1", "written exactly"])
def test_pixels_enter_a_uint8_network_as_they_are(
    offset: float, write_colours: Callable[..., Bundle], network: Callable[..., bytes], tmp_path: Path
) -> None:
    """With the ImageNet network's scale and zero point, however many digits of them bundle.json has."""
    bundle = write_colours(
        tmp_path / "bundle",
        model=network(input_quantisation=(0.007843137718737125, 127)),
        scale=0.00784313725,
        offset=offset,
    )
    pixels = np.arange(16 * 16 * 3, dtype=np.uint32).astype(np.uint8).reshape(16, 16, 3)
    interpreter = Interpreter(model_path=str(bundle.model_path), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels[np.newaxis])
    interpreter.invoke()
    raw = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]
    np.testing.assert_array_equal(Classifier(bundle).probabilities(pixels), raw)


@pytest.mark.parametrize(
    ("described", "reason"),
    [
        ({"input_size": 32}, r"the input \(1, 32, 32, 3\), the network has \[\(1, 16, 16, 3\)\]"),
        ({"background": True}, r"the output \(1, 4\), the network has \[\(1, 3\)\]"),
        ({"classes": [("n1", "one"), ("n2", "two")]}, r"the output \(1, 2\), the network has \[\(1, 3\)\]"),
        ({"model": b"TFL3 but nothing else"}, "cannot be loaded by LiteRT"),
    ],
    ids=["another input size", "no background output", "class missing", "no network"],
)
def test_a_network_that_is_not_what_the_bundle_says_is_refused(
    described: dict[str, Any], reason: str, write_colours: Callable[..., Bundle], tmp_path: Path
) -> None:
    bundle = write_colours(tmp_path / "bundle", **described)
    with pytest.raises(BundleError, match=reason):
        Classifier(bundle)


def test_a_network_takes_no_thread_but_its_caller_s(colours: Bundle) -> None:
    """There is a process for every core already."""
    before = set(Path("/proc/self/task").iterdir())
    batches = BatchClassifier(colours, 4)
    batches.probabilities_of([solid(7, 7, 7)] * 3)
    assert set(Path("/proc/self/task").iterdir()) <= before


def test_threads_take_turns(colours: Bundle) -> None:
    classifier = Classifier(colours)
    pictures = [solid(250, 0, 0), solid(0, 250, 0), solid(0, 0, 250)]
    wrong: list[int] = []

    def ask(index: int) -> None:
        wrong.extend(index for _ in range(300) if classifier.probabilities(pictures[index]).argmax() != index)

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
