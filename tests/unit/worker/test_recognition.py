"""Recognition with the ImageNet network: photographs that people recognise, and no loss by the fast way."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageOps

from imagerec_worker.app import create_app
from imagerec_worker.bundle import Bundle
from imagerec_worker.classifier import Classifier
from imagerec_worker.preprocess import preprocess
from imagerec_worker.settings import Settings

CATS = {"tabby", "tiger cat", "Egyptian cat"}


@pytest.fixture(scope="module")
def classifier(imagenet: Bundle) -> Classifier:
    """The ImageNet classifier."""
    return Classifier(imagenet)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_chelsea_is_a_cat(classifier: Classifier, chelsea: npt.NDArray[np.uint8], kind: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(chelsea).save(buffer, kind)
    pixels, _ = preprocess(buffer.getvalue(), 224, 10**8)
    assert classifier.classify(pixels, top=1)[0].label in CATS


def slow_reference(data: bytes) -> npt.NDArray[np.uint8]:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return np.asarray(image.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC))


@pytest.fixture(scope="module")
def references(classifier: Classifier, imagenet_sample: list[tuple[str, bytes]]) -> list[str]:
    """What each photograph is found to be when it is decoded the slow way."""
    return [classifier.classify(slow_reference(data), top=1)[0].wnid for _, data in imagenet_sample]


def as_png(data: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_neither_decoder_loses_accuracy(
    classifier: Classifier, imagenet_sample: list[tuple[str, bytes]], references: list[str], kind: str
) -> None:
    found, truth = [], []
    for wnid, data in imagenet_sample:
        upload = data if kind == "JPEG" else as_png(data)
        truth.append(wnid)
        found.append(classifier.classify(preprocess(upload, 224, 10**8)[0], top=1)[0].wnid)

    def right(answers: list[str]) -> int:
        return sum(answer == wnid for answer, wnid in zip(answers, truth, strict=True))

    assert right(references) == 83
    assert right(found) >= right(references) - 1
    assert sum(one == other for one, other in zip(found, references, strict=True)) >= 94


def test_served_and_offline_answers_are_identical(
    imagenet: Bundle, classifier: Classifier, imagenet_sample: list[tuple[str, bytes]]
) -> None:
    client = create_app(Settings(bundle=imagenet.path)).test_client()
    for _, data in imagenet_sample[::5]:
        served: Any = client.post("/predict", data=data, content_type="image/jpeg").get_json()["predictions"]
        offline = classifier.classify(preprocess(data, 224, 10**8)[0], top=5)
        assert served == [prediction._asdict() for prediction in offline]
