"""The environment of a peer, made by `make` from its hashed requirements when it is first asked for."""

from __future__ import annotations

import sys

from bench.peers.known import Peer
from deployed.checkout import run
from loadtest.errors import LoadtestError


def install(peer: Peer) -> None:
    """Make the peer's environment where it is not there or its requirements have changed.

    Raises:
        LoadtestError: It cannot be had.
    """
    if not peer.target:
        return
    sys.stderr.write(f"the environment of {peer.name}: {peer.target.rpartition(chr(47))[0]}\n")
    done = run("make", "-s", peer.target, check=False, timeout_s=1800)
    if done.returncode != 0:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        reasons = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")] or said[-1:]
        raise LoadtestError(
            f"the peer {peer.name} cannot be installed ({reasons[0][:300]}); it comes from the package index: give pip "
            f"its address, or leave {peer.name} out of PEERS"
        )
