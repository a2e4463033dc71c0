"""The head: standardising, turning and temperature are folded in; the same photographs give the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from imagerec_model.learn.confidence import softmax
from imagerec_model.learn.examination import examine
from imagerec_model.learn.head import Learnt, fit, logits_of, number_of_fits
from imagerec_model.learn.split import split
from tests.unit.learn.conftest import photographs_of


def _features(labels: np.ndarray, noise: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(5)
    centres = rng.uniform(0, 1, (labels.max() + 1, 1280))
    return np.clip(centres[labels] + rng.normal(0, noise, (len(labels), 1280)), 0, 6).astype(np.float32)


def _fit(labels: np.ndarray, features: np.ndarray) -> tuple[Learnt, np.ndarray, list[int]]:
    parts = split(photographs_of(labels.tolist()), [], 0)
    done: list[int] = []
    learnt = fit(features[parts.learning], labels[parts.learning], parts.folds, labels.max() + 1, done.append)
    assert done == list(range(1, number_of_fits(parts.folds) + 1))
    return learnt, parts.held_out, done


@pytest.mark.parametrize("numbers", [(20, 20), (30, 10, 20), (5, 5, 5, 5)], ids=str)
def test_head_tells_the_classes_apart(numbers: tuple[int, ...]) -> None:
    labels = np.repeat(np.arange(len(numbers)), numbers)
    features = _features(labels)
    learnt, held_out, _ = _fit(labels, features)
    assert learnt.head.kernel.shape == (len(numbers), 1280)
    assert learnt.head.kernel.dtype == learnt.head.bias.dtype == np.float32
    assert (logits_of(learnt.head, features[held_out]).argmax(axis=1) == labels[held_out]).all()


def test_all_that_is_folded_in_gives_what_the_regression_alone_gives() -> None:
    labels = np.repeat(np.arange(3), 15)
    features = _features(labels) * np.linspace(0.05, 3, 1280, dtype=np.float32)
    learnt = fit(features, labels, np.arange(45) % 5, 3, lambda _: None)
    standard = (features - features.mean(axis=0)) / (features.std(axis=0) + 0.02)
    from sklearn.linear_model import LogisticRegression

    alone = LogisticRegression(C=learnt.strength, class_weight="balanced", tol=1e-8, max_iter=10_000)
    logits = alone.fit(standard, labels).decision_function(standard) / learnt.temperature
    found = logits_of(learnt.head, features)
    apart = [one - one.mean(axis=1, keepdims=True) for one in (found, logits)]
    np.testing.assert_allclose(apart[0], apart[1], atol=0.02 * np.abs(apart[1]).max())


def test_more_photographs_than_features_give_a_head_too() -> None:
    labels = np.arange(1500) % 2
    features = _features(labels, 3.0)
    asked = np.arange(1500) >= 1400
    learnt = fit(features[~asked], labels[~asked], np.arange(1400) // 2 % 2 * 4, 2, lambda _: None)
    assert (logits_of(learnt.head, features[asked]).argmax(axis=1) == labels[asked]).mean() > 0.95


def test_same_photographs_give_the_same_bytes() -> None:
    labels = np.repeat(np.arange(3), 15)
    first, second = (_fit(labels, _features(labels))[0] for _ in range(2))
    assert first.head.kernel.tobytes() == second.head.kernel.tobytes()
    assert first.head.bias.tobytes() == second.head.bias.tobytes()


def test_classes_of_unlike_size_weigh_the_same() -> None:
    labels = np.repeat(np.arange(2), (300, 12))
    latent = labels + np.random.default_rng(1).normal(0, 1, len(labels))  # they overlap, and nothing else is known
    features = np.repeat(latent[:, None], 1280, axis=1).astype(np.float32)
    learnt, _, _ = _fit(labels, features)
    between = logits_of(learnt.head, np.full((1, 1280), 0.5, np.float32))
    assert 0.35 < softmax(between)[0, 1] < 0.65


def test_examination_counts_what_the_head_never_saw() -> None:
    labels = np.repeat(np.arange(3), 20)
    features = _features(labels)
    parts = split(photographs_of(labels.tolist()), [], 0)
    learnt = fit(features[parts.learning], labels[parts.learning], parts.folds, 3, lambda _: None)
    labels[parts.held_out[0]] = 1 if labels[parts.held_out[0]] == 0 else 0  # one stands in the wrong folder
    found = examine(learnt, features, labels, parts)
    assert (found.accuracy().right, found.accuracy().of) == (11, 12)
    assert found.cross_validated() == (48, 48)
    assert found.confusion().sum() == 12
    assert np.trace(found.confusion()) == 11
    assert found.most_wrong() == [parts.held_out[0]]
    np.testing.assert_allclose(found.probabilities[parts.held_out].sum(axis=1), 1)
    low, high = found.accuracy().interval
    assert low < found.accuracy().share < high
