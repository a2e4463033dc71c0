"""Simulating many workers: nginx's rules, queueing theory, ciw, what must hold whatever happens, and the command."""

import csv
import io
import json
import re
import shlex
import shutil
from itertools import pairwise
from pathlib import Path

import ciw
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.analyse.theory import formulas
from loadtest.analyse.theory.simulation import Floats
from loadtest.cli import main
from loadtest.experiments.checks import POLICIES
from loadtest.experiments.folder import RunFolder
from loadtest.simulate.arrivals import poisson, swinging
from loadtest.simulate.balancers import BALANCERS
from loadtest.simulate.cases import figures, table
from loadtest.simulate.events import LOST, REFUSED, Fault, play
from loadtest.simulate.service import Service, of_run, supposed
from loadtest.simulate.steps import choose_blindly, limit_may_matter, serve
from loadtest.simulate.system import Outcome, System, simulate

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "results"
EXPONENTIAL = supposed(1.0, 1.0, 3)


class ByHand:
    """nginx's choice, spelt out worker by worker: smooth weighted round robin among those that may be chosen."""

    def __init__(self, policy: str, workers: int, limit: int) -> None:
        self.policy, self.limit = policy, limit
        self.open, self.out, self.weight = [0] * workers, [False] * workers, [0] * workers

    def choose(self, tried: tuple[int, ...]) -> int:
        may = [
            one
            for one, number in enumerate(self.open)
            if not self.out[one] and one not in tried and (not self.limit or number < self.limit)
        ]
        if self.policy == "least_conn":
            least = min((self.open[one] for one in may), default=0)
            may = [one for one in may if self.open[one] == least]
        for one in may:
            self.weight[one] += 1
        best = max(may, key=lambda one: self.weight[one], default=-1)  # the first of equal ones
        if best >= 0:
            self.weight[best] -= len(may)
        return best


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["round_robin", "least_conn"]), st.integers(1, 6), st.integers(0, 3), st.data())
def test_turns_are_taken_as_nginx_takes_them(policy: str, workers: int, limit: int, data: st.DataObject) -> None:
    fast, slow = BALANCERS[policy](workers, limit, lambda: 0), ByHand(policy, workers, limit)
    for what, where in data.draw(st.lists(st.tuples(st.sampled_from("cccceet"), st.integers(0, 5)), max_size=120)):
        worker = where % workers
        if what == "c":
            tried = (worker,) if where > 3 else ()
            chosen = fast.choose(tried)
            assert chosen == slow.choose(tried)
            if chosen >= 0:
                fast.begin(chosen)
                slow.open[chosen] += 1
        elif what == "e" and slow.open[worker]:
            fast.end(worker)
            slow.open[worker] -= 1
        elif what == "t":
            (fast.put_back if slow.out[worker] else fast.take_out)(worker)
            slow.out[worker] = not slow.out[worker]


@pytest.mark.parametrize("policy", POLICIES)
def test_stale_places_in_the_turn_are_forgotten(policy: str) -> None:
    """A worker that comes and goes leaves a place in the heap each time; they must not pile up."""
    balancer = BALANCERS[policy](1, 1, lambda: 0)
    for _ in range(1000):
        balancer.begin(balancer.choose(()))
        balancer.end(0)
    assert len(balancer.fair.heap) < 100


def test_random_two_takes_the_emptier_of_two_and_the_second_of_equal_ones() -> None:
    drawn = iter([0, 0, 1, 2, 1, 2, 1])
    balancer = BALANCERS["random_two"](3, 0, drawn.__next__)
    chosen = []
    for _ in range(3):
        chosen.append(balancer.choose(()))
        balancer.begin(chosen[-1])
    assert chosen == [1, 2, 1]  # 0 and 1 are equal; 2 is emptier than 1; now both have one


def test_one_worker_by_hand_idle_and_busy() -> None:
    arrivals = np.array([0.0, 1.0, 1.5, 9.0, 10.0])
    idle, busy = np.full(5, 2.0), np.full(5, 3.0)
    ends = serve(arrivals, idle, busy, np.zeros(5, dtype=np.int64), 1)
    # the last one arrives at 10 and the worker is busy until 11
    assert ends.tolist() == [2.0, 5.0, 8.0, 11.0, 14.0]


