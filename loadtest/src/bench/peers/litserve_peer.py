"""The peer LitServe: `python -m bench.peers.litserve_peer PORT`; it takes the file of a form, not a raw body.

`BENCH_PROCESSES` is how many processes infer. Everything else is as LitServe has it.
"""

import os
import sys
from typing import Any

from litserve import LitAPI, LitServer

from bench.peers.recogniser import Recogniser


class Recognise(LitAPI):
    """The steps that LitServe asks for."""

    def setup(self, device: str) -> None:
        """Load the network, in each process that infers."""
        del device
        self._recognise = Recogniser()

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # LitServe reads annotations
        """Take the file out of the form."""
        return request["image"].file.read()

    def predict(self, x: bytes) -> dict[str, Any]:
        """Recognise one photograph."""
        return self._recognise(x)

    def encode_response(self, output):  # type: ignore[no-untyped-def]
        """Answer JSON."""
        return output


if __name__ == "__main__":
    server = LitServer(Recognise(), accelerator="cpu", workers_per_device=int(os.environ["BENCH_PROCESSES"]))
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
