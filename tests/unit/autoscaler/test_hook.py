"""The command that gets machines: what is said of it, and until when."""

from __future__ import annotations

import asyncio
from pathlib import Path

from imagerec_autoscaler.hook import Hook


def test_a_failure_is_told_until_the_command_has_done_its_work(tmp_path: Path) -> None:
    said: list[str] = []
    hook = Hook(("/bin/sh", "-c", f'test -e {tmp_path}/works || exit "$0"'), said.append)

    async def told(wanted: int) -> None:
        hook.tell(wanted)
        assert hook._task is not None
        await asyncio.wait_for(hook._task, 60)

    async def course() -> None:
        await told(3)
        (tmp_path / "works").touch()
        await told(4)

    asyncio.run(course())
    assert said == ["the hook /bin/sh 3 ended with 3; the pool stays as it is", ""]
