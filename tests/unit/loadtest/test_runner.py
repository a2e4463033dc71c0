"""The three loops against services of known service time."""

import asyncio
from collections.abc import Callable
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest

from loadtest.generate import arrivals
from loadtest.generate.client import Client
from loadtest.generate.payload import encode
from loadtest.generate.recording import Load, record_load
from loadtest.generate.runner import NOT_SENT
from loadtest.generate.samples import Trial, read_trial
from tests.unit.loadtest.queues import lindley, mg1_wait

PAYLOAD = encode("128px", bytes(7000), "image/jpeg", multipart=True)


def trial(target: str, path: Path, load: Load, **options: object) -> Trial:
    """Run one load and read what was recorded."""

    async def run() -> None:
        async with Client(target, timeout_s=20) as client:
            await record_load(client, path, {}, repeat(PAYLOAD), load, **options)

    asyncio.run(run())
    result = read_trial(path)
    assert result.damage is None
    return result


@pytest.mark.slow
def test_open_loop_does_not_wait_for_answers(serve: Callable[..., str], tmp_path: Path) -> None:
    offsets = list(arrivals.constant(100, 0.5))
    result = trial(serve("--service-ms", "50"), tmp_path / "t", lambda runner: runner.open_loop(offsets))
    by_seq = sorted(result.samples, key=lambda sample: sample.seq)
    assert [sample.scheduled_s for sample in by_seq] == pytest.approx(offsets, abs=1e-6)
    assert all(sample.ok and sample.worker == "worker1" and sample.lag_s >= 0 for sample in by_seq)
    # 50 arrivals in 0.5 s at 50 ms each: the k-th starts when the k − 1 before it are done
    waits = lindley(np.array([sample.sent_s for sample in by_seq]), np.full(50, 0.05))
    assert by_seq[-1].queue_s == pytest.approx(waits[-1], rel=0.2)
    assert result.footer is not None
    assert result.footer["peak_in_flight"] > 30


def test_closed_loop_keeps_its_users_busy(serve: Callable[..., str], tmp_path: Path) -> None:
    result = trial(serve("--service-ms", "40"), tmp_path / "t", lambda runner: runner.closed_loop(3, requests=30))
    assert len(result.samples) == 30
    assert sorted(sample.seq for sample in result.samples) == list(range(30))
    assert result.footer is not None
    assert result.footer["peak_in_flight"] == 3
    assert result.footer["mean_in_flight"] > 2.5  # only the last ones wait for fewer than two others


@pytest.mark.slow
def test_closed_loop_ends_at_its_duration(serve: Callable[..., str], tmp_path: Path) -> None:
    result = trial(serve(), tmp_path / "t", lambda runner: runner.closed_loop(2, duration_s=2))
    assert len(result.samples) > 2
    assert sum(sample.done_s > 2 for sample in result.samples) <= 2  # what each user was about when it was over


@pytest.mark.slow
def test_original_loop_waits_for_every_kth_answer(serve: Callable[..., str], tmp_path: Path) -> None:
    result = trial(serve("--service-ms", "50"), tmp_path / "t", lambda runner: runner.original_loop(repeat(0), 30, 10))
    by_seq = sorted(result.samples, key=lambda sample: sample.seq)
    assert len(by_seq) == 30
    assert result.footer is not None
    assert result.footer["peak_in_flight"] == 10  # the backlog can never pass k
    for last in (9, 19):
        assert by_seq[last + 1].sent_s >= by_seq[last].done_s


@pytest.mark.slow
def test_the_in_flight_limit_is_recorded_as_failures(serve: Callable[..., str], tmp_path: Path) -> None:
    result = trial(
        serve("--workers", "5", "--policy", "round_robin", "--service-ms", "2000"),
        tmp_path / "t",
        lambda runner: runner.open_loop(arrivals.constant(100, 0.2)),
        max_in_flight=5,
    )
    dropped = [sample for sample in result.samples if sample.error == NOT_SENT]
    assert len(result.samples) == 20
    assert len(dropped) == 15
    assert all(sample.status is None for sample in dropped)
    assert result.footer is not None
    assert result.footer["not_sent"] == 15
    assert result.footer["peak_in_flight"] == 5


@pytest.mark.slow
def test_littles_law_holds_for_what_was_recorded(serve: Callable[..., str], tmp_path: Path) -> None:
    offsets = list(arrivals.poisson(60, 2, np.random.default_rng(2)))
    result = trial(serve("--service-ms", "10"), tmp_path / "t", lambda runner: runner.open_loop(offsets))
    assert result.footer is not None
    in_system = sum(sample.service_s for sample in result.samples) / result.footer["wall_s"]
    assert result.footer["mean_in_flight"] == pytest.approx(in_system, rel=0.01)


@pytest.mark.long
def test_waits_at_a_worker_of_known_service_time_are_those_of_theory(serve: Callable[..., str], tmp_path: Path) -> None:
    """Fifty M/D/1 queues at ρ = 0.7: a Poisson stream that is split at random is fifty Poisson streams.

    5,600 waits leave a sampling error of about 7 %, so this seed is one whose own recursion is near the formula; what
    is compared then measures the generator and the client, and no luck. A machine so busy that requests overtake each
    other splits the stream in another way, and is given another chance.
    """
    service_s, workers, rho, warmup_s, duration_s = 0.25, 50, 0.7, 10.0, 50.0  # 140 a second: slow cores do that
    rate_hz = rho * workers / service_s
    offsets = list(arrivals.poisson(rate_hz, duration_s, np.random.default_rng(19)))
    theory_s = mg1_wait(service_s, 0.0, rho)
    target = serve("--workers", str(workers), "--service-ms", "250")
    for attempt in range(3):
        result = trial(target, tmp_path / f"t{attempt}", lambda runner: runner.open_loop(offsets))
        recursion, seen, reported = [], [], []
        for worker in {sample.worker for sample in result.samples}:
            own = sorted((one for one in result.samples if one.worker == worker), key=lambda one: one.scheduled_s)
            scheduled = np.array([one.scheduled_s for one in own])
            kept = scheduled >= warmup_s
            recursion.append(lindley(scheduled, np.full(len(own), service_s))[kept])
            reported.append(np.array([one.queue_s for one in own])[kept])
            seen.append(np.array([one.response_s for one in own])[kept])
        recursion_s = np.concatenate(recursion).mean()
        on_time = np.quantile([sample.lag_s for sample in result.samples], 0.99) < service_s / 4
        if on_time and recursion_s == pytest.approx(theory_s, rel=0.02):
            break
    else:
        pytest.fail("this machine is too busy to send on time and in order, three times")
    assert all(sample.ok for sample in result.samples)
    queue_s = np.concatenate(reported)
    response_s = np.concatenate(seen)
    unloaded_s = response_s[queue_s == 0].mean()

    assert queue_s.mean() == pytest.approx(theory_s, rel=0.05)
    assert response_s.mean() - unloaded_s == pytest.approx(theory_s, rel=0.05)
    assert queue_s.mean() == pytest.approx(recursion_s, rel=0.03)
