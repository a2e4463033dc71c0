"""What theory says of a cell, beside what was measured."""

import math
from typing import Any

import numpy as np

from loadtest.analyse.statistics import t_interval
from loadtest.analyse.theory.law import ServiceLaw
from loadtest.analyse.theory.prediction import predict, replay
from loadtest.analyse.window import spans, warmup_s
from loadtest.experiments.cells import Cell, Level
from loadtest.experiments.design import Design
from loadtest.generate.samples import Trial

_NAMES = (
    "service_s",
    "cv2",
    "rho",
    "mg1_mean_s",
    "simulated_mean_s",
    "simulated_p99_s",
    "mg1_off",
    "simulated_off",
    "replayed_mean_s",
    "replayed_ci",
    "replayed_off",
)


def predictions(
    design: Design, level: Level, cell: Cell, *, law: ServiceLaw | None, row: dict[str, Any], trials: list[Trial]
) -> dict[str, float | None]:
    """Predict a cell of Poisson arrivals from its level's measured service times.

    Args:
        design: Gives the seed.
        level: Says whether workers may sleep: then there is no prediction.
        cell: Gives arrivals and length.
        law: Measured service times; None where there was no calibration.
        row: Has the policy, and asked_hz and mean_s as measured.
        trials: The valid trials.

    Returns:
        Mean service time S of busy workers and its c²; utilisation ρ; mean by M/G/1 with exceptional first service
        (Welch) where the policy is random and ρ < 1; mean and p99 of simulated trials of the same lengths; mean of the
        trials' own arrivals replayed through the law, with its interval; how far the measured mean is off each
        (measured ÷ predicted − 1). None where it does not apply.
    """
    found: dict[str, float | None] = dict.fromkeys(_NAMES)
    if law is None:
        return found
    found |= {"service_s": law.service_s, "cv2": law.cv2}
    rate_hz, mean_s = row["asked_hz"], row["mean_s"]
    if cell.arrivals != "poisson" or rate_hz is None:
        return found
    found["rho"] = rate_hz / law.capacity_hz
    if level.workers_awake not in (None, "all"):
        return found  # the law is that of all workers, and some may sleep
    policy = row["policy"] or "random"
    mg1 = law.steady_mean(rate_hz)
    if policy == "random" and math.isfinite(mg1):
        found["mg1_mean_s"] = mg1
    simulated = predict(law, policy, rate_hz, spans(trials, cell, rate_hz), seed=design.seed)
    if not math.isnan(simulated.mean_s):
        found |= {"simulated_mean_s": simulated.mean_s, "simulated_p99_s": simulated.p99_s}
    rng = np.random.default_rng(design.seed)
    means = [replay(law, trial.samples, warmup_s(trial, cell), rng) for trial in trials]
    found["replayed_mean_s"], found["replayed_ci"] = t_interval([mean for mean in means if mean is not None])
    if mean_s is not None:
        for key in ("mg1", "simulated", "replayed"):
            predicted = found[f"{key}_mean_s"]
            found[f"{key}_off"] = None if predicted is None else mean_s / predicted - 1
    return found
