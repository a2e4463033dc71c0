"""Servers of known service time for tests: each is a fork of a process that has imported what they need."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from loadtest.generate import knownserver

_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload([__name__])


def _serve(options: tuple[str, ...], held: Connection, told: Connection) -> None:
    sys.stdin, sys.stdout = os.fdopen(held.fileno()), os.fdopen(told.fileno(), "w")
    knownserver.main(list(options))


@contextmanager
def known_fork(*options: str) -> Iterator[str]:
    """Do what `known_server` does, but for the start of Python: its imports take a fifth of a second each time."""
    held, holds = _forks.Pipe(duplex=False)
    tells, told = _forks.Pipe(duplex=False)
    process = _forks.Process(target=_serve, args=(options, held, told))
    process.start()
    held.close()
    told.close()
    try:
        with open(tells.fileno(), closefd=False) as lines:
            port = lines.readline().strip()
        assert port, "the server did not start; its reason stands above"
        yield f"http://127.0.0.1:{port}"
    finally:
        holds.close()
        tells.close()
        process.join(60)
        assert process.exitcode == 0
