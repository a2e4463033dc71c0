"""Why a cell's mean is far from what theory says: which trial, and what is known of it."""

from collections.abc import Sequence
from typing import Any

from loadtest.analyse.foretold import WITHIN

Row = dict[str, Any]
_NOTICED = 0.01  # share of the host's processor time that explains something
_HOST = {"others": "other programs", "steal": "the hypervisor"}


def why(cell: Row, trials: Sequence[Row]) -> str:
    """Say which trial takes a cell's mean away from theory, and why; empty where it is near and known well enough.

    A cell of which no trial counts, or of which theory says nothing, gets these words.

    Args:
        cell: A row of the cells, with mean_s and mean_ci, and mg1_mean_s, mg1_off and replayed_off.
        trials: Its rows of the trials.
    """
    valid = [one for one in trials if not one["invalid"]]
    if not valid:
        return "no trial counts"
    if cell["mg1_off"] is None:
        return "theory has no steady state for it"
    wide = None if cell["mean_ci"] is None else cell["mean_ci"] / cell["mean_s"]
    known = wide is not None and wide <= WITHIN
    if abs(cell["mg1_off"]) <= WITHIN and known:
        return ""
    worst = max(valid, key=lambda one: abs(one["mean_s"] / cell["mg1_mean_s"] - 1))
    reasons = [
        f"{who} used {100 * worst[key]:.0f} % of the host"
        for key, who in _HOST.items()
        if (worst.get(key) or 0) > _NOTICED
    ]
    if not known:
        reasons.append("one trial has no interval" if wide is None else f"interval too wide (± {100 * wide:.0f} %)")
    if abs(cell["mg1_off"]) > WITHIN and abs(cell["replayed_off"]) <= WITHIN:
        reasons.append("luck of its arrivals: replayed, it is near")
    elif abs(cell["mg1_off"]) > WITHIN:
        faster = "slower" if cell["replayed_off"] > 0 else "faster"
        reasons.append(f"the workers were {faster} than when they were calibrated")
    return f"trial {worst['repetition']} ({1000 * worst['mean_s']:.1f} ms): {'; '.join(reasons)}"
