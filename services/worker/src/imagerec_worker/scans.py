"""The scans of a JPEG whose pixels come in several: how many there are, and whether the last of them is there."""

from __future__ import annotations

import re
from itertools import product

from imagerec_worker.errors import TooLargeError

# A JPEG may hold any number of scans, each as dear as a whole image; encoders write 1 to 18, most of them 10.
_MAX_SCANS, _FEW_SCANS = 32, 10
_MAX_MARKERS = 50_000

# Restarts apart, which may stand between any two blocks of pixels.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_END, _SCAN = 0xD9, 0xDA
_PROGRESSIVE = frozenset({0xC2, 0xCA})


def check_scans(frame: bytes, data: bytes, position: int) -> int:
    """Count the scans of a JPEG; refuse one of endless scans, and one that ends before its last scan.

    Args:
        frame: Its frame header, from its marker's second byte on.
        data: The whole file.
        position: Where the first scan begins.

    Returns:
        How many there are at most.

    Raises:
        TooLargeError: There are too many scans.
        ValueError: Scans are missing.
    """
    ended = data.endswith(b"\xff\xd9")
    # Few such bytes settle it; more may also stand in whatever follows the image: a smaller one, or a film.
    scans = data.count(bytes((0xFF, _SCAN)), position)
    if ended and scans <= _FEW_SCANS:
        return scans
    missing = _wanted(frame)
    scans = 0
    for _ in range(_MAX_MARKERS):
        match = _MARKER.search(data, position)
        if match is None:
            if missing and not ended:
                raise ValueError("scans are missing")
            return scans
        if match[0][1] == _END:
            return scans
        marker, position = match[0][1], match.end()
        if marker == _SCAN:
            scans += 1
            missing -= _brought(frame, data, position)
        if scans > _MAX_SCANS:
            raise TooLargeError(f"the JPEG image has more than {_MAX_SCANS} scans; save it again")
        if marker >= 0xC0:
            position += max(2, int.from_bytes(data[position : position + 2], "big"))
    raise TooLargeError(f"the JPEG image is cut into more than {_MAX_MARKERS} blocks; save it again")


def _wanted(frame: bytes) -> set[tuple[int, int]]:
    """Return the (component, coefficient) pairs that make a whole image; sequential scans bring all 64 as one."""
    numbers = [frame[9 + 3 * index] for index in range(frame[8])]
    return set(product(numbers, range(64) if frame[0] in _PROGRESSIVE else range(1)))


def _brought(frame: bytes, data: bytes, position: int) -> set[tuple[int, int]]:
    """Return the pairs of which the scan whose header is at ``position`` brings the last bit."""
    count = data[position + 2]
    numbers = [data[position + 3 + 2 * index] for index in range(count)]
    first, last, bits = data[position + 3 + 2 * count : position + 6 + 2 * count]
    if frame[0] not in _PROGRESSIVE:
        return set(product(numbers, range(1)))
    return set() if bits & 0x0F else set(product(numbers, range(first, last + 1)))
