"""The access log as the balancer writes it: what counts, and what happens to the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imagerec_autoscaler.access_log import AccessLog, Tally, tally

TIMING = "queue;dur=12.5, read;dur=0.1, decode;dur=4.0, inference;dur=15.9, total;dur=20.0"


def line(**changed: object) -> bytes:
    entry = {"method": "POST", "path": "/predict", "status": 200, "upstream_addr": "10.0.0.1:5000", "timing": TIMING}
    return json.dumps(entry | changed).encode() + b"\n"


@pytest.mark.parametrize(
    ("changed", "counted"),
    [
        ({}, Tally(1, 1, 0.02, 0.0125)),
        ({"upstream_addr": "10.0.0.1:5000, 10.0.0.2:5000"}, Tally(1, 1, 0.02, 0.0125)),
        ({"status": 415, "timing": ""}, Tally(1)),
        ({"status": 429, "upstream_addr": "workers", "timing": ""}, Tally(1, refused=1)),
        ({"status": 429, "upstream_addr": "10.0.0.1:5000", "timing": ""}, Tally(1)),
        ({"status": 429, "upstream_addr": "", "timing": ""}, Tally()),
        ({"method": "GET", "path": "/version", "timing": ""}, Tally()),
        ({"timing": "total;dur=20.0"}, Tally(1, 1, 0.02)),
        ({"timing": f"{TIMING}, overhead;dur=3.5"}, Tally(1, 1, 0.0235, 0.0125)),
        ({"timing": "total;dur=1.2.3"}, Tally(1)),
    ],
    ids=[
        "answered",
        "tried twice",
        "refused by the worker",
        "no room",
        "busy",
        "limited",
        "page",
        "no queue",
        "with what is around it",
        "broken",
    ],
)
def test_what_a_line_counts(changed: dict[str, object], counted: Tally) -> None:
    found = tally([line(**changed)])
    assert (found.finished, found.answers, found.refused) == (counted.finished, counted.answers, counted.refused)
    assert (found.busy_s, found.waited_s) == pytest.approx((counted.busy_s, counted.waited_s))


def test_what_is_no_line_counts_nothing() -> None:
    assert (
        tally(
            [b"", b"{", b"[]", b"null", b'{"method": "POST"}', b'{"method": "POST", "upstream_addr": 1, "status": 429}']
        )
        == Tally()
    )


def test_only_what_is_added_counts_also_when_the_log_is_rotated_or_cut(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(line() * 3)
    log = AccessLog(path)
    assert log.read() == Tally()
    with path.open("ab") as file:
        file.write(line() * 2 + line()[:20])
    assert log.read().finished == 2
    with path.open("ab") as file:
        file.write(line()[20:])
    assert log.read().finished == 1
    with path.open("ab") as file:
        file.write(line())
    path.rename(tmp_path / "access.log.1")
    assert log.read().finished == 1
    with (tmp_path / "access.log.1").open("ab") as file:
        file.write(line())  # nginx writes there until it opens the new one
    path.write_bytes(line() * 4)
    assert log.read().finished == 5
    path.write_bytes(line())
    assert log.read().finished == 1
    path.unlink()
    with pytest.raises(FileNotFoundError):
        log.read()
    log.close()
    path.write_bytes(line())
    log.read()
    with path.open("ab") as file:
        file.write(line())
    assert log.read().finished == 1
    log.close()
