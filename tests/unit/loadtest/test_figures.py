"""Figures of the recorded runs: nothing covers anything, what lacks trials is marked, axes end where the data do."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.container import Container
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from chaos import figure as timeline
from chaos import recorded
from chaos.verdict import Marks
from chaos.verdict import Row as Verdict
from loadtest.analyse.window import answered_hz, length_s
from loadtest.draw import batching, loops, mix, overview, policies, rate, resolution, style, trials
from loadtest.draw.results_page import Runs
from loadtest.draw.trials import RINGED
from loadtest.experiments.cells import Level
from loadtest.experiments.design import design_from_resolved
from loadtest.experiments.folder import RunFolder
from loadtest.generate.samples import Trial, read_trial
from tests.conftest import REPOSITORY

RESULTS = REPOSITORY / "results"
CHAOS = RESULTS / "chaos/reference"
_LEAST_PX = 3.0  # between bars, at the resolution of the figure


def run_of(name: str) -> tuple[RunFolder, list[dict[str, Any]]]:
    rows = Runs(RESULTS / "reference").rows(name)
    return RunFolder.open(RESULTS / "reference" / name), [row for row in rows if row["valid_trials"]]


def of(
    name: str, draw: Callable[..., list[str]], keep: Callable[[dict[str, Any]], bool] = bool
) -> Callable[[], object]:
    def drawn() -> list[str]:
        folder, rows = run_of(name)
        return draw(folder, [row for row in rows if keep(row)])

    return drawn


def a_fault() -> None:
    record = json.loads((CHAOS / "step.json").read_text())
    samples = recorded.read(CHAOS, "step")
    timeline.draw(CHAOS, samples, Marks(3.0, 5.0), Verdict(**record["row"]), what=record["what"], origin="")


def the_sheet() -> None:
    drawn, text = overview.sheet(RESULTS)
    style.save(drawn, RESULTS, "overview", text)


DRAWN: dict[str, Callable[[], object]] = {
    "resolution": of("accuracy", resolution.draw),
    "rate": of("scaling", rate.draw, lambda row: row["interval_s"] is None),
    "original-cells": of("scaling", rate.draw, lambda row: row["interval_s"] is not None),
    "ccdf": of("policies", policies.draw_ccdf, lambda row: bool(row["utilisation"] == 0.8)),
    "shares": of("policies", policies.draw_shares),
    "method": of("original", loops.draw_method),
    "timeseries": of("original", loops.draw_timeseries),
    "mix": of("sizes-mixed", mix.draw),
    "fault": a_fault,
    "overview": the_sheet,
}


def laid_out(draw: Callable[[], object]) -> list[Figure]:
    """What is drawn, laid out as it would be written, but neither written nor closed."""
    kept: list[Figure] = []

    def lay_out(self: Figure, path: Path, **_: object) -> None:
        if path.suffix == ".png":
            self.draw_without_rendering()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style.plt, "close", kept.append)
        patch.setattr(Figure, "savefig", lay_out)
        draw()
    return kept


@pytest.fixture(scope="module", params=DRAWN)
def figures(request: pytest.FixtureRequest) -> Iterator[list[Figure]]:
    """The figures of one kind."""
    found = laid_out(DRAWN[request.param])
    yield found
    for each in found:
        plt.close(each)


def legends(drawn: Figure) -> list[Any]:
    parts = [drawn, *drawn.subfigs]
    return [*itertools.chain(*(part.legends for part in parts)), *(one.legend_ for one in drawn.axes if one.legend_)]


def bars(panel: Axes) -> list[list[float]]:
    """Where each series of a panel has vertical bars, in pixels."""
    found = []
    for container in panel.containers:
        lines = container[2] if getattr(container, "has_yerr", False) else ()
        ends = [np.array(one) for line in lines for one in line.get_segments()]
        ends = [one for one in ends if len(one) == 2 and np.isfinite(one).all()]
        if ends:
            found.append([float(panel.transData.transform(one)[0][0]) for one in ends])
    return found


@pytest.mark.slow
def test_a_legend_covers_no_panel_and_is_whole(figures: list[Figure]) -> None:
    assert figures
    for drawn in figures:
        assert legends(drawn)
        for box in (one.get_window_extent() for one in legends(drawn)):
            assert not [one.get_title() for one in drawn.axes if overlap(box, one.get_window_extent()) > 1]
            assert overlap(box, drawn.bbox) == pytest.approx(box.width * box.height)


def overlap(one: Bbox, other: Bbox) -> float:
    both = Bbox.intersection(one, other)
    return 0.0 if both is None else float(both.width * both.height)


def test_no_bar_stands_on_that_of_another_series(figures: list[Figure]) -> None:
    """Except where x is a rate that the capacity gives: it differs by itself."""
    for panel in itertools.chain(*(drawn.axes for drawn in figures)):
        if panel.get_xlabel() == "requests a second, asked":
            continue
        for one, other in itertools.combinations(bars(panel), 2):
            assert min(abs(here - there) for here in one for there in other) >= _LEAST_PX


def test_a_time_axis_ends_with_the_trial() -> None:
    folder, rows = run_of("original")
    (series,) = laid_out(lambda: loops.draw_timeseries(folder, rows))
    (both,) = laid_out(lambda: loops.draw_method(folder, rows))
    (fault,) = laid_out(a_fault)
    (level,) = folder.measured_levels()
    lengths = {cell.id: length_s(trial) for cell, number, trial in folder.trials(level) if number == 1}
    title = series.axes[0].get_title()
    assert series.axes[1].get_xlim() == (0, lengths[title.partition(", ")[2]])
    shortest = min(length for cell, length in lengths.items() if "-i0.5-" in cell)
    assert both.axes[1].get_xlim() == (0, min(15, np.ceil(shortest)))
    last = max(each.scheduled_s for each in recorded.read(CHAOS, "step"))
    assert fault.axes[1].get_xlim() == (0, int(last) + 1)
    for each in (series, both, fault):
        plt.close(each)


def test_what_is_said_of_a_trial_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the mean of its cell; and all that was cut is grey, where the trial itself cut more than its cell says."""
    folder, rows = run_of("original")
    shown: list[Trial] = []

    def read(path: Path) -> Trial:
        trial = read_trial(path)
        shown.append(replace(trial, footer=(trial.footer or {}) | {"precision": {"cut_s": 1.5}}))
        return shown[-1]

    monkeypatch.setattr(loops, "read_trial", read)
    (drawn,) = laid_out(lambda: loops.draw_timeseries(folder, [row | {"answered_hz": 1.0} for row in rows]))
    cell = next(one for one in folder.design.cells if drawn.axes[0].get_title().endswith(f", {one.id}"))
    assert f" asked, {answered_hz(shown[0], cell):.1f} answered." in " ".join(drawn.get_supxlabel().split())
    assert [patch.get_width() for panel in drawn.axes for patch in panel.patches] == [1.5, 1.5]
    plt.close(drawn)


