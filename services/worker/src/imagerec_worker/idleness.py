"""How long nobody has asked any process of a listener, in memory that all of them share."""

from __future__ import annotations

import mmap
import os
import signal
import struct
import time

_FORM = struct.Struct("=d?")  # when somebody asked last, and whether the owner was told to end since


class Idleness:
    """Made before the processes are forked.

    Args:
        limit_s: Seconds without a connection after which the listener's owner is told to end.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._memory = mmap.mmap(-1, _FORM.size)
        self.asked()

    def asked(self) -> None:
        """Take note of a connection, or of a start."""
        _FORM.pack_into(self._memory, 0, time.monotonic(), False)

    def end_if_long(self, owner: int) -> None:
        """Tell the owner to end, as it is stopped, where nobody has asked for long."""
        last_s, told = _FORM.unpack_from(self._memory)
        if not told and time.monotonic() - last_s >= self.limit_s:
            _FORM.pack_into(self._memory, 0, last_s, True)
            os.kill(owner, signal.SIGTERM)

    @property
    def ended(self) -> bool:
        """Whether the owner was told to end, and nobody has asked anything since."""
        return bool(_FORM.unpack_from(self._memory)[1])


class _Shared:
    idleness: Idleness | None = None


def begin(limit_s: float) -> None:
    """Begin to count; for gunicorn's configuration, which is read before the processes are forked."""
    _Shared.idleness = Idleness(limit_s)


def shared() -> Idleness | None:
    """Return what :func:`begin` made; None where the listener never ends by itself."""
    return _Shared.idleness
