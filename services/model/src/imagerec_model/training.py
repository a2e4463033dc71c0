"""Train the embedded model: a checkpoint after each epoch, resumable at any of them.

It drives the network batch by batch: `fit` would put a `tf.data` generator between, and that makes the C library give
memory back to the system after every tensor, which cost a quarter of the time on two cores.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from imagerec_model import mobilenet
from imagerec_model.augment import TrainingBatches, ValidationBatches, ahead
from imagerec_model.errors import ModelError
from imagerec_model.progress import Report, epoch_line, progress
from imagerec_model.tiny_imagenet import Labels, Layout, Pixels, load_pixels
from imagerec_model.training_record import TrainingRecord
from imagerec_model.training_settings import TrainingSettings

STATE = "checkpoint.json"
_NOT_DECAYED = ["gamma", "beta", "bias"]
_VALIDATION_BATCH = 250
# While training every fifth validation picture is looked at, which costs a tenth of an epoch less; the exported bundle
# is measured on all of them.
_VALIDATION_EVERY = 5


@dataclass(frozen=True, slots=True)
class Data:
    """Decoded pictures: uint8 [n, 64, 64, 3] and int32 [n], for training and for validation."""

    classes: int
    train_pixels: Pixels
    train_labels: Labels
    validation_pixels: Pixels
    validation_labels: Labels

    @classmethod
    def load(cls, layout: Layout, cache: Path) -> Data:
        """Decode the pictures of a data folder, or read them from `cache`."""
        return cls(
            len(layout.wnids),
            *load_pixels(layout.train, cache),
            *load_pixels(layout.validation[::_VALIDATION_EVERY], cache),
        )


def train(
    layout: Layout,
    out: Path,
    settings: TrainingSettings,
    *,
    resume: bool = False,
) -> tuple[Any, TrainingRecord]:
    """Train on a data folder.

    Args:
        layout: the data, found complete.
        out: folder for the checkpoint and the decoded pictures.
        settings: of the run.
        resume: go on from the checkpoint in `out`.

    Returns:
        The trained `keras.Model` (logits) and the record of the run.

    Raises:
        ModelError: `out` holds a checkpoint and `resume` was not asked for, or holds none and it was, or holds one
            of other settings; or the data has fewer pictures than one batch.
    """
    stored, record = _start(layout, out, settings, resume)
    data = Data.load(layout, out / "cache")
    steps = len(data.train_labels) // settings.batch
    if steps == 0:
        raise ModelError(
            f"{len(data.train_labels)} training pictures do not fill a batch of {settings.batch}; lower batch"
        )
    keras.utils.set_random_seed(settings.seed)
    model = compile_model(_shape(layout, settings), settings, steps)
    if stored is not None:
        _take_over(model, stored)
    epoch = len(record.history)
    total = sum(_cost(settings, e) for e in range(settings.epochs)) * steps
    already = sum(_cost(settings, e) for e in range(epoch)) * steps
    with progress("training", total, already=already) as report:
        for current in range(epoch, settings.epochs):
            entry = _one_epoch(model, data, settings, current, report)
            record.history.append(entry)
            _save(out, model, record, list(layout.wnids))
            sys.stderr.write(epoch_line(entry, settings.epochs) + "\n")
            sys.stderr.flush()
    return model, record


def compile_model(shape: mobilenet.Shape, settings: TrainingSettings, steps_per_epoch: int) -> Any:
    """Build the network and give it its optimizer, its schedule and its loss."""
    model = mobilenet.build(shape)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):  # a short run must forget where it began
            layer.momentum = min(layer.momentum, 1 - 10 / max(settings.epochs * steps_per_epoch, 20))
    warmup = round(settings.warmup_epochs * steps_per_epoch)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0 if warmup else settings.learning_rate,
        decay_steps=max(1, settings.epochs * steps_per_epoch - warmup),
        warmup_target=settings.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    optimizer: Any = (
        keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True, weight_decay=settings.weight_decay)
        if settings.optimizer == "sgd"
        else keras.optimizers.AdamW(schedule, weight_decay=settings.weight_decay)
    )
    optimizer.exclude_from_weight_decay(var_names=_NOT_DECAYED)
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=settings.label_smoothing),
        metrics=[
            keras.metrics.CategoricalAccuracy(name="top1"),
            keras.metrics.TopKCategoricalAccuracy(5, name="top5"),
        ],
        # TensorFlow's XLA for CPUs runs depthwise convolutions eight times slower than its own kernels.
        jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",
    )
    return model


def load_run(out: Path) -> tuple[Any, TrainingRecord, list[str]]:
    """Return the network (logits, input of any size), the record and the classes of the last checkpoint of a run.

    Raises:
        ModelError: the folder holds no checkpoint.
    """
    if not (out / STATE).is_file():
        raise ModelError(f"{out} holds no trained network; run `imagerec-model train` first")
    state = json.loads((out / STATE).read_text(encoding="utf-8"))
    model = keras.saving.load_model(out / state["file"], compile=False)
    return model, TrainingRecord.of_state(state["record"]), state["wnids"]


def _shape(layout: Layout, settings: TrainingSettings) -> mobilenet.Shape:
    return mobilenet.Shape(len(layout.wnids), settings.width, settings.strides)


def _cost(settings: TrainingSettings, epoch: int) -> float:
    """Return what a step costs, relative to others of the run: it grows with the number of pixels."""
    return float(settings.size_of_epoch(epoch) ** 2)


def _one_epoch(model: Any, data: Data, settings: TrainingSettings, epoch: int, report: Report) -> dict[str, Any]:
    cost = _cost(settings, epoch)
    batches = TrainingBatches(data.train_pixels, data.train_labels, data.classes, settings, epoch)
    before = sum(_cost(settings, e) for e in range(epoch)) * len(batches)
    start, speed = time.monotonic(), 0.0
    training = _Mean()
    for step, batch in enumerate(ahead(batches)):
        model.reset_metrics()
        training.add(model.train_on_batch(*batch, return_dict=True), len(batch[0]))
        if step == 0:  # the first step compiles; the clock starts after it
            start = time.monotonic()
        else:
            speed = step * settings.batch / (time.monotonic() - start)
        report(before + (step + 1) * cost, f"{speed:.0f} images/s")
    validation = _Mean()
    for batch in ahead(_validation(data, settings)):
        model.reset_metrics()
        validation.add(model.test_on_batch(*batch, return_dict=True), len(batch[0]))
    return {
        "epoch": epoch + 1,
        "size": settings.size_of_epoch(epoch),
        "learning_rate": float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)),
        **training.of(("loss", "top1", "top5")),
        **{f"val_{name}": value for name, value in validation.of(("loss", "top1", "top5")).items()},
        "images_per_s": round(speed, 1),
    }


def _validation(data: Data, settings: TrainingSettings) -> ValidationBatches:
    return ValidationBatches(
        data.validation_pixels, data.validation_labels, data.classes, settings.serve_size, _VALIDATION_BATCH
    )


class _Mean:
    """Means of named figures over batches, weighted by their pictures."""

    def __init__(self) -> None:
        self._sums: Counter[str] = Counter()
        self._pictures = 0

    def add(self, figures: dict[str, Any], pictures: int) -> None:
        self._sums.update({name: float(value) * pictures for name, value in figures.items()})
        self._pictures += pictures

    def of(self, names: Iterable[str]) -> dict[str, float]:
        return {name: self._sums[name] / self._pictures for name in names}


def _start(layout: Layout, out: Path, settings: TrainingSettings, resume: bool) -> tuple[Any, TrainingRecord]:
    """Return the model of the checkpoint (None at the beginning) and the record so far."""
    state_file = out / STATE
    if not state_file.is_file():
        if resume:
            raise ModelError(f"{out} holds no checkpoint to resume; leave out --resume to begin")
        return None, TrainingRecord.begin(settings, backend=keras.backend.backend(), data=layout.root.name)
    if not resume:
        raise ModelError(f"{out} holds a checkpoint; add --resume to go on from it, or name another folder")
    state = json.loads(state_file.read_text(encoding="utf-8"))
    record = TrainingRecord.of_state(state["record"])
    if record.settings != settings or state["wnids"] != list(layout.wnids):
        differ = record.settings.differences(settings)
        raise ModelError(
            f"the checkpoint in {out} is of other {'settings: ' + ', '.join(differ) if differ else 'classes'}; "
            "repeat the first call's options, or name another folder"
        )
    return keras.saving.load_model(out / state["file"]), record.resumed()


def _take_over(model: Any, stored: Any) -> None:
    """Copy weights and the optimizer's state: a loaded optimizer has forgotten which weights do not decay."""
    model.set_weights(stored.get_weights())
    model.optimizer.build(model.trainable_variables)
    for variable, value in zip(model.optimizer.variables, stored.optimizer.variables, strict=True):
        variable.assign(value)


def _save(out: Path, model: Any, record: TrainingRecord, wnids: list[str]) -> None:
    """Write the checkpoint of the last epoch; the state file is replaced last, so it never names half of one."""
    name = f"epoch-{len(record.history):03d}.keras"
    part = out / f"part-{name}"
    model.save(part)
    part.replace(out / name)
    state = {"file": name, "wnids": wnids, "record": dataclasses.asdict(record)}
    part = out / f"part-{STATE}"
    part.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
    part.replace(out / STATE)
    for old in out.glob("epoch-*.keras"):
        if old.name != name:
            old.unlink()
