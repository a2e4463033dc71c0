"""Calibration finds each worker's speed, and prediction what its service times lead to."""

import numpy as np
import pytest

from loadtest.analyse.theory.law import ServiceLaw, service_law
from loadtest.analyse.theory.prediction import predict, replay
from loadtest.errors import LoadtestError
from loadtest.experiments.calibration import Capacity, estimate, from_facts
from loadtest.generate.samples import Sample

MEANS_S = {"worker1": 0.02, "worker2": 0.02, "worker3": 0.06}


def saturated() -> list[Sample]:
    """Workers that always have a queue: each answers one after the other; its clock is 5 s ahead."""
    samples: list[Sample] = []
    for name, mean_s in MEANS_S.items():
        times = np.random.default_rng(len(samples)).gamma(4, mean_s / 4, 400)
        done = np.cumsum(times)
        for end, total in zip(done[done < 8].tolist(), times.tolist(), strict=False):
            samples.append(
                Sample(len(samples), end, end - 0.3, end, 200, name, None, queue_s=5.0 + 0.3 - total, total_s=total)
            )
    return samples


def unloaded() -> list[Sample]:
    return [
        Sample(number, number, number, number + mean_s + 0.002, 200, name, None, queue_s=5.0, total_s=mean_s)
        for number, (name, mean_s) in enumerate(list(MEANS_S.items()) * 10)
    ]


@pytest.fixture
def capacity() -> Capacity:
    return estimate(unloaded(), saturated())


def test_each_workers_own_speed_shows(capacity: Capacity) -> None:
    assert capacity.how == "gaps"
    assert capacity.processes == 1
    for name, mean_s in MEANS_S.items():
        assert capacity.workers[name] == pytest.approx(1 / mean_s, rel=0.12)
    assert capacity.capacity_hz == pytest.approx(sum(1 / mean_s for mean_s in MEANS_S.values()), rel=0.08)
    assert from_facts(capacity.facts()).workers == pytest.approx(capacity.workers, rel=1e-3)


def test_too_few_answers_say_what_failed() -> None:
    failed = [Sample(0, 0.0, 0.0, 0.1, 500, None, "internal")] * 30
    with pytest.raises(LoadtestError, match=r"calibration failed: 0 and 0 requests were answered.*'internal'"):
        estimate(failed, failed)


def test_the_law_keeps_means_and_shape(capacity: Capacity) -> None:
    law = service_law(capacity, tuple(unloaded()), tuple(saturated()))
    assert law.means_s == pytest.approx([0.02, 0.02, 0.06], rel=0.12)
    assert law.cv2 == pytest.approx(0.25, rel=0.2)  # a gamma law of shape 4
    assert float(np.mean(law.shape)) == pytest.approx(1.0)
    assert law.outside_s == pytest.approx(0.002, abs=0.004)


def test_prediction_agrees_with_the_formula_in_the_steady_state() -> None:
    law = ServiceLaw(np.random.default_rng(1).exponential(1.0, 20_000), (0.01, 0.01), 0.003)
    found = predict(law, "random", 0.6 * 200, [(200.0, 5.0)], seed=1, trials=10)
    assert found.mean_s == pytest.approx(law.steady_mean(0.6 * 200), rel=0.05)
    assert found.mean_s < found.p99_s


def test_replay_knows_each_worker_by_its_name(capacity: Capacity) -> None:
    """Also where the others answered nothing."""
    law = service_law(capacity, tuple(unloaded()), tuple(saturated()))
    samples = [Sample(number, number, number, number + 1, 200, "worker3", None) for number in range(200)]
    assert replay(law, samples, 0.0, np.random.default_rng(1)) == pytest.approx(0.06, rel=0.15)


def test_replay_finds_the_very_wait_of_each_request() -> None:
    law = ServiceLaw(np.ones(1), (1.0, 1.0), 0.5, names=("worker1", "worker2"))
    due = [0.0, 0.2, 0.4, 10.0]
    names = ["worker1", "worker2", "worker1", "worker2"]
    samples = [
        Sample(number, at, at, at + 1, 200, name, None)
        for number, (at, name) in enumerate(zip(due, names, strict=True))
    ]
    rng = np.random.default_rng(1)
    # only the third finds its worker busy, for 0.6 s
    assert replay(law, samples, 0.0, rng) == pytest.approx(1.5 + 0.6 / 4)
    assert replay(law, samples, 5.0, rng) == pytest.approx(1.5)
    assert replay(law, [], 0.0, rng) is None
