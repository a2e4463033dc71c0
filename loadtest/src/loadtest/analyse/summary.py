"""Summarise a run: one row a trial, one row a cell, one row a model where levels name them, as CSV, JSON and Parquet.

Times are response times (last byte − when the request was due) in seconds, of answered requests, warm-up cut. A cell's
value is the mean over its valid trials of each trial's value, with the half-width of the 95 % t-interval in `…_ci`. Its
quantiles are those of the requests of all valid trials together, with the t-interval of how far the trials' own
differ. A quantile stands where ten requests or more lie beyond it: p99 from 1,000 requests on, p99.9 from 10,000.
Incomplete and invalid trials are listed, and left out of their cell. Where levels say who is awake there are `refused`
(429 or 503), `lost` (other failures) and `worker_s` (seconds for which workers were awake, in a trial), and one row for
each figure that is promised of an autoscaler (`bars`).
"""

import csv
import io
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.analyse.accuracy import ACCURACY, accuracy
from loadtest.analyse.against_theory import predictions
from loadtest.analyse.bars import bars_of
from loadtest.analyse.laws import law_of
from loadtest.analyse.models import model_rows
from loadtest.analyse.pool import cell_columns, is_watched, trial_columns
from loadtest.analyse.statistics import failed_interval, pooled_quantile, quantile, t_interval
from loadtest.analyse.theory.law import ServiceLaw
from loadtest.analyse.window import (
    answered_hz,
    ending,
    kept,
    length_s,
    measured_by_original,
    response_times,
    warmup_s,
)
from loadtest.errors import LoadtestError
from loadtest.experiments.cells import Cell, Level
from loadtest.experiments.design import without_unused
from loadtest.experiments.folder import RunFolder
from loadtest.experiments.record import policy_of
from loadtest.experiments.validity import invalid_because, unmeasured
from loadtest.generate.samples import Trial, read_trial

