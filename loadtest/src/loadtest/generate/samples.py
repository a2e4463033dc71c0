"""Raw samples on disk: one gzip file of JSON lines a trial, readable when cut short.

Line 1 is the header `{"trial": …, "columns": […]}`, then one JSON array a request, last the footer
`{"end": …, "samples": n}`. Times are whole microseconds: `scheduled_us` from the trial's start, `lag_us` = sent −
scheduled, `service_us` = done − sent. `zcat` shows it all.
"""

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtest.errors import LoadtestError

COLUMNS = (
    "seq",
    "scheduled_us",
    "lag_us",
    "service_us",
    "status",
    "worker",
    "image",
    "queue_us",
    "decode_us",
    "inference_us",
    "total_us",
    "upstream_us",
    "error",
    "answer",
)
# Where each request must be found again in a balancer's log, and a refusal must say when to come back.
IDENTIFIED = (*COLUMNS, "request_id", "retry_after")
GZIP = 31


@dataclass(frozen=True, slots=True)
class Sample:
    """One request; all times in seconds from the trial's perf_counter origin.

    Attributes:
        seq: Number of the request within its trial, from 0.
        scheduled_s: When the arrival law wanted it sent.
        sent_s: When it was sent; sent − scheduled is our own lag.
        done_s: Last byte, or the moment of failure.
        status: HTTP status; None when no HTTP answer came, with the reason in error.
        worker: Who answered.
        error: Why it failed; None for an answer with a status below 400.
        image: Key of the picture that was sent.
        queue_s: The worker's own account of the wait before it; this and the next three from Server-Timing.
        decode_s: Decoding and resizing.
        inference_s: The model.
        total_s: All of the worker's handling, the wait apart.
        upstream_s: How long the balancer waited for the worker.
        answer: Class ids of the best predictions, best first, separated by spaces, where they were asked for.
        request_id: The id that the answer carries; this and the next only in files with the columns IDENTIFIED.
        retry_after: When a refusal says to come back.
    """

    seq: int
    scheduled_s: float
    sent_s: float
    done_s: float
    status: int | None
    worker: str | None
    error: str | None
    image: str = ""
    queue_s: float | None = None
    decode_s: float | None = None
    inference_s: float | None = None
    total_s: float | None = None
    upstream_s: float | None = None
    answer: str | None = None
    request_id: str | None = None
    retry_after: str | None = None

    @property
    def response_s(self) -> float:
        """Seconds from when it was due to its last byte: what a user with no share in our lag would have waited."""
        return self.done_s - self.scheduled_s

    @property
    def service_s(self) -> float:
        """Seconds from sending to the last byte."""
        return self.done_s - self.sent_s

    @property
    def lag_s(self) -> float:
        """Seconds by which the generator was late."""
        return self.sent_s - self.scheduled_s

    @property
    def ok(self) -> bool:
        """Whether it was answered, and not refused."""
        return self.status is not None and self.status < 400


@dataclass(frozen=True, slots=True)
class Trial:
    """What a samples file holds.

    Attributes:
        path: The file.
        header: What was asked: cell, repetition, rate, seed.
        samples: Requests in order of completion.
        footer: What the generator noticed of itself; None when the file is incomplete.
        damage: Why the file is incomplete; None for a whole one.
    """

    path: Path
    header: dict[str, Any]
    samples: tuple[Sample, ...]
    footer: dict[str, Any] | None
    damage: str | None


def read_trial(path: Path) -> Trial:
    """Read a samples file; a truncated one gives all samples before the break and says so in `damage`.

    Raises:
        LoadtestError: It is not a samples file at all, or cannot be read.
    """
    try:
        return trial_of(path.read_bytes(), path)
    except OSError as error:
        raise LoadtestError(f"cannot read {path}: {error.strerror}") from error


def trial_of(data: bytes, path: Path) -> Trial:
    """Read what a samples file holds; `path` is where it came from.

    Raises:
        LoadtestError: It is not a samples file at all.
    """
    text, damage = _inflate(data)
    lines = text.split("\n")
    if lines.pop() and damage is None:
        damage = "its last line is cut short"
    try:
        head = json.loads(lines[0])
        header, columns = head["trial"], tuple(head["columns"])
    except (IndexError, ValueError, TypeError, KeyError):
        raise LoadtestError(f"{path} is not a samples file, or holds nothing but a cut header; remove it") from None
    if columns not in (COLUMNS, IDENTIFIED):
        raise LoadtestError(f"{path} was written with other columns; read it with the version that wrote it")
    samples: list[Sample] = []
    footer: dict[str, Any] | None = None
    for line in lines[1:]:
        try:
            row = json.loads(line)
            if isinstance(row, dict):
                footer = row
                break
            samples.append(_sample(row))
        except (ValueError, TypeError):
            damage = f"line {len(samples) + 2} is not a sample"
            break
    if footer is not None and footer["samples"] != len(samples):
        damage = f"it holds {len(samples)} of {footer['samples']} samples"
    elif footer is None and damage is None:
        damage = "it has no end mark: the trial was interrupted"
    return Trial(path, header, tuple(samples), footer["end"] if footer and damage is None else None, damage)


def _inflate(data: bytes) -> tuple[str, str | None]:
    inflate = zlib.decompressobj(GZIP)
    damage = None
    parts: list[bytes] = []
    try:
        # in small steps: what a step had inflated before the damage is lost
        parts.extend(inflate.decompress(data[start : start + 256]) for start in range(0, len(data), 256))
    except zlib.error:
        damage = "it is damaged inside"
    if damage is None and not inflate.eof:
        damage = "it is truncated"
    return b"".join(parts).decode(errors="replace"), damage


def _us(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e6)


def row_of(sample: Sample, columns: tuple[str, ...] = COLUMNS) -> list[object]:
    """The sample as the JSON array of its line, in the order of COLUMNS or of IDENTIFIED."""
    scheduled, sent, done = _us(sample.scheduled_s), _us(sample.sent_s), _us(sample.done_s)
    assert scheduled is not None
    assert sent is not None
    assert done is not None
    return [
        sample.seq,
        scheduled,
        sent - scheduled,
        done - sent,
        sample.status,
        sample.worker,
        sample.image,
        _us(sample.queue_s),
        _us(sample.decode_s),
        _us(sample.inference_s),
        _us(sample.total_s),
        _us(sample.upstream_s),
        sample.error,
        sample.answer,
        *((sample.request_id, sample.retry_after) if columns is IDENTIFIED else ()),
    ]


def _seconds(us: int | None) -> float | None:
    return None if us is None else us / 1e6


def _sample(row: list[Any]) -> Sample:
    if len(row) not in (len(COLUMNS), len(IDENTIFIED)):
        raise ValueError(f"{len(row)} columns")
    seq, scheduled, lag, service, status, worker, image, *times, error, answer = row[: len(COLUMNS)]
    due_s, sent_s, done_s = scheduled / 1e6, (scheduled + lag) / 1e6, (scheduled + lag + service) / 1e6
    queue_s, decode_s, inference_s, total_s, upstream_s = map(_seconds, times)
    spent = (queue_s, decode_s, inference_s, total_s, upstream_s)
    return Sample(seq, due_s, sent_s, done_s, status, worker, error, image, *spent, answer, *row[len(COLUMNS) :])
