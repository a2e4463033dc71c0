"""Fixtures of the load test's tests: real services of known service time, in processes of their own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from loadtest.bench import known_server


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Start a service of known service time with these options; gives its address."""
    with ExitStack() as stack:
        yield lambda *options: stack.enter_context(known_server(*options))
