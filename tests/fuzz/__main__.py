"""Fuzzes one target for so many seconds: ``python -m tests.fuzz metadata --seconds 60 --found FOLDER``.

Ends with an error at a crash, at an input that takes more than a second of processor time, and when memory has grown.
Inputs have 4 kB at most; some ask for a part of them to be repeated, up to the size of the largest upload (`growth`).
Inputs that reach something new are kept in the folder, the input that failed beside it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["imagerec_worker", "PIL"]):
    from tests.fuzz import targets
from tests.fuzz.growth import MAX_CPU_S, check_growth

MAX_GROWTH_BYTES = 100_000_000
MAX_INPUT_BYTES = 4096
# After so many inputs memory has what it needs, and grows no more.
SETTLED = 2000


def resident_bytes() -> int:
    """Memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Fuzz; does not return."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=targets.TARGETS)
    parser.add_argument("--seconds", type=int, default=200)
    parser.add_argument("--found", type=Path, required=True, help="folder that keeps what reaches something new")
    parser.add_argument("--merge", type=Path, help="fuzz nothing: keep in FOUND what is needed of this folder")
    words = sys.argv[1:]
    own = words[words.index("--") + 1 :] if "--" in words else []  # what libFuzzer gives itself while it merges
    options = parser.parse_args(words[: words.index("--")] if own else words)
    check = targets.TARGETS[options.target]
    options.found.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(targets.seeds(options.target)):
        (options.found / f"seed-{number:02}").write_bytes(seed)
    count, settled_bytes, longest_s = 0, 0, 0.0

    def once(data: bytes) -> None:
        nonlocal count, settled_bytes, longest_s
        started_s = time.process_time()
        check(data)
        taken_s = time.process_time() - started_s
        longest_s = max(longest_s, taken_s, check_growth(check, data))
        assert taken_s <= MAX_CPU_S, f"an input took {taken_s:.2f} s"
        count += 1
        if count == SETTLED:
            settled_bytes = resident_bytes()
        if count % SETTLED == 0:
            grown = resident_bytes() - settled_bytes
            print(f"{count} inputs, longest {longest_s * 1000:.1f} ms, memory {grown / 1e6:+.1f} MB", flush=True)
            assert grown <= MAX_GROWTH_BYTES, f"memory has grown by {grown / 1e6:.0f} MB"

    limits = [
        f"-max_len={MAX_INPUT_BYTES}",
        "-timeout=60",
        "-rss_limit_mb=4096",
        f"-artifact_prefix={options.found}-failed-",
    ]
    if own:
        arguments = own
    elif options.merge:
        arguments = ["-merge=1", *limits, str(options.found), str(options.merge)]
    else:
        arguments = [f"-max_total_time={options.seconds}", "-print_final_stats=1", *limits, str(options.found)]
    # To merge, libFuzzer starts its first word anew, by a shell, again for each input that ends the program.
    again = shlex.join([sys.executable, "-m", "tests.fuzz", options.target, "--found", str(options.found), "--"])
    atheris.Setup([again, *arguments], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
