"""The `keras` bundle: the official float32 MobileNetV2 of `keras.applications`, exported to LiteRT."""

from __future__ import annotations

from pathlib import Path

from imagerec_model.errors import DownloadError, ModelError
from imagerec_model.imagenet import imagenet_classes
from imagerec_worker.bundle import Bundle, BundleError, load_bundle, write_bundle

NAME = "keras"
WEIGHTS = ("imagenet", "none")
_SIZE = 224


def is_current(folder: Path, weights: str = "imagenet") -> bool:
    """Tell whether a folder holds this bundle already: an export takes a minute and its bytes vary with TensorFlow."""
    try:
        bundle = load_bundle(folder)
    except BundleError:
        return False
    return (bundle.name, bundle.version) == (NAME, _version(weights))


def make(folder: Path, *, weights: str = "imagenet") -> Bundle:
    """Write the bundle.

    Args:
        folder: bundle to write.
        weights: `imagenet`, which Keras downloads and caches, or `none` for random ones.

    Raises:
        ModelError: TensorFlow is not installed, or `weights` is neither.
        DownloadError: Keras could not get the weights.
        BundleError: the folder cannot be written.
    """
    if weights not in WEIGHTS:
        raise ModelError(f"weights must be one of {', '.join(WEIGHTS)}, not {weights}")
    from imagerec_model.export import to_float32, use_tensorflow  # noqa: PLC0415  # the extra is not always there

    use_tensorflow()
    import keras  # noqa: PLC0415

    try:
        network = keras.applications.MobileNetV2(
            input_shape=(_SIZE, _SIZE, 3), weights="imagenet" if weights == "imagenet" else None
        )
    except Exception as error:  # Keras wraps every failure of a download in a bare Exception
        if weights == "none":
            raise
        raise DownloadError(
            f"Keras could not get the weights of MobileNetV2 ({error}); go where there is a network, or choose "
            "MODEL=imagenet with a model_mirror, or MODEL=embedded"
        ) from error
    random = weights == "none"
    return write_bundle(
        folder,
        model=to_float32(network),
        classes=imagenet_classes(),
        name=NAME,
        version=_version(weights),
        title=f"MobileNetV2 1.0 224, {'random weights' if random else 'ImageNet'}, float32",
        input_size=_SIZE,
        scale=1 / 127.5,
        offset=-1.0,
        activation="softmax",
        background=False,
        quantisation="float32",
        source=f"keras.applications.MobileNetV2, weights={weights}, Keras {keras.__version__}",
        licence="Apache-2.0",
        notice="random weights: every answer is arbitrary" if random else "",
    )


def _version(weights: str) -> str:
    return "1.0-float32" if weights == "imagenet" else "1.0-float32-random"
