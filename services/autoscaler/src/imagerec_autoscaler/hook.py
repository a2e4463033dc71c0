"""The command that gets or gives back machines, told how many workers are wanted; one at a time, the newest number."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Sequence

_PATIENCE_S = 600.0
_LAST_BYTES = 400
_PIPE_BYTES = 65536


class Hook:
    """Runs the command aside.

    `ended` gets a sentence for everybody where it fails, and its last words, which may hold secrets. Both are empty
    once it works again.
    """

    def __init__(self, command: Sequence[str], ended: Callable[[str, str], None]) -> None:
        self._command, self._ended = command, ended
        self._told: int | None = None
        self._wanted: int | None = None
        self._task: asyncio.Task[None] | None = None

    def tell(self, wanted: int | None) -> None:
        """Let the command know what it was not told yet, now or after the run under way; None: another one decides."""
        if not self._command or wanted == self._told:
            return
        self._told = self._wanted = wanted
        if wanted is not None and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._wanted is not None:
            wanted, self._wanted = self._wanted, None
            try:
                failure, words = await _call([*self._command, str(wanted)])
            except OSError as error:
                failure, words = f"cannot be started: {error}", ""
            words = words if failure else ""
            if words:
                failure += " (its last words are in the log of imagerec-autoscaler)"
            self._ended(failure and f"the hook {self._command[0]} {wanted} {failure}; the pool stays as it is", words)


async def _call(command: Sequence[str]) -> tuple[str, str]:
    """Run a command; return how it failed, if it did, and its last words. It ends with its caller, and all it started.

    Raises:
        OSError: It cannot be started.
    """
    words = _Words()
    try:
        process = _start(command, words.pipe)
    finally:
        os.close(words.pipe)
    try:
        status = await asyncio.wait_for(asyncio.to_thread(process.wait), _PATIENCE_S)
        failure = f"ended with {status}" if status else ""
    except TimeoutError:
        failure = f"did not end within {_PATIENCE_S:g} s"
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    words.read()
    return failure, words.last.decode(errors="replace").strip()


def _start(command: Sequence[str], pipe: int) -> subprocess.Popen[bytes]:
    """Start a command at once: asyncio would wait for its start, and who ends meanwhile leaves what it has started."""
    return subprocess.Popen(  # noqa: S603  the operator's own command
        command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, start_new_session=True
    )


class _Words:
    """The last bytes of what comes through a pipe. It is read for as long as anybody has it, also after the command."""

    def __init__(self) -> None:
        self.last, self._ended = b"", False
        self._from, self.pipe = os.pipe()
        os.set_blocking(self._from, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._from, self.read)

    def read(self) -> None:
        """Read all that the pipe holds now."""
        if self._ended:
            return
        with contextlib.suppress(BlockingIOError):
            more = os.read(self._from, _PIPE_BYTES)
            self.last = (self.last + more)[-_LAST_BYTES:]
            if not more:
                self._ended = True
                self._loop.remove_reader(self._from)
                os.close(self._from)
