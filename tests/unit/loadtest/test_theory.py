"""Formulas and simulation against ciw, a queueing simulator that others wrote, and against each other."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from loadtest.analyse.theory import formulas
from loadtest.arrays import Floats
from loadtest.experiments.checks import POLICIES
from loadtest.simulate.arrivals import poisson
from loadtest.simulate.service import Service
from loadtest.simulate.system import System, simulate
from tests.unit.loadtest import queues
from tests.unit.loadtest.queues import lindley

SERVICE_S = 1.0
Draw = Callable[[np.random.Generator, int], Floats]


def ciw_mean(servers: int, rho: float, service: tuple[str, *tuple[float, ...]], customers: int = 40_000) -> float:
    """Mean response that ciw finds for Poisson arrivals at one queue of this many servers."""
    import ciw

    law, *parameters = service
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(rho * servers / SERVICE_S)],
        service_distributions=[getattr(ciw.dists, law)(*parameters)],
        number_of_servers=[servers],
    )
    ciw.seed(3)
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_customers(customers)
    times = [one.exit_date - one.arrival_date for one in simulation.get_all_records()]
    return float(np.mean(times[customers // 20 :]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("servers", "rho", "service", "predicted"),
    [
        pytest.param(
            1, 0.7, ("Deterministic", 1.0), queues.mg1_response(1.0, 0.0, 0.7), id="M/D/1", marks=pytest.mark.long
        ),
        pytest.param(
            1, 0.7, ("Exponential", 1.0), queues.mg1_response(1.0, 1.0, 0.7), id="M/M/1", marks=pytest.mark.long
        ),
        pytest.param(1, 0.6, ("Gamma", 0.5, 2.0), queues.mg1_response(1.0, 2.0, 0.6), id="M/G/1-with-c2-of-2"),
        pytest.param(3, 0.8, ("Exponential", 1.0), queues.mgn_response(1.0, 1.0, 3, 0.8), id="M/M/3"),
        pytest.param(
            4, 0.8, ("Deterministic", 1.0), queues.mgn_response(1.0, 0.0, 4, 0.8), id="M/D/4", marks=pytest.mark.long
        ),
    ],
)
def test_formulas_agree_with_ciw(
    servers: int, rho: float, service: tuple[str, *tuple[float, ...]], predicted: float
) -> None:
    # 40,000 customers leave a standard error of about 2 %
    assert predicted == pytest.approx(ciw_mean(servers, rho, service), rel=0.07)


def exponential(rng: np.random.Generator, count: int) -> Floats:
    return rng.exponential(SERVICE_S, count)


def constant(_: np.random.Generator, count: int) -> Floats:
    return np.full(count, SERVICE_S)


def simulated(policy: str, draw: Draw, workers: int = 4, rho: float = 0.8, count: int = 150_000) -> tuple[float, float]:
    rng = np.random.default_rng(11)
    # one queue before all processes is one worker that has them all
    system = System("random", 1, processes=workers) if policy == "shared_queue" else System(policy, workers)
    arrivals, services = poisson(count, rho * workers / SERVICE_S, rng), draw(rng, 50_000)
    outcome = simulate(system, arrivals, Service(services, services, ""), rng)
    assert np.bincount(outcome.chosen, minlength=system.workers).min() > 0.8 * count / system.workers
    times = outcome.ends_s - arrivals
    return float(times.mean()), float(np.quantile(times, 0.99))


@pytest.mark.parametrize("draw", [pytest.param(constant, id="constant"), pytest.param(exponential, id="exponential")])
def test_simulation_agrees_with_the_formulas_where_there_are_some(draw: Draw) -> None:
    cv2 = 0.0 if draw is constant else 1.0
    assert simulated("random", draw)[0] == pytest.approx(queues.mg1_response(1.0, cv2, 0.8), rel=0.04)
    assert simulated("shared_queue", draw)[0] == pytest.approx(queues.mgn_response(1.0, cv2, 4, 0.8), rel=0.04)


@pytest.mark.slow
def test_simulated_shared_queue_agrees_with_ciw() -> None:
    assert simulated("shared_queue", exponential)[0] == pytest.approx(ciw_mean(4, 0.8, ("Exponential", 1.0)), rel=0.07)


def test_two_choices_of_many_workers_come_near_the_limit() -> None:
    assert simulated("random_two", exponential, workers=200, rho=0.9)[0] == pytest.approx(
        queues.two_choices_response(1.0, 0.9), rel=0.05
    )


@pytest.mark.slow
@pytest.mark.parametrize("draw", [pytest.param(constant, id="constant"), pytest.param(exponential, id="exponential")])
def test_policies_that_look_are_better_the_more_they_see(draw: Draw) -> None:
    p99 = {policy: simulated(policy, draw)[1] for policy in (*POLICIES, "shared_queue")}
    assert p99["shared_queue"] <= p99["least_conn"] * 1.001 < p99["random_two"] < p99["random"]
    assert p99["round_robin"] < p99["random"]


def test_lindley_is_the_recursion_done_by_hand() -> None:
    arrivals = np.array([0.0, 1.0, 1.5, 9.0])
    services = np.array([2.0, 2.0, 1.0, 1.0])
    assert lindley(arrivals, services) == pytest.approx([0.0, 1.0, 2.5, 0.0])
    assert len(lindley(np.zeros(0), np.zeros(0))) == 0


def test_a_slower_worker_takes_longer() -> None:
    rng = np.random.default_rng(1)
    arrivals = np.array([10.0 * number for number in range(100)])
    service = Service(np.ones(1), np.ones(1), "")
    for policy in POLICIES:
        outcome = simulate(System(policy, 2), arrivals, service, rng, slowness=np.array([1.0, 3.0]))
        times = outcome.ends_s - arrivals
        assert set(times[outcome.chosen == 0]) == {1.0}
        assert set(times[outcome.chosen == 1]) == {3.0}


def test_overload_has_no_steady_state() -> None:
    assert math.isinf(queues.mg1_response(1.0, 1.0, 1.0))
    assert math.isinf(queues.first_service_response(0.5, 1.0, 1.0, 1.0, 1.0))
    assert math.isinf(queues.mgn_response(1.0, 1.0, 2, 1.1))
    assert math.isinf(queues.two_choices_response(1.0, 1.0))
    assert formulas.erlang_c(2, 2.5) == 1.0


def first_service(**changed: float) -> float:
    two_regimes = {"idle_s": 0.7, "idle_cv2": 0.1, "busy_s": 1.0, "busy_cv2": 0.4, "servers": 1, "rate_hz": 0.6}
    return formulas.first_service_mgn_response(**(two_regimes | changed))


@pytest.mark.parametrize("rho", [0.05, 0.3, 0.8, 0.95])
@pytest.mark.parametrize("idle_s", [0.6, 1.4, 2.0, 3.0, 20.0])
def test_one_process_is_as_welch_has_it_however_slow_the_first_service_is(idle_s: float, rho: float) -> None:
    """Steps towards the mean service time swung without end where the first one took more than twice as long."""
    exact = queues.first_service_response(idle_s, 0.1, 1.0, 0.4, rho)
    assert first_service(idle_s=idle_s, rate_hz=rho) == pytest.approx(exact, rel=1e-9)


def test_the_formula_of_two_regimes_and_several_processes_holds_its_special_cases() -> None:
    one = first_service()
    assert one == pytest.approx(queues.first_service_response(0.7, 0.1, 1.0, 0.4, 0.6), rel=1e-9)
    same = formulas.first_service_mgn_response(1.0, 0.4, 1.0, 0.4, servers=3, rate_hz=2.4)
    assert same == pytest.approx(queues.mgn_response(1.0, 0.4, 3, 0.8), rel=1e-9)
    assert math.isinf(first_service(servers=2, rate_hz=2.0))
