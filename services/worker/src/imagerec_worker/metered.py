"""The time of decoding what is compressed: no header tells it, so whoever decodes in pieces looks at the clock.

A block of deflate may bring nothing but its own tables. Twenty megabytes of such blocks take a core 1.4 s, and make no
pixel; blocks of a few bytes each take nearly as long, and make an honest picture.
"""

from __future__ import annotations

import functools
import hashlib
import io
import time
import zlib

from imagerec_worker import budget, offload
from imagerec_worker.errors import TooLargeError

# The dearest picture that is accepted takes 0.5 s; the piece that passes the limit may take a fifth of a second more.
LIMIT_S = 0.7

# What `_sample` took where the limit was set.
_SAMPLE_S = 0.0018
_TRIES = 3


class Meter:
    """The processor's time of one decoding.

    Args:
        kind: Name of the format.
        limit_s: Most seconds of processor time that it may take, where the limit was set.
    """

    def __init__(self, kind: str, limit_s: float) -> None:
        self._kind, self._limit_s = kind, limit_s
        self._begun_s = time.thread_time()
        self._is_dear = self._is_measured = False

    def check(self) -> None:
        """Stop what takes too long, and hand over what has become dear, as ``offload`` says.

        Raises:
            TooLargeError: It has taken too long; the message names the limit.
        """
        spent_s = time.thread_time() - self._begun_s
        if spent_s * 1e9 > budget.DEAR_WORK_NS and not self._is_dear:
            self._is_dear = True
            offload.take_turn()
            self._begun_s = time.thread_time() - spent_s  # a child's clock begins anew
        if spent_s > self._limit_s and not self._is_measured:
            self._is_measured = True
            begun_s = time.thread_time()
            self._limit_s *= max(1.0, slowness())
            self._begun_s += time.thread_time() - begun_s  # the picture does not pay for it
        if spent_s > self._limit_s:
            raise TooLargeError(
                f"the {self._kind} image needs more than the {self._limit_s:.1f} s of processor time that decoding may "
                "take; save it again, or send an ordinary JPEG"
            )


class MeteredFile(io.BytesIO):
    """A file in memory that a decoder reads in pieces, as long as its time lasts."""

    def __init__(self, kind: str, data: bytes) -> None:
        super().__init__(data)
        self._meter = Meter(kind, LIMIT_S)

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next piece.

        Raises:
            TooLargeError: The pieces before it have taken too long.
        """
        self._meter.check()
        return super().read(size)


def slowness() -> float:
    """Return how many times as long as where the limit was set this machine takes now: honest pictures do as well."""
    took_s = []
    for _ in range(_TRIES):
        begun_s = time.thread_time()
        zlib.decompress(_sample())
        took_s.append(time.thread_time() - begun_s)
    return min(took_s) / _SAMPLE_S


@functools.cache
def _sample() -> bytes:
    return zlib.compress(hashlib.shake_128(b"").hexdigest(250_000).encode(), 1)
