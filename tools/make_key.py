"""Makes a key of the API and prints it once, with what the inventory keeps of it: ``make key NAME=alice``."""

from __future__ import annotations

import hashlib
import re
import secrets
import sys

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}")


def main(name: str) -> int:
    """Print a new key and its entry of ``balancer_api_keys``; return the exit status."""
    if NAME.fullmatch(name) is None:
        print(
            f"{name!r} is no name of a key; use at most 32 of a-z 0-9 . _ -, as in make key NAME=alice",
            file=sys.stderr,
        )
        return 1
    key = secrets.token_urlsafe(32)
    print(f"For {name}, who sends it as X-API-Key or as Authorization: Bearer. It is shown only now:")
    print(f"  {key}")
    print("For the inventory, in the list balancer_api_keys; then deploy:")
    print(f"  - {{name: '{name}', sha256: {hashlib.sha256(key.encode()).hexdigest()}}}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
