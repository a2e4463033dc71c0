"""What augmentation may do to a picture, and that a seed decides all of it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagerec_model.augment import (
    TrainingBatches,
    ValidationBatches,
    ahead,
    change_colour,
    mix,
    one_hot,
    random_crop,
    to_input,
)
from imagerec_model.tiny_imagenet import Labels, Pixels
from imagerec_model.training_settings import TrainingSettings

SETTINGS = TrainingSettings(epochs=4, warmup_epochs=0, sizes=(24, 32), batch=8, mix=0.5)
seeds = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def pictures() -> tuple[Pixels, Labels]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (44, 64, 64, 3), np.uint8), np.arange(44, dtype=np.int32) % 5


def batches(pictures: tuple[Pixels, Labels], epoch: int, **changes: object) -> TrainingBatches:
    return TrainingBatches(*pictures, 5, dataclasses.replace(SETTINGS, **changes), epoch)


def test_a_batch_has_the_size_of_its_epoch_and_the_range_of_the_network(pictures: tuple[Pixels, Labels]) -> None:
    for epoch, size in ((0, 24), (1, 24), (2, 32), (3, 32)):
        of_epoch = batches(pictures, epoch)
        assert len(of_epoch) == 5  # 44 pictures: the incomplete sixth batch is left out
        images, targets = of_epoch[0]
        assert (images.shape, images.dtype) == ((8, size, size, 3), np.float32)
        assert -1 <= images.min() < -0.5
        assert 0.5 < images.max() <= 1
        assert (targets.shape, targets.dtype) == ((8, 5), np.float32)
        np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)


def test_the_same_seed_gives_the_same_batches_in_any_order(pictures: tuple[Pixels, Labels]) -> None:
    forwards = list(ahead(batches(pictures, 1)))
    again = batches(pictures, 1)
    backwards = [again[index] for index in reversed(range(len(again)))][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        assert (one[0] == other[0]).all()
        assert (one[1] == other[1]).all()


@pytest.mark.parametrize(("epoch", "seed"), [(0, 1), (1, 2)], ids=["other-epoch", "other-seed"])
def test_another_epoch_or_seed_crops_the_same_pictures_otherwise(
    pictures: tuple[Pixels, Labels], epoch: int, seed: int
) -> None:
    alike = np.repeat(pictures[0][:1], 8, axis=0), np.zeros(8, np.int32)  # so that their order shows nowhere
    first, second = batches(alike, 1, mix=0.0)[0], batches(alike, epoch, seed=seed, mix=0.0)[0]
    assert (first[0] != second[0]).any()


def test_an_epoch_shows_each_picture_at_most_once() -> None:
    shade = np.arange(40, dtype=np.uint8)
    flat = np.broadcast_to(shade[:, None, None, None] * 6, (40, 64, 64, 3))
    of_epoch = TrainingBatches(flat, np.zeros(40, np.int32), 2, dataclasses.replace(SETTINGS, mix=0.0, colour=0.0), 0)
    shown = np.concatenate([of_epoch[index][0][:, 0, 0, 0] for index in range(len(of_epoch))])
    seen = np.rint((shown + 1) * 127.5 / 6).astype(int)
    assert sorted(seen.tolist()) == list(range(40))
    assert seen.tolist() != list(range(40))


def test_ahead_keeps_the_order_and_passes_an_error_on() -> None:
    class Numbers:
        def __len__(self) -> int:
            return 9

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            if index == 7:
                raise ValueError("the eighth is broken")
            return np.array([index], np.float32), np.array([index], np.float32)

    seen: list[int] = []
    with pytest.raises(ValueError, match="the eighth is broken"):
        seen.extend(int(one[0]) for one, _ in ahead(Numbers()))
    assert seen == list(range(7))


@given(seed=seeds, least=st.floats(0.05, 1.0), size=st.sampled_from([16, 33, 64]))
@settings(deadline=None)
def test_a_crop_is_a_part_of_the_picture(seed: int, least: float, size: int) -> None:
    """On a picture whose colour tells the place, the crop spans at least the asked area and stays in order."""
    ramp = np.arange(64, dtype=np.uint8) * 4
    place = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :], np.uint8(0)), axis=2)
    crop = random_crop(place, size, least, np.random.default_rng(seed)).astype(int)
    assert crop.shape == (size, size, 3)
    height = (crop[-1, 0, 0] - crop[0, 0, 0]) / 4 + 64 / size  # centres of the outer pixels, and half a pixel each side
    width = abs(crop[0, -1, 1] - crop[0, 0, 1]) / 4 + 64 / size
    assert (np.diff(crop[:, 0, 0]) >= 0).all()  # never upside down
    assert height * width >= least * 64 * 64 * 0.75 * 0.7  # the aspect may be cut at the border; 8-bit places
    assert height <= 64 + 64 / size + 1
    assert width <= 64 + 64 / size + 1


def test_every_second_crop_is_mirrored() -> None:
    ramp = np.broadcast_to(np.arange(64, dtype=np.uint8)[None, :, None] * 4, (64, 64, 3))
    rng = np.random.default_rng(3)
    crops = [random_crop(ramp, 32, 0.4, rng).astype(int) for _ in range(400)]
    mirrored = sum(crop[0, 0, 0] > crop[0, -1, 0] for crop in crops)
    assert 150 < mirrored < 250  # 5 standard deviations


@given(seed=seeds, strength=st.floats(0, 0.99))
@settings(deadline=None)
def test_colours_stay_in_range_and_grey_stays_grey(seed: int, strength: float) -> None:
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (3, 8, 8, 3)).astype(np.float32)
    images[0] = images[0, :, :, :1]
    changed = change_colour(images, strength, rng)
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert np.ptp(changed[0], axis=2).max() < 1e-3


def test_no_strength_changes_no_colour_and_strength_does() -> None:
    rng = np.random.default_rng(0)
    images = rng.uniform(60, 190, (4, 8, 8, 3)).astype(np.float32)
    assert (change_colour(images, 0.0, rng) == images).all()
    factors = change_colour(images, 0.2, rng).mean(axis=(1, 2, 3)) / images.mean(axis=(1, 2, 3))
    assert ((factors > 0.79) & (factors < 1.21)).all()
    assert np.ptp(factors) > 0.01


@given(seed=seeds)
@settings(deadline=None)
def test_mixed_targets_are_the_shares_of_the_mixed_pictures(seed: int) -> None:
    """Two kinds of flat picture, black and white: the share of white is what the target must say."""
    white = np.array([0, 0, 1, 1], np.float32)
    images = np.broadcast_to(white[:, None, None, None], (4, 16, 16, 3)).copy()
    targets = one_hot(white.astype(np.int32), 2)
    mixed, said = mix(images, targets, np.random.default_rng(seed))
    np.testing.assert_allclose(said[:, 1], mixed.mean(axis=(1, 2, 3)), atol=1e-5)
    np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-6)


def test_both_ways_of_mixing_are_met() -> None:
    images = np.broadcast_to(np.array([0, 1], np.float32)[:, None, None, None], (2, 16, 16, 3)).copy()
    targets = one_hot(np.array([0, 1], np.int32), 2)
    patched = 0
    for seed in range(200):
        mixed, _ = mix(images, targets, np.random.default_rng(seed))
        patched += set(np.unique(mixed).tolist()) <= {0.0, 1.0}
    assert 60 < patched < 140


def test_validation_pictures_are_neither_cropped_nor_left_out(pictures: tuple[Pixels, Labels]) -> None:
    pixels, labels = pictures
    validation = ValidationBatches(pixels, labels, 5, 64, 20)
    shown = list(ahead(validation))
    assert [len(images) for images, _ in shown] == [20, 20, 4]
    images = np.concatenate([one for one, _ in shown])
    np.testing.assert_allclose((images + 1) * 127.5, pixels, atol=1e-3)
    assert (np.concatenate([one for _, one in shown]).argmax(axis=1) == labels).all()


def test_pictures_of_another_size_are_resized(pictures: tuple[Pixels, Labels]) -> None:
    shrunk = to_input(pictures[0], 32)
    assert shrunk.shape == (44, 32, 32, 3)
    means = (shrunk.mean(axis=(1, 2, 3)) + 1) * 127.5
    np.testing.assert_allclose(means, pictures[0].mean(axis=(1, 2, 3)), atol=1.5)
