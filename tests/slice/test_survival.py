"""Some of `make chaos`, briefly: what is right must hold here too; how quickly is for the long run to say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chaos.__main__ import main
from deployed.slice import Slice

pytestmark = pytest.mark.slow

FAULTS = ("kill-worker", "power-off", "overload-3x", "hostile-smuggling")
REQUESTS = 300


@pytest.fixture(scope="module")
def ran(deployed: Slice, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run."""
    folder = tmp_path_factory.mktemp("chaos")
    main(["--slice", deployed.name, "--out", str(folder), "--requests", str(REQUESTS), "--faults", *FAULTS])
    return folder


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_lost(ran: Path, fault: str) -> None:
    record: dict[str, Any] = json.loads((ran / f"{fault}.json").read_text())
    row = record["row"]
    assert row["requests"] >= REQUESTS
    assert row["answered"] + row["refused"] == row["requests"]
    assert row["wrong"] == 0
    assert row["tries_per_request"] <= 2
    if fault.startswith("overload"):
        assert row["refused"] > 0
    else:  # a host whose cores do other things meanwhile may have too few for a moment
        assert row["refused"] < 0.2 * row["requests"]
    timed = ("p99", "back after", "goodput", "longest wait", "refused")  # no clock decides here
    assert all(met for text, met in record["bar"].items() if not any(word in text for word in timed))


def test_the_run_is_written_down(ran: Path) -> None:
    assert (ran / "summary.csv").read_text().count("\n") == 1 + len(FAULTS)
    for fault in FAULTS:
        assert (ran / f"{fault}.png").stat().st_size > 10_000
        assert (ran / f"{fault}.jsonl.gz").stat().st_size > 1000
