"""Who learns and who examines: a held-out part and folds, with near-duplicates always on one side."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, find
from scipy.sparse.csgraph import minimum_spanning_tree

from imagerec_model.learn.features import Features
from imagerec_model.learn.photographs import Photograph

Indices = npt.NDArray[np.intp]

# Cosine of two photographs' features from which they count as near-duplicates. Of 1,000 photographs of different
# things no two were above 0.63, of 400 in ten classes no two above 0.83; a mirrored one has 0.92 or more of itself,
# one that was saved again or made smaller 0.95 or more.
NEAR = 0.9
_THRESHOLDS = (NEAR, 0.95, 0.98, 2.0)  # above 1: nothing is a near-duplicate
_HELD_OUT = 0.2
_FOLDS = 5
_BLOCK = 256


class Pair(NamedTuple):
    """Two near-duplicates, as indices of photographs, and the cosine of their features."""

    first: int
    second: int
    cosine: float


@dataclass(frozen=True, slots=True)
class Split:
    """A partition of the photographs.

    Attributes:
        learning: indices of the photographs that the head learns from.
        held_out: indices of those it never sees.
        folds: for each of `learning`, the fold that it examines, counted from 0.
        threshold: cosine from which photographs were kept on one side.
    """

    learning: Indices
    held_out: Indices
    folds: Indices
    threshold: float

    @property
    def near_duplicates_apart(self) -> bool:
        """Whether no near-duplicate of a held-out photograph was learnt from."""
        return self.threshold == NEAR


def near_duplicates(features: Features, labels: Indices) -> list[Pair]:
    """Return pairs of near-duplicates, the most alike first.

    A film of 10,000 frames has fifty million pairs, too many for memory. So a maximum spanning forest is kept of the
    pairs in one class, and one of those in two: each photograph that has near-duplicates stands in a pair with the one
    most like it, and from any threshold on the chains are those of all pairs.

    Args:
        features: of the photographs, `[n, length]`.
        labels: their classes, `[n]`.
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
    shape = (len(unit), len(unit))
    forests = [csr_array(shape), csr_array(shape)]
    for start in range(0, len(unit), _BLOCK):
        cosines = np.triu(unit[start : start + _BLOCK] @ unit.T, start + 1)
        rows, columns = np.nonzero(cosines >= NEAR)
        weights = -cosines[rows, columns]  # the least sum is searched for
        rows += start
        same = labels[rows] == labels[columns]
        for number, chosen in enumerate((same, ~same)):
            more = csr_array((weights[chosen], (rows[chosen], columns[chosen])), shape)
            forests[number] = minimum_spanning_tree(forests[number] + more)
    edges = [edge for forest in forests for edge in zip(*find(forest), strict=True)]
    pairs = [Pair(int(first), int(second), -float(weight)) for first, second, weight in edges]
    return sorted(pairs, key=lambda pair: (-pair.cosine, pair))


def split(photographs: Sequence[Photograph], pairs: Sequence[Pair], seed: int) -> Split:
    """Hold out a fifth of each class and part the rest into folds.

    The order is drawn from the seed and the photographs' content, so that a new photograph moves few others.
    Photographs that are near-duplicates of each other, directly or by a chain, go to one side together. Where they
    are so many that a class could not be parted (all frames of one film), only closer ones count.
    """
    for threshold in _THRESHOLDS:
        groups = _groups(photographs, [pair for pair in pairs if pair.cosine >= threshold], seed)
        held_out = _hold_out(groups, photographs)
        learning = [group for group in groups if group[0] not in held_out]
        folds = _assign_folds(learning, photographs)
        if _is_complete(photographs, held_out, folds):
            break
    order = sorted(folds)
    return Split(np.array(order), np.array(sorted(held_out)), np.array([folds[index] for index in order]), threshold)


def _groups(photographs: Sequence[Photograph], pairs: Sequence[Pair], seed: int) -> list[list[int]]:
    """Return the chains of near-duplicates, in the order that the seed draws."""
    leader = list(range(len(photographs)))

    def find(index: int) -> int:
        while leader[index] != index:
            leader[index] = leader[leader[index]]
            index = leader[index]
        return index

    for pair in pairs:
        leader[find(pair.first)] = find(pair.second)
    groups: dict[int, list[int]] = {}
    for index in range(len(photographs)):
        groups.setdefault(find(index), []).append(index)
    lots = [hashlib.sha256(f"{seed} {photograph.sha256}".encode()).digest() for photograph in photographs]
    return sorted(groups.values(), key=lambda group: min(lots[index] for index in group))


def _hold_out(groups: Sequence[list[int]], photographs: Sequence[Photograph]) -> set[int]:
    labels = np.array([photograph.label for photograph in photographs])
    free = np.maximum(1, np.round(_HELD_OUT * np.bincount(labels)))
    held_out: set[int] = set()
    for group in groups:
        wanted = np.bincount(labels[group], minlength=len(free))
        if (wanted <= free).all():
            held_out.update(group)
            free -= wanted
    return held_out


def _assign_folds(groups: Sequence[list[int]], photographs: Sequence[Photograph]) -> dict[int, int]:
    """Deal the groups of each class out to the folds, one after the other."""
    dealt: dict[int, int] = {}
    folds = {}
    for group in groups:
        label = photographs[group[0]].label
        fold = dealt.get(label, label) % _FOLDS  # each class begins at another fold, which keeps folds equally large
        dealt[label] = fold + 1
        folds.update(dict.fromkeys(group, fold))
    return folds


def _is_complete(photographs: Sequence[Photograph], held_out: set[int], folds: dict[int, int]) -> bool:
    """Whether every class examines, and is learnt in each fold."""
    in_folds: dict[int, set[int]] = {}
    for index, fold in folds.items():
        in_folds.setdefault(photographs[index].label, set()).add(fold)
    labels = {photograph.label for photograph in photographs}
    examined = {photographs[index].label for index in held_out}
    return examined == labels and all(len(in_folds.get(label, ())) > 1 for label in labels)