Row = dict[str, Any]
QUANTILES = {"p50_s": 0.5, "p90_s": 0.9, "p99_s": 0.99, "p999_s": 0.999}
_AVERAGED = ("mean_s", "measured_mean_s", "achieved_hz", "answered_hz", "worker_total_s")
_NOTICED = ("cpu_share", "machine_busy", "others", "steal", "link", "resent", "peak_in_flight", "not_sent")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run measured.

    Attributes:
        cells: One row for each level and cell, and for each image where several are mixed.
        trials: The same for each repetition.
        models: One row for each level that names its model; empty where none does.
        bars: One row for each figure that is promised of an autoscaler; empty where none decides.
    """

    cells: list[Row]
    trials: list[Row]
    models: list[Row]
    bars: list[Row]

    def write(self, folder: Path) -> None:
        """Write each table as .csv, .json and .parquet into a folder; the same bytes for the same samples.

        Raises:
            LoadtestError: It cannot be written.
        """
        import pyarrow  # noqa: PLC0415 — only here, and slow to import
        import pyarrow.parquet  # noqa: PLC0415

        try:
            folder.mkdir(exist_ok=True)
            for name, rows in asdict(self).items():
                if not rows:
                    continue
                (folder / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
                flat = [{key: _flat(value) for key, value in row.items()} for row in rows]
                text = io.StringIO()
                writer = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(flat)
                (folder / f"{name}.csv").write_text(text.getvalue(), encoding="utf-8")
                pyarrow.parquet.write_table(pyarrow.Table.from_pylist(flat), folder / f"{name}.parquet")
        except OSError as error:
            raise LoadtestError(f"cannot write {folder}: {error.strerror}") from error


def summarize(folder: RunFolder) -> Summary:
    """Summarise every trial that is there.

    Raises:
        LoadtestError: There is none, or a samples file is none.
    """
    cells: list[Row] = []
    trials: list[Row] = []
    for level in folder.measured_levels():
        record = folder.read_level(level)
        assert record is not None
        for cell in folder.design.cells:
            law = law_of(folder, level, record, cell)
            files = [
                (number, read_trial(path))
                for number in folder.design.numbers(cell)
                if (path := folder.trial_path(level, cell, number)).exists()
            ]
            images = ["", *(f"{side}px" for side, _ in cell.images)] if len(cell.images) > 1 else [""]
            for image in images:
                rows = [
                    _trial_row(folder, level, cell, (number, trial), image=image, law=law) for number, trial in files
                ]
                trials += rows
                if rows:
                    valid = [trial for (_, trial), row in zip(files, rows, strict=True) if not row["invalid"]]
                    cells.append(_cell_row(folder, level, cell, image=image, rows=rows, valid=valid, law=law))
    if not trials:
        raise LoadtestError(f"{folder.path} holds no trial yet; `loadtest run` adds them")
    found = (cells, trials, model_rows(folder, cells), bars_of(folder, cells))
    return Summary(*([_rounded(row) for row in rows] for rows in found))


def models_of(folder: RunFolder) -> list[Row]:
    """The run's models, one row each, from its raw samples; empty where no level that names a model is measured.

    Raises:
        LoadtestError: A samples file is none.
    """
    return summarize(folder).models if folder.measured_levels() else []


def _trial_row(
    folder: RunFolder, level: Level, cell: Cell, numbered: tuple[int, Trial], *, image: str, law: ServiceLaw | None
) -> Row:
    number, trial = numbered
    samples = kept(trial, cell, image)
    good = [one for one in samples if one.ok]
    times = response_times(trial, cell, image)
    until_s = length_s(trial)
    window_s = max(until_s - warmup_s(trial, cell), 1e-9)
    reasons = invalid_because(trial.samples, trial.footer, law.service_s if law else None, folder.design.validity)
    totals = [one.total_s for one in good if one.total_s is not None]
    row: Row = {
        "level": level.id,
        "cell": cell.id,
        "image": image,
        "repetition": number,
        "n": len(samples),
        "errors": len(samples) - len(good),
        "invalid": "; ".join(reasons + unmeasured(trial.samples, warmup_s(trial, cell))),
        "asked_hz": _asked_hz(trial, cell, image),
        "achieved_hz": sum(one.sent_s < until_s for one in samples if one.done_s > one.sent_s) / window_s,
        "answered_hz": answered_hz(trial, cell, image),
        "mean_s": float(times.mean()) if len(times) else None,
    }
    row |= {name: quantile(times, share) for name, share in QUANTILES.items()}
    measured = measured_by_original(cell, good)
    row["measured_n"] = len(measured) if cell.measured_every else None
    row["measured_mean_s"] = float(np.mean(measured)) if measured else None
    row["worker_total_s"] = float(np.mean(totals)) if totals else None
    lags = np.array([one.lag_s for one in trial.samples])
    row |= {"lag_p50_s": quantile(lags, 0.5), "lag_p99_s": quantile(lags, 0.99)}
    row |= {key: (trial.footer or {}).get(key) for key in _NOTICED}
    if folder.design.precision is not None:
        row |= {key: ending(trial).get(key) for key in ("ended", "reached")}
    if is_watched(folder.design):
        row |= trial_columns(trial, cell, image)
    return row


def _asked_hz(trial: Trial, cell: Cell, image: str) -> float | None:
    """Requests a second that were asked for, of one image its share of them; None where a load has no rate."""
    asked_hz: float | None = trial.header.get("asked_hz")
    if asked_hz is None or not image:
        return asked_hz
    return asked_hz * dict(cell.images)[int(image.removesuffix("px"))]


def _cell_row(
    folder: RunFolder,
    level: Level,
    cell: Cell,
    *,
    image: str,
    rows: list[Row],
    valid: list[Trial],
    law: ServiceLaw | None,
) -> Row:
    good = [row for row in rows if not row["invalid"]]
    count, errors = sum(row["n"] for row in good), sum(row["errors"] for row in good)
    low, high = failed_interval([one["errors"] for one in good], [one["n"] for one in good])
    row: Row = {"level": level.id, **without_unused(asdict(level))}
    row |= {"policy": policy_of(level, folder.read_level(level) or {})}
    row |= {"cell": cell.id, "image": image, "images": cell.images_id}
    row |= {key: getattr(cell, key) for key in ("arrivals", "interval_s", "utilisation", "in_flight", "measured_every")}
    row |= {"trials": len(rows), "valid_trials": len(good), "n": count, "errors": errors}
    row["valid_numbers"] = [one["repetition"] for one in good]
    row |= {"errors_low": low, "errors_high": high}
    row["asked_hz"] = next((one["asked_hz"] for one in rows if one["asked_hz"]), None)
    for key in _AVERAGED:
        row[key], row[f"{key.removesuffix('_s').removesuffix('_hz')}_ci"] = t_interval(
            [one[key] for one in good if one[key] is not None]
        )
    times = [response_times(trial, cell, image) for trial in valid]
    for name, share in QUANTILES.items():
        row[name], row[name.replace("_s", "_ci")] = pooled_quantile(times, share)
    lags = [np.array([one.lag_s for one in trial.samples]) for trial in valid]
    row["lag_p99_s"], row["lag_p99_ci"] = pooled_quantile(lags, 0.99)
    if folder.design.precision is not None:
        row["precise_trials"] = sum(one["ended"] == "precision" for one in good)
    if is_watched(folder.design):
        row |= cell_columns(good)
    row["measured_n"] = sum(one["measured_n"] or 0 for one in good) if cell.measured_every else None
    workers = Counter(one.worker for trial in valid for one in kept(trial, cell, image) if one.ok)
    total = sum(workers.values())
    row["worker_shares"] = {str(name): workers[name] / total for name in sorted(workers, key=str)}
    row |= predictions(folder.design, level, cell, law=law if not image else None, row=row, trials=valid)
    row |= accuracy(valid) if cell.every_image else dict.fromkeys(ACCURACY)
    return row


def _flat(value: object) -> object:
    return json.dumps(value) if isinstance(value, dict | list) else value


def _rounded(row: Row) -> Row:
    def short(value: object) -> object:
        if isinstance(value, float):
            return float(f"{value:.9g}")
        if isinstance(value, dict):
            return {key: short(one) for key, one in value.items()}
        return value

    return {key: short(value) for key, value in row.items()}
