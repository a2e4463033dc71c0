"""Temperature, calibration error and the bound of "not sure"."""

from __future__ import annotations

import numpy as np
import pytest

from imagerec_model.learn.confidence import calibration_error, log_loss, softmax, temperature, unsure_below


def _honest(number: int = 4000, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Return logits and classes that were drawn by the logits' own probabilities."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (number, classes))
    labels = np.array([rng.choice(classes, p=one) for one in softmax(logits)])
    return logits, labels


@pytest.mark.parametrize("factor", [0.2, 1.0, 6.0], ids=["too timid", "honest", "too sure"])
def test_temperature_undoes_a_factor(factor: float) -> None:
    logits, labels = _honest()
    assert temperature(logits * factor, labels) == pytest.approx(factor, rel=0.08)


def test_temperature_mends_the_calibration_error() -> None:
    logits, labels = _honest()
    before = calibration_error(softmax(logits * 6), labels)
    after = calibration_error(softmax(logits * 6 / temperature(logits * 6, labels)), labels)
    assert before > 0.15
    assert after < 0.03


@pytest.mark.parametrize("number", [2, 30], ids=["six answers", "ninety answers"])
def test_answers_that_are_all_right_do_not_make_it_quite_sure(number: int) -> None:
    labels = np.array([0, 1, 2] * number)
    logits = np.eye(3)[labels] * 40
    sureness = softmax(logits / temperature(logits, labels)).max(axis=1)
    np.testing.assert_allclose(sureness, (len(labels) + 1) / (len(labels) + 2), rtol=1e-3)


def test_calibration_error_by_hand() -> None:
    probabilities = np.array([[0.95, 0.05], [0.95, 0.05], [0.6, 0.4], [0.4, 0.6]])
    # of the bin 0.9..1: one right of two, gap 0.45; of the bin 0.6..0.7: both right, gap 0.4
    assert calibration_error(probabilities, np.array([0, 1, 0, 1])) == pytest.approx(0.5 * 0.45 + 0.5 * 0.4)


def test_log_loss_by_hand() -> None:
    # two answers: the right class counts 3/4, the other 1/4
    logits = np.log(np.array([[0.5, 0.5], [0.8, 0.2]]))
    wanted = (-np.log(0.5) - 0.75 * np.log(0.8) - 0.25 * np.log(0.2)) / 2
    assert log_loss(logits, np.array([0, 0])) == pytest.approx(wanted)
    assert log_loss(logits * 1000, np.array([0, 0])) < np.inf


def test_one_right_answer_of_twenty_is_unsure() -> None:
    sure = np.linspace(0.5, 0.99, 101)
    probabilities = np.stack([sure, 1 - sure], axis=1)
    bound = unsure_below(probabilities, np.zeros(101, int))
    assert bound == 0.52
    wrong = np.array([[0.1, 0.9]] * 50)
    assert unsure_below(np.concatenate([probabilities, wrong]), np.zeros(151, int)) == bound
    assert unsure_below(wrong, np.zeros(50, int)) == 0
    sure = np.array([[0.99, 0.01]] * 50)
    assert unsure_below(sure, np.zeros(50, int)) == 0.9
