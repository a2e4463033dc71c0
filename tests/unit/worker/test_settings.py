"""The settings: one table, read whole or refused with every reason."""

from __future__ import annotations

import dataclasses
import re
import socket
from pathlib import Path

import pytest

from imagerec_worker.service import Service
from imagerec_worker.settings import VARIABLES, Settings, SettingsError

README = Path(__file__).parents[3] / "services/worker/README.md"
WHOLE = {
    "IMAGEREC_BUNDLE": "/srv/bundle",
    "IMAGEREC_WORKER_NAME": "worker7",
    "IMAGEREC_MAX_BYTES": "1000",
    "IMAGEREC_MAX_PIXELS": "2000",
    "IMAGEREC_QUEUE_BUDGET_S": "0.25",
    "IMAGEREC_DRAIN_FILE": "/run/drain",
    "IMAGEREC_LOG_LEVEL": "warning",
    "IMAGEREC_BATCH_MAX": "4",
    "IMAGEREC_BATCH_WINDOW_MS": "2.5",
}


def test_every_variable_is_read() -> None:
    assert Settings.from_environment(WHOLE) == Settings(
        bundle=Path("/srv/bundle"),
        worker_name="worker7",
        max_bytes=1000,
        max_pixels=2000,
        queue_budget_s=0.25,
        drain_file=Path("/run/drain"),
        log_level="warning",
        batch_max=4,
        batch_window_ms=2.5,
    )


def test_the_table_has_one_row_for_each_field() -> None:
    assert [row.field for row in VARIABLES] == [field.name for field in dataclasses.fields(Settings)]
    assert {row.name for row in VARIABLES} == set(WHOLE)


def test_defaults_hold_where_a_variable_is_absent_or_empty() -> None:
    settings = Settings.from_environment({"IMAGEREC_BUNDLE": "/b", "IMAGEREC_MAX_BYTES": "", "IMAGEREC_DRAIN_FILE": ""})
    assert settings == Settings(bundle=Path("/b"))
    assert (settings.max_bytes, settings.max_pixels, settings.queue_budget_s) == (20 * 1024 * 1024, 50_000_000, 0)
    assert settings.drain_file is None
    assert (settings.batch_max, settings.batch_window_ms) == (1, 0)
    assert settings.worker_name == socket.gethostname()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IMAGEREC_BATCH_MAX", "0"),
        ("IMAGEREC_BATCH_MAX", "17"),
        ("IMAGEREC_BATCH_WINDOW_MS", "-1"),
        ("IMAGEREC_BATCH_WINDOW_MS", "100.5"),
        ("IMAGEREC_BATCH_WINDOW_MS", "nan"),
        ("IMAGEREC_LOG_LEVEL", "loud"),
        ("IMAGEREC_MAX_BYTES", "0"),
        ("IMAGEREC_MAX_BYTES", "20 MB"),
        ("IMAGEREC_MAX_PIXELS", "-1"),
        ("IMAGEREC_MAX_PIXELS", "1e6"),
        ("IMAGEREC_QUEUE_BUDGET_S", "-0.1"),
        ("IMAGEREC_QUEUE_BUDGET_S", "nan"),
        ("IMAGEREC_QUEUE_BUDGET_S", "inf"),
        ("IMAGEREC_QUEUE_BUDGET_S", "soon"),
        ("IMAGEREC_WORKER_NAME", "a\r\nSet-Cookie: b"),
        ("IMAGEREC_WORKER_NAME", "Männchen"),
        ("IMAGEREC_WORKER_NAME", "a" * 256),
    ],
)
def test_a_bad_value_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}=.*must be"):
        Settings.from_environment(WHOLE | {name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IMAGEREC_BATCH_MAX", "1"),
        ("IMAGEREC_BATCH_MAX", "16"),
        ("IMAGEREC_BATCH_WINDOW_MS", "0"),
        ("IMAGEREC_BATCH_WINDOW_MS", "100"),
        ("IMAGEREC_MAX_BYTES", "1"),
        ("IMAGEREC_QUEUE_BUDGET_S", "0"),
        ("IMAGEREC_WORKER_NAME", "a" * 255),
    ],
)
def test_a_value_at_the_edge_is_taken(name: str, value: str) -> None:
    (field,) = (row.field for row in VARIABLES if row.name == name)
    taken = getattr(Settings.from_environment(WHOLE | {name: value}), field)
    assert taken == type(taken)(value)


def test_what_a_process_was_told_stays() -> None:
    settings = Settings(bundle=Path("b"))
    for fixed, field in ((settings, "max_bytes"), (Service(settings, "1.0", None, None), "version")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(fixed, field, 1)


def test_every_reason_is_given_at_once() -> None:
    with pytest.raises(SettingsError) as refusal:
        Settings.from_environment({"IMAGEREC_MAX_BYTES": "many", "IMAGEREC_QUEUE_BUDGET_S": "-1"})
    reasons = str(refusal.value).split("; ")
    assert [reason.split("=")[0].split(" ")[0] for reason in reasons] == [
        "IMAGEREC_BUNDLE",
        "IMAGEREC_MAX_BYTES",
        "IMAGEREC_QUEUE_BUDGET_S",
    ]


def test_the_readme_has_the_same_table() -> None:
    rows = re.findall(r"^\| `(IMAGEREC_\w+)` \| (.*?) \| (.*?) \|$", README.read_text(), re.MULTILINE)
    defaults = Settings(bundle=Path("b"))
    shown = {"worker_name": "the host's name", "drain_file": "none", "bundle": "required"}
    shown |= {"queue_budget_s": "0", "batch_window_ms": "0"}
    expected = [(row.name, shown.get(row.field, str(getattr(defaults, row.field))), row.meaning) for row in VARIABLES]
    assert rows == expected
