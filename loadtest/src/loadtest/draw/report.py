"""One self-contained HTML page for a run: what was asked, where, what came out, which trials not to trust."""

import base64
import html
import json
from collections.abc import Sequence
from typing import Any

from loadtest.analyse.disturbed import calibrations
from loadtest.draw import interactive
from loadtest.draw.trials import asked
from loadtest.errors import LoadtestError
from loadtest.experiments.design import Design
from loadtest.experiments.folder import RunFolder

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:76rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;font-size:.82rem}td,th{padding:.2rem .55rem;border-bottom:1px solid #ddd;"
    "text-align:right;white-space:nowrap}td:first-child,th:first-child,td:nth-child(2),th:nth-child(2){text-align:left}"
    "figure{margin:1.5rem 0}img{max-width:100%}.wide{overflow-x:auto}pre{font-size:.78rem;background:#f6f6f6;"
    "padding:1rem;white-space:pre-wrap;overflow-wrap:anywhere}.bad{color:#a40000;overflow-wrap:anywhere}"
)
_COLUMNS = (
    ("level", "level"),
    ("cell", "cell"),
    ("image", "image"),
    ("valid_trials", "valid trials"),
    ("precise_trials", "precise trials"),
    ("n", "n"),
    ("errors", "errors"),
    ("asked_hz", "asked /s"),
    ("achieved_hz", "sent /s"),
    ("answered_hz", "answered /s"),
    ("mean_s", "mean ms"),
    ("p50_s", "p50 ms"),
    ("p90_s", "p90 ms"),
    ("p99_s", "p99 ms"),
    ("p999_s", "p99.9 ms"),
    ("lag_p99_s", "lag p99 ms"),
    ("rho", "ρ"),
    ("mg1_mean_s", "M/G/1 ms"),
    ("simulated_mean_s", "simulated ms"),
)


def write_report(folder: RunFolder, figures: Sequence[str]) -> None:
    """Write report.html into the run's folder; it needs no other file.

    Raises:
        LoadtestError: The summary is missing, or the page cannot be written.
    """
    try:
        cells, trials = folder.read_summary("cells"), folder.read_summary("trials")
        images = {name: (folder.path / "figures" / f"{name}.png").read_bytes() for name in figures}
        (folder.path / "report.html").write_text(_page(folder, cells, trials, images), encoding="utf-8")
    except OSError as error:
        raise LoadtestError(f"cannot write {folder.path / 'report.html'}: {error}") from error


def _page(
    folder: RunFolder, cells: list[dict[str, Any]], trials: list[dict[str, Any]], images: dict[str, bytes]
) -> str:
    design = folder.design
    levels = {level.id: folder.read_level(level) or {} for level in folder.measured_levels()}
    trials = [one for one in trials if not one["image"]]  # a trial of a mix has a row for each image too
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{_text(design.name)}</title><style>{_STYLE}</style>{interactive.head()}<main>",
        f"<h1>{_text(design.name)}</h1><p>{_text(design.goal)}</p>",
        f"<p>{len(trials)} trials, begun {_text(folder.created)} UTC, seed {design.seed}, "
        f"{asked(folder, [{'cell': cell.id} for cell in design.cells])} repetitions a cell in random order, "
        f"trials {design.scale:g} times the design's length. Values are means over valid trials ± half-width of "
        "the 95 % t-interval; quantiles are those of all their requests, – where a quantile needs more of them.</p>",
    ]
    parts += [
        f'<figure><img alt="figure {_text(name)}; the table of cells has numbers" '
        f'src="data:image/png;base64,{base64.b64encode(data).decode()}"></figure>'
        for name, data in images.items()
    ]
    parts.append(interactive.body(folder, cells))
    parts.append("<h2 id=cells>Cells</h2><div class=wide role=region aria-labelledby=cells tabindex=0>")
    parts.append(_table(cells) + "</div>")
    parts += _precision(folder.design, trials)
    invalid = [trial for trial in trials if trial["invalid"]]
    parts.append(f"<h2>Trials not to trust: {len(invalid)} of {len(trials)}</h2>")
    parts += [
        f"<p class=bad>{_text(one['level'])} {_text(one['cell'])} r{one['repetition']}: {_text(one['invalid'])}</p>"
        for one in invalid
    ]
    parts += _calibrations(folder)
    parts.append("<h2>Where it ran</h2>")
    parts += [_folded(name, facts) for name, facts in levels.items()]
    parts.append("<h2>What was asked</h2>" + _folded("the design, with every default", design.resolved()))
    parts.append("</main></html>")
    return "\n".join(parts) + "\n"


def _calibrations(folder: RunFolder) -> list[str]:
    """What disturbed the calibrations; nothing where none was."""
    told = calibrations(folder)
    bad = {name: reasons for name, reasons in told.items() if reasons}
    if not bad:
        return []
    return [
        f"<h2>Calibrations not to trust: {len(bad)} of {len(told)}</h2><p>Loads in units of the capacity, and theory, "
        "were made of them.</p>",
        *(f"<p class=bad>{_text(name)}: {_text('; '.join(reasons))}</p>" for name, reasons in bad.items()),
    ]


def _precision(design: Design, trials: list[dict[str, Any]]) -> list[str]:
    """How many trials ended by the precision that the design asks for, and what the others reached."""
    ended = [one for one in trials if one.get("ended")]
    if design.precision is None or not ended:
        return []
    late = [one for one in ended if one["ended"] != "precision"]
    asked = f"±{100 * design.precision['half_width']:g} % of the {design.precision['of']}"
    parts = [
        f"<h2>Precision</h2><p>{len(ended) - len(late)} of {len(ended)} trials ended when {_text(asked)} was reached, "
        f"{len(late)} at their time limit.</p>"
    ]
    for one in late:
        reached = "no interval: too few requests, or unsettled"
        if one["reached"] is not None:
            reached = f"±{100 * one['reached']:.1f} %"
        parts.append(
            f"<p class=bad>{_text(one['level'])} {_text(one['cell'])} r{one['repetition']}: reached {reached}</p>"
        )
    return parts


def _folded(title: str, facts: dict[str, Any]) -> str:
    text = _text(json.dumps(facts, indent=1, ensure_ascii=False))
    return f"<details><summary>{_text(title)}</summary><pre>{text}</pre></details>"


def _table(cells: list[dict[str, Any]]) -> str:
    shown = [(key, title) for key, title in _COLUMNS if any(row.get(key) not in (None, "") for row in cells)]
    head = "".join(f"<th scope=col>{_text(title)}" for _, title in shown)
    rows = ("<tr>" + "".join(f"<td>{_cell(row, key)}" for key, _ in shown) for row in cells)
    return f"<table><tr>{head}{''.join(rows)}</table>"


def _cell(row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    if value is None:
        return "–"
    if key == "valid_trials":
        return f"{value} of {row['trials']}"
    factor = 1e3 if key.endswith("_s") else 1
    if isinstance(value, float):
        half = row.get(key.removesuffix("_s").removesuffix("_hz") + "_ci")
        text = f"{value * factor:.3g}" if abs(value * factor) < 100 else f"{value * factor:.0f}"
        return text + (f" ± {half * factor:.2g}" if half is not None else "")
    return _text(str(value))


def _text(value: str) -> str:
    return html.escape(value)
