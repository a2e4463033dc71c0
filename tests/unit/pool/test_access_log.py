"""The access log as it grows: several tries, rotation, lines that are not finished or not the log's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from imagerec_pool.access_log import AccessLog, Answer, Request, entry_of

ONE, TWO = "10.0.0.1:5000", "10.0.0.2:5000"


def line(address: str = ONE, status: str = "200") -> bytes:
    return json.dumps({"path": "/predict", "upstream_addr": address, "upstream_status": status}).encode() + b"\n"


def read(log: AccessLog) -> list[Answer]:
    return [answer for entry in log.read() for answer in entry.answers]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (line(), [Answer(ONE, 200)]),
        (line(f"{ONE}, {TWO}", "500, 200"), [Answer(ONE, 500), Answer(TWO, 200)]),
        (line(f"{ONE}, {TWO}", "502, 504"), []),
        (line(f"unix:/pool.sock : {ONE}, {TWO}", "502 : 500, 200"), [Answer(ONE, 500), Answer(TWO, 200)]),
        (line("workers", "502"), []),
        (line("", ""), []),
        (line("unix:/run/pool.sock", "200"), [Answer("unix:/run/pool.sock", 200)]),
        (b"no json", []),
        (b"[]", []),
        (b'{"upstream_addr": null, "upstream_status": null}', []),
        (line(status="-"), []),
    ],
    ids=[
        "one",
        "two tries",
        "no answers",
        "another location",
        "no worker",
        "page",
        "agent",
        "text",
        "list",
        "null",
        "client left",
    ],
)
def test_each_answer_of_each_try_is_told(text: bytes, found: list[Answer]) -> None:
    assert list(entry_of(text).answers) == found


@pytest.mark.parametrize(
    ("status", "sent_bytes", "told"),
    [(400, 0, 499), (408, 0, 499), (400, 25, 499), (400, 412, 400), (413, 412, 413), (200, 0, 200)],
)
def test_an_upload_that_its_client_breaks_off_or_that_stalls_is_lost(status: int, sent_bytes: int, told: int) -> None:
    asked = {"method": "POST", "path": "/predict"}
    asked |= dict.fromkeys(("upstream_addr", "upstream_status", "upstream_response_s"), "")
    ended = {"msec": 7.5, "request_s": 0.25, "status": status, "response_bytes": sent_bytes}
    assert entry_of(json.dumps(asked | ended).encode()).request == Request(7.5, told, 250.0, None, 250.0)


def test_only_what_is_added_is_read_and_a_line_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(line())
    log = AccessLog(path)
    assert read(log) == []
    with path.open("ab") as file:
        file.write(line(TWO) + line(ONE, "500")[:20])
        file.flush()
        assert read(log) == [Answer(TWO, 200)]
        file.write(line(ONE, "500")[20:])
    assert read(log) == [Answer(ONE, 500)]
    log.close()


def test_a_log_is_followed_through_rotation_cutting_and_absence(tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(path)
    assert read(log) == []
    path.write_bytes(line())
    assert read(log) == [Answer(ONE, 200)]
    with path.open("ab") as old:
        path.rename(tmp_path / "access.log.1")
        assert read(log) == []  # nginx still writes to the old one
        old.write(line(TWO))
        old.flush()
        path.write_bytes(line())
        assert read(log) == [Answer(TWO, 200)]
        assert read(log) + read(log) == [Answer(ONE, 200)]
    os.truncate(path, 0)
    assert read(log) == []
    with path.open("ab") as file:
        file.write(line(TWO))
    assert read(log) + read(log) == [Answer(TWO, 200)]
    log.close()
