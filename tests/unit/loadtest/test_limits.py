"""The balancer's limits: read from /status, said before a load that they refuse, and told from failures afterwards."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtest.cli import main
from loadtest.experiments.validity import invalid_because
from loadtest.generate.client import Client
from loadtest.generate.limits import Limits, in_the_way, limits_of, refusals
from loadtest.generate.samples import Sample

TOLD = {"max_conns": 16, "address_rate_hz": 500, "address_connections": 512}
FOOTER = {"cpu_share": 0.1, "not_sent": 0, "wall_s": 10.0, "mean_in_flight": 0.2}
VALID = {"lag_of_service": 0.25, "client_cpu": 0.9}


def sample(seq: int, status: int = 200, error: str | None = None) -> Sample:
    return Sample(seq, 0.1 * seq, 0.1 * seq, 0.1 * seq + 0.02, status, None, error)


def test_limits_are_read_where_the_balancer_says_them() -> None:
    limits = limits_of({"policy": "random", "limits": TOLD})
    assert limits == Limits(16, 500, 512)
    assert limits.text() == (
        "16 requests at a time for each process of a worker (balancer_max_conns), 500 a second from one address "
        "(balancer_address_rate_hz), 512 under way from one address (balancer_address_connections)"
    )
    assert limits_of({"policy": "random"}) is None
    assert limits_of(None) is None
    assert Limits().text() == "none"


def test_a_service_is_asked_for_its_limits(serve: Callable[..., str]) -> None:
    async def ask() -> Limits | None:
        async with Client(target, timeout_s=60) as client:
            return limits_of((await client.describe())["status"])

    target = serve("--max-conns", "3")
    assert asyncio.run(ask()) == Limits(max_conns=3)


@pytest.mark.parametrize(
    ("rate_hz", "users", "says"),
    [
        (501.0, None, "takes 500 from one address: it will refuse the rest; set balancer_address_rate_hz to 0"),
        (500.0, None, None),
        (None, 513, "takes 512 requests from one address: it will refuse the rest; set balancer_address_connections"),
        (None, 512, None),
        (None, None, None),
    ],
)
def test_a_load_that_will_be_refused_is_known_before(
    rate_hz: float | None, users: int | None, says: str | None
) -> None:
    warning = in_the_way(Limits(16, 500, 512), rate_hz, users)
    assert warning is None if says is None else says in str(warning)
    assert in_the_way(Limits(), rate_hz, users) is None
    assert in_the_way(None, rate_hz, users) is None


def test_refusals_are_counted_by_reason() -> None:
    samples = [sample(0), sample(1, 429, "busy"), sample(2, 429, "busy"), sample(3, 429, "too-many-requests")]
    text = refusals([*samples, sample(4, 502, "no-answer")], Limits(max_conns=2))
    assert text is not None
    assert text.startswith("the balancer refused 3 of 5 requests (2 busy, 1 too-many-requests); its limits: 2 requests")
    assert "its limits are not known" in str(refusals(samples, None))
    assert refusals([sample(0), sample(4, 502, "no-answer")], None) is None


def test_a_trial_that_the_limit_for_one_address_cut_is_invalid() -> None:
    """It says what one client may ask, not what the service can do; a full pool is what the service does."""
    cut = [sample(number, *((429, "too-many-requests") if number % 4 == 0 else ())) for number in range(100)]
    (reason,) = invalid_because(cut, FOOTER, 0.02, VALID)
    assert reason.startswith("the balancer refused 25 of 100 requests by its limit for one address; set")
    busy = [sample(number, *((429, "busy") if number % 4 == 0 else ())) for number in range(100)]
    assert invalid_because(busy, FOOTER, 0.02, VALID) == []


def test_time_awake_does_not_count_as_a_full_core() -> None:
    samples = [sample(number) for number in range(100)]
    waits = {**FOOTER, "cpu_share": 0.99, "spin_share": 0.6}
    assert invalid_because(samples, waits, 0.02, VALID) == []
    (reason,) = invalid_because(samples, {**waits, "spin_share": 0.05}, 0.02, VALID)
    assert reason == "the client's CPU was saturated: 0.94 of one core"


REFUSED = """
name: refused
goal: Does a trial say that it was refused?
seed: 7
repetitions: 5
dirty: true
validity: {lag_of_service: 50, client_cpu: 64}
cells:
  - {arrivals: closed, in_flight: 3, image_px: 16, requests: 12}
"""


@pytest.mark.slow
def test_a_trial_says_what_was_refused(
    serve: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "refused.yml").write_text(REFUSED)
    target = serve("--service-ms", "20", "--max-conns", "1")
    assert main(["run", str(tmp_path / "refused.yml"), "--target", target, "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().err
    assert said.count("the balancer refused ") == 5
    assert "busy); its limits: 1 requests at a time for each process of a worker" in said
