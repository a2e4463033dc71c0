"""Idle and busy workers: calibration finds both regimes, and the law of both predicts what a simulation measures."""

import numpy as np
import pytest

from loadtest.analyse.theory.law import ServiceLaw, service_law
from loadtest.analyse.theory.prediction import predict, replay
from loadtest.experiments.calibration import BUSY_LOAD, IDLE_LOAD, Capacity, from_facts, with_regimes
from loadtest.experiments.regimes import after_idleness, network_of, when_busy
from loadtest.generate.samples import Sample
from loadtest.simulate.arrivals import poisson
from loadtest.simulate.service import Service
from loadtest.simulate.system import System, simulate

IDLE_S, BUSY_S, NETWORK_S = 0.015, 0.020, 0.0015


def measured(load: float, count: int, *, processes: int = 1, network_s: float = NETWORK_S) -> list[Sample]:
    """What a client sees of two workers whose idle processes take 15 ms and whose busy ones take 20."""
    rng = np.random.default_rng([count, processes])
    service = Service(IDLE_S * np.array([0.9, 1.1]), BUSY_S * np.array([0.8, 1.2]), "")
    arrivals = poisson(count, load * 2 * processes / BUSY_S, rng)
    outcome = simulate(System("random", 2, processes=processes), arrivals, service, rng)
    return [
        Sample(
            number,
            at,
            at,
            end + network_s,
            200,
            f"worker{worker + 1}",
            None,
            upstream_s=end - at,
            total_s=0.9 * (end - at),
        )
        for number, (at, end, worker) in enumerate(
            zip(arrivals.tolist(), outcome.ends_s.tolist(), outcome.chosen.tolist(), strict=True)
        )
    ]


def capacity(processes: int = 1) -> Capacity:
    return Capacity(
        capacity_hz=2 * processes / BUSY_S, service_s=BUSY_S, cv2=0.04, overhead_s=0.002, unloaded_response_s=0.0165,
        unloaded_total_s=0.013, workers={f"worker{one}": processes / BUSY_S for one in (1, 2)}, processes=processes,
        how="gaps",
    )  # fmt: skip


@pytest.mark.parametrize("processes", [1, 3])
def test_calibration_tells_idle_from_busy_and_the_network_from_both(processes: int) -> None:
    idle, busy = measured(IDLE_LOAD, 4000, processes=processes), measured(BUSY_LOAD, 4000, processes=processes)
    found = with_regimes(capacity(processes), idle, busy)
    assert found.network_s == pytest.approx(NETWORK_S, rel=1e-6)
    assert found.idle is not None
    assert found.busy is not None
    assert found.idle.service_s == pytest.approx(IDLE_S, rel=0.01)
    assert found.busy.service_s == pytest.approx(BUSY_S, rel=0.01)
    assert (found.idle.cv2, found.busy.cv2) == pytest.approx((0.01, 0.04), rel=0.1)
    assert set(found.busy.workers) == {"worker1", "worker2"}
    assert found.idle.requests > 0.8 * 4000
    assert found.open_hz == pytest.approx(2 * processes / BUSY_S, rel=0.03)
    again = from_facts(found.facts()).busy
    assert again is not None
    assert again.workers == pytest.approx(found.busy.workers, rel=1e-3)


def test_facts_of_earlier_runs_are_read_and_have_no_regimes() -> None:
    facts = capacity().facts()
    assert not {"idle", "busy", "network_s", "closed_hz", "open_hz"} & facts.keys()
    assert from_facts(facts).idle is None


def test_no_time_is_negative() -> None:
    quick = [Sample(one, one, one, one + 0.001 * (one % 3), 200, "worker1", None, total_s=0.005) for one in range(30)]
    network_s = network_of(quick, 1, 0.002)
    assert network_s == 0.0
    slow_network = after_idleness(quick, 1, 0.0015)["worker1"]
    assert slow_network.min() == 0.0
    overtaken = [
        Sample(number, number / 10, number / 10, done, 200, "worker1", None)
        for number, done in enumerate((1.0, 1.1, 0.9))
    ]
    for processes in (1, 2):
        assert all(times.min() >= 0 for times in when_busy(overtaken, processes, 0.0).values())


def test_a_request_that_left_as_a_worker_became_free_is_in_neither_regime() -> None:
    samples = [
        Sample(0, 0.0, 0.0, 1.0, 200, "worker1", None),
        Sample(1, 0.999, 0.999, 2.0, 200, "worker1", None),
        Sample(2, 1.5, 1.5, 2.8, 200, "worker1", None),
        Sample(3, 9.0, 9.0, 9.5, 429, None, "busy"),
    ]
    assert after_idleness(samples, 1, 0.1)["worker1"] == pytest.approx([0.9])
    assert when_busy(samples, 1, 0.1)["worker1"] == pytest.approx([0.8])


@pytest.mark.parametrize("processes", [1, 2])
def test_the_law_of_both_regimes_predicts_what_is_measured(processes: int) -> None:
    idle, busy = measured(IDLE_LOAD, 4000, processes=processes), measured(BUSY_LOAD, 4000, processes=processes)
    law = service_law(with_regimes(capacity(processes), idle, busy), tuple(idle), tuple(busy))
    load = 0.5
    trial = measured(load, 20_000, processes=processes)
    mean_s = float(np.mean([one.response_s for one in trial]))
    rate_hz = load * law.capacity_hz
    # one process: exact, but for chance in both; several: Lee and Longton's approximation
    assert law.steady_mean(rate_hz) == pytest.approx(mean_s, rel=0.02 if processes == 1 else 0.05)
    simulated = predict(law, "random", rate_hz, [(20.0, 2.0)], seed=1, trials=20)
    assert simulated.mean_s == pytest.approx(mean_s, rel=0.02)
    assert replay(law, trial, 0.0, np.random.default_rng(1)) == pytest.approx(mean_s, rel=0.01)
    one_regime = ServiceLaw(law.shape, law.means_s, law.outside_s, processes)
    assert one_regime.steady_mean(rate_hz) > 1.1 * mean_s


def test_the_balancers_limit_is_in_the_prediction() -> None:
    law = ServiceLaw(np.ones(1), (0.02, 0.02), 0.0, max_conns=3)
    free = ServiceLaw(np.ones(1), (0.02, 0.02), 0.0)
    means = [predict(one, "random", 130, [(20.0, 0.0)], seed=1, trials=3).mean_s for one in (law, free)]
    assert means[0] <= 3 * 0.02 < means[1]
