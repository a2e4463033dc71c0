"""The split: a fifth is held out, near-duplicates stay together, new photographs move few others."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from imagerec_model.learn.split import NEAR, Pair, near_duplicates, split
from tests.unit.learn.conftest import photographs_of


@pytest.mark.parametrize("numbers", [(40, 40, 40), (5, 5), (5, 200, 17)], ids=str)
def test_every_class_examines_and_is_learnt_in_every_fold(numbers: tuple[int, ...]) -> None:
    labels = np.repeat(np.arange(len(numbers)), numbers)
    parts = split(photographs_of(labels.tolist()), [], 3)
    assert sorted([*parts.learning, *parts.held_out]) == list(range(len(labels)))
    for label, number in enumerate(numbers):
        assert (labels[parts.held_out] == label).sum() == max(1, round(number / 5))
        assert len(set(parts.folds[labels[parts.learning] == label])) >= min(5, number - 1)
    assert parts.near_duplicates_apart


def test_near_duplicates_stay_on_one_side_and_in_one_fold() -> None:
    labels = [0] * 40 + [1] * 40
    chains = [(0, 1), (1, 2), (10, 50), (60, 61)]
    for seed in range(20):
        parts = split(photographs_of(labels), [Pair(*chain, 0.97) for chain in chains], seed)
        held_out = set(parts.held_out.tolist())
        fold = dict(zip(parts.learning.tolist(), parts.folds.tolist(), strict=True))
        for first, second in chains:
            assert (first in held_out) == (second in held_out)
            assert fold.get(first) == fold.get(second)


def test_frames_of_one_film_are_parted_and_it_is_said() -> None:
    labels = [0] * 10 + [1] * 10
    film = [Pair(first, second, 0.93) for first in range(10) for second in range(first + 1, 10)]
    parts = split(photographs_of(labels), film, 0)
    assert (np.array(labels)[parts.held_out] == 0).sum() == 2
    assert not parts.near_duplicates_apart
    still = split(photographs_of(labels), [pair._replace(cosine=0.999) for pair in film], 0)
    assert (np.array(labels)[still.held_out] == 0).sum() == 2


def test_seed_decides_and_new_photographs_move_few() -> None:
    photographs = photographs_of([0] * 50 + [1] * 50)
    parts = split(photographs, [], 1)
    again = split(photographs, [], 1)
    np.testing.assert_array_equal(parts.held_out, again.held_out)
    np.testing.assert_array_equal(parts.folds, again.folds)
    assert set(split(photographs, [], 2).held_out) != set(parts.held_out)
    more = split([*photographs, *photographs_of([0] * 110)[100:]], [], 1)
    assert len(set(more.held_out.tolist()) & set(parts.held_out.tolist())) >= 16


def test_near_duplicates_are_found_by_their_cosine() -> None:
    features = np.random.default_rng(0).uniform(0, 1, (30, 1280)).astype(np.float32) ** 4
    features[7] = features[3] * 2
    features[20] = features[3] * 0.9 + features[4] * 0.1
    pairs = near_duplicates(features, np.zeros(30, np.intp))
    assert (pairs[0].first, pairs[0].second) == (3, 7)
    assert (pairs[1].first, pairs[1].second) in {(3, 20), (7, 20)}
    assert len(pairs) == 2
    assert pairs[0].cosine == pytest.approx(1, abs=1e-6)
    assert all(pair.cosine >= NEAR for pair in pairs)


def chained(number: int, edges: Iterable[tuple[int, int]]) -> np.ndarray:
    """Whether there is a chain from one photograph to another, for any two of so many."""
    first, second = np.array([*edges]).T
    graph = csr_array((np.ones(len(first)), (first, second)), (number, number))
    chains = connected_components(graph, directed=False)[1]
    return chains[:, None] == chains


def test_few_pairs_chain_all_near_duplicates() -> None:
    features = np.random.default_rng(0).normal(0, 1, (600, 20)).cumsum(axis=0).astype(np.float32)
    labels = np.repeat([0, 1, 0, 2], 150)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = unit @ unit.T - 2 * np.eye(600)
    pairs = near_duplicates(features, labels)
    assert len(pairs) < 2 * 600 < (cosines >= NEAR).sum() / 2
    for threshold in (NEAR, 0.95, 0.98):
        whole = chained(600, np.argwhere(cosines >= threshold))
        assert not whole.all()
        np.testing.assert_array_equal(chained(600, [pair[:2] for pair in pairs if pair.cosine >= threshold]), whole)
    alike = labels[:, None] == labels
    for same in (True, False):
        near = (cosines >= NEAR) & (alike == same)
        named = {one for pair in pairs if alike[pair[:2]] == same for one in pair[:2]}
        assert named == set(np.flatnonzero(near.any(axis=1)))


def test_a_film_has_a_pair_a_frame() -> None:
    assert len(near_duplicates(np.ones((600, 8), np.float32), np.zeros(600, np.intp))) == 599
