"""What every tier shares: the repository, the models beside it, a real deployment, and the refusal of skips."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployed.checkout import REPOSITORY, SHARED, environment
from deployed.local import Deployment, free_ports, local_deployment, processes_below

__all__ = ["REPOSITORY", "SHARED", "Deployment", "free_ports", "local_deployment", "processes_below"]
# A folder as people have them: blanks, letters beyond ASCII, a percent sign, longer than the path of a socket may be.
AWKWARD = "Größe 100 % – a folder with a name as long as people give them, in the middle of the path"

_clean = environment()
os.environ.clear()
os.environ.update(_clean)

ONLY_SOME_HAVE = ("IMAGEREC_SHARED", "/dev/loop-control")  # what a reason to skip names
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def heed_signals() -> None:
    """Heed signals that whoever started the tests ignores, as nohup does: no shell can trap an ignored one."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def json_lines(log: Path) -> list[dict[str, Any]]:
    """Return the JSON lines of a log that is being written; its last line may not be whole yet."""
    lines = log.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]


def longest_first(items: list[pytest.Item], tier: str, modules: tuple[str, ...]) -> None:
    """Begin with these modules of a tier, which take longest; the tests of each keep their order.

    `--dist loadfile` hands modules out one by one, so that a long one at the end would leave a process without work.
    """
    place = {f"{tier}/{name}.py": number for number, name in enumerate(modules)}
    items.sort(key=lambda item: place.get("/".join(item.path.parts[-2:]), len(place)))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With REFUSE_SKIPS=1, as in CI, a skipped test fails the run, unless it needs what only some sites have."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("REFUSE_SKIPS") != "1" or reporter is None:
        return
    skipped = reporter.stats.get("skipped", [])
    refused = [report for report in skipped if not any(name in str(report.longrepr) for name in ONLY_SOME_HAVE)]
    if refused:
        for report in refused:
            reporter.write_line(f"refused skip: {report.nodeid}: {report.longrepr}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Nginx and two gunicorn workers, deployed by `make up` on free ports, removed by `make down` without a trace."""
    system = local_deployment(tmp_path_factory.mktemp("local") / AWKWARD)
    try:
        system.make("up")
        yield system
    finally:
        system.make("down")
    assert system.processes() == []
    assert [path.name for path in system.folder.iterdir()] == ["inventory"]
