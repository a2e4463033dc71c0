"""The command that gets machines: what is said of it, and until when."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from imagerec_autoscaler.hook import Hook


def told(command: str, wanted: int = 3) -> list[tuple[str, ...]]:
    """What is said of a shell's command, and its words."""
    said: list[tuple[str, ...]] = []

    async def course() -> None:
        hook = Hook(("/bin/sh", "-c", command), lambda *words: said.append(words))
        hook.tell(wanted)
        assert hook._task is not None
        await asyncio.wait_for(hook._task, 60)

    asyncio.run(course())
    return said


def until_there(path: Path) -> str:
    deadline = time.monotonic() + 60
    while not path.exists() or not path.read_text().endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return path.read_text()


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def test_a_failure_is_told_until_the_command_has_done_its_work(tmp_path: Path) -> None:
    said: list[tuple[str, ...]] = []
    hook = Hook(("/bin/sh", "-c", f'test -e {tmp_path}/works || exit "$0"'), lambda *words: said.append(words))

    async def told(wanted: int) -> None:
        hook.tell(wanted)
        assert hook._task is not None
        await asyncio.wait_for(hook._task, 60)

    async def course() -> None:
        await told(3)
        (tmp_path / "works").touch()
        await told(4)

    asyncio.run(course())
    assert said == [("the hook /bin/sh 3 ended with 3; the pool stays as it is", ""), ("", "")]


def test_its_words_are_no_decisions_and_the_last_ones_are_told_apart_where_it_fails(
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The sentence is shown to everybody, and what a cloud's tool says may hold a token."""
    ((failure, words),) = told("seq 99999; echo asking; echo no machine for TOKEN >&2; exit 4")
    log = "its last words are in the log of imagerec-autoscaler"
    assert failure == f"the hook /bin/sh 3 ended with 4 ({log}); the pool stays as it is"
    assert words.endswith("\n99999\nasking\nno machine for TOKEN")
    assert len(words) < 500
    assert told("echo done") == [("", "")]
    assert capfd.readouterr() == ("", "")


def test_one_that_leaves_something_behind_is_done_all_the_same(tmp_path: Path) -> None:
    """What it leaves behind goes on and may print; nothing of that is kept, in memory or elsewhere."""
    over, size = tmp_path / "over", tmp_path / "size"
    goes_on = (
        f"until test -e {over}; do sleep 0.05; done; head -c 999999 /dev/zero && stat -Lc %s /proc/self/fd/2 > {size}"
    )
    said: list[tuple[str, ...]] = []

    async def course() -> None:
        hook = Hook(("/bin/sh", "-c", f"({goes_on}) & echo words; exit 5"), lambda *words: said.append(words))
        hook.tell(3)
        assert hook._task is not None
        await asyncio.wait_for(hook._task, 60)
        over.touch()
        await asyncio.to_thread(until_there, size)

    try:
        asyncio.run(course())
    finally:
        over.touch()
    assert said[0][0].startswith("the hook /bin/sh 3 ended with 5")
    assert said[0][1] == "words"
    assert size.read_text() == "0\n"


def test_one_that_cannot_be_started_is_told() -> None:
    said: list[tuple[str, ...]] = []

    async def course() -> None:
        hook = Hook(("/nowhere/machines",), lambda *words: said.append(words))
        hook.tell(3)
        assert hook._task is not None
        await asyncio.wait_for(hook._task, 60)

    asyncio.run(course())
    assert len(said) == 1
    assert said[0][0].startswith("the hook /nowhere/machines 3 cannot be started: ")


def test_one_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagerec_autoscaler.hook._PATIENCE_S", 0.1)
    assert told("sleep 600") == [("the hook /bin/sh 3 did not end within 0.1 s; the pool stays as it is", "")]


@pytest.mark.parametrize("starting", [True, False], ids=["while it is started", "while it runs"])
def test_it_ends_with_the_program_and_so_does_what_it_has_started(tmp_path: Path, *, starting: bool) -> None:
    begun = tmp_path / "begun"

    async def course() -> None:
        hook = Hook(("/bin/sh", "-c", f"sleep 600 & echo $! > {begun}; wait"), lambda *_: None)
        hook.tell(3)
        if starting:  # the command runs, and the loop has had no turn yet to see that it was started
            await asyncio.sleep(0)
            until_there(begun)
        else:
            await asyncio.to_thread(until_there, begun)
        assert hook._task is not None
        hook._task.cancel()
        await asyncio.wait({hook._task}, timeout=60)

    asyncio.run(course())
    pid, deadline = int(until_there(begun)), time.monotonic() + 60
    while runs(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_only_the_newest_number_waits_for_the_run_that_is_under_way(tmp_path: Path) -> None:
    log, go = tmp_path / "log", tmp_path / "go"

    async def course() -> None:
        command = f'echo "$0" >> {log}; until test -e {go}; do sleep 0.05; done'
        hook = Hook(("/bin/sh", "-c", command), lambda *_: None)
        hook.tell(2)
        await asyncio.to_thread(until_there, log)
        hook.tell(3)
        hook.tell(4)
        go.touch()
        assert hook._task is not None
        await asyncio.wait_for(hook._task, 60)

    asyncio.run(course())
    assert log.read_text().split() == ["2", "4"]
