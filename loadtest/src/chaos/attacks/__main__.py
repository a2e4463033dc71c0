"""One hostile client: `python -m chaos.attacks NAME HOST PORT`; prints a JSON object of what the server did.

What was not as expected of a server is named in "unexpected".
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import socket
import sys

from chaos.attacks.corpus import make
from chaos.attacks.exchange import replay
from chaos.attacks.expected import EXPECTED, violations
from chaos.attacks.swarm import HABITS, Swarm


def _allow_open_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), max(hard, wanted)))
    except (ValueError, OSError):
        sys.exit(f"{wanted} open files are needed and {hard} are allowed; run as root, or lower --count")


def main() -> None:
    """Carry one attack out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=EXPECTED)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--seconds", type=float, help="how long: 40 for slow clients, at most 600 for a corpus")
    parser.add_argument("--count", type=int, help="connections at once, or cases of a corpus")
    parser.add_argument("--seed", type=int, default=6, help="of mutations and of the cases' order")
    parser.add_argument("--rate", type=float, default=50.0, help="cases a second")
    chosen = parser.parse_args()
    address = (socket.gethostbyname(chosen.host), chosen.port)
    if chosen.name in HABITS:
        count = HABITS[chosen.name].connections if chosen.count is None else chosen.count
        _allow_open_files(count + 100)
        report = Swarm(address, HABITS[chosen.name], count).run(chosen.seconds or 40.0)
    else:
        cases = make(chosen.name, chosen.count, chosen.seed)
        random.Random(chosen.seed).shuffle(cases)  # noqa: S311  an order, no secret
        report = replay(address, cases, chosen.rate, chosen.seconds or 600.0)
    report["attack"] = chosen.name
    print(json.dumps(report | {"unexpected": violations(report)}))


if __name__ == "__main__":
    main()
