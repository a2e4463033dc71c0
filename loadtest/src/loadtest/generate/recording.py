"""One load, sent and recorded in one file."""

from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

from loadtest.generate.client import Client
from loadtest.generate.effort import Effort
from loadtest.generate.payload import Payload
from loadtest.generate.recorder import Recorder
from loadtest.generate.runner import Runner
from loadtest.generate.samples import COLUMNS, Sample

Load = Callable[[Runner], Coroutine[Any, Any, Effort]]  # which loop sends a load, and when


async def record_load(
    client: Client,
    path: Path,
    header: dict[str, Any],
    payloads: Iterator[Payload],
    load: Load,
    *,
    columns: tuple[str, ...] = COLUMNS,
    seen: Callable[[Sample], None] | None = None,
    more: Callable[[], dict[str, Any]] | None = None,
    **options: Any,
) -> Effort:
    """Send a load and record it in a new file, which is marked as complete once all of it was sent.

    Args:
        client: Sends the requests; open.
        path: The file.
        header: What was asked of the trial, as JSON values.
        payloads: What to send.
        load: Which loop sends it, and when.
        columns: COLUMNS or IDENTIFIED.
        seen: Called with each sample that is recorded.
        more: Asked at the end for further facts of the footer.
        options: Of the Runner.

    Raises:
        LoadtestError: The file exists, or samples can no longer be written.
    """
    recorder = Recorder(path, header, columns, seen)
    effort: Effort | None = None
    try:
        effort = await load(Runner(client, recorder, payloads, **options))
    finally:
        recorder.close(None if effort is None else effort.facts() | (more() if more else {}))
    return effort
