"""What counts as answered, refused, lost and wrong, and how a fault is summed up."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from chaos import recorded, verdict
from chaos.verdict import Marks
from loadtest.generate.samples import Sample

GOLDEN = {"cat": "n02123045"}


def sample(number: int, due_s: float, took_s: float = 0.1, **changes: Any) -> Sample:
    plain = Sample(number, due_s, due_s, due_s + took_s, 200, "worker1", None, "cat", answer=GOLDEN["cat"])
    return dataclasses.replace(plain, **({"request_id": f"id{number}"} | changes))


def logged(number: int, upstream_addr: str = "10.10.1.11:5000") -> dict[str, str]:
    return {"id": f"id{number}", "path": "/predict", "upstream_addr": upstream_addr}


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "answered"),
        ({"status": 429, "retry_after": "1"}, "refused"),
        ({"status": 429}, "lost"),
        ({"status": 502}, "lost"),
        ({"status": None, "error": "disconnected"}, "lost"),
    ],
)
def test_a_request_is_exactly_one_of_three(changes: dict[str, object], kind: str) -> None:
    found = sample(0, 0, **changes)
    assert [name for name in ("answered", "refused", "lost") if getattr(verdict, name)(found)] == [kind]


def test_the_row_separates_before_from_after() -> None:
    quiet = [sample(number, 2 + number / 100, 0.1) for number in range(100)]
    hit = [sample(100 + number, 10 + number / 100, 0.5) for number in range(100)]
    warming = [sample(900, 0.5, 9.0)]
    row = verdict.judge("x", warming + quiet + hit, [], Marks(injected_s=10), GOLDEN)
    assert (row.requests, row.answered, row.refused, row.lost, row.wrong) == (201, 201, 0, 0, 0)
    assert (row.quiet_p99_ms, row.p50_ms, row.p99_ms, row.worst_ms) == (100, 500, 500, 500)
    assert row.back_after_s is None
    assert row.tries_per_request is None


def test_a_wrong_label_an_answer_twice_and_a_line_that_lacks_are_wrong() -> None:
    samples = [sample(0, 3, answer="n01440764"), sample(1, 3), sample(2, 3, request_id="id1"), sample(3, 3)]
    found = verdict.wrong_answers(samples, [logged(0), logged(1)], Marks(), GOLDEN)
    assert len(found) == 3
    assert "another label" in found[0]
    assert "came before" in found[1]
    assert "0 lines in the balancer's log" in found[2]


def test_a_drained_worker_may_answer_before_and_after_only() -> None:
    marks = Marks(drained={"worker1": (5.0, 8.0)})
    samples = [sample(0, 4.9), sample(1, 5.0), sample(2, 7.9), sample(3, 8.0), sample(4, 6.0, worker="worker2")]
    assert [text.split(":")[0] for text in verdict.wrong_answers(samples, [], marks, GOLDEN)] == ["1", "2"]


def test_the_return_is_timed_to_the_first_answer_that_ends_after_the_cause() -> None:
    marks = Marks(injected_s=5, recovered_s=20, back="worker2")
    samples = [
        sample(0, 4, worker="worker2"),
        sample(1, 21, 0.5, worker="worker1"),
        sample(2, 23, 0.5, worker="worker2"),
        sample(3, 22, 9, worker="worker2"),
    ]
    assert verdict.back_after(samples, marks) == 3.5
    assert verdict.back_after(samples[:2], marks) is None


def test_tries_are_counted_by_the_addresses_that_were_asked() -> None:
    log = [
        logged(0),
        logged(1, "10.10.1.11:5000, 10.10.1.12:5000"),
        logged(2, "10.10.1.11:5000, workers"),
        logged(3, "workers"),
        logged(4, ""),
    ]
    assert verdict.tries(log) == pytest.approx(4 / 5)


def test_the_log_is_read_up_to_a_line_cut_short() -> None:
    lines = [json.dumps(logged(0)), json.dumps({"id": "x", "path": "/"}), json.dumps(logged(1))[:20]]
    assert [entry["id"] for entry in verdict.read_log("\n".join(lines))] == ["id0"]


def test_the_samples_that_are_kept_say_all_but_the_ids(tmp_path: Path) -> None:
    samples = [
        sample(0, 0.25),
        sample(1, 0.5, status=429, retry_after="1", worker=None, answer=None),
        sample(2, 0.75, status=None, error="timeout", worker=None, answer=None),
        sample(3, 1.0, answer="n01440764"),
    ]
    (tmp_path / "drop.jsonl.gz").write_bytes(b"of a run that was interrupted")
    recorded.keep(tmp_path, "drop", samples, GOLDEN)
    assert list(recorded.read(tmp_path, "drop")) == [dataclasses.replace(each, request_id=None) for each in samples]


def test_the_longest_wait_is_that_of_one_that_was_answered_after_the_fault_began() -> None:
    samples = [sample(0, 3, 9.0), sample(1, 10, 1.5), sample(2, 11, 7.0, status=502), sample(3, 12, 0.1)]
    assert verdict.judge("x", samples, [], Marks(injected_s=5), GOLDEN).worst_ms == 1500
