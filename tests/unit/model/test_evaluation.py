"""A bundle is measured as it is served, and the better trade of two is shipped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import binomtest

from imagerec_model.evaluation import Evaluation, choose, evaluate, wilson
from imagerec_worker.bundle import Bundle


@given(of=st.integers(1, 20_000), share=st.floats(0, 1))
def test_the_interval_is_wilsons(of: int, share: float) -> None:
    right = round(of * share)
    reference = binomtest(right, of).proportion_ci(method="wilson")
    assert wilson(right, of) == pytest.approx((reference.low, reference.high), abs=1e-9)


def figures(top1: int, *, pictures: int = 1000, top5: int = 900) -> Evaluation:
    return Evaluation(pictures, top1, top5, 1.5, 0.3, (), ())


@pytest.mark.parametrize(
    ("int8", "chosen"),
    [(500, "int8"), (510, "int8"), (485, "int8"), (484, "float32"), (100, "float32")],
    ids=["same", "better", "at-the-limit", "beyond", "broken"],
)
def test_int8_is_shipped_unless_it_costs_more_than_a_point_and_a_half(int8: int, chosen: str) -> None:
    assert choose({"int8": figures(int8), "float32": figures(500)}) == chosen


def test_right_answers_and_confusions_are_counted(colours: Bundle, tmp_path: Path) -> None:
    """Red, green and blue pictures; two carry a wrong label."""
    files = []
    for number, (colour, label) in enumerate([(0, 0), (0, 0), (1, 1), (2, 2), (2, 0), (2, 0)]):
        pixels = np.full((20, 20, 3), 30, np.uint8)
        pixels[:, :, colour] = 220
        path = tmp_path / f"{number}.png"
        Image.fromarray(pixels).save(path)
        files.append((path, label))
    measured = evaluate(colours, files)
    assert (measured.pictures, measured.top1, measured.top5) == (6, 4, 6)  # three classes are all among the first five
    assert measured.by_class == (2, 1, 1)
    assert measured.confusions == (((0, 2), 2),)
    assert 0.9 < measured.confidence <= 1
    assert measured.inference_ms > 0
    assert measured.summary()["top1"] == pytest.approx(4 / 6)
    assert measured.summary()["top1_interval"] == wilson(4, 6)
