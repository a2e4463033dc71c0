"""What the held-out photographs and the cross-validation say about a head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from imagerec_model.evaluation import wilson
from imagerec_model.learn.confidence import Labels, Logits, calibration_error, softmax
from imagerec_model.learn.features import Features
from imagerec_model.learn.head import Learnt, logits_of
from imagerec_model.learn.photographs import Collection
from imagerec_model.learn.split import Pair, Split


class Share(NamedTuple):
    """A number of right answers out of a number of photographs."""

    right: int
    of: int

    @property
    def share(self) -> float:
        """The right ones' share, 0 to 1."""
        return self.right / self.of

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval; see `evaluation.wilson`."""
        return wilson(self.right, self.of)


@dataclass(frozen=True, slots=True)
class Examination:
    """Figures of a head.

    Attributes:
        labels: the right class of every photograph.
        probabilities: `[n, classes]`: of a held-out photograph by the head, of the others by a head of the
            cross-validation that did not see them.
        held_out: whether a photograph was held out, bool `[n]`.
        error_before: expected calibration error of the held-out photographs without the temperature.
        error_after: the same with it.
        unsure: share of the held-out photographs whose answer is called "not sure".
    """

    labels: Labels
    probabilities: Logits
    held_out: npt.NDArray[np.bool_]
    error_before: float
    error_after: float
    unsure: float

    @property
    def answers(self) -> Labels:
        """The class that is answered for each photograph."""
        best: Labels = self.probabilities.argmax(axis=1)
        return best

    def accuracy(self, label: int | None = None) -> Share:
        """Return how many held-out photographs are answered rightly: of all, or of one class."""
        asked = self.held_out if label is None else self.held_out & (self.labels == label)
        return Share(int((self.answers == self.labels)[asked].sum()), int(asked.sum()))

    def cross_validated(self) -> Share:
        """Return how many of the photographs learnt from are answered rightly by a head that did not see them."""
        right = (self.answers == self.labels)[~self.held_out]
        return Share(int(right.sum()), len(right))

    def confusion(self) -> npt.NDArray[np.int64]:
        """Return the numbers of held-out photographs, `[class, answer]`."""
        classes = self.probabilities.shape[1]
        pairs = self.labels[self.held_out] * classes + self.answers[self.held_out]
        return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)

    def most_wrong(self) -> list[int]:
        """Return the photographs with a wrong answer, the surest of their wrong answers first."""
        sureness = self.probabilities.max(axis=1)
        wrong = np.flatnonzero(self.answers != self.labels)
        return [int(index) for index in wrong[np.argsort(-sureness[wrong], kind="stable")]]


@dataclass(frozen=True, slots=True)
class Result:
    """What was learnt, and all that a report tells of it.

    Attributes:
        name: of the bundle.
        collection: what was learnt from.
        split: how it was parted.
        pairs: its near-duplicates; see `split.near_duplicates`.
        learnt: the head.
        examination: its figures.
    """

    name: str
    collection: Collection
    split: Split
    pairs: list[Pair]
    learnt: Learnt
    examination: Examination


def examine(learnt: Learnt, features: Features, labels: Labels, split: Split) -> Examination:
    """Ask a head about the photographs that it never saw."""
    held_out = np.zeros(len(labels), bool)
    held_out[split.held_out] = True
    logits = logits_of(learnt.head, features[split.held_out])
    asked = softmax(logits)
    probabilities = np.empty((len(labels), logits.shape[1]))
    probabilities[split.held_out], probabilities[split.learning] = asked, learnt.out_of_fold
    right = labels[split.held_out]
    return Examination(
        labels,
        probabilities,
        held_out,
        calibration_error(softmax(logits * learnt.temperature), right),
        calibration_error(asked, right),
        float((asked.max(axis=1) < learnt.unsure_below).mean()),
    )
