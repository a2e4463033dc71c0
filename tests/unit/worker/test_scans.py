"""The scans of a JPEG, counted marker by marker: what stands between them, and whether the last one is there."""

from __future__ import annotations

import pytest

from imagerec_worker.errors import TooLargeError
from imagerec_worker.metadata import without_metadata
from tests.unit.worker.test_metadata import EOI, JPEG, encode, marked

HEAD = JPEG[: JPEG.index(b"\xff\xda")]
PROGRESSIVE = encode("JPEG", progressive=True)  # of ten scans


def scan(colour: int) -> bytes:
    """A scan of one colour, without any pixels."""
    return marked(0xDA, bytes((1, colour, 0, 0, 63, 0)))


@pytest.mark.parametrize("comment", [b"", b"\xff\xda" * 40], ids=["empty", "like scans"])
def test_a_comment_between_two_scans_is_passed_by(comment: bytes) -> None:
    last = PROGRESSIVE.rindex(b"\xff\xda")
    behind = b"\xff\xda" * 11 + EOI  # so many that each marker is looked at
    data = PROGRESSIVE[:last] + marked(0xFE, comment) + PROGRESSIVE[last:] + behind
    assert without_metadata("JPEG", data).scans == 10


def test_without_its_end_a_jpeg_needs_a_scan_of_each_colour() -> None:
    scans = [scan(colour) for colour in (1, 2, 3)]
    assert without_metadata("JPEG", HEAD + b"".join(scans)).scans == 3
    with pytest.raises(ValueError, match="scans are missing"):
        without_metadata("JPEG", HEAD + b"".join(scans[:2]))
    assert without_metadata("JPEG", HEAD + b"".join(scans[:2]) + EOI).scans == 2


def test_scans_may_be_cut_into_fifty_thousand_blocks() -> None:
    begun, others = HEAD + scan(1) * 11, b"\xff\x01" * (50_000 - 12)
    assert without_metadata("JPEG", begun + others + EOI).scans == 11
    with pytest.raises(TooLargeError, match="cut into more than 50000 blocks"):
        without_metadata("JPEG", begun + others + b"\xff\x01" + EOI)
