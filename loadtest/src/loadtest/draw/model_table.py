"""Write the table of models that a run measured into a Markdown file, so that no figure is copied by hand."""

import textwrap
from pathlib import Path
from typing import Any

from loadtest.analyse.summary import models_of
from loadtest.draw.trials import where
from loadtest.errors import LoadtestError
from loadtest.experiments.folder import RunFolder

BEGIN, END = "<!-- models:begin -->", "<!-- models:end -->"
_COLUMNS = 120
_HEAD = ("`MODEL=`", "what", "input, px", "top-1, % (interval)", "top-5, %", "images/s", "CPU ms", "MB", "where from")


def model_table(folder: RunFolder) -> str:
    """The table as Markdown, one row a network, fastest first, and the sentences that say what it shows.

    Raises:
        LoadtestError: The run has measured no model.
    """
    rows = models_of(folder)
    if not rows:
        raise LoadtestError(
            f"{folder.path} has measured no model; `make experiment DESIGN=models IMAGES=FOLDER` measures some"
        )
    lines = ["| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD)]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    photographs = " or ".join(str(count) for count in sorted({row["photographs"] for row in rows}))
    counts = " or ".join(str(count) for count in sorted({row["valid_trials"] for row in rows}))
    invalid = sum(row["trials"] - row["valid_trials"] for row in rows)
    left_out = f"{invalid or 'no'} trial{'s were' if invalid > 1 else ' was'} invalid and left out"
    note = (
        "Bold: no other network is better in accuracy and in throughput, by these numbers. The order of networks whose "
        f"intervals overlap may be chance. {photographs} labelled photographs, Wilson's 95 % interval. Images a second "
        f"± the half-width of the 95 % t-interval over {counts} trials; {left_out}. "
        "CPU ms: the workers' processor time an image, decoding and HTTP included. MB: the "
        f"model's file. {where(folder, rows, 'shared')}."
    )
    lines += ["", *textwrap.wrap(note, _COLUMNS)]
    return "\n".join(lines)


def write_between(path: Path, text: str, begin: str = BEGIN, end: str = END) -> bool:
    """Replace what stands between two marks in a file, those of the table of models; return whether it changed.

    Raises:
        LoadtestError: The file has no such marks, or cannot be read or written.
    """
    try:
        before = path.read_text(encoding="utf-8")
        head, found, rest = before.partition(begin)
        _, found_end, tail = rest.partition(end)
        if not found or not found_end:
            raise LoadtestError(f"{path} has no place for the text; write {begin} and {end} where it belongs")
        after = f"{head}{begin}\n{text}\n{end}{tail}"
        if after != before:
            path.write_text(after, encoding="utf-8")
    except OSError as error:
        raise LoadtestError(f"cannot write the table into {path}: {error.strerror}") from error
    return after != before


def _cells(row: dict[str, Any]) -> list[str]:
    name = f"`{row['model']}`"
    half = "" if row["answered_ci"] is None else f" ± {row['answered_ci']:.{0 if row['answered_ci'] >= 1 else 1}f}"
    source = str(row["source"] or "–").partition(",")[0]
    return [
        f"**{name}**" if row["front_hz"] else name,
        str(row["title"]).replace(", ImageNet", ""),
        str(row["input_size"]),
        f"{100 * row['top1']:.1f} ({100 * row['top1_low']:.0f}–{100 * row['top1_high']:.0f})",
        f"{100 * row['top5']:.1f}",
        f"{row['answered_hz']:.0f}{half}",
        "–" if row["cpu_ms"] is None else f"{row['cpu_ms']:.1f}",
        "–" if row["size_mb"] is None else f"{row['size_mb']:.1f}",
        f"[a pinned file]({source})" if "://" in source else source,
    ]
