"""Settings of the worker: one frozen dataclass, read from one table of environment names."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from imagerec_worker.request_log import LEVELS

BATCH_MAX = 16
# Longer than any inference; a request that nobody follows waits so long for nothing.
WINDOW_MAX_MS = 100


class SettingsError(Exception):
    """The environment does not make valid settings; the message lists every reason."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker process must know.

    Attributes:
        bundle: Folder of the model bundle.
        worker_name: Name given in every answer; the host's name when empty.
        max_bytes: Largest image, in bytes; the form around it may have 1 MiB more.
        max_pixels: Largest image, in pixels, checked from its header before it is decoded.
        queue_budget_s: Longest time a request may have waited for this worker, in seconds, before it is
            answered with 429; 0 accepts any age.
        drain_file: While this file exists, ``/readyz`` says 503; None never drains.
        log_level: Least level of a request that gets a line in the log: ``debug`` (probes too), ``info`` (every
            request), ``warning`` (status 400 and above), ``error`` (500 and above).
        batch_max: Most photographs of a run of the network, 1 to 16, in the worker class ``BatchWorker``.
        batch_window_ms: How long a run waits for further photographs, in milliseconds; 0: it takes those that wait.
    """

    bundle: Path
    worker_name: str = ""
    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 50_000_000
    queue_budget_s: float = 0.0
    drain_file: Path | None = None
    log_level: str = "info"
    batch_max: int = 1
    batch_window_ms: float = 0.0

    def __post_init__(self) -> None:
        if not self.worker_name:
            object.__setattr__(self, "worker_name", socket.gethostname())

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Read the settings from ``environment``, the process's own by default.

        An empty value counts as absent.

        Raises:
            SettingsError: A required variable is absent or a value is not valid.
        """
        environment = os.environ if environment is None else environment
        values: dict[str, Any] = {}
        reasons: list[str] = []
        for variable in VARIABLES:
            text = environment.get(variable.name, "")
            if not text:
                if variable.required:
                    reasons.append(f"{variable.name} is not set: {variable.meaning}")
                continue
            try:
                values[variable.field] = variable.parse(text)
            except ValueError as error:
                reasons.append(f"{variable.name}={text!r}: {error}")
        if reasons:
            raise SettingsError("; ".join(reasons))
        return cls(**values)


class Variable(NamedTuple):
    """One row of the table: environment name, field of :class:`Settings`, parser, meaning."""

    name: str
    field: str
    parse: Callable[[str], object]
    meaning: str
    required: bool = False


def _positive_integer(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise ValueError("must be a whole number above 0")
    return number


def _number_of(wanted: str, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not 0 <= number <= most:
            raise ValueError(f"must be a number of {wanted}")
        return number

    return parse


def _batch(text: str) -> int:
    number = _positive_integer(text)
    if number > BATCH_MAX:
        raise ValueError(f"must be a whole number from 1 to {BATCH_MAX}")
    return number


def _header_token(text: str) -> str:
    if not (text.isascii() and text.isprintable() and len(text) <= 255):
        raise ValueError("must be printable ASCII, at most 255 characters: it is sent in a header")
    return text


def _level(text: str) -> str:
    if text not in LEVELS:
        raise ValueError(f"must be one of {', '.join(LEVELS)}")
    return text


VARIABLES = (
    Variable("IMAGEREC_BUNDLE", "bundle", Path, "folder of the model bundle", required=True),
    Variable("IMAGEREC_WORKER_NAME", "worker_name", _header_token, "name given in every answer"),
    Variable("IMAGEREC_MAX_BYTES", "max_bytes", _positive_integer, "largest image, in bytes"),
    Variable("IMAGEREC_MAX_PIXELS", "max_pixels", _positive_integer, "largest image, in pixels"),
    Variable(
        "IMAGEREC_QUEUE_BUDGET_S",
        "queue_budget_s",
        _number_of("seconds, 0 or more", sys.float_info.max),
        "longest wait for this worker, in seconds, before a request is answered with 429; 0 is no limit",
    ),
    Variable("IMAGEREC_DRAIN_FILE", "drain_file", Path, "while this file exists, /readyz says 503"),
    Variable("IMAGEREC_LOG_LEVEL", "log_level", _level, "requests that are logged: debug, info, warning or error"),
    Variable(
        "IMAGEREC_BATCH_MAX", "batch_max", _batch, "most photographs of a run of the network, 1 to 16; see Batches"
    ),
    Variable(
        "IMAGEREC_BATCH_WINDOW_MS",
        "batch_window_ms",
        _number_of(f"milliseconds, 0 to {WINDOW_MAX_MS}", WINDOW_MAX_MS),
        "how long a run waits for further photographs, in milliseconds, 0 to 100",
    ),
)
