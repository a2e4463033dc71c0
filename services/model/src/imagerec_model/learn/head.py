"""The head: softmax regression on features, its strength chosen by cross-validation, its temperature folded in."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from imagerec_model.efficientnet import FEATURES, Head
from imagerec_model.learn.confidence import Labels, Logits, log_loss, softmax, temperature, unsure_below
from imagerec_model.learn.features import Features

# Weights of the data against the penalty (scikit-learn's C), from strong to weak regularisation.
STRENGTHS = tuple(factor / FEATURES for factor in (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0))
# Added to a feature's deviation, so that one which hardly varies is not blown up.
_LEAST_DEVIATION = 0.02
_MAX_STEPS = 2000


@dataclass(frozen=True, slots=True)
class Learnt:
    """A head and what was found on the way.

    Attributes:
        head: kernel and bias, temperature folded in.
        strength: of the regularisation, scikit-learn's C: less is stronger.
        temperature: the logits' divisor.
        unsure_below: see `confidence.unsure_below`.
        losses: log loss in cross-validation of each of `STRENGTHS`, after a temperature of its own.
        out_of_fold: `[n, classes]` probabilities of the photographs learnt from, each by a head that did not see it.
    """

    head: Head
    strength: float
    temperature: float
    unsure_below: float
    losses: tuple[float, ...]
    out_of_fold: Logits


def fit(
    features: Features, labels: Labels, folds: npt.NDArray[np.intp], classes: int, report: Callable[[int], None]
) -> Learnt:
    """Fit the head.

    Args:
        features: float32 `[n, 1280]`.
        labels: class indices `[n]`; every class is there.
        folds: the fold `[n]` that each photograph examines; without any of them every class is there too.
        classes: how many.
        report: called with the number of fits done, of `number_of_fits`.
    """
    used = np.unique(folds)
    logits = np.empty((len(STRENGTHS), len(labels), classes))
    with threadpool_limits(1):  # sums of several threads come out in another order each time
        for number, fold in enumerate(used):
            examined = folds == fold
            problem = _Problem(features[~examined], labels[~examined])
            for index, strength in enumerate(STRENGTHS):
                logits[index, examined] = _apply(problem.solve(strength), features[examined])
                report(number * len(STRENGTHS) + index + 1)
        temperatures = [temperature(one, labels) for one in logits]
        losses = [log_loss(one / heat, labels) for one, heat in zip(logits, temperatures, strict=True)]
        best = int(np.argmin(losses))
        head = _Problem(features, labels).solve(STRENGTHS[best])
    probabilities = softmax(logits[best] / temperatures[best])
    return Learnt(
        Head(*((part / temperatures[best]).astype(np.float32) for part in head)),
        STRENGTHS[best],
        temperatures[best],
        unsure_below(probabilities, labels),
        tuple(losses),
        probabilities,
    )


def number_of_fits(folds: npt.NDArray[np.intp]) -> int:
    """Return how many heads are fitted in cross-validation."""
    return len(np.unique(folds)) * len(STRENGTHS)


def logits_of(head: Head, features: Features) -> Logits:
    """Return the logits `[n, classes]` of features `[n, 1280]`."""
    return _apply((head.kernel.astype(np.float64), head.bias.astype(np.float64)), features)


_Linear = tuple[Logits, Logits]


def _apply(head: _Linear, features: Features) -> Logits:
    kernel, bias = head
    result: Logits = features.astype(np.float64) @ kernel.T + bias
    return result


class _Problem:
    """Labelled features, standardised and turned into as few dimensions as hold them without loss."""

    def __init__(self, features: Features, labels: Labels) -> None:
        from sklearn.linear_model import LogisticRegression

        values = features.astype(np.float64)
        self._mean = values.mean(axis=0)
        self._deviation = values.std(axis=0) + _LEAST_DEVIATION
        values = (values - self._mean) / self._deviation
        self._turn = None
        if len(values) < values.shape[1]:  # the penalty keeps the solution within the span of the photographs
            left, sizes, self._turn = np.linalg.svd(values, full_matrices=False)
            values = left * sizes
        self._values, self._labels = values, labels
        # Each strength begins where the one before ended, which takes a fraction of the steps.
        self._model = LogisticRegression(class_weight="balanced", max_iter=_MAX_STEPS, warm_start=True)

    def solve(self, strength: float) -> _Linear:
        """Return kernel `[classes, 1280]` and bias `[classes]`, both float64."""
        from sklearn.exceptions import ConvergenceWarning

        model = self._model.set_params(C=strength)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # cross-validation judges what came of it
            model.fit(self._values, self._labels)
        kernel, bias = model.coef_, model.intercept_
        if len(kernel) == 1:  # of two classes scikit-learn gives the difference
            kernel, bias = np.concatenate([-kernel, kernel]) / 2, np.concatenate([-bias, bias]) / 2
        if self._turn is not None:
            kernel = kernel @ self._turn
        kernel = kernel / self._deviation
        return kernel, bias - kernel @ self._mean