def loads(draw: st.DrawFn) -> tuple[Floats, Floats, Floats]:
    """Requests at whole quarters of a second, so that many times coincide."""
    gaps = draw(st.lists(st.integers(0, 8), min_size=1, max_size=60))
    count = len(gaps)
    took = st.lists(st.integers(1, 20), min_size=count, max_size=count)
    return np.cumsum(gaps) / 4, np.array(draw(took)) / 4, np.array(draw(took)) / 4


LOADS = st.composite(loads)()


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(["random", "round_robin"]), LOADS, st.integers(1, 5), st.integers(1, 3), st.integers(0, 99))
def test_whole_arrays_give_what_playing_one_by_one_gives(
    policy: str, load: tuple[Floats, Floats, Floats], workers: int, balancers: int, seed: int
) -> None:
    via = np.random.default_rng(seed).integers(0, balancers, len(load[0]))
    first = np.random.default_rng(seed).integers(0, workers, balancers)
    chosen = choose_blindly(policy, via, workers, first, np.random.default_rng(seed))
    ends, played = play(policy, *load, via, workers=workers, first=first, max_conns=0, rng=np.random.default_rng(seed))
    assert played.tolist() == chosen.tolist()
    assert ends.tolist() == serve(*load, chosen, workers).tolist()
    for limit in (1, 2, 3):
        _, limited = play(
            policy, *load, via, workers=workers, first=first, max_conns=limit, rng=np.random.default_rng(seed)
        )
        may = limit_may_matter(policy, limit, load[0], ends, chosen=chosen, workers=workers)
        assert may or limited.tolist() == chosen.tolist()
        if policy == "random" and balancers == 1:
            assert may == (limited.tolist() != chosen.tolist())


@settings(max_examples=100, deadline=None)
@given(
    st.builds(System, st.sampled_from(POLICIES), st.integers(1, 5), st.integers(1, 3), st.integers(0, 3)),
    LOADS, st.integers(0, 99), st.one_of(st.none(), st.integers(1, 40)),
)  # fmt: skip
def test_what_holds_whatever_happens(
    system: System, load: tuple[Floats, Floats, Floats], seed: int, fails_at: int | None
) -> None:
    arrivals, idle, busy = load
    workers, balancers, limit = system.workers, system.balancers, system.max_conns
    via = np.random.default_rng(seed).integers(0, balancers, len(arrivals))
    faults = [Fault((0, 1)[:workers], fails_at / 4, 3.0, noticed_s=1.0)] if fails_at else []
    ends, chosen = play(
        system.policy, arrivals, idle, busy, via, workers=workers, first=np.arange(balancers) % workers,
        max_conns=limit, rng=np.random.default_rng(seed), faults=faults,
    )  # fmt: skip
    # every request ends once: answered by a worker, refused, or lost with a dead one
    assert set(chosen.tolist()) <= {REFUSED, LOST, *range(workers)}
    good = chosen >= 0
    assert (ends[good] >= arrivals[good] + np.minimum(idle, busy)[good]).all()
    if not limit:
        assert faults or (chosen >= 0).all()
    assert faults or LOST not in chosen
    for worker in range(workers):
        own = np.flatnonzero(chosen == worker)
        if not faults:
            # first come, first served, one at a time, by the time of its regime
            for before, number in pairwise([-1, *own.tolist()]):
                free = ends[before] if before >= 0 else 0.0
                late = free > arrivals[number]
                assert ends[number] == max(free, arrivals[number]) + (busy if late else idle)[number]
        # nobody holds more than the limit of each balancer
        for number in own.tolist() if limit and not faults else []:
            mine = own[(via[own] == via[number]) & (own <= number)]
            assert np.sum(ends[mine] > arrivals[number]) <= limit
    # Little's law holds of any finite run: times in the system add up to the integral of how many are in it
    moments = np.sort(np.concatenate((arrivals[good], ends[good])))
    inside = [np.sum((arrivals[good] <= one) & (ends[good] > one)) for one in moments[:-1]]
    assert float(np.dot(inside, np.diff(moments))) == pytest.approx(float(np.sum((ends - arrivals)[good])))


