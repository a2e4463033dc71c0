"""The tables of what bombs and scrapes cost, from what `tests.bombs` has recorded."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from tests.unit.worker.bomb_files import BOMBS

MEMORY_BAR_BYTES, CPU_BAR_S, SCRAPE_BAR_MS, GOOD_BAR = 150_000_000, 1.0, 5.0, 2
TRIES = 3
COLUMNS = 120


def marked(value: float, bar: float, digits: int) -> str:
    """Write a figure; one above its bar is bold."""
    return f"**{value:.{digits}f}**" if value > bar else f"{value:.{digits}f}"


def table(head: Sequence[str], *rows: Sequence[object]) -> str:
    """Write a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def page(record: dict[str, Any]) -> str:
    """Write what `measure` returns as tables."""
    bombs, scrape, beside = record["bombs"], record["scrape"], record["beside"]
    state = "a checkout with changes" if record["source"]["dirty"] else "a clean checkout"
    memory_mb = max(each["memory_bytes"] for each in bombs) / 1e6
    most_s = max(each["cpu_s"] for each in bombs)
    missed = sum(each["memory_bytes"] > MEMORY_BAR_BYTES or each["cpu_s"] > CPU_BAR_S for each in bombs)
    later = [str(each["source"]["commit"])[:7] for each in bombs if "source" in each]
    intro = (
        f"At {str(record['source']['commit'])[:7]}, {state}: {record['machine']}; load before {record['load']}. "
        + (f"{len(later)} of the bombs later, at {', '.join(sorted(set(later)))}. " if later else "")
        + f"Model: {record['model']}. A process of gunicorn's that has classified one photograph gets the file. "
        "MB: its peak memory less what it held before. s: its processor time, "
        f"the least of {TRIES} where the first is above the bar. "
        f"Bars: {MEMORY_BAR_BYTES / 1e6:.0f} MB and {CPU_BAR_S:.0f} s. What is above its bar is bold."
    )
    costs = table(
        ["bomb", "file, bytes", "answer", "MB", "s"],
        *[
            [
                each["name"].replace("-", " "),
                f"{each['bytes']:,}",
                each["status"],
                marked(each["memory_bytes"] / 1e6, MEMORY_BAR_BYTES / 1e6, 0),
                marked(each["cpu_s"], CPU_BAR_S, 2),
            ]
            for each in bombs
        ],
    )
    scrapes = table(
        ["processes that ended before", "scrapes", "median, ms", "p99, ms", "processor, ms", "bar, ms"],
        [
            f"{scrape['ended']:,}",
            scrape["scrapes"],
            marked(scrape["median_ms"], SCRAPE_BAR_MS, 2),
            marked(scrape["p99_ms"], SCRAPE_BAR_MS, 2),
            f"{scrape['cpu_ms']:.2f}",
            f"{SCRAPE_BAR_MS:.0f}",
        ],
    )
    others = table(
        ["requests", "lost", "quiet p99, ms", "p99 beside bombs, ms", "ratio", "bar"],
        [
            f"{beside['requests']:,}",
            beside["lost"],
            beside["quiet_p99_ms"],
            beside["p99_ms"],
            marked(beside["p99_ms"] / beside["quiet_p99_ms"], GOOD_BAR, 2),
            GOOD_BAR,
        ],
    )
    origin = (
        f"That is the fault hostile-bombs of [chaos](../chaos/README.md), recorded at {beside['commit'][:7]}: model "
        f"{beside['model']}, workers of {beside['worker_cores']} cores."
    )
    measured = {each["name"] for each in bombs}
    missing = [name.replace("-", " ") for name in BOMBS if name not in measured]
    parts = [
        textwrap.fill(intro, COLUMNS, break_on_hyphens=False),
        costs,
        f"Above a bar: {missed} of {len(bombs)}. Most memory: {memory_mb:.0f} MB. Longest time: {most_s:.2f} s.",
        *([textwrap.fill(f"Not measured yet: {'; '.join(missing)}.", COLUMNS)] if missing else []),
        "### A scrape of /metrics",
        scrapes,
        "Each scrape has a connection of its own, which its time holds.",
        "### Good requests beside bombs",
        others,
        textwrap.fill(origin, COLUMNS, break_on_hyphens=False),
    ]
    return "\n\n".join(parts)
