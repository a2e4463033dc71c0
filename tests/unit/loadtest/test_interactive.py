"""The numbers behind the report's interactive plots, and the library that it carries."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from loadtest.analyse.summary import summarize
from loadtest.draw.interactive import PAGE, inert, longer, plot_data, thinned
from loadtest.experiments.folder import RunFolder


def test_a_long_trial_is_thinned_without_losing_an_extreme() -> None:
    rng = np.random.default_rng(1)
    at_s = np.sort(np.append(rng.uniform(0, 60, 4_998), [0, 60]))
    stretch = np.minimum(at_s // 0.6, 99)
    took_ms = rng.exponential(20, 5_000)
    took_ms[[700, 4_000]] = 0.01, 9_000
    drawn = thinned(at_s, took_ms)
    assert len(drawn) == 300
    assert (np.diff(drawn) > 0).all()
    assert {700, 4_000} <= set(drawn.tolist())
    for tenth in range(10):
        inside = stretch // 10 == tenth
        kept = drawn[inside[drawn]]
        assert took_ms[kept].max() == took_ms[inside].max()
        assert took_ms[kept].min() == took_ms[inside].min()
        middle = np.sort(took_ms[kept])[len(kept) // 2]
        assert middle == pytest.approx(np.median(took_ms[inside]), rel=0.3)


def test_a_short_trial_and_one_without_requests_are_drawn_whole() -> None:
    assert thinned(np.arange(300.0), np.ones(300)).tolist() == list(range(300))
    assert thinned(np.array([]), np.array([])).tolist() == []


def test_a_burst_at_one_moment_is_thinned_to_three() -> None:
    took_ms = np.arange(500.0)
    assert thinned(np.zeros(500), took_ms).tolist() == [0, 249, 499]


def test_shares_are_counted_exactly() -> None:
    times = np.array([1.0, 2.0, 2.0, 3.0])
    assert longer(times, np.array([0.5, 1.0, 1.5, 2.0, 3.0])) == [4, 3, 3, 1, 0]


def test_the_numbers_are_those_of_the_samples(measured: Path) -> None:
    folder = RunFolder.open(measured)
    rows = summarize(folder).cells
    data = plot_data(folder, rows)
    by_cell = {one["cell"]: one for one in data["spread"]["curves"]}
    for group in data["requests"]:
        assert len(group["trials"]) == 5
        row = next(one for one in rows if one["cell"] == group["cell"] and not one["image"])
        assert [one["number"] for one in group["trials"] if one["valid"]] == row["valid_numbers"]
        if not group["warmup_s"]:
            assert sum(one["n"] + one["failures"] for one in group["trials"] if one["valid"]) == row["n"]
            took_ms = [ms for one in group["trials"] if one["valid"] for ms in one["answered"][1]]
            assert np.median(took_ms) == pytest.approx(1e3 * row["p50_s"], rel=0.01)
        curve = by_cell[group["cell"]]
        assert curve["n"] == row["n"] - row["errors"]
        below, above = np.searchsorted(data["spread"]["ms"], 1e3 * row["p50_s"] * np.array([0.99, 1.01]))
        assert curve["longer"][above] <= curve["n"] / 2 <= curve["longer"][below - 1]
    titles = [plot["title"] for plot in data["cells"]]
    assert titles == ["by the rate that was asked", "by the size of the image"]
    closed = data["cells"][1]["series"]
    assert [one["x"] for one in closed] == [[32, 64]]
    value, low, high = closed[0]["values"]["mean_s"][0]
    assert low < value < high


def test_a_cell_without_an_interval_is_drawn_without(measured: Path) -> None:
    """As one of a single trial; `NaN` is no JSON, and the page would draw nothing at all."""
    folder = RunFolder.open(measured)
    alone = [row | {"mean_ci": None, "answered_ci": None} for row in summarize(folder).cells]
    plots = plot_data(folder, alone)["cells"]
    json.dumps(plots, allow_nan=False)
    series = plots[0]["series"][0]["values"]
    assert [ends[1:] for ends in series["mean_s"] + series["answered_hz"]] == [[None, None]] * 2 * len(series["mean_s"])
    assert all(ends[0] > 0 for ends in series["mean_s"])


def test_a_curve_is_of_the_same_photographs(measured: Path) -> None:
    folder = RunFolder.open(measured)
    rows = [row for row in summarize(folder).cells if row["asked_hz"]]
    other = [row | {"cell": f"{row['cell']}-mix", "images": "mix"} for row in rows]
    (plot,) = (one for one in plot_data(folder, [*rows, *other])["cells"] if "rate" in one["title"])
    mixed = [{cell.endswith("-mix") for cell in one["cells"]} for one in plot["series"]]
    assert {True} in mixed
    assert {False} in mixed
    assert {True, False} not in mixed


def test_no_cell_is_left_out_because_others_have_a_rate(measured: Path) -> None:
    """A closed loop of one size stands beside open loops: in a plot by row."""
    folder = RunFolder.open(measured)
    rows = [row for row in summarize(folder).cells if row["asked_hz"] or row["images"] == "32px"]
    plots = plot_data(folder, rows)["cells"]
    assert {cell for plot in plots for one in plot["series"] for cell in one["cells"]} == {row["cell"] for row in rows}
    assert plots[-1]["title"] == "by row of the table"


def test_numbers_cannot_end_their_element() -> None:
    assert "<" not in inert('{"level":"</script><!--"}')


def test_the_library_is_the_one_that_was_published() -> None:
    """Its README names the package, and the digest of each file that was taken from it."""
    text = (PAGE / "uplot" / "README.md").read_text()
    pinned = dict(re.findall(r"^\| (\S+) \| `([0-9a-f]{64})` \|$", text, re.MULTILINE))
    files = {path.name for path in (PAGE / "uplot").iterdir()} - {"README.md"}
    assert pinned == {name: hashlib.sha256((PAGE / "uplot" / name).read_bytes()).hexdigest() for name in files}
    assert files == {"LICENSE", "uPlot.iife.min.js", "uPlot.min.css"}
