"""A recorded run: it is read as it was written, and the page comes from it alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import __main__ as bench
from bench import report, trials
from bench.record import Record
from bench.trials import Run
from loadtest.errors import LoadtestError
from tests.unit.bench.recorded import changed, replaced, run, section

QUIET = "Was the machine quiet"
Damage = Callable[[Path], None]


def test_a_run_is_read_as_it_was_written_and_written_alike_twice(tmp_path: Path) -> None:
    first = run()
    trials.keep(first, tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    again = trials.read(tmp_path)
    assert again.facts == first.facts
    for one, other in zip(first.trials, again.trials, strict=True):
        assert np.array_equal(one.requests, other.requests)
        for name in ("system", "load", "number", "position", "images", "wrong", "others_cores", "nginx_cpu_s"):
            assert getattr(one, name) == getattr(other, name)
        assert (one.cpu_ms, one.images_hz) == pytest.approx((other.cpu_ms, other.images_hz))
    trials.keep(again, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == written


def test_the_page_that_is_printed_is_the_one_that_is_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    third = 1 / 3  # the file has fewer digits
    record = Record(tmp_path)
    record.show()  # nothing yet
    record.keep(
        changed(
            run(random=100, random_two=120),
            lambda _: True,
            lambda one: replaced(one, others_cores=third, wall_s=3 * third + 1e-9),
        )
    )
    first = (tmp_path / report.PAGE).read_bytes()
    record.show()
    assert capsys.readouterr().out == first.decode() + "\n"
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- random:begin -->\n<!-- random:end -->\nafter\n")
    assert bench.main(["--redraw", str(tmp_path), "--into", str(readme)]) == 0
    assert (tmp_path / report.PAGE).read_bytes() == first
    says = "At 4 users `POLICY=random_two` answers 1.20 (1.20 to 1.20) × as many requests as random, the default."
    assert readme.read_text() == f"before\n<!-- random:begin -->\n{says}\n<!-- random:end -->\nafter\n"


def test_each_round_is_kept_when_it_is_measured(tmp_path: Path) -> None:
    whole = run()
    Record(tmp_path).keep(Run(whole.facts, tuple(one for one in whole.trials if one.number < 3)))
    assert "2 of 3 interleaved rounds" in (tmp_path / report.PAGE).read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([report.PAGE, trials.FACTS, trials.REQUESTS])


@pytest.mark.parametrize("kept", [True, False], ids=["recorded", "not recorded"])
def test_what_was_measured_is_shown_where_a_later_round_fails(
    kept: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        arguments[-1].keep(run())
        raise LoadtestError("something ended")

    monkeypatch.setattr(bench, "_measure", fail)
    assert bench.main(["--record", str(tmp_path / "out")] if kept else []) == 1
    said = capsys.readouterr()
    assert said.err == "error: something ended\n"
    assert said.out.startswith("# Throughput of the service\n")
    assert (tmp_path / "out").exists() == kept


def test_a_record_that_is_a_file_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("kept")
    for place in (tmp_path / "file", tmp_path / "file/below"):
        assert bench.main(["--record", str(place)]) == 1
        said = capsys.readouterr().err
        assert said.startswith(f"error: nothing can be kept in {place} (")
        assert said.count("\n") == 1
    assert (tmp_path / "file").read_text() == "kept"


def test_a_disk_that_fills_up_is_told_in_one_line(tmp_path: Path) -> None:
    record = Record(tmp_path / "folder")
    (tmp_path / "folder").rename(tmp_path / "elsewhere")
    with pytest.raises(LoadtestError, match=r"throughput\.csv\.gz cannot be written \(No such file"):
        record.keep(run())


def test_an_older_run_without_nginx_s_time_has_dashes(tmp_path: Path) -> None:
    trials.keep(run(), tmp_path)
    facts = json.loads((tmp_path / trials.FACTS).read_text())
    assert sum(trial.pop("nginx_cpu_s") is not None for trial in facts["trials"]) == 30  # two systems, three rounds
    (tmp_path / trials.FACTS).write_text(json.dumps(facts))
    page = report.page(trials.read(tmp_path))
    assert "| nginx, one listener | 0.00 (0.00 to 0.00) | – | – |" in page
    assert "CPU ms a request of" not in page


def shortened(folder: Path) -> None:
    path = folder / trials.REQUESTS
    path.write_bytes(path.read_bytes()[:-200])


def swapped(folder: Path) -> None:
    table = (folder / trials.REQUESTS).read_bytes()
    trials.keep(run(random=40), folder)
    (folder / trials.REQUESTS).write_bytes(table)


def scrambled(folder: Path) -> None:
    path = folder / trials.REQUESTS
    data = bytearray(path.read_bytes())
    data[40:60] = bytes(20)
    path.write_bytes(data)


def without(*names: str) -> Damage:
    def damage(folder: Path) -> None:
        facts = json.loads((folder / trials.FACTS).read_text())
        place = facts
        for name in names[:-1]:
            place = place[int(name) if isinstance(place, list) else name]
        del place[names[-1]]
        (folder / trials.FACTS).write_text(json.dumps(facts))

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        shortened,
        swapped,
        scrambled,
        without("trials"),
        without("trials", "3", "load"),
        without("lost"),
        without("memory", "listener", "private_mb"),
    ],
    ids=["short", "of another run", "scrambled", "no trials", "no load", "older version", "no memory"],
)
def test_a_damaged_record_gets_one_line(damage: Damage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trials.keep(run(), tmp_path)
    damage(tmp_path)
    assert bench.main(["--redraw", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_the_page_says_where_everything_stands() -> None:
    page = report.page(run(random=60, random_two=90, **{"mosec served": 80}))
    assert "1234567 with local changes: 3 interleaved rounds" in page
    assert "avx2 yes, avx512f no" in page
    assert "autogroup (sched(7)) is on" in page
    assert "takes 0.80 ms of CPU a request" in page.replace("\n  ", " ")
    assert "| mosec: as documented, Pillow | two processes | no | a browser's form |" in page
    assert "| nginx, one listener | two processes | yes | raw body |" in page
    assert "Ours run without limits (requests a second" in page
    assert (
        "| random, over mosec with our decoder (raw body), 16 users | ≥ 0.95 | 0.75 (0.75 to 0.75) | not met |" in page
    )
    assert "over mosec as documented (a browser's form), 16 users" in page
    assert "| one listener, of the limit, 16 users | ≥ 0.95 | 0.50 (0.50 to 0.50) | not met |" in page
    assert "FastAPI" not in page  # it was not measured
    fixed = page.partition("## At fixed rates")[2].partition("## ")[0]
    assert "mosec: the same decoder" in fixed
    assert "course project" not in fixed  # it has no such trials
    assert "| mosec: the same decoder | 110 | 70 | 40 | 2 | 90 |" in page
    assert "cannot share cores evenly" not in page


def test_systems_of_the_same_versions_are_named_together() -> None:
    page = report.page(run())
    both = "- nginx, one listener; random: nginx 1.22.1, flask 3.1.3, numpy 2.2.6, python 3.11.7."
    assert both in page
    assert "- random_two; plain Flask: the same decoder; mosec" in page


def test_cores_that_two_workers_cannot_share_are_told() -> None:
    whole = run()
    page = report.page(Run(whole.facts | {"cores": 3}, whole.trials))
    assert "- The two workers of random and random_two cannot share cores evenly, for there are 3." in page


def test_who_failed_and_who_was_wrong_is_named() -> None:
    def first(one: trials.Trial) -> bool:
        return (one.system, one.load, one.number) == ("flask served", "closed-4", 1)

    whole = changed(run(), first, lambda one: replaced(one, wrong=3))
    next(one for one in whole.trials if first(one)).requests[:7, 3] = 503
    assert "plain Flask: the same decoder (7 requests failed, 3 wrong answers)" in report.page(whole)


def test_a_system_that_ended_is_left_out_with_a_line() -> None:
    whole = run()
    cut = [one for one in whole.trials if one.system != "mosec served" or one.number < 2]
    page = report.page(Run(whole.facts | {"lost": {"mosec served": "round 2, closed-4"}}, tuple(cut)))
    assert "**Left out: mosec: the same decoder ended in round 2, closed-4.**" in page
    assert page.count("mosec: the same decoder") == 1
    assert "over mosec with our decoder" not in page
    assert "over mosec as documented" in page


def test_trials_that_others_disturbed_are_named() -> None:
    def busy(one: trials.Trial) -> bool:
        return (one.system, one.number) == ("random", 2)

    assert "used more than 5% of all cores' time in none of 114 trials." in section(QUIET, run())
    said = section(
        QUIET, changed(run(), busy, lambda one: replaced(one, others_cores=0.11 if one.load == "closed-4" else 0.1))
    )
    assert "The median trial had 0.01 cores of others, the worst 0.11: random, 4 users, round 2." in said
    assert "in **1 of 114 trials**: random, 4 users, round 2." in said


def test_who_is_faster_than_the_limit_of_its_round_is_named() -> None:
    assert "in the same round, in none of 114 trials." in section(QUIET, run())
    said = section(QUIET, run(random=150))  # the limits made 200, 400, 100 a second
    assert "in **2 of 114 trials**: random, 4 users, round 3; random, 16 users, round 3." in said
