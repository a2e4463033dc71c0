"""Simulating many workers: queueing theory, ciw, and what is known of faults, limits and swinging loads."""

import math

import numpy as np
import pytest

from loadtest.analyse.theory.formulas import settling_s
from loadtest.arrays import Floats
from loadtest.simulate.arrivals import poisson, swinging
from loadtest.simulate.cases import Question, answer, figures
from loadtest.simulate.events import LOST, REFUSED, Fault, play
from loadtest.simulate.service import Service, supposed
from loadtest.simulate.steps import serve
from loadtest.simulate.system import Outcome, System, simulate
from tests.unit.loadtest import queues

EXPONENTIAL = supposed(1.0, 1.0, 3)


def played(policy: str, workers: int, rho: float, count: int, service: Service = EXPONENTIAL) -> float:
    """Mean response after the warm-up, in service times."""
    rng = np.random.default_rng(7)
    arrivals = poisson(count, rho * workers / service.mean_s, rng)
    outcome = simulate(System(policy, workers), arrivals, service, rng)
    return float((outcome.ends_s - outcome.arrivals_s)[count // 4 :].mean()) / service.mean_s


def test_random_balancing_is_so_many_mm1_queues() -> None:
    assert played("random", 1000, 0.8, 600_000) == pytest.approx(queues.mg1_response(1.0, 1.0, 0.8), rel=0.03)


@pytest.mark.parametrize("rho", [0.5, 0.9, 0.95])
def test_a_queue_has_forgotten_that_it_began_empty(rho: float) -> None:
    """Of the M/M/1 queues that are longer than the 99th percentile, hardly one is missing yet."""
    longest = math.ceil(math.log(0.01) / math.log(rho))
    begin = settling_s(EXPONENTIAL.mean_s, EXPONENTIAL.cv2, rho) / EXPONENTIAL.mean_s
    assert queues.mm1_beyond(rho, begin, longest) > 0.9 * rho**longest


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.9, 0.95])
def test_p99_of_a_high_load_is_that_of_theory_within_its_interval(rho: float) -> None:
    """Of M/M/1 it is S ln(100)/(1 − ρ)."""
    exact = 1e3 * EXPONENTIAL.mean_s * math.log(100) / (1 - rho)
    rows = [
        answer(Question((100,), ("random",), utilisations=(rho,), max_conns=0, seed=seed), EXPONENTIAL)[0]
        for seed in range(4)
    ]
    assert sum(abs(row["p99_ms"] - exact) <= row["p99_half_ms"] for row in rows) >= 3


def test_parts_of_an_interval_are_workers_where_their_queues_are_apart() -> None:
    """Parts of the time would be as alike as one: a full queue remembers for longer than a part lasts."""
    chosen = np.array([0, 1, 2, 3, 0, 1, REFUSED, 3] * 5)
    outcome = Outcome(np.arange(40.0), np.arange(40.0) + 1, chosen)
    for count, apart in ((4, True), (4, False), (5, True)):
        parts = outcome.parts(count, apart=apart)
        assert sorted(np.concatenate(parts).tolist()) == list(range(40))
        workers = [set(chosen[part].tolist()) - {REFUSED} for part in parts]
        assert (max(map(len, workers)) == 1) == (apart and count == 4)


def test_two_choices_of_a_thousand_come_to_the_limit() -> None:
    assert played("random_two", 1000, 0.9, 150_000) == pytest.approx(queues.two_choices_response(1.0, 0.9), rel=0.03)


def test_least_conn_of_a_thousand_is_hardly_worse_than_one_queue() -> None:
    assert played("least_conn", 1000, 0.8, 80_000) == pytest.approx(queues.mgn_response(1.0, 1.0, 1000, 0.8), rel=0.01)


