"""The `embedded` bundle: export a finished training run, measure it as it is served, keep the better trade."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imagerec_model import mobilenet
from imagerec_model.augment import OFFSET, SCALE, resize
from imagerec_model.errors import ModelError
from imagerec_model.evaluation import choose, evaluate
from imagerec_model.export import CALIBRATION_PICTURES, to_float32, to_int8
from imagerec_model.get import EMBEDDED, copy_bundle
from imagerec_model.model_card import Measured, write_card
from imagerec_model.tiny_imagenet import Layout, load_pixels
from imagerec_model.training import load_run
from imagerec_model.training_settings import TrainingSettings
from imagerec_worker.bundle import Bundle, ClassName, Quantisation, load_bundle, write_bundle

NOTICE = "embedded model: {classes} classes; `make up MODEL=imagenet` for 1000"
_LICENCE = "weights: as this repository; training pictures: Tiny ImageNet, for non-commercial research"


def export_run(run: Path, layout: Layout, out: Path, photographs: Sequence[Path] = ()) -> tuple[Bundle, Measured]:
    """Export a run as int8 and float32, measure both, and write the better trade with its card and its record.

    Args:
        run: folder of a training run, with its checkpoint.
        layout: the data it was trained on.
        out: bundle to write; `MODEL_CARD.md`, `training.json` and `training.png` lie beside its three files.
        photographs: pictures to show in the card with the answers they got.

    Returns:
        The bundle and what was measured.

    Raises:
        ModelError: the run has no checkpoint, or is of other classes than the data.
    """
    trained, record, wnids = load_run(run)
    if wnids != list(layout.wnids):
        raise ModelError(f"{run} was trained on other classes than those of {layout.root}; name the same data folder")
    with tempfile.TemporaryDirectory() as scratch:
        bundles = _export(trained, record.settings, layout, Path(scratch))
        evaluations = {bundle.quantisation: evaluate(bundle, layout.validation) for bundle in bundles}
        chosen = choose(evaluations)
        bundle = copy_bundle(load_bundle(Path(scratch) / chosen), out)
    measured = Measured(chosen, evaluations, bundle.model_path.stat().st_size)
    record.write(out, exported=measured.summary())
    write_card(out, bundle, record, layout, measured, photographs=photographs)
    return bundle, measured


def _export(trained: Any, settings: TrainingSettings, layout: Layout, folder: Path) -> list[Bundle]:
    shape = mobilenet.Shape(len(layout.wnids), settings.width, settings.strides)
    network = mobilenet.build(shape, size=settings.serve_size)
    network.set_weights(trained.get_weights())
    chosen = np.random.default_rng(settings.seed).permutation(len(layout.train))[:CALIBRATION_PICTURES]
    pictures, _ = load_pixels([layout.train[i] for i in sorted(chosen.tolist())])
    models: dict[Quantisation, bytes] = {
        "int8": to_int8(network, resize(pictures, settings.serve_size), SCALE, OFFSET),
        "float32": to_float32(network),
    }
    return [
        write_bundle(
            folder / quantisation,
            model=model,
            classes=[ClassName(*names) for names in zip(layout.wnids, layout.labels, strict=True)],
            name=EMBEDDED,
            version=f"1.0-{quantisation}",
            title=f"MobileNetV2 {settings.width:g} {settings.serve_size}, {len(layout.wnids)} classes, {quantisation}",
            input_size=settings.serve_size,
            scale=SCALE,
            offset=OFFSET,
            activation="logits",
            background=False,
            quantisation=quantisation,
            source="trained by `imagerec-model train` on Tiny ImageNet; see MODEL_CARD.md",
            licence=_LICENCE,
            notice=NOTICE.format(classes=len(layout.wnids)),
        )
        for quantisation, model in models.items()
    ]
