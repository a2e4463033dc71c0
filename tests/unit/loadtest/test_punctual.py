"""The loop that wakes on time: never too soon, and an answer that comes is not kept waiting."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from loadtest.generate import punctual


def test_a_timer_is_not_called_before_its_time() -> None:
    async def wait() -> list[float]:
        loop = asyncio.get_running_loop()
        early = []
        for delay_s in (0.0002, 0.001, 0.0049, 0.0123):
            due = loop.time() + delay_s
            await asyncio.sleep(delay_s)
            early.append(due - loop.time())
        return early

    assert max(punctual.run(wait())) <= 1e-6


def test_an_answer_is_read_while_the_loop_waits_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of this wait is a spin: an answer that had to wait for its end would come after the timer."""
    monkeypatch.setattr(punctual, "EARLY_S", 60.0)
    order: list[str] = []

    async def wait() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            timer = loop.call_later(20, order.append, "timer")
            threading.Timer(0.05, theirs.send, [b"answer"]).start()
            order.append((await loop.sock_recv(ours, 100)).decode())
            timer.cancel()
            assert punctual.spun_s() > 0

    punctual.run(wait())
    assert order == ["answer"]


def test_what_comes_in_the_sleep_before_is_read_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(punctual, "EARLY_S", 0.0)

    async def wait() -> tuple[bytes, float]:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            timer = loop.call_later(20, loop.stop)
            threading.Timer(0.02, theirs.send, [b"answer"]).start()
            received = await loop.sock_recv(ours, 100)
            timer.cancel()
            return received, punctual.spun_s()

    assert punctual.run(wait()) == (b"answer", 0.0)


def test_time_awake_is_processor_time_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(punctual, "EARLY_S", 60.0)

    async def wait() -> float:
        before = time.process_time()
        for _ in range(20):
            await asyncio.sleep(0.003)
        assert punctual.spun_s() <= time.process_time() - before + 0.001
        return punctual.spun_s()

    assert punctual.run(wait()) > 0


def test_another_loop_is_never_awake() -> None:
    async def ask() -> float:
        await asyncio.sleep(0.001)
        return punctual.spun_s()

    assert asyncio.run(ask()) == 0.0


def test_the_loop_runs_ahead_of_ordinary_programs_where_that_is_allowed_and_what_it_starts_does_not() -> None:
    before = os.sched_getscheduler(0)
    with punctual.ahead() as allowed:
        pass

    async def look() -> tuple[int, str]:
        child = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", "import os; print(os.sched_getscheduler(0))"],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, child.stdout.strip()

    wanted = os.SCHED_RR if allowed else before
    assert punctual.run(look()) == (wanted, str(os.SCHED_OTHER))
    assert os.sched_getscheduler(0) == before


def test_a_generator_that_may_not_run_ahead_is_an_ordinary_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    with punctual.ahead() as allowed:
        assert not allowed