@pytest.fixture
def scaling() -> tuple[RunFolder, list[dict[str, Any]]]:
    """A run in which no cell lacks a trial."""
    folder, rows = run_of("scaling")
    return folder, [row | {"trials": 5, "valid_trials": 5} for row in rows]


def ringed(panel: Axes) -> set[tuple[float, float]]:
    return {
        (round(float(x), 6), round(float(y), 6))
        for line in panel.lines
        if line.get_label() == RINGED
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    }


def test_a_cell_that_lacks_trials_is_ringed_and_the_caption_says_so(
    scaling: tuple[RunFolder, list[dict[str, Any]]],
) -> None:
    folder, rows = scaling
    few = [row for row in rows if row["utilisation"] == 0.4 and row["pool_size"] in (1, 4)]
    for row, valid in zip(few, (4, 2), strict=True):
        row["valid_trials"] = valid
    (drawn, cells) = laid_out(lambda: rate.draw(folder, rows))
    expected = {(round(row["asked_hz"], 6), round(1e3 * row["mean_s"], 6)) for row in few}
    assert ringed(drawn.axes[0]) == expected
    assert {y for _, y in ringed(drawn.axes[1])} == {round(row["answered_hz"], 6) for row in few}
    assert RINGED in [text.get_text() for one in legends(drawn) for text in one.get_texts()]
    caption = " ".join(drawn.get_supxlabel().split())
    assert "2 cells have fewer valid trials than asked (marked), at the least 2 of 5" in caption
    assert not any(ringed(panel) for panel in cells.axes)
    assert "(marked)" not in cells.get_supxlabel()
    plt.close(drawn)
    plt.close(cells)


def test_a_caption_says_how_many_trials_each_cell_was_asked_for() -> None:
    folder, rows = run_of("autoscale")
    asked = {trials.asked_trials(folder, row) for row in rows}
    assert asked == {1, 5}
    assert " trials of 1 or 5 a cell;" in trials.provenance(folder, rows)