def played(policy: str, workers: int, rho: float, count: int, service: Service = EXPONENTIAL) -> float:
    """Mean response after the warm-up, in service times."""
    rng = np.random.default_rng(7)
    arrivals = poisson(count, rho * workers / service.mean_s, rng)
    outcome = simulate(System(policy, workers), arrivals, service, rng)
    return float((outcome.ends_s - outcome.arrivals_s)[count // 4 :].mean()) / service.mean_s


def test_random_balancing_is_so_many_mm1_queues() -> None:
    assert played("random", 1000, 0.8, 600_000) == pytest.approx(formulas.mg1_response(1.0, 1.0, 0.8), rel=0.03)


def test_two_choices_of_a_thousand_come_to_the_limit() -> None:
    assert played("random_two", 1000, 0.9, 150_000) == pytest.approx(formulas.two_choices_response(1.0, 0.9), rel=0.03)


def test_least_conn_of_a_thousand_is_hardly_worse_than_one_queue() -> None:
    assert played("least_conn", 1000, 0.8, 80_000) == pytest.approx(formulas.mmn_response(1.0, 1000, 0.8), rel=0.01)


def test_a_first_service_of_its_own_is_as_welch_has_it() -> None:
    """M/G/1 whose first customer of a busy period is served by another law (Welch, 1964)."""
    service = Service(np.array([0.5, 0.7]), np.array([0.8, 1.2]), "")
    rate, idle, busy = 0.8, 0.6, 1.0
    idle2, busy2 = np.mean(service.idle_s**2), np.mean(service.busy_s**2)
    wait = rate * busy2 / (2 * (1 - rate * busy)) + rate * (idle2 - busy2) / (2 * (1 - rate * (busy - idle)))
    took = idle / (1 - rate * (busy - idle))
    assert played("random", 200, 0.8, 400_000, service) == pytest.approx(wait + took, rel=0.02)


def ciw_times(policy: str, workers: int, gaps: list[float], services: list[list[float]]) -> Floats:
    """Response times in ciw: an entrance that takes no time, behind it one queue a worker."""
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


def test_quantiles_need_enough_answers() -> None:
    def shown(count: int) -> dict[str, object]:
        return figures(Outcome(np.zeros(count), np.linspace(0, 1, count), np.zeros(count, dtype=np.int64)))

    assert shown(999)["p99_ms"] is None
    assert shown(1000)["p99_ms"] == pytest.approx(990)
    assert shown(9999)["p999_ms"] is None
    assert shown(10_000)["p999_ms"] == pytest.approx(999)
    nothing = figures(Outcome(np.zeros(2), np.zeros(2), np.array([REFUSED, LOST])))
    assert (nothing["mean_ms"], nothing["refused"], nothing["lost"], nothing["lost_share"]) == (None, 1, 1, 0.5)


def test_a_run_gives_both_regimes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "scaling"
    recorded = RESULTS / "reference/scaling"
    for part in ("calibration", "levels"):
        shutil.copytree(recorded / part, run / part)
    shutil.copy(recorded / "run.json", run)
    service = of_run(RunFolder.open(run))
    capacity = json.loads((run / "levels/pool4-random.json").read_text())["capacity"]["128px"]
    assert service.mean_s == pytest.approx(capacity["service_s"])
    assert float(service.idle_s.mean()) == pytest.approx(
        capacity["unloaded_total_s"] + capacity["overhead_s"], abs=1e-6
    )
    for path in (run / "calibration").glob("*unloaded*"):
        path.unlink()
    alone = of_run(RunFolder.open(run))
    assert "one regime" in alone.source
    assert alone.idle_s.tolist() == alone.busy_s.tolist()
    for path in (run / "calibration").glob("*saturated*"):
        path.unlink()
    assert main(["simulate", "--workers", "2", "--from", str(run)]) == 1
    assert "has no calibration, from which service times come" in capsys.readouterr().err


def test_the_command_writes_a_table_a_file_and_a_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["simulate", "--workers", "4,8", "--policy", "random,least_conn", "--requests", "3000"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^ +8  0\.8  least_conn  +1 +\d+\.\d +\d+\.\d +\d+\.\d +– +– +0\.000$", text, re.MULTILINE)
    assert "warm-up" not in text
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out/simulated.csv").read_text())))
    assert [(row["workers"], row["policy"]) for row in rows] == [
        ("4", "random"), ("4", "least_conn"), ("8", "random"), ("8", "least_conn"),
    ]  # fmt: skip
    assert (tmp_path / "out/scale.png").stat().st_size > 10_000
    assert main([*words]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--utilisation 0.5", None),
        ("--utilisation 0.98", "the warm-up, a third, is short for random balancing"),
        ("--utilisation 1.1", "there is no steady state"),
        ("--balancers 90 --policy least_conn", "Some balancers have gone only 7.4 times round"),
        ("--fail 0.5,2 --policy least_conn", "lost %"),
        ("--swing 0.2,3", None),
    ],
)
def test_the_command_says_what_its_figures_lack(
    words: str, says: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "--workers", "3", "--requests", "3000", "--cv2", "0", *words.split()]) == 0
    text = capsys.readouterr().out
    if says is None:
        assert len(text.splitlines()) == 4
    else:
        assert says in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--workers ten", "--workers 'ten' is not a whole number"),
        ("--workers 10,0", "--workers 0 is impossible; give 1 to 10000"),
        ("--workers 2 --policy best", "--policy 'best' is not one of random, round_robin, least_conn, random_two"),
        ("--workers 2 --utilisation nan", "--utilisation nan is not a number"),
        ("--workers 2 --utilisation much", "--utilisation 'much' is not a number"),
        ("--workers 2 --service-ms 0", "--service-ms 0.0 is impossible; give more than 0 to 60000"),
        ("--workers 2 --fail 0.1", "--fail '0.1' is not SHARE,SECONDS, such as 0.1,5"),
        ("--workers 2 --fail 2,5", "--fail: SHARE 2.0 is impossible; give more than 0 to 1"),
        ("--workers 2 --fail 0.1,5 --swing 0.1,5", "--fail and --swing are two questions; give one of them"),
        ("--workers 9000 --fail 0.1,50", "give fewer seconds or fewer workers"),
        ("--workers 2 --fail 0.5,5 --requests 1000", "needs --requests"),
        ("--workers 9000 --balancers 900", "8100000 views, and 2000000 fit"),
        ("--workers 2 --from . --cv2 1", "give the one or the other"),
        ("--workers 2 --from /nowhere", "/nowhere"),
    ],
)
def test_an_impossible_question_gets_one_line(words: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", *words.split()]) == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def printed(option: str) -> tuple[list[str], str]:
    """The command of docs/scale.md that has an option, and what the page says that it prints."""
    blocks = re.findall(r"```console\n\$ loadtest (.*)\n((?:.*\n)*?)```", (ROOT / "docs/scale.md").read_text())
    return next((shlex.split(command), text) for command, text in blocks if option in command)


def test_the_manual_shows_the_rows_that_are_kept() -> None:
    rows = [
        {key: value if key == "policy" else float(value) if value else None for key, value in row.items()}
        for row in csv.DictReader(io.StringIO((RESULTS / "scale/simulated.csv").read_text()))
    ]
    whole = [row | {key: int(row[key]) for key in ("workers", "balancers")} for row in rows]  # type: ignore[call-overload]
    assert printed("--out results/scale")[1].startswith(table(whole) + "\n")


def test_the_manual_shows_what_the_command_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words, text = printed("--fail")
    monkeypatch.chdir(ROOT)
    assert main(words) == 0
    assert capsys.readouterr().out == text
