"""What theory says of a cell, beside what was measured."""

import math
from typing import Any

from loadtest.experiments.cells import Cell, Level
from loadtest.experiments.design import Design
from loadtest.theory.prediction import ServiceLaw, predict

_NAMES = ("service_s", "cv2", "rho", "mg1_mean_s", "simulated_mean_s", "simulated_p99_s", "mg1_off", "simulated_off")


def predictions(
    design: Design, level: Level, cell: Cell, law: ServiceLaw | None, row: dict[str, Any]
) -> dict[str, float | None]:
    """Predict a cell of Poisson arrivals from its level's measured service times.

    Args:
        design: Gives the seed.
        level: Gives the policy.
        cell: Gives arrivals and length.
        law: Measured service times; None where there was no calibration.
        row: Has asked_hz, mean_s as measured.

    Returns:
        Mean service time S and its c²; utilisation ρ; mean by M/G/1 where the policy is random and ρ < 1; mean and p99
        of simulated trials of the same length; how far the measured mean is off each (measured ÷ predicted − 1). None
        where it does not apply.
    """
    found: dict[str, float | None] = dict.fromkeys(_NAMES)
    if law is None:
        return found
    found |= {"service_s": law.service_s, "cv2": law.cv2}
    rate_hz, mean_s = row["asked_hz"], row["mean_s"]
    if cell.arrivals != "poisson" or rate_hz is None:
        return found
    capacity_hz = sum(1 / mean for mean in law.means_s)
    found["rho"] = rate_hz / capacity_hz
    policy = level.policy or "random"
    mg1 = law.mg1_mean(rate_hz)
    if policy == "random" and math.isfinite(mg1):
        found["mg1_mean_s"] = mg1
    simulated = predict(
        law, policy, rate_hz, duration_s=cell.length_s(rate_hz), warmup_s=cell.warmup_s, seed=design.seed
    )
    found |= {"simulated_mean_s": simulated.mean_s, "simulated_p99_s": simulated.p99_s}
    if mean_s is not None:
        for key in ("mg1", "simulated"):
            predicted = found[f"{key}_mean_s"]
            found[f"{key}_off"] = None if predicted is None else mean_s / predicted - 1
    return found
