"""Settings that cannot train are refused; sizes are dealt out over the epochs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagerec_model.errors import ModelError
from imagerec_model.training_settings import TrainingSettings

WRONG: dict[str, tuple[Any, str]] = {
    "epochs": (0, "epochs must be 1 or more"),
    "width": (0.0, "width must be above 0"),
    "strides": ((2, 1, 3), "strides must be 8 numbers, each 1 or 2"),
    "sizes": ((32, 12), "sizes must be 16 to 128 pixels"),
    "serve_size": (300, "serve_size must be 16 to 128 pixels"),
    "batch": (1, "batch must be 2 or more"),
    "optimizer": ("adam", "optimizer must be sgd or adamw"),
    "learning_rate": (0.0, "learning_rate must be above 0"),
    "warmup_epochs": (99.0, "warmup_epochs must be 0 to epochs"),
    "weight_decay": (-1.0, "weight_decay must be 0 or more"),
    "label_smoothing": (1.0, "label_smoothing must be 0 or more and below 1"),
    "crop_area": (0.0, "crop_area must be above 0, at most 1"),
    "colour": (1.0, "colour must be 0 or more and below 1"),
    "mix": (1.5, "mix must be 0 to 1"),
    "seed": (-1, "seed must be 0 or more"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_refused_with_its_rule(name: str) -> None:
    value, rule = WRONG[name]
    with pytest.raises(ModelError) as refusal:
        TrainingSettings(**{name: value})
    assert rule in str(refusal.value)


def test_every_wrong_value_is_named_at_once() -> None:
    with pytest.raises(ModelError) as refusal:
        TrainingSettings(**{name: value for name, (value, _) in WRONG.items() if name != "epochs"})
    assert str(refusal.value).count(";") == len(WRONG) - 2


def test_more_sizes_than_epochs_are_refused() -> None:
    with pytest.raises(ModelError, match="no more of them than epochs"):
        TrainingSettings(epochs=2, warmup_epochs=0, sizes=(32, 40, 48))


@given(epochs=st.integers(1, 60), sizes=st.lists(st.integers(16, 128), min_size=1, max_size=8, unique=True))
def test_sizes_come_in_their_order_with_an_equal_share_each(epochs: int, sizes: list[int]) -> None:
    if len(sizes) > epochs:
        sizes = sizes[:epochs]
    settings = TrainingSettings(epochs=epochs, warmup_epochs=0, sizes=tuple(sizes))
    of_epochs = [settings.size_of_epoch(epoch) for epoch in range(epochs)]
    assert list(dict.fromkeys(of_epochs)) == sizes
    shares = Counter(of_epochs)
    assert {shares[size] for size in sizes[:-1]} <= {epochs // len(sizes)}
    assert shares[sizes[-1]] == epochs - (len(sizes) - 1) * (epochs // len(sizes))


def test_differences_name_what_differs() -> None:
    settings = TrainingSettings()
    assert settings.differences(TrainingSettings()) == []
    assert settings.differences(TrainingSettings(batch=settings.batch * 2, seed=2)) == ["batch", "seed"]
