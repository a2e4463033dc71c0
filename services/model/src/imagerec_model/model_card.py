"""The model card of the embedded bundle: what it is, how good, where it fails, how to make it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imagerec_model.evaluation import Evaluation, wilson
from imagerec_model.tiny_imagenet import Layout
from imagerec_model.training_record import TrainingRecord
from imagerec_worker.bundle import Bundle, Quantisation
from imagerec_worker.classifier import Classifier
from imagerec_worker.preprocess import preprocess

_EXTREMES = 12
_MAX_PIXELS = 50_000_000


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of an export.

    Attributes:
        chosen: which of the two is shipped.
        evaluations: of both.
        size_bytes: of the shipped network.
    """

    chosen: Quantisation
    evaluations: dict[Quantisation, Evaluation]
    size_bytes: int

    def summary(self) -> dict[str, object]:
        """Return the figures for JSON."""
        return {
            "chosen": self.chosen,
            "size_bytes": self.size_bytes,
            **{name: evaluation.summary() for name, evaluation in self.evaluations.items()},
        }


def write_card(
    out: Path,
    bundle: Bundle,
    record: TrainingRecord,
    layout: Layout,
    measured: Measured,
    *,
    photographs: Sequence[Path] = (),
) -> None:
    """Write `MODEL_CARD.md` into the bundle's folder."""
    evaluation = measured.evaluations[measured.chosen]
    sections = [
        _head(bundle, measured),
        _accuracy(measured),
        _training(record),
        _data(layout),
        _failures(bundle, evaluation),
        _photographs(bundle, photographs) if photographs else "",
        _classes(bundle, evaluation),
    ]
    (out / "MODEL_CARD.md").write_text("\n".join(section for section in sections if section), encoding="utf-8")


def _head(bundle: Bundle, measured: Measured) -> str:
    return f"""# The embedded model

{bundle.title}, {measured.size_bytes / 1e6:.1f} MB. It lets a first deployment classify photographs where no model
can be downloaded, and it is what the tests classify with. For real use take `MODEL=imagenet`: 1000 classes, and far
better.

Input: the centre square of a picture as {bundle.input_size} × {bundle.input_size} RGB. Output: one logit for each of
{len(bundle.classes)} classes; the worker turns them into probabilities.
"""


def _accuracy(measured: Measured) -> str:
    rows = "\n".join(
        f"| {name}{' (shipped)' if name == measured.chosen else ''} | {_share(one.top1, one.pictures)} "
        f"| {_share(one.top5, one.pictures)} | {one.inference_ms:.2f} ms |"
        for name, one in measured.evaluations.items()
    )
    pictures = measured.evaluations[measured.chosen].pictures
    return f"""## Accuracy

Measured on the {pictures} validation pictures as the service sees them: the JPEG files through the worker's
preprocessing and the LiteRT network. In brackets the 95 % interval (Wilson score). Time: median of one inference with
one thread, on the machine that made this card.

| | top-1 | top-5 | inference |
|---|---|---|---|
{rows}
"""


def _training(record: TrainingRecord) -> str:
    settings, last, done = record.settings, record.history[-1], len(record.history)
    sizes = ", ".join(str(size) for size in dict.fromkeys(entry["size"] for entry in record.history))
    unfinished = (
        f"\n**The run was stopped after {done} of {settings.epochs} epochs; these are its last weights.**\n"
        if done < settings.epochs
        else ""
    )
    return f"""## Training

`imagerec-model train` on Keras' {record.backend} backend: {done} epochs with crops of {sizes} pixels, batches of
{settings.batch}, {settings.optimizer} with a peak learning rate of {settings.learning_rate:g}, warm-up and cosine,
label smoothing {settings.label_smoothing:g}, seed {settings.seed}. In the last epoch it was right on
{last["top1"]:.1%} of the augmented training crops, and after it on {last["val_top1"]:.1%} of every fifth validation
picture in Keras. `training.json` has every setting and every epoch, `training.png` draws them.
{unfinished}
![loss and accuracy over the epochs](training.png)

To train it again: `make embedded DATA=path/to/tiny-imagenet-200`. With a GPU and Keras on torch or jax there is time
for more, for example `--epochs 100 --sizes 64 --mix 0.5`.
"""


def _data(layout: Layout) -> str:
    return f"""## Data and licence

Tiny ImageNet (Stanford CS231n): {len(layout.wnids)} classes of ImageNet, {len(layout.train)} training and
{len(layout.validation)} validation pictures of 64 × 64 pixels. ImageNet does not own its pictures and passes them on
for non-commercial research and education only; no picture is in this repository. The weights were made by this
repository's own command from random ones and carry the repository's licence; whether weights trained on such pictures
may be used commercially is not settled law, so for commercial use train on pictures of your own.
"""


def _failures(bundle: Bundle, evaluation: Evaluation) -> str:
    each = evaluation.pictures / len(bundle.classes)
    ranked = sorted(range(len(bundle.classes)), key=lambda index: evaluation.by_class[index])
    worst = ", ".join(_class_share(bundle, evaluation, index, each) for index in ranked[:_EXTREMES])
    best = ", ".join(_class_share(bundle, evaluation, index, each) for index in reversed(ranked[-_EXTREMES:]))
    rows = "\n".join(
        f"| {bundle.classes[true].label} | {bundle.classes[said].label} | {number} of {each:.0f} |"
        for (true, said), number in evaluation.confusions[:_EXTREMES]
    )
    return f"""## Known failures

- It knows {len(bundle.classes)} classes and answers with one of them whatever the picture shows: there is no "none of
  these", and people, dogs other than its few breeds and most tools have no class at all.
- It sees {bundle.input_size} pixels: small objects, several objects and objects off the centre square are lost.
- Its probabilities are the network's own: on average it gives its first answer {evaluation.confidence:.0%}, and that is
  right in {evaluation.top1 / evaluation.pictures:.0%}.
- Best classes: {best}.
- Worst classes: {worst}.

Most frequent confusions:

| shown | answered | pictures |
|---|---|---|
{rows}
"""


def _photographs(bundle: Bundle, photographs: Sequence[Path]) -> str:
    classifier = Classifier(bundle)
    rows = []
    for path in photographs:
        pixels, _ = preprocess(path.read_bytes(), bundle.input_size, _MAX_PIXELS)
        answers = (f"{one.label} {one.probability:.0%}" for one in classifier.classify(pixels, 3))
        rows.append(f"| {path.name} | {', '.join(answers)} |")
    return "\n".join(
        ["## On photographs of full size", "", "| picture | first three answers |", "|---|---|", *rows, ""]
    )


def _classes(bundle: Bundle, evaluation: Evaluation) -> str:
    each = evaluation.pictures / len(bundle.classes)
    ordered = sorted(range(len(bundle.classes)), key=lambda index: bundle.classes[index].label.casefold())
    listed = ", ".join(_class_share(bundle, evaluation, index, each) for index in ordered)
    return f"## Classes\n\nWith the share of their validation pictures that are answered right (top-1):\n{listed}.\n"


def _class_share(bundle: Bundle, evaluation: Evaluation, index: int, each: float) -> str:
    return f"{bundle.classes[index].label} ({evaluation.by_class[index] / each:.0%})"


def _share(right: int, of: int) -> str:
    low, high = wilson(right, of)
    return f"{right / of:.2%} ({100 * low:.1f}–{100 * high:.1f})"
