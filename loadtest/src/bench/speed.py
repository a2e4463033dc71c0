"""Rates and times of a run, as the page's tables show them."""

from __future__ import annotations

from bench import means, tails
from bench.layout import LIMITS, images_hz
from bench.trials import Run

BEHIND, FEW = 0.1, 8
_CAPACITY = "closed-16"


def rate(run: Run, key: str, load: str) -> str:
    """Return the images a second of a system or a limit."""
    return means.of(run, key, load, images_hz).text()


def ratio(run: Run, one: str, other: str, load: str) -> str:
    """Return the images a second of one over those of the other."""
    return means.ratio(run, one, other, load, images_hz).text(2)


def late(run: Run, key: str, load: str) -> str:
    """Return the latest answers of a system; a limit has none."""
    return "–" if key in LIMITS else tails.text(run, key, load)


def cpu_ms(run: Run, key: str, load: str) -> str:
    """Return the CPU milliseconds of an image."""
    return means.of(run, key, load, lambda trial: trial.cpu_ms).text(1)


def latency(run: Run, key: str, load: str) -> str:
    """Return the median and the latest answers of a system at a fixed rate, and whether it fell behind."""
    half = tails.pooled(run, key, load, 0.5).text()
    return f"p50 {half}, {tails.text(run, key, load)}{' *behind*' * behind(run, key, load)}"


def behind(run: Run, key: str, load: str) -> bool:
    """Tell whether a system fell behind the rate of a load in most rounds."""
    capacity_hz = {trial.number: trial.images_hz for trial in run.of(key, _CAPACITY)}
    late_ = [
        trial.waiting > max(FEW, BEHIND * len(trial.requests))
        or capacity_hz.get(trial.number, trial.rate_hz) < trial.rate_hz
        for trial in run.of(key, load)
    ]
    return 2 * sum(late_) > len(late_)


def worst_lag_ms(run: Run) -> float:
    """Return by how many milliseconds the generator was late at p99 in its worst trial at a fixed rate."""
    return max(trial.lag_ms(0.99) for trial in run.trials if trial.load.startswith("open"))


def failed(run: Run, key: str, loads: list[str]) -> str:
    """Say how many requests of a system failed and how many were answered wrong; empty where none."""
    each = [trial for load in loads for trial in run.of(key, load)]
    counts = {"requests failed": sum(trial.failed for trial in each), "wrong answers": sum(one.wrong for one in each)}
    said = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f" ({said})" if said else ""