def test_a_caption_names_the_share_and_the_model_of_each_level(monkeypatch: pytest.MonkeyPatch) -> None:
    read_level = RunFolder.read_level

    def other(folder: RunFolder, level: Level) -> dict[str, Any]:
        record, small = read_level(folder, level) or {}, level.pool_size == 1
        record["facts"]["cpu_cores"] = {"worker1": 0.25 if small else 0.5}
        record["version"]["model"] = {"name": "lite0" if small else "lite1", "version": "1.0"}
        return record

    monkeypatch.setattr(RunFolder, "read_level", other)
    folder, rows = run_of("scaling")
    parts = trials.provenance(folder, rows)[:-1].split("; ")
    (shares,) = (part for part in parts if part.endswith(" a worker"))
    assert set(shares.split(" or ")) == {"0.25 of a CPU core a worker", "0.5 of a CPU core a worker"}
    assert set(parts[-1].split(" or ")) == {"model lite0 1.0", "model lite1 1.0"}
    assert " or " not in trials.provenance(folder, [row for row in rows if row["pool_size"] == 1])


def test_levels_of_one_pool_size_are_lines_of_their_own(scaling: tuple[RunFolder, list[dict[str, Any]]]) -> None:
    folder, rows = scaling
    alike = [row | {"pool_size": 2} for row in rows if row["pool_size"] in (1, 4) and row["interval_s"] is None]
    (drawn,) = laid_out(lambda: rate.draw(folder, alike))
    named = set(drawn.axes[0].get_legend_handles_labels()[1])
    assert {row["level"] for row in alike} < named
    assert "2 workers" not in named
    plt.close(drawn)


def test_a_curve_and_a_bar_that_lack_trials_say_so_in_their_names() -> None:
    folder, rows = run_of("policies")
    rows = [row | {"trials": 5, "valid_trials": 5} for row in rows if row["utilisation"] == 0.8]
    slow = next(row for row in rows if row["policy"] == "random" and row["slow_worker"] == 1)
    slow["valid_trials"] = 3
    panel = style.blank((4, 4)).subplots()
    policies.ccdf_panel(folder, panel, [row for row in rows if row["slow_worker"] == 1])
    names = [str(line.get_label()) for line in panel.lines]
    assert [name for name in names if name.endswith(" (3 of 5 trials)")] == [names[0]]
    (shares,) = laid_out(lambda: policies.draw_shares(folder, rows))
    (marked,) = (text for text in texts(shares.axes[0].get_yticklabels()) if "trials)" in text)
    assert marked == "4 workers, random, ρ = 0.8 (3 of 5 trials)"
    plt.close(shares)
    plt.close(panel.figure)


def texts(labels: Sequence[Any]) -> list[str]:
    return [one.get_text() for one in labels]


def test_a_cell_of_one_trial_has_no_bar(scaling: tuple[RunFolder, list[dict[str, Any]]]) -> None:
    folder, rows = scaling
    rows = [row | {"mean_ci": None, "answered_ci": None} for row in rows if row["pool_size"] == 4]
    (drawn, cells) = laid_out(lambda: rate.draw(folder, rows))
    assert [bars(panel) for panel in drawn.axes] == [[], [], []]
    plt.close(drawn)
    plt.close(cells)


def test_the_largest_difference_from_theory_is_that_of_the_points(
    scaling: tuple[RunFolder, list[dict[str, Any]]],
) -> None:
    """Also of a load that is above 0.8 by the speed that the workers were found to have."""
    folder, rows = scaling
    (worst,) = (row for row in rows if row["utilisation"] == 0.8 and row["pool_size"] == 4)
    worst |= {"mg1_off": -0.91, "rho": 0.89}
    drawn, cells = laid_out(lambda: rate.draw(folder, rows))
    caption = " ".join(drawn.get_supxlabel().split())
    assert "the largest difference is -91 % at ρ = 0.8 with 4 workers" in caption
    plt.close(drawn)
    plt.close(cells)


