"""Recorded arrivals: a text file with a line for each request, and how one is made of the balancer's access log.

A line is the offset in seconds since the first request, and, where sizes were recorded, a comma and the bytes of the
request with its headers. `#` starts a comment.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loadtest.errors import LoadtestError

_ASKED = ("/predict", "/submit")
_MOST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Trace:
    """Recorded arrivals.

    Attributes:
        offsets_s: When each came, in seconds since the first, ascending.
        sizes: Bytes of each request with its headers; None where they were not recorded.
    """

    offsets_s: tuple[float, ...]
    sizes: tuple[int, ...] | None = None

    def until(self, duration_s: float | None) -> "Trace":
        """The same without what came at duration_s or after it; all of it where that is None."""
        if duration_s is None:
            return self
        count = sum(offset < duration_s for offset in self.offsets_s)
        return replace(self, offsets_s=self.offsets_s[:count], sizes=None if self.sizes is None else self.sizes[:count])

    def lines(self) -> Iterator[str]:
        """The lines of its file."""
        yield "# offset_s" if self.sizes is None else "# offset_s,bytes"
        for number, offset in enumerate(self.offsets_s):
            yield f"{offset:.6f}" if self.sizes is None else f"{offset:.6f},{self.sizes[number]}"


def read_trace(path: Path) -> Trace:
    """Read a trace.

    Raises:
        LoadtestError: The file cannot be read, is empty, or a line is not a number, negative or out of order, or some
            lines have a size and others none.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()  # some editors begin with a mark
    except (OSError, UnicodeDecodeError) as error:
        raise LoadtestError(f"cannot read the trace {path}: {error}") from error
    offsets: list[float] = []
    sizes: list[int] = []
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        offset_text, comma, size_text = (part.strip() for part in text.partition(","))
        try:
            offset = float(offset_text)
        except ValueError:
            raise LoadtestError(f"{path}, line {number}: {offset_text!r} is not a number of seconds") from None
        if not 0 <= offset < float("inf") or (offsets and offset < offsets[-1]):
            raise LoadtestError(f"{path}, line {number}: {offset_text} is negative or earlier than the line before it")
        if comma:
            if not size_text.isascii() or not size_text.isdigit() or not 0 < int(size_text) <= _MOST_BYTES:
                raise LoadtestError(f"{path}, line {number}: {size_text!r} is not a number of bytes")
            sizes.append(int(size_text))
        offsets.append(offset)
        if len(sizes) not in (0, len(offsets)):
            raise LoadtestError(f"{path}, line {number}: some lines have a size and others none; give all of them one")
    if not offsets:
        raise LoadtestError(f"the trace {path} holds no arrival; write one offset in seconds a line")
    return Trace(tuple(offsets), tuple(sizes) or None)


def trace_of_log(lines: Iterable[str], name: str, *, sizes: bool = True) -> tuple[Trace, list[str]]:
    """Make a trace of the balancer's access log: all that was sent to /predict and /submit, whatever the answer.

    nginx writes a line when a request has ended, by a clock of whole milliseconds; it came `request_s` before.

    Args:
        lines: The log's lines, in any order.
        name: What to call the log in messages.
        sizes: Whether the trace has sizes.

    Returns:
        The trace, and what its reader has to know: lines that could not be read, requests that it lacks.

    Raises:
        LoadtestError: It is another log, one without times or sizes, or holds no such request.
    """
    found: list[tuple[float, int]] = []
    broken = refused = protocol = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        entry = _entry(line)
        if entry is None:
            if number == 1:
                raise LoadtestError(
                    f"{name}, line 1 is no line of the balancer's access log, which is JSON; give .run/balancer/log/"
                    "access.log, or /var/log/imagerec-balancer/access.log of the balancer's host"
                )
            broken += 1
            continue
        path = str(entry.get("path"))
        protocol += entry.get("method") == "POST" and path.startswith("/v2/") and path.endswith("/infer")
        if entry.get("method") != "POST" or path not in _ASKED:
            continue
        try:
            came_s = float(entry["msec"]) - float(entry["request_s"])
        except (KeyError, TypeError, ValueError):
            raise LoadtestError(f"{name}, line {number} does not say when its request came (msec, request_s)") from None
        size = entry.get("request_bytes", 0)
        if sizes and (not isinstance(size, int) or size <= 0):
            raise LoadtestError(
                f"{name}, line {number} has no size (request_bytes), so nobody can send requests of the same sizes; "
                "add --times-only for the times alone, or record again with the balancer's own log format"
            )
        refused += entry.get("status") == 429 and not entry.get("upstream_addr")
        found.append((came_s, size))
    if not found:
        raise LoadtestError(f"{name} holds no photograph that was sent: no POST of {' or '.join(_ASKED)}")
    found.sort()
    first_s = found[0][0]
    offsets = tuple(round(came_s - first_s, 6) for came_s, _ in found)
    notes = [f"{broken} lines of {name} could not be read; they are left out"] if broken else []
    if protocol:
        notes.append(f"{protocol} requests below /v2 are left out: a trial sends to /predict alone")
    if refused:
        notes.append(
            f"an address's limit refused requests: of those the log has about one in a hundred ({refused} lines), so "
            "the trace holds fewer requests than were sent"
        )
    return Trace(offsets, tuple(size for _, size in found) if sizes else None), notes


def _entry(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
