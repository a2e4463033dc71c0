"""A recorded run: it is read as it was written, and the page comes from it alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench import __main__ as bench
from bench import medians, report, trials
from bench.rounds import IN_PROCESS, LOADS
from bench.trials import Run, Trial

SYSTEMS = {
    "listener": "nginx, one listener",
    "random": "random",
    "random_two": "random_two",
    "flask served": "plain Flask: the same decoder",
    "mosec served": "mosec: the same decoder",
    "mosec plain_pillow": "mosec: as documented, Pillow",
    "keras": "the course project",
}


def trial(system: str, load: str, number: int, images: int, took_ms: Sequence[float] = (), **changes: float) -> Trial:
    took = np.resize(np.array(took_ms or [20.0]), images)
    due = np.arange(images) * 1e6 / images
    requests = trials.table(zip(due.astype(int), [100] * images, (1e3 * took).astype(int), [200] * images, strict=True))
    plain = {"wall_s": 1.0, "cpu_s": 0.016 * images, "client_cpu_s": 0.0008 * images, "rate_hz": 0.0} | changes
    return Trial(system, load, number, images=images, requests=requests, **plain)


def run(**rates: int) -> Run:
    """A run of three rounds: every system answers 100 a second in the first, 200, then 50, unless it is named here."""
    found = []
    for number, images in enumerate((100, 200, 50), 1):
        for load in LOADS:
            if load.users:
                found += [
                    Trial(f"limit {name}", load.name, number, 1.0, images, 1.0, 0.0, 0.0, trials.table([]))
                    for name in IN_PROCESS
                ]
            asked = [key for key in SYSTEMS if load.users or key != "keras"]
            found += [trial(key, load.name, number, rates.get(key, images)) for key in asked]
    facts = {
        "machine": "a machine, 2 cores",
        "autogroup": True,
        "cpu_flags": {"avx2": True, "avx512f": False},
        "commit": "1234567 with local changes",
        "model": "a network",
        "images": "20 photographs",
        "rounds": 3,
        "seconds": 1.0,
        "limit_hz": 120.0,
        "idle_cores": 0.004,
        "systems": SYSTEMS,
        "forms": ["mosec plain_pillow"],
        "memory_mb": {key: [90.4, 30.1] for key in SYSTEMS},
        "nginx": "1.22.1",
        "packages": {key: {"python": "3.11.7", "numpy": "2.2.6", "flask": "3.1.3"} for key in SYSTEMS},
        "part_ms": {"inference": 4.0, "served": 1.5, "served_pillow": 3.0, "plain_pillow": 3.5, "reference": 5.0},
        "accuracy": None,
    }
    return Run(facts, tuple(found))


def test_a_run_is_read_as_it_was_written_and_written_alike_twice(tmp_path: Path) -> None:
    first = run()
    trials.keep(first, tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again = trials.read(tmp_path)
    assert again.facts == first.facts
    for one, other in zip(first.trials, again.trials, strict=True):
        assert np.array_equal(one.requests, other.requests)
        assert (one.system, one.load, one.number, one.images) == (other.system, other.load, other.number, other.images)
        assert (one.cpu_ms, one.images_hz) == pytest.approx((other.cpu_ms, other.images_hz))
    trials.keep(again, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == written


def test_the_page_is_made_again_from_the_record(tmp_path: Path) -> None:
    recorded = run()
    trials.keep(recorded, tmp_path)
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- random:begin -->\n<!-- random:end -->\nafter\n")
    assert bench.main(["--redraw", str(tmp_path), "--into", str(readme)]) == 0
    assert (tmp_path / report.PAGE).read_text() == report.page(recorded)
    says = "At 4 users `POLICY=random_two` answers 1.00 (1.00 to 1.00) × as many requests as random, the default."
    assert readme.read_text() == f"before\n<!-- random:begin -->\n{says}\n<!-- random:end -->\nafter\n"


def test_a_record_whose_files_do_not_belong_together_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials.keep(run(random=40), tmp_path)
    table = (tmp_path / trials.REQUESTS).read_bytes()
    trials.keep(run(), tmp_path)
    (tmp_path / trials.REQUESTS).write_bytes(table)
    assert bench.main(["--redraw", str(tmp_path)]) == 1
    assert "requests where throughput.json has" in capsys.readouterr().err


def test_a_ratio_is_of_trials_of_the_same_round() -> None:
    # Half of the listener's rate in every round, though its medians' ratio would be 100 / 100.
    trials_ = (
        *(trial("a", "closed-4", number, images) for number, images in enumerate((100, 50, 200), 1)),
        *(trial("b", "closed-4", number, images) for number, images in enumerate((200, 100, 100), 1)),
    )
    found = medians.ratio(Run({}, trials_), "a", "b", "closed-4", lambda one: one.images_hz)
    assert found.value == 0.5
    assert found.low < 0.5 < found.high
    assert medians.of(Run({}, trials_), "a", "closed-4", lambda one: one.images_hz).value == 100


def test_the_interval_is_students_of_the_logarithms() -> None:
    found = medians.median([1.0, 2.0, 4.0])
    assert found.value == 2
    half = 4.302653 * math.log(2) / math.sqrt(3)  # t of 2 degrees of freedom at 0.975, deviation of the logarithms
    assert (found.low, found.high) == pytest.approx((2 / math.exp(half), 2 * math.exp(half)), rel=1e-6)
    assert found.text(1) == "2.0 (0.4 to 11.2)"
    assert medians.median([3.0, 4.0]).text(1) == "3.5"  # of two rounds it would say nothing
    assert medians.median([0.0, 3.0, 3.0]).text(1) == "3.0"  # a system answered nothing


def test_latency_counts_from_when_a_request_was_due() -> None:
    one = trial("a", "open-0.5", 1, 100, took_ms=range(1, 101))
    assert one.response_ms(0.5) == pytest.approx(50.6)
    assert one.response_ms(0.99) == pytest.approx(99.11)
    assert one.lag_ms(0.99) == pytest.approx(0.1)


def test_the_page_says_where_everything_stands() -> None:
    page = report.page(run(random=60, random_two=90, **{"mosec served": 80}))
    assert "1234567 with local changes" in page
    assert "avx2 yes, avx512f no" in page
    assert "autogroup, which shares the cores by session, is on" in page
    assert "takes 0.80 ms of CPU a request" in page.replace("\n  ", " ")
    assert "form instead: mosec: as documented, Pillow" in page
    assert "`POLICY=random_two` answers 1.50 (1.50 to 1.50) × as many requests as random" in page
    assert "| random, over mosec with our decoder, 16 users | ≥ 0.95 | 0.75 (0.75 to 0.75) | not met |" in page
    assert "| one listener, of the limit, 16 users | ≥ 0.95 | 1.00 (1.00 to 1.00) | met |" in page
    assert "FastAPI" not in page  # it was not measured
    fixed = page.partition("## At fixed rates")[2].partition("## ")[0]
    assert "mosec: the same decoder" in fixed
    assert "the course project" not in fixed  # it has no such trials
    assert "| mosec: the same decoder | 90 | 2 | 120 |" in page
    assert "- nginx, one listener: flask 3.1.3, numpy 2.2.6, python 3.11.7." in page


def test_who_falls_behind_and_who_fails_is_named() -> None:
    whole = run()
    late = [trial("mosec served", "open-0.8", number, 100, took_ms=[400.0]) for number in (1, 2, 3)]
    failing = trial("flask served", "closed-4", 1, 100)
    failing.requests[:7, 3] = 503
    kept = [
        one
        for one in whole.trials
        if (one.system, one.load) != ("mosec served", "open-0.8")
        and (one.system, one.load, one.number) != ("flask served", "closed-4", 1)
    ]
    page = report.page(Run(whole.facts, (*kept, *late, failing)))
    assert page.count("*behind*") == 2  # what it means, and the one
    assert next(line for line in page.splitlines() if "*behind* |" in line).startswith("| mosec: the same decoder |")
    assert "plain Flask: the same decoder (7 requests failed)" in page
