"""What is foretold of a cell, and of which pools nothing is."""

import numpy as np
import pytest

from loadtest.analyse.against_theory import predictions
from loadtest.analyse.theory.law import ServiceLaw
from loadtest.experiments.cells import Cell, Level
from loadtest.experiments.reader import load_design
from tests.conftest import REPOSITORY


@pytest.mark.parametrize(
    ("awake", "foretold"),
    [(None, True), ("all", True), ("auto", False), ("least", False)],
    ids=["no-autoscaler", "all", "auto", "least"],
)
def test_nothing_is_foretold_of_workers_that_may_sleep(awake: str | None, *, foretold: bool) -> None:
    """The law is that of all workers together."""
    law = ServiceLaw(np.ones(1), (0.02,) * 4, 0.001)
    cell = Cell("poisson", ((128, 1.0),), utilisation=0.3, duration_s=5.0)
    found = predictions(
        load_design(REPOSITORY / "loadtest/designs/autoscale.yml"),
        Level(workers_awake=awake),
        cell,
        law=law,
        row={"asked_hz": 60.0, "mean_s": 0.03},
        trials=[],
    )
    assert (found["service_s"], found["rho"]) == (0.02, pytest.approx(0.3))
    for name in ("mg1_mean_s", "mg1_off", "simulated_mean_s", "simulated_off"):
        assert (found[name] is not None) == foretold
