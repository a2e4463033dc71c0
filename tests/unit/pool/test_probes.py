"""The probe of a worker that cannot be reached: real connections that the kernel refuses at once."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from imagerec_pool.probes import Probe
from tests.conftest import free_ports


def first_news(url: str) -> str | None:
    """Ask often, each time after the last question has ended, as where every connection fails at once."""

    async def ask() -> str | None:
        async with aiohttp.ClientSession() as session:
            probe = Probe(url, session)
            for number in range(1, 4):
                probe.tick(number * 0.4, 0.4, 0.4, serves=True)
                for task in asyncio.all_tasks() - {asyncio.current_task()}:
                    await asyncio.wait([task], timeout=60)
                news = probe.seen().answer
                if news is not None:
                    return news
            return None

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1", "refuses connections"),
        ("255.255.255.255", "cannot be reached: Network is unreachable"),
        ("worker.invalid", "cannot be reached: "),
    ],
    ids=["refused", "no route", "no such name"],
)
def test_a_connection_that_fails_at_once_tells(address: str, why: str) -> None:
    news = first_news(f"http://{address}:{free_ports(1)[0]}/readyz")
    assert news is not None
    assert news.startswith(why)
