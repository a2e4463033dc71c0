"""Small inputs that stand for large ones, to find what costs more the larger an input is.

The last five bytes of such an input say which part of it is repeated: where it begins and how long it is, two bytes
each, and a mark. Repeated to a megabyte it shows what a byte of it costs. Where twenty megabytes could take more than
an upload may, they are tried.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from pathlib import Path

from imagerec_worker.metered import slowness

MAX_CPU_S = 1.0  # on a slower machine more in proportion, as a worker has it
MAX_MEMORY_BYTES = 150_000_000
TRIED_BYTES, MOST_BYTES = 1_000_000, 20 * 1024 * 1024
_TRIES = 3
_ASKED = struct.Struct(">HHc")
_MARK = b"\xd7"  # a multiplication sign


def asking(data: bytes, start: int, length: int) -> bytes:
    """Return an input that asks for a part of it to be repeated."""
    return data + _ASKED.pack(start, length, _MARK)


def grown(data: bytes, size: int) -> bytes | None:
    """Return the input with its part repeated until it has about ``size`` bytes; None when it asks for nothing."""
    if not data.endswith(_MARK) or len(data) < _ASKED.size:
        return None
    plain = data[: -_ASKED.size]
    start, length, _ = _ASKED.unpack(data[-_ASKED.size :])
    part = plain[start : start + length]
    return plain[:start] + part * ((size - len(plain)) // len(part) + 1) + plain[start + length :] if part else None


def cost_of(check: Callable[[bytes], None], data: bytes) -> tuple[float, int]:
    """Return the processor's time and the memory that a target takes for an input."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before_bytes, begun_s = _peak_bytes(), time.process_time()
    check(data)
    return time.process_time() - begun_s, _peak_bytes() - before_bytes


def check_growth(check: Callable[[bytes], None], data: bytes) -> float:
    """Try an input that asks for it as a large one; return the longest time that it took, in seconds.

    Raises:
        AssertionError: As an upload of the largest size it takes more time or memory than an upload may.
    """
    tried = grown(data, TRIED_BYTES)
    if tried is None:
        return 0.0
    spent_s, taken_bytes = cost_of(check, tried)
    factor = MOST_BYTES / TRIED_BYTES
    if spent_s * factor <= MAX_CPU_S and taken_bytes * factor <= MAX_MEMORY_BYTES:
        return spent_s
    most = grown(data, MOST_BYTES)
    assert most is not None
    costs = [cost_of(check, most)]
    while costs[-1][0] > MAX_CPU_S and len(costs) < _TRIES:  # neighbours make processor time longer, never shorter
        costs.append(cost_of(check, most))
    spent_s, taken_bytes = min(costs)
    assert spent_s <= MAX_CPU_S * max(1.0, slowness()), f"repeated to {len(most)} bytes it took {spent_s:.2f} s"
    assert taken_bytes <= MAX_MEMORY_BYTES, f"repeated to {len(most)} bytes it took {taken_bytes / 1e6:.0f} MB"
    return spent_s


def _peak_bytes() -> int:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