def test_a_load_without_theory_stands_where_it_was_asked(scaling: tuple[RunFolder, list[dict[str, Any]]]) -> None:
    """Workers that take several photographs at once have no law of service times, and so no measured ρ."""
    folder, rows = scaling
    told = ("rho", "mg1_mean_s", "mg1_off", "simulated_mean_s", "replayed_off")
    rows = [row | dict.fromkeys(told) for row in rows if row["utilisation"] is not None and row["pool_size"] == 1]
    (drawn,) = laid_out(lambda: rate.draw(folder, rows))
    loads = sorted(row["utilisation"] for row in rows if row["arrivals"] == "poisson")
    assert list(drawn.axes[1].containers[0][0].get_xdata()) == loads
    plt.close(drawn)


@pytest.mark.parametrize(("run", "draw"), [("scaling", rate.draw), ("sizes-mixed", mix.draw)])
def test_a_figure_of_poisson_arrivals_shows_no_others(run: str, draw: Callable[..., list[str]]) -> None:
    folder, rows = run_of(run)
    assert laid_out(lambda: draw(folder, [row | {"arrivals": "constant"} for row in rows])) == []


def test_an_axis_of_times_is_of_the_cells_that_have_some(scaling: tuple[RunFolder, list[dict[str, Any]]]) -> None:
    """In a valid trial every request may have failed."""
    folder, rows = scaling
    first, *others = (row for row in rows if row["utilisation"] is not None and row["pool_size"] == 1)
    failed = first | dict.fromkeys(("mean_s", "mean_ci", "mg1_off", "replayed_off"))
    (drawn,) = laid_out(lambda: rate.draw(folder, [failed, *others]))
    means = [1e3 * row["mean_s"] for row in others]
    assert drawn.axes[0].get_ylim() == pytest.approx((0.6 * min(means), 3 * max(means)))
    plt.close(drawn)


MANY = range(1, 9)  # there are six colours
SEVERAL: list[tuple[str, Callable[..., list[str]], str, Callable[[int], Any], str]] = [
    ("scaling", rate.draw, "pool_size", int, "{} workers"),
    ("sizes-mixed", mix.draw, "image", "{}px".format, "{}px in the mix"),
    ("batching", batching.draw, "utilisation", float, "ρ = {}"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("run", "draw", "key", "value", "name"), SEVERAL, ids=[one[0] for one in SEVERAL])
def test_every_series_is_drawn_and_looks_like_no_other(
    run: str, draw: Callable[..., list[str]], key: str, value: Callable[[int], Any], name: str
) -> None:
    folder, rows = run_of(run)
    known = next(row[key] for row in rows if row[key])
    rows = [row for row in rows if not row[key]] + [
        row | {key: value(one)} for one in MANY for row in rows if row[key] == known
    ]
    for drawn in laid_out(lambda: draw(folder, rows)):
        looks = {
            label: (handle[0].get_color(), handle[0].get_marker())
            for panel in drawn.axes
            for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
            if isinstance(handle, Container)
        }
        series = [looks.get(name.format(one)) for one in MANY if one > 1]
        assert None not in series
        assert len(set(series)) == len(series)
        plt.close(drawn)


def test_every_worker_has_its_part_of_a_bar() -> None:
    folder, rows = run_of("policies")
    shared = {f"worker{number}": 1 / len(MANY) for number in MANY}
    (drawn,) = laid_out(lambda: policies.draw_shares(folder, [row | {"worker_shares": shared} for row in rows]))
    (panel,) = drawn.axes
    assert sum(patch.get_width() for patch in panel.patches) == pytest.approx(100 * len(panel.get_yticks()))
    plt.close(drawn)


def test_times_inside_the_worker_have_their_bars() -> None:
    folder, rows = run_of("rtt")
    (drawn,) = laid_out(lambda: resolution.draw(folder, rows))
    (panel,) = drawn.axes
    assert [len(one) for one in bars(panel)] == [len(rows)] * 3  # mean, p99, inside the worker
    plt.close(drawn)


def test_round_trips_by_size_are_those_of_one_user_and_of_one_size() -> None:
    _, rows = run_of("rtt")
    assert len(resolution.by_side(rows)) == len(rows)
    others = [row | other for row in rows for other in ({"in_flight": 8}, {"images": "mix-64-224"})]
    assert resolution.by_side(others + rows) == resolution.by_side(rows)


def test_a_run_that_calls_it_cdf_is_drawn_as_ccdf() -> None:
    told = RunFolder.open(RESULTS / "reference/policies").design.resolved() | {"figures": ["cdf", "shares"]}
    assert design_from_resolved(told).figures == ("ccdf", "shares")


def test_the_sheet_says_what_it_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert overview.main([str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("overview: ")
    assert "reference/accuracy is no run folder" in line
