"""The command that gets or gives back machines, told how many workers are wanted; one at a time, the newest number."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

_PATIENCE_S = 600.0


class Hook:
    """Runs the command aside; `failed` gets a sentence where it fails, and an empty one once it works again."""

    def __init__(self, command: Sequence[str], failed: Callable[[str], None]) -> None:
        self._command, self._failed = command, failed
        self._wanted: int | None = None
        self._task: asyncio.Task[None] | None = None

    def tell(self, wanted: int) -> None:
        """Let the command know, now or after the run that is under way."""
        if not self._command:
            return
        self._wanted = wanted
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while self._wanted is not None:
            wanted, self._wanted = self._wanted, None
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._command, str(wanted), stdin=asyncio.subprocess.DEVNULL
                )
            except OSError as error:
                self._failed(f"the hook {self._command[0]} cannot be started: {error}")
                continue
            try:
                status = await asyncio.wait_for(process.wait(), _PATIENCE_S)
            except TimeoutError:
                process.kill()
                status = await process.wait()
            failure = f"the hook {self._command[0]} {wanted} ended with {status}; the pool stays as it is"
            self._failed(failure if status else "")
