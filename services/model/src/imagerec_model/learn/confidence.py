"""How sure is sure: a temperature that makes probabilities honest, and the bound of "not sure"."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

Logits = npt.NDArray[np.float64]  # [n, classes], as are probabilities
Labels = npt.NDArray[np.intp]  # [n], the right classes

_BINS = 10
_RIGHT_BUT_UNSURE = 0.05
_SURE = 0.9


def softmax(logits: Logits) -> Logits:
    """Return the probabilities of `[n, classes]` logits."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Logits = powers / powers.sum(axis=1, keepdims=True)
    return result


def log_loss(logits: Logits, labels: Labels) -> float:
    """Return the mean cross entropy between probabilities and classes, where one class of n + 2 may be wrong.

    With nothing but right answers, plain log loss would have every probability at 1. So the right class is given
    (n + 1) / (n + 2) and the others share the rest, as if one more answer had been right and one wrong.
    Source: Platt, "Probabilistic Outputs for Support Vector Machines", 1999, section 2.2.
    """
    peak = logits.max(axis=1)
    total = peak + np.log(np.exp(logits - peak[:, None]).sum(axis=1))
    doubt = 1 / (len(labels) + 2)
    right = logits[np.arange(len(labels)), labels]
    others = (logits.sum(axis=1) - right) / (logits.shape[1] - 1)
    return float((total - (1 - doubt) * right - doubt * others).mean())


def temperature(logits: Logits, labels: Labels) -> float:
    """Return the divisor with which the log loss of photographs that were not learnt from is least, 0.01 to 100.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    found = minimize_scalar(
        lambda power: log_loss(logits / math.exp(power), labels),
        bounds=(math.log(0.01), math.log(100)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return math.exp(float(found.x))


def calibration_error(probabilities: Logits, labels: Labels) -> float:
    """Return the expected calibration error, 0 to 1: how far probabilities are from the share that is right.

    The answers are sorted into ten bins of probability; ECE = Σ n_b / n · |right_b − probability_b|.
    """
    best = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((best * _BINS).astype(int), _BINS - 1)
    gaps = (right.astype(float) - best)[:, None] * (bins[:, None] == np.arange(_BINS))
    return float(np.abs(gaps.sum(axis=0)).sum() / len(labels))


def unsure_below(probabilities: Logits, labels: Labels) -> float:
    """Return the probability below which an answer is called "not sure", by photographs that were not learnt from.

    The rule: one right answer of twenty is less sure than this. So the bound costs 5 % of the right answers, and
    wrong ones and photographs of something else altogether, which are less sure, fall below it. It is 0.9 at most:
    such an answer is right nine times of ten. Rounded down to hundredths.
    """
    best = probabilities.max(axis=1)
    right = best[probabilities.argmax(axis=1) == labels]
    bound = float(np.quantile(right, _RIGHT_BUT_UNSURE)) if len(right) else 0.0
    return math.floor(min(bound, _SURE) * 100) / 100
