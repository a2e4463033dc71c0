"""The peer mosec: `python -m bench.peers.mosec_peer --address 127.0.0.1 --port PORT`; it takes the raw photograph.

`BENCH_PROCESSES` is how many processes infer. Everything else is as mosec has it.
"""

from __future__ import annotations

import os
from typing import Any

from mosec import Server, Worker

from bench.peers.recogniser import Recogniser


class Recognise(Worker):
    """One stage that does all."""

    def __init__(self) -> None:
        super().__init__()
        self._recognise = Recogniser()

    def deserialize(self, data: bytes) -> bytes:
        """Take the body as it is; JSON is what mosec would read."""
        return data

    def forward(self, data: bytes) -> dict[str, Any]:
        """Recognise one photograph."""
        return self._recognise(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(Recognise, num=int(os.environ["BENCH_PROCESSES"]))
    server.run()