@pytest.mark.parametrize("rho", [0.3, 0.7])
@pytest.mark.parametrize("idle", [0.6, 1.4])
def test_a_first_service_of_its_own_is_as_welch_has_it(idle: float, rho: float) -> None:
    """M/G/1 whose first customer of a busy period is served by another law, quicker or slower (Welch, 1964)."""
    service = Service(idle * np.array([0.8, 1.2]), np.array([0.7, 1.3]), "")
    formula = queues.first_service_response(idle, 0.04, 1.0, 0.09, rho)
    assert played("random", 500, rho, 800_000, service) == pytest.approx(formula, rel=0.01)
    same = queues.first_service_response(1.0, 0.09, 1.0, 0.09, rho)
    assert same == pytest.approx(queues.mg1_response(1.0, 0.09, rho))


@pytest.mark.parametrize("workers", [1, 40])
def test_a_worker_of_several_processes_is_one_queue_of_so_many_servers(workers: int) -> None:
    rng = np.random.default_rng(7)
    arrivals = poisson(200_000, 0.8 * 3 * workers, rng)
    outcome = simulate(System("random", workers, processes=3), arrivals, EXPONENTIAL, rng)
    times = (outcome.ends_s - arrivals)[50_000:]
    assert float(times.mean()) == pytest.approx(queues.mgn_response(1.0, 1.0, 3, 0.8), rel=0.04)


def ciw_times(policy: str, workers: int, gaps: list[float], services: list[list[float]]) -> Floats:
    """Response times in ciw: an entrance that takes no time, behind it one queue a worker."""
    import ciw

    behind = list(range(2, workers + 2))
    entrance = {
        "random": lambda: ciw.routing.Probabilistic(behind, [1 / workers] * workers),
        "round_robin": lambda: ciw.routing.Cycle(cycle=behind),
        "least_conn": lambda: ciw.routing.LoadBalancing(destinations=behind, tie_break="random"),
    }[policy]()
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Sequential([*gaps, float("inf")]), *[None] * workers],
        service_distributions=[ciw.dists.Deterministic(0.0), *(ciw.dists.Sequential(one) for one in services)],
        number_of_servers=[float("inf"), *[1] * workers],
        routing=ciw.routing.NetworkRouting(routers=[entrance, *(ciw.routing.Leave() for _ in behind)]),
    )
    ciw.seed(5)
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_time(1e6)
    records = sorted((one for one in simulation.get_all_records() if one.node > 1), key=lambda one: one.arrival_date)
    return np.array([one.exit_date - one.arrival_date for one in records])


def test_ciw_finds_the_same_times_request_by_request() -> None:
    rng = np.random.default_rng(2)
    workers, count = 8, 800
    gaps, took = rng.exponential(1 / (0.9 * workers), count), rng.exponential(1.0, count)
    arrivals = np.cumsum(gaps)
    theirs = ciw_times("round_robin", workers, gaps.tolist(), [took[one::workers].tolist() for one in range(workers)])
    ends = serve(arrivals, took, took, np.arange(count) % workers, workers)
    assert theirs == pytest.approx(ends - arrivals)


@pytest.mark.parametrize("policy", ["random", "least_conn"])
def test_ciw_finds_the_same_mean(policy: str) -> None:
    rng = np.random.default_rng(4)
    workers, count, rho = 4, 5000, 0.6
    services = [rng.exponential(1.0, count).tolist() for _ in range(workers)]
    theirs = ciw_times(policy, workers, rng.exponential(1 / (rho * workers), count).tolist(), services)
    assert played(policy, workers, rho, 100_000) == pytest.approx(float(theirs[300:].mean()), rel=0.07)


def test_balancers_that_know_nothing_of_each_other_choose_worse() -> None:
    def p99(policy: str, balancers: int) -> float:
        rng = np.random.default_rng(1)
        arrivals = poisson(40_000, 0.8 * 50, rng)
        outcome = simulate(System(policy, 50, balancers), arrivals, supposed(1.0, 0.05, 1), rng)
        return float(figures(outcome)["p99_ms"])

    assert p99("least_conn", 1) < 0.5 * p99("least_conn", 16) < p99("random", 1)
    assert p99("random", 16) == pytest.approx(p99("random", 1), rel=0.1)


