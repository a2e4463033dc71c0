"""What it buys to run the network once for several photographs: throughput, mean and p99 by setting, with theory."""

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullFormatter, ScalarFormatter

from loadtest.analyse.batches import Runs, predicted, runs_of, servers_of
from loadtest.draw.style import (
    BLUE,
    GREY,
    Row,
    dodged,
    figure,
    halves,
    legend_above,
    looks,
    milliseconds,
    ms,
    save,
)
from loadtest.draw.trials import provenance, ring
from loadtest.experiments.folder import RunFolder

_ASIDE = 1.06  # times a batch, from one of the series that would stand on each other to the next


def draw(folder: RunFolder, rows: list[Row]) -> list[str]:
    """Draw three panels by the most photographs of a run; empty where no level names it."""
    rows = [row for row in rows if row.get("batch") is not None and not row["image"]]
    if not rows:
        return []
    drawn, axes = figure(1, 3, (11.5, 4.4))
    runs = runs_of(folder, rows)
    _throughput(folder, axes[0], [row for row in rows if row["arrivals"] == "closed"])
    loads = [row for row in rows if row["utilisation"] is not None]
    for panel, key in ((axes[1], "mean"), (axes[2], "p99")):
        _responses(folder, panel, loads, key, runs)
    for panel in axes:
        panel.set_xscale("log", base=2)
        panel.xaxis.set_major_locator(FixedLocator(sorted({row["batch"] for row in rows})))
        panel.xaxis.set_major_formatter(ScalarFormatter())
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_xlabel("most photographs of a run")
    legend_above(drawn, *axes)
    text = _served(servers_of(folder, rows)) + _said(rows, runs) + provenance(folder, rows)
    return [save(drawn, folder.path / "figures", "batching", text)]


def _windows(rows: list[Row]) -> list[float]:
    return sorted({row.get("batch_window_ms") or 0.0 for row in rows})


def _of_window(rows: list[Row], window_ms: float) -> list[Row]:
    own = [row for row in rows if (row.get("batch_window_ms") or 0.0) == window_ms]
    return sorted(own, key=lambda row: int(row["batch"]))


def _throughput(folder: RunFolder, panel: Axes, rows: list[Row]) -> None:
    windows = _windows(rows)
    for index, window_ms in enumerate(windows):
        own = _of_window(rows, window_ms)
        places = dodged([row["batch"] for row in own], index, len(windows), _ASIDE, log=True)
        answered = [row["answered_hz"] for row in own]
        panel.errorbar(places, answered, yerr=halves(own, "answered_ci"), color=BLUE, marker="o",
                       markerfacecolor="white" if index else BLUE, linestyle="-" if not index else ":",
                       label=f"window {window_ms:g} ms")  # fmt: skip
        ring(panel, folder, own, places, answered)
    panel.set(title="Throughput at saturation", ylabel="photographs a second")
    panel.set_ylim(bottom=0)


def _responses(folder: RunFolder, panel: Axes, rows: list[Row], key: str, runs: Runs | None) -> None:
    windows, utilisations = _windows(rows), sorted({row["utilisation"] for row in rows})
    for number, (load, colour, marker) in enumerate(looks(utilisations)):
        for index, window_ms in enumerate(windows):
            own = _of_window([row for row in rows if row["utilisation"] == load], window_ms)
            series, count = number * len(windows) + index, len(windows) * len(utilisations)
            places = dodged([row["batch"] for row in own], series, count, _ASIDE, log=True)
            values = milliseconds(own, f"{key}_s")
            panel.errorbar(places, values, yerr=milliseconds(own, f"{key}_ci"), color=colour,
                           marker=marker, markerfacecolor="white" if index else colour, linestyle="none",
                           label=f"ρ = {load:g}" if not index else None)  # fmt: skip
            ring(panel, folder, own, places, values)
            if runs is not None:
                told = [predicted(runs, row, folder.design.seed) for row in own]
                theory = [ms(None if one is None else one[0 if key == "mean" else 1]) for one in told]
                panel.plot(places, theory, color=colour, linestyle="-" if not index else ":", linewidth=1.0)
    if runs is not None:
        panel.plot([], [], color=GREY, linewidth=1.0, label="theory")
    panel.set(title=f"Response time, {key}", ylabel="ms")
    panel.set_ylim(bottom=0)


def _served(servers: list[tuple[int, int]]) -> str:
    """Who ran the network: one process, or several, for which there is no theory."""
    if not servers:
        return ""
    each = [
        f"{f'{workers} workers, each' if workers > 1 else 'one worker'} of "
        f"{f'{processes} processes' if processes > 1 else 'one process'}"
        for workers, processes in servers
    ]
    text = " or ".join(each)
    alone = "" if servers == [(1, 1)] else "There is no theory: it is that of one process. "
    return f"{text[0].upper()}{text[1:]}. {alone}"


def _said(rows: list[Row], runs: Runs | None) -> str:
    filled = [row for row in rows if row["arrivals"] == "closed"]
    users = filled[0]["in_flight"] if filled else 0
    text = (
        f"Saturation: a closed loop of {users} users. ρ: share of what a setting did. "
        "Filled: a run takes those that wait; hollow: it waits for others so long. "
    )
    if runs is not None:
        took = ", ".join(f"{1e3 * runs.seconds[most - 1]:.1f} ms for {most}" for most in (1, 2, 4, 8, 16)
                         if most <= len(runs.seconds))  # fmt: skip
        text += (
            f"Lines: one server that takes several at once (bulk service), from the measured times of a run, {took}. "
        )
    return text
