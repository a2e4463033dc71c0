"""The settings of a training run: what they mean, what they may be, and how two of them differ."""

from __future__ import annotations

import dataclasses
from typing import Literal

from imagerec_model.errors import ModelError

_STRIDES = 8


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Everything that decides the outcome of a run; two runs of the same settings learn the same.

    The defaults are for a run of about an hour on two CPU cores. A GPU has time for more, for example
    `epochs=100, sizes=(64,), mix=0.5`.

    Attributes:
        epochs: passes over the training pictures.
        width: factor on the channels of every layer.
        strides: one for the stem, one for each of the seven stages; their product divides the picture's side.
        sizes: sides in pixels of the training crops, an equal share of the epochs each. Small first: a crop of half
            the side costs a quarter, and a network trained on crops sees objects larger than they will be when
            served, so it is best served at a somewhat larger size (Touvron et al., "Fixing the train-test resolution
            discrepancy", 2019).
        serve_size: side in pixels of the exported network's input.
        batch: pictures a step.
        optimizer: `sgd` (Nesterov, momentum 0.9) or `adamw`.
        learning_rate: its peak, reached after the warm-up; from there a cosine leads to zero.
        warmup_epochs: epochs of linear rise.
        weight_decay: decoupled decay of the kernels; biases and batch normalisation have none.
        label_smoothing: probability spread over all classes.
        crop_area: smallest share of the picture's area that a random crop keeps.
        colour: largest relative change of brightness, contrast and saturation.
        mix: share of the batches mixed by CutMix or mixup, one as often as the other. It pays in long runs.
        seed: of the first weights, the order, the crops.
    """

    epochs: int = 16
    width: float = 0.5
    strides: tuple[int, ...] = (2, 1, 2, 2, 2, 1, 1, 1)
    sizes: tuple[int, ...] = (32, 40, 48)
    serve_size: int = 56
    batch: int = 64
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: float = 0.15
    warmup_epochs: float = 0.25
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    crop_area: float = 0.5
    colour: float = 0.1
    mix: float = 0.0
    seed: int = 1

    def __post_init__(self) -> None:
        """Refuse values that cannot train; every reason is given at once."""
        rules = (
            (self.epochs >= 1, "epochs must be 1 or more"),
            (0 < self.width <= 4, "width must be above 0, at most 4"),
            (
                len(self.strides) == _STRIDES and all(stride in (1, 2) for stride in self.strides),
                f"strides must be {_STRIDES} numbers, each 1 or 2",
            ),
            (
                1 <= len(self.sizes) <= self.epochs and all(16 <= size <= 128 for size in self.sizes),
                "sizes must be 16 to 128 pixels, no more of them than epochs",
            ),
            (16 <= self.serve_size <= 128, "serve_size must be 16 to 128 pixels"),
            (self.batch >= 2, "batch must be 2 or more"),
            (self.optimizer in ("sgd", "adamw"), "optimizer must be sgd or adamw"),
            (self.learning_rate > 0, "learning_rate must be above 0"),
            (0 <= self.warmup_epochs <= self.epochs, "warmup_epochs must be 0 to epochs"),
            (self.weight_decay >= 0, "weight_decay must be 0 or more"),
            (0 <= self.label_smoothing < 1, "label_smoothing must be 0 or more and below 1"),
            (0 < self.crop_area <= 1, "crop_area must be above 0, at most 1"),
            (0 <= self.colour < 1, "colour must be 0 or more and below 1"),
            (0 <= self.mix <= 1, "mix must be 0 to 1"),
            (self.seed >= 0, "seed must be 0 or more"),
        )
        reasons = [reason for holds, reason in rules if not holds]
        if reasons:
            raise ModelError("; ".join(reasons))

    def size_of_epoch(self, epoch: int) -> int:
        """Return the side in pixels of the crops of an epoch, counted from 0; the last size gets the remainder."""
        return self.sizes[min(epoch // (self.epochs // len(self.sizes)), len(self.sizes) - 1)]

    def differences(self, other: TrainingSettings) -> list[str]:
        """Return the names of the settings that differ; a checkpoint is of a run only where none does."""
        names = [field.name for field in dataclasses.fields(self)]
        return [name for name in names if getattr(self, name) != getattr(other, name)]