def test_balancers_that_were_reloaded_together_send_to_the_same_workers() -> None:
    def slowest(*, reloaded: bool) -> float:
        rng = np.random.default_rng(1)
        system = System("round_robin", 1000, 64, reloaded=reloaded)
        outcome = simulate(system, poisson(20_000, 300.0, rng), supposed(1.0, 0.05, 1), rng)
        return float(np.mean(outcome.ends_s - outcome.arrivals_s))

    assert slowest(reloaded=False) < 0.5 * slowest(reloaded=True)


def test_a_limit_refuses_as_a_queue_with_so_many_places_does() -> None:
    """One worker with 3 places is M/M/1/3, which refuses (1 − ρ)ρ³/(1 − ρ⁴) of its requests."""
    rng = np.random.default_rng(3)
    arrivals = poisson(60_000, 0.8, rng)
    outcome = simulate(System("random", 1, max_conns=3), arrivals, EXPONENTIAL, rng)
    assert outcome.refused / 60_000 == pytest.approx(0.2 * 0.8**3 / (1 - 0.8**4), rel=0.05)
    assert outcome.lost == 0


def test_a_dead_worker_gives_its_requests_to_others_and_least_conn_runs_into_it() -> None:
    arrivals = np.arange(400) / 100
    fault = Fault((0, 1), at_s=1.0, lasts_s=2.0, noticed_s=1.0)

    def after(policy: str) -> Outcome:
        rng = np.random.default_rng(1)
        return simulate(System(policy, 4), arrivals, supposed(0.02, 0.0, 1), rng, [fault])

    least = after("least_conn")
    # dead workers have no open requests, so both tries go to them, until they are taken out
    seen = least.between(1.1, 1.99)
    assert seen.lost > 0.3 * len(seen.chosen)
    assert least.between(2.0, 4.0).lost == least.between(0.0, 0.9).lost == 0
    assert set(least.between(2.0, 2.99).chosen.tolist()) == {2, 3}
    assert set(least.between(3.1, 4.0).chosen.tolist()) == {0, 1, 2, 3}
    assert after("random").lost < least.lost


@pytest.mark.parametrize(
    ("workers", "limit", "dead", "arrivals", "took", "ends"),
    [
        # the first request moves to worker 1; worker 0 is back at 3 and full from 4 on: the third request is refused
        pytest.param(2, 1, (0,), [0.0, 4.0, 10.2], [10.0, 30.0, 1.0], {1: 10.5, 0: 34.0, REFUSED: 10.2}, id="back"),
        pytest.param(3, 0, (0, 1), [0.0], [10.0], {LOST: 0.5}, id="both-tries-dead"),
        pytest.param(2, 1, (0,), [0.0, 0.1], [10.0, 10.0], {LOST: 0.5, 1: 10.1}, id="the-other-one-full"),
        pytest.param(1, 1, (0,), [0.0, 3.0], [10.0, 1.0], {LOST: 0.5, 0: 4.0}, id="nobody-else"),
    ],
)
def test_a_dead_worker_by_hand(
    workers: int, limit: int, dead: tuple[int, ...], *, arrivals: list[float], took: list[float], ends: dict[int, float]
) -> None:
    fault = Fault(dead, at_s=0.5, lasts_s=2.5, noticed_s=9.0)
    times, chosen = play(
        "round_robin", np.array(arrivals), np.array(took), np.array(took), np.zeros(len(took), dtype=np.int64),
        workers=workers, first=np.arange(1), max_conns=limit, rng=np.random.default_rng(1), faults=[fault],
    )  # fmt: skip
    assert dict(zip(chosen.tolist(), times.tolist(), strict=True)) == ends


def test_a_swinging_load_is_poisson_with_the_rate_of_its_hour() -> None:
    times = swinging(poisson(200_000, 1000.0, np.random.default_rng(1)), 0.5, 20.0)
    assert (np.diff(times) >= 0).all()
    phase = times[times < 180] % 20
    for begin in range(0, 20, 2):
        expected = (
            9 * 1000 * (2 - 0.5 * 20 / (2 * np.pi) * np.diff(np.sin(2 * np.pi * np.array([begin, begin + 2]) / 20)))
        )
        assert np.sum((phase >= begin) & (phase < begin + 2)) == pytest.approx(expected[0], abs=4 * expected[0] ** 0.5)
