"""Requests of recorded sizes: the photograph at the largest side that fits, filled up with an empty comment."""

import bisect
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from loadtest.generate.images import PHOTO, Picture, photograph
from loadtest.generate.payload import Payload, encode

SIDES_PX = (16, 32, 64, 128, 224, 512, 1024, 2000)
# Method, path, host, type, length, and what aiohttp says of itself; a browser's headers are a few hundred bytes longer.
HEADERS_BYTES = 240
_SOI, _COM = b"\xff\xd8", b"\xff\xfe"
_MOST_COMMENT = 65_533  # its length has two bytes, which count themselves


class Sized:
    """Makes requests of given sizes."""

    def __init__(self, *, quality: int, source: Path = PHOTO, multipart: bool) -> None:
        self._multipart = multipart
        pictures = [photograph(side, quality=quality, source=source) for side in SIDES_PX]
        # A photograph of a strange kind may be larger at a smaller side: it is never what is wanted.
        self._pictures = [one for number, one in enumerate(pictures) if _smallest(one, pictures[number + 1 :])]
        around = len(encode("2000px", b"", "image/jpeg", multipart=multipart).body)
        self._sizes = [HEADERS_BYTES + around + len(one.data) for one in self._pictures]

    def picture(self, size: int) -> Picture:
        """The photograph that a request of so many bytes holds; the smallest there is where none fits."""
        return self._pictures[max(bisect.bisect_right(self._sizes, size) - 1, 0)]

    def mix(self, sizes: Iterable[int]) -> dict[int, float]:
        """How many of such requests hold which side, by its pixels."""
        return {side: float(count) for side, count in sorted(Counter(map(self._side, sizes)).items())}

    def payload(self, size: int) -> Payload:
        """Make a request of so many bytes, headers included as far as they are known."""
        picture = self.picture(size)
        smallest = encode(picture.key, picture.data, "image/jpeg", multipart=self._multipart)
        data = padded(picture.data, max(0, size - HEADERS_BYTES - len(smallest.body)))
        return encode(picture.key, data, "image/jpeg", multipart=self._multipart)

    def payloads(self, sizes: Iterable[int]) -> Iterator[Payload]:
        """Make one request of each size, in order."""
        return map(self.payload, sizes)

    def _side(self, size: int) -> int:
        return int(self.picture(size).key.removesuffix("px"))


def padded(jpeg: bytes, more: int) -> bytes:
    """Make a JPEG file longer by `more` bytes, by comments that every decoder passes over.

    A comment has four bytes at least: up to three bytes more cannot be had, and are left out.
    """
    comments = []
    while more >= 4:
        length = min(more - 4, _MOST_COMMENT)
        if 0 < more - 4 - length < 4:
            length -= 4  # what is left must have room for a comment of its own
        comments.append(_COM + (length + 2).to_bytes(2, "big") + bytes(length))
        more -= length + 4
    return b"".join((_SOI, *comments, jpeg[2:])) if comments else jpeg


def _smallest(one: Picture, larger: Iterable[Picture]) -> bool:
    return all(len(one.data) < len(other.data) for other in larger)
