"""Seeded damage to sound images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chaos.attacks.images import FORMATS, sound


def mutated(count: int, seed: int) -> Iterator[tuple[str, str, bytes, bytes]]:
    """Yield ``count`` of (name, format, the sound file, that file damaged), the same for the same seed."""
    rng = np.random.default_rng(seed)
    originals = [(kind, sound(kind, side)) for kind in FORMATS for side in (16, 64)]
    originals += [("JPEG", sound("JPEG", 64, progressive=True))]
    for number in range(count):
        kind, data = originals[number % len(originals)]
        damage = _DAMAGES[int(rng.integers(len(_DAMAGES)))]
        found = damage(data, rng)
        while found == data:
            found = _flip_bits(data, rng)
        yield f"{number:04}-{kind.lower()}-{damage.__name__.strip('_')}", kind, data, found


def _place(data: bytes, rng: np.random.Generator) -> int:
    """A place in ``data``: in half of the cases among the first 64 bytes, where the structure stands."""
    return int(rng.integers(min(64, len(data)) if rng.random() < 0.5 else len(data)))


def _flip_bits(data: bytes, rng: np.random.Generator) -> bytes:
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        found[_place(data, rng)] ^= 1 << int(rng.integers(8))
    return bytes(found)


def _set_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    place, value = _place(data, rng), int(rng.choice([0x00, 0x7F, 0x80, 0xFF]))
    length = int(rng.choice([1, 2, 4]))
    return data[:place] + bytes([value]) * length + data[place + length :]


def _delete_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    place = _place(data, rng)
    return data[:place] + data[place + int(rng.integers(1, 17)) :]


def _insert_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    place = _place(data, rng)
    return data[:place] + rng.bytes(int(rng.integers(1, 17))) + data[place:]


def _truncate(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(1, len(data)))]


def _duplicate_segment(data: bytes, rng: np.random.Generator) -> bytes:
    start, end = sorted(int(place) for place in rng.integers(0, len(data) + 1, 2))
    return data[:end] + data[start:end] * int(rng.integers(1, 4)) + data[end:]


def _swap_segments(data: bytes, rng: np.random.Generator) -> bytes:
    first, second, third = sorted(int(place) for place in rng.integers(0, len(data) + 1, 3))
    return data[:first] + data[second:third] + data[first:second] + data[third:]


def _splice(data: bytes, rng: np.random.Generator) -> bytes:
    """The header of this file with the body of one of another format."""
    others = [other for other in (sound(kind) for kind in FORMATS) if other[:4] != data[:4]]
    other = others[int(rng.integers(len(others)))]
    return data[: int(rng.integers(8, 64))] + other[int(rng.integers(0, 64)) :]


_DAMAGES = (
    _flip_bits,
    _set_bytes,
    _delete_bytes,
    _insert_bytes,
    _truncate,
    _duplicate_segment,
    _swap_segments,
    _splice,
)
