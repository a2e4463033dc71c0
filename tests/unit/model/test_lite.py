"""The bundles of EfficientNet-Lite: which there are, the same bytes each time, and what they recognise."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from imagerec_model import efficientnet, lite
from imagerec_model.errors import ModelError
from imagerec_model.evaluation import evaluate, labelled
from imagerec_model.get import get
from imagerec_model.quantise import read_ranges, sizes, to_int8
from imagerec_model.torch_file import Tensor
from imagerec_worker.bundle import Bundle
from imagerec_worker.classifier import Classifier
from imagerec_worker.preprocess import preprocess
from tests.conftest import SHARED
from tests.unit.model.conftest import PACKAGES

# Other bytes of the same version would stay unseen where a bundle is in place already: raise lite.REVISION with them.
DIGESTS = {
    "lite0": "a6fabbd592cf6ea86b676d0db7dcb593abaaa61fdd5197c1dd388c4666fe282e",
    "lite0-float32": "d197b199f181a2be796e06b350e11b9f762a9c85693c9a3320359f472f2ce490",
    "lite0-160": "7ba4f511940fba80c6ca1c4da54def68c115280134f9b52167aa2c76d7845a7d",
}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """The bundles of `DIGESTS`, made anew."""
    folder = tmp_path_factory.mktemp("bundles")
    return {name: lite.make(folder / name, choice(name), PACKAGES) for name in DIGESTS}


def choice(name: str) -> lite.Choice:
    found = lite.choose(name)
    assert found is not None
    return found


@pytest.mark.parametrize("name", DIGESTS)
def test_a_bundle_has_the_same_bytes_everywhere(bundles: dict[str, Bundle], name: str) -> None:
    assert (bundles[name].name, bundles[name].version) == (name, f"{lite.REVISION}-{bundles[name].quantisation}")
    assert bundles[name].digest == DIGESTS[name]


@pytest.mark.parametrize(
    ("name", "network", "size", "quantisation"),
    [
        ("lite0", "lite0", 224, "int8"),
        ("lite0-int8", "lite0", 224, "int8"),
        ("lite0-224", "lite0", 224, "int8"),
        ("lite0-128", "lite0", 128, "int8"),
        ("lite1", "lite1", 240, "int8"),
        ("lite2-288-float32", "lite2", 288, "float32"),
    ],
)
def test_a_name_says_network_size_and_number_type(name: str, network: str, size: int, quantisation: str) -> None:
    found = choice(name)
    assert (found.network.name, found.size, found.quantisation) == (network, size, quantisation)
    assert choice(found.name) == found


@pytest.mark.parametrize("name", ["lite", "lite9", "lite0-", "lite0-big", "lite0-float16", "imagenet", "a/lite0"])
def test_other_names_are_not_of_this_family(name: str) -> None:
    assert lite.choose(name) is None


def test_a_size_without_ranges_is_refused_with_those_that_have_them() -> None:
    with pytest.raises(ModelError, match="lite2 is made for 128, 160, 192, 224, 256, 260, 288 px"):
        lite.choose("lite2-240")


@pytest.mark.parametrize("network", lite.NETWORKS.values(), ids=lite.NETWORKS)
def test_every_network_is_made_at_its_own_size_and_at_the_ends(network: lite.Network) -> None:
    measured = sizes(network.name)
    assert network.size in measured
    assert (measured[0], measured[-1]) == (128, 288)
    names = [set(read_ranges(network.name, size)) for size in measured]
    assert all(one == names[0] for one in names)


def test_no_constant_leaves_the_range_of_its_type(weights: dict[str, Tensor]) -> None:
    """Channels that died in training give their bias alone, which int8 must be able to write."""
    content = efficientnet.network(weights, 1.0, 128, efficientnet.published_head(weights))
    with np.errstate(invalid="raise", over="raise"):  # a bias beyond int32 would be cast to anything
        to_int8(content, read_ranges("lite0", 128))


def test_the_pooled_numbers_are_what_the_head_works_on(weights: dict[str, Tensor]) -> None:
    pixels, _ = preprocess(photograph(skimage.data.chelsea()), 128, 10**8, lite.CROP)
    image = pixels[np.newaxis].astype(np.float32) * np.float32(efficientnet.SCALE) + np.float32(efficientnet.OFFSET)
    head = efficientnet.published_head(weights)
    features = run(efficientnet.features(weights, 1.0, 128), image)
    assert features.shape == (1, efficientnet.FEATURES)
    logits = head.kernel @ features[0] + head.bias
    wanted = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    np.testing.assert_allclose(run(efficientnet.network(weights, 1.0, 128, head), image)[0], wanted, atol=1e-5)


def test_weights_of_another_network_are_refused(weights: dict[str, Tensor]) -> None:
    with pytest.raises(ModelError, match=r"the weights are of another network: block 3 has a kernel"):
        efficientnet.features(weights, 1.1, 128)


def run(content: bytes, image: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def photograph(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=92)
    return stream.getvalue()


@pytest.mark.parametrize("name", DIGESTS)
def test_a_cat_a_cup_and_a_rocket_are_recognised(bundles: dict[str, Bundle], name: str) -> None:
    classifier = Classifier(bundles[name])
    for pixels, labels in (
        (skimage.data.chelsea(), {"tabby", "tiger cat", "Egyptian cat"}),
        (skimage.data.coffee(), {"espresso", "cup"}),
        (skimage.data.rocket(), {"missile", "projectile"}),
    ):
        seen, _ = preprocess(photograph(pixels), bundles[name].input_size, 10**8, bundles[name].crop)
        assert classifier.classify(seen, top=1)[0].label in labels


@pytest.mark.slow
def test_int8_loses_at_most_two_of_a_hundred_photographs(bundles: dict[str, Bundle]) -> None:
    folder = SHARED / "images/imagenet-sample"
    if not folder.is_dir():
        pytest.skip("needs the photographs of IMAGEREC_SHARED")
    found = {name: evaluate(bundles[name], labelled(bundles[name], folder)) for name in ("lite0", "lite0-float32")}
    assert found["lite0"].top1 >= 82
    assert found["lite0"].top5 >= 95
    assert found["lite0-float32"].top1 <= found["lite0"].top1 + 2


def test_a_bundle_in_place_is_kept_until_its_version_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "packages").symlink_to(PACKAGES)
    bundle, changed = get("lite0-128", tmp_path / "bundles")
    assert changed
    stamp = bundle.model_path.stat().st_mtime_ns
    assert get("lite0-128", tmp_path / "bundles") == (bundle, False)
    assert bundle.model_path.stat().st_mtime_ns == stamp
    monkeypatch.setattr(lite, "REVISION", "1.1")
    newer, changed = get("lite0-128", tmp_path / "bundles")
    assert changed
    assert newer.version == "1.1-int8"
