"""What tells arrivals from a Poisson process."""

import numpy as np
import numpy.typing as npt


def poisson_faults(offsets: npt.NDArray[np.float64], rate_hz: float, duration_s: float) -> list[str]:
    """What tells these offsets from a Poisson process of rate_hz over duration_s; empty where nothing does at 4 σ."""
    from scipy import stats

    faults = []
    for window_s in (0.1, 1.0, 10.0):
        ratio, error = _dispersion(offsets, window_s, duration_s)
        if abs(ratio - 1) > 4 * error:
            faults.append(f"dispersion of counts in {window_s} s is {ratio:.3f}")
    if stats.kstest(offsets % 1.0, "uniform").pvalue < 6e-5:
        faults.append("position within the second")
    if stats.kstest(np.diff(offsets), "expon", args=(0, 1 / rate_hz)).pvalue < 6e-5:
        faults.append("gaps")
    if abs(len(offsets) - rate_hz * duration_s) > 4 * np.sqrt(rate_hz * duration_s):
        faults.append("rate")
    return faults


def _dispersion(offsets: npt.NDArray[np.float64], window_s: float, duration_s: float) -> tuple[float, float]:
    """Variance over mean of the counts in windows, and its standard error for a Poisson process."""
    edges = np.arange(0.0, duration_s + window_s / 2, window_s)
    counts, _ = np.histogram(offsets, edges)
    return counts.var(ddof=1) / counts.mean(), np.sqrt(2.0 / (len(counts) - 1))
