"""The `keras` bundle: the official float32 MobileNetV2 of `keras.applications`, exported to LiteRT."""

from __future__ import annotations

from pathlib import Path

from imagerec_model.errors import DownloadError
from imagerec_model.imagenet import imagenet_classes
from imagerec_worker.bundle import Bundle, write_bundle
from imagerec_worker.manifest import Manifest

NAME = "keras"
VERSION = "1.0-float32"
_SIZE = 224


def make(folder: Path, *, weights: str = "imagenet") -> Bundle:
    """Write the bundle with the weights `imagenet`, which Keras downloads and caches, or `none`: random ones.

    Raises:
        ModelError: TensorFlow is not installed.
        DownloadError: Keras could not get the weights.
        BundleError: the folder cannot be written.
    """
    from imagerec_model.export import to_float32, use_tensorflow  # noqa: PLC0415  # the extra is not always there

    use_tensorflow()
    import keras  # noqa: PLC0415

    try:
        network = keras.applications.MobileNetV2(
            input_shape=(_SIZE, _SIZE, 3), weights=None if weights == "none" else weights
        )
    except Exception as error:  # Keras wraps every failure of a download in a bare Exception
        if weights == "none":
            raise
        raise DownloadError(
            f"Keras could not get the weights of MobileNetV2 ({error}); go where there is a network, or choose "
            "MODEL=imagenet with a model_mirror, or MODEL=lite0"
        ) from error
    random = weights == "none"
    manifest = Manifest(
        name=NAME,
        version=f"{VERSION}-random" if random else VERSION,
        title=f"MobileNetV2 1.0 224, {'random weights' if random else 'ImageNet'}, float32",
        input_size=_SIZE,
        scale=1 / 127.5,
        offset=-1.0,
        activation="softmax",
        quantisation="float32",
        source=f"keras.applications.MobileNetV2, weights={weights}, Keras {keras.__version__}",
        licence="Apache-2.0",
        notice="random weights: every answer is arbitrary" if random else "",
    )
    return write_bundle(folder, manifest, model=to_float32(network), classes=imagenet_classes())
