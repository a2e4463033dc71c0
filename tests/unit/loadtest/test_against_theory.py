"""What is foretold of a cell, of which part of its trials, and of which pools nothing is."""

from pathlib import Path

import numpy as np
import pytest

from loadtest.analyse.against_theory import predictions
from loadtest.analyse.theory.law import ServiceLaw
from loadtest.experiments.cells import Cell, Level
from loadtest.experiments.reader import load_design
from loadtest.generate.samples import Sample, Trial
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
        row={"policy": None, "asked_hz": 60.0, "mean_s": 0.03},
        trials=[],
    )
    assert (found["service_s"], found["rho"]) == (0.02, pytest.approx(0.3))
    for name in ("mg1_mean_s", "mg1_off", "simulated_mean_s", "simulated_off"):
        assert (found[name] is not None) == foretold


def test_theory_is_of_the_part_of_a_trial_that_counts() -> None:
    """A trial that ended by precision is shorter than its design has it, and more of its beginning is cut."""
    law = ServiceLaw(np.ones(1), (0.02,), 0.0, names=("worker1",))
    due = [*[0.0] * 50, *np.arange(2.0, 8.0, 0.1)]  # a queue that is gone when the part that counts begins
    samples = tuple(Sample(seq, at, at, at + 0.02, 200, "worker1", None) for seq, at in enumerate(map(float, due)))
    footer = {"precision": {"cut_s": 2.0, "ended_s": 8.0}}
    trial = Trial(Path("trial"), {"duration_s": 100.0}, samples, footer, None)
    found = predictions(
        load_design(REPOSITORY / "loadtest/designs/scaling.yml"),
        Level(),
        Cell("poisson", ((128, 1.0),), rate_hz=100.0, duration_s=100.0),
        law=law,
        row={"policy": None, "asked_hz": 100.0, "mean_s": 0.02},
        trials=[trial],
    )
    assert found["replayed_mean_s"] == pytest.approx(0.02)
    # twice what the worker can do: who comes after t seconds waits for t, and t is 2 to 8 s here
    assert found["simulated_mean_s"] == pytest.approx(5.0, rel=0.05)
