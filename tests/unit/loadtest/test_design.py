"""Designs: what cannot be run is refused with every reason; what can is the same for the same seed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from loadtest.errors import LoadtestError
from loadtest.experiments.calibration import Capacity
from loadtest.experiments.cells import trial_seed
from loadtest.experiments.design import SHRINKS_S, Design, design_folders, design_from_resolved, find_design
from loadtest.experiments.folder import RunFolder
from loadtest.experiments.loads import load_of, mean_rate, warnings_ahead
from loadtest.experiments.reader import load_design
from loadtest.generate.limits import Limits

GOOD: dict[str, Any] = {
    "name": "good",
    "goal": "Is it refused?",
    "seed": 1,
    "repetitions": 5,
    "cells": [{"arrivals": "poisson", "rate_hz": 5, "image_px": 64, "duration_s": 2}],
}
SHIPPED = sorted(path.stem for folder in design_folders() for path in folder.glob("*.yml"))


def load(folder: Path, **changes: Any) -> Design:
    content = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    path = folder / "design.yml"
    path.write_text(yaml.safe_dump(content))
    return load_design(path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"seed": None}, "seed is missing: without one nobody can repeat", id="no-seed"),
        pytest.param({"repetitions": 4}, "repetitions: 4 is impossible; give 5 to 1000", id="too-few-repetitions"),
        pytest.param({"deployment": {"pool": 2}}, "deployment.pool is not a known factor", id="unknown-factor"),
        pytest.param({"deployment": {"polcy": "random"}}, "did you mean policy", id="misspelt-factor"),
        pytest.param({"deployment": {"pool_size": [1, 0]}}, "0 is impossible; give 1 to 1000", id="impossible-level"),
        pytest.param({"deployment": {"policy": "fastest"}}, "'fastest' is not one of random", id="unknown-policy"),
        pytest.param(
            {"deployment": {"pool_size": 1, "slow_worker": 3}}, "slows one of several workers", id="slow-lone-worker"
        ),
        pytest.param({"deployment": {"batch": 17}}, "17 is impossible; give 1 to 16", id="too-large-a-batch"),
        pytest.param({"deployment": {"batch_window_ms": 5}}, "batch_window_ms needs batch", id="window-alone"),
        pytest.param({"deployment": {"workers_awake": "few"}}, "'few' is not one of auto, least, all", id="few-awake"),
        pytest.param({"deployment": {"workers_awake": ["auto", "least"]}}, "needs the level all", id="never-all-awake"),
        pytest.param({"deployment": {"model": "a/../b"}}, "is not the name of a model", id="model-by-path"),
        pytest.param({"deployment": {"model": ["lite0", "lite0"]}}, "lite0 stands twice", id="same-model-twice"),
        pytest.param(
            {"cells": [{**GOOD["cells"][0], "repetitions": 4}]}, "repetitions under 5 are for", id="few-of-a-cell"
        ),
        pytest.param({"cells": [{**GOOD["cells"][0], "rate_hz": -1}]}, "-1 is impossible", id="negative-rate"),
        pytest.param({"cells": [{**GOOD["cells"][0], "utilisation": 0.5}]}, "need one of rate_hz", id="two-rates"),
        pytest.param({"cells": [{"arrivals": "closed", "image_px": 1, "requests": 1}]}, "in_flight", id="closed-alone"),
        pytest.param({"cells": GOOD["cells"] * 2}, "stands twice", id="same-cell-twice"),
        pytest.param({"cells": [{**GOOD["cells"][0], "warmup_s": 2}]}, "leaves nothing", id="all-warm-up"),
        pytest.param({"cells": None}, "cells is missing", id="no-cells"),
        pytest.param({"minutes": 4}, "minutes is not a known factor; they are worked out now: remove", id="minutes"),
        pytest.param({"figures": ["pie"]}, "is not a list of", id="unknown-figure"),
        pytest.param({"precision": 0.05}, "precision is not a mapping, such as", id="bare-precision"),
        pytest.param({"precision": {"of": "p99"}}, "precision.half_width is missing", id="precision-of-what-width"),
        pytest.param(
            {"precision": {"of": "p42", "half_width": 0.1}}, "precision.of: 'p42' is not one", id="odd-quantile"
        ),
        pytest.param(
            {
                "precision": {"half_width": 0.1},
                "cells": [{"arrivals": "original", "interval_s": 1, "measured_every": 1, "requests": 9, "image_px": 1}],
            },
            "precision can end no trial of this design",
            id="precision-of-fixed-lists",
        ),
        pytest.param({"dirty": "yes"}, "dirty: 'yes' is neither true nor false", id="odd-flag"),
    ],
)
def test_a_design_that_cannot_be_run_is_refused(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(LoadtestError) as caught:
        load(tmp_path, **changes)
    assert says in str(caught.value)


def test_every_reason_is_given_at_once(tmp_path: Path) -> None:
    with pytest.raises(LoadtestError) as caught:
        load(tmp_path, seed=None, repetitions=0, deployment={"pool_size": "many"})
    assert str(caught.value).count("\n  - ") == 3


@pytest.mark.parametrize("text", ["[1, 2]", "a: b: c", "\tname: x"])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "design.yml"
    path.write_text(text)
    with pytest.raises(LoadtestError, match="design"):
        load_design(path)


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(LoadtestError, match="rtt, scaling"):
        find_design("scalling")


@pytest.mark.parametrize("name", SHIPPED)
def test_designs_that_come_along_say_what_a_reader_needs(name: str) -> None:
    design = load_design(find_design(name))
    assert design.name == name
    assert design.goal.endswith("?")
    assert design.repetitions >= 5
    assert design.figures
    assert design_from_resolved(yaml.safe_load(yaml.safe_dump(design.resolved()))) == design


def test_the_designs_are_those_of_the_house() -> None:
    others = ["accuracy", "autoscale", "batching", "models", "original", "policies", "rtt", "sizes-mixed"]
    assert sorted([*others, "scaling"]) == SHIPPED
    scaling = load_design(find_design("scaling"))
    assert {level.pool_size for level in scaling.levels} == {1, 2, 4}
    assert {cell.interval_s for cell in scaling.cells} >= {0.5, 0.2, 0.1, 0.01}
    assert {cell.utilisation for cell in scaling.cells} >= {0.2, 0.4, 0.6, 0.8, 1.0, 1.2}
    policies = load_design(find_design("policies"))
    assert len(policies.levels) == 8
    assert {cell.utilisation for cell in policies.cells} == {0.5, 0.8, 0.9}


def test_the_design_of_the_autoscaler_is_short_and_sends_enough() -> None:
    """Four workers of a slice, each with a third of a core, answer nearly 200 a second; half of that has to do."""
    design = load_design(find_design("autoscale"))
    assert design.minutes <= 100
    assert {level.workers_awake for level in design.levels} == {"auto", "least", "all"}
    assert [(cell.arrivals, cell.factor or cell.period_s) for cell in design.cells] == [
        ("step", 4),
        ("ramp", 4),
        ("sine", 600),
        ("step", 10),
        ("poisson", None),
    ]
    for cell in design.cells:
        assert cell.duration_s is not None
        rate_hz = cell.rate(100.0)
        assert rate_hz is not None
        trials = len(design.numbers(cell))
        assert mean_rate(cell, rate_hz, cell.duration_s) * cell.duration_s * trials >= 5000
    (sine,) = (cell for cell in design.cells if cell.arrivals == "sine")
    assert sine.duration_s is not None
    assert sine.duration_s - sine.warmup_s == sine.period_s


def test_a_load_may_be_for_one_kind_of_level_alone(tmp_path: Path) -> None:
    cells = [GOOD["cells"][0], {**GOOD["cells"][0], "image_px": 32, "only_awake": "auto"}]
    design = load(tmp_path, deployment={"workers_awake": ["auto", "all"]}, cells=cells)
    asked = {level.workers_awake: {cell.images_id for cell, _ in design.trials(level)} for level in design.levels}
    assert asked == {"auto": {"64px", "32px"}, "all": {"64px"}}
    shared = load(tmp_path, deployment={"workers_awake": ["auto", "all"]}, cells=[cells[0]])
    everywhere = load(
        tmp_path, deployment={"workers_awake": ["auto", "all"]}, cells=[cells[0], {**cells[0], "image_px": 32}]
    )
    assert shared.minutes < design.minutes == pytest.approx(everywhere.minutes - 10 / 60)
    assert design_from_resolved(design.resolved()) == design
    with pytest.raises(LoadtestError, match="only_awake is auto, and no level of the deployment has that"):
        load(tmp_path, cells=cells)


def test_a_trial_of_many_minutes_may_be_run_once(tmp_path: Path) -> None:
    (cell,) = load(tmp_path, cells=[{**GOOD["cells"][0], "duration_s": 300, "repetitions": 1}]).cells
    assert cell.repetitions == 1
    with pytest.raises(LoadtestError, match="repetitions under 5"):
        load(tmp_path, cells=[{**GOOD["cells"][0], "duration_s": 299, "repetitions": 1}])


def test_trials_run_in_random_order_that_the_seed_decides() -> None:
    design = load_design(find_design("scaling"))
    level = design.levels[0]
    order = [(cell.id, number) for cell, number in design.trials(level)]
    assert order == [(cell.id, number) for cell, number in design.trials(level)]
    assert order != sorted(order)
    assert len(set(order)) == len(order) == len(design.cells) * design.repetitions
    assert order != [(cell.id, number) for cell, number in design.trials(design.levels[1])]


def test_seeds_differ_between_trials_and_do_not_depend_on_the_level() -> None:
    design = load_design(find_design("policies"))
    states = {
        tuple(trial_seed(design.seed, cell, number).generate_state(2))
        for cell, number in design.trials(design.levels[0])
    }
    assert len(states) == len(design.cells) * design.repetitions
    others = {
        tuple(trial_seed(design.seed, cell, number).generate_state(2))
        for cell, number in design.trials(design.levels[1])
    }
    assert states == others


def test_a_level_is_named_by_its_model_and_calibrated_for_it(tmp_path: Path) -> None:
    design = load(tmp_path, deployment={"model": ["imagenet", "lite0-160"], "policy": ["random", "least_conn"]})
    assert {level.id for level in design.levels} == {
        f"{model}-{policy}" for model in ("imagenet", "lite0-160") for policy in ("random", "least_conn")
    }
    assert {level.hardware_id for level in design.levels} == {"imagenet", "lite0-160"}
    assert design_from_resolved(design.resolved()) == design
    assert "model" not in load(tmp_path, deployment={"policy": "random"}).resolved()["levels"][0]


def test_levels_with_all_workers_awake_come_first_and_calibrate_the_others(tmp_path: Path) -> None:
    for seed in range(5):
        design = load(tmp_path, seed=seed, deployment={"workers_awake": ["auto", "least", "all"], "pool_size": [2, 4]})
        assert [level.workers_awake == "all" for level in design.levels] == [True, True, False, False, False, False]
        assert {level.hardware_id for level in design.levels} == {"pool2", "pool4"}
    assert {level.id for level in design.levels} >= {"pool2-awake-auto", "pool4-awake-all"}
    assert design_from_resolved(design.resolved()) == design
    assert "workers_awake" not in load(tmp_path, deployment={"pool_size": 2}).resolved()["levels"][0]


def test_a_pool_that_has_to_shrink_before_each_trial_takes_longer(tmp_path: Path) -> None:
    held = load(tmp_path, deployment={"workers_awake": ["all", "least"]})
    free = load(tmp_path, deployment={"workers_awake": ["all", "auto"]})
    assert free.minutes - held.minutes == pytest.approx(5 * SHRINKS_S / 60)


def test_a_pool_is_calibrated_once_whatever_else_its_levels_differ_in(tmp_path: Path) -> None:
    one = load(tmp_path).minutes
    alike = load(tmp_path, deployment={"policy": ["random", "least_conn"], "workers_awake": ["all", "least"]}).minutes
    others = load(tmp_path, deployment={"pool_size": [1, 2, 3, 4]}).minutes
    calibration, level = (others - alike) / 3, 0.5  # 20 s to deploy it, five trials of 2 s
    assert alike == pytest.approx(one + 3 * level)
    assert one == pytest.approx(calibration + level)
    closed = load(tmp_path, calibration={"idle_requests": 0}).minutes
    assert closed == load(tmp_path, calibration={"idle_requests": 0, "busy_s": 0}).minutes < one


def test_scale_lengthens_trials_and_is_recorded(tmp_path: Path) -> None:
    design = load(tmp_path)
    longer = design.scaled(5)
    assert longer.cells[0].length_s(5.0) == 5 * design.cells[0].length_s(5.0)
    assert longer.resolved()["scale"] == 5
    assert longer != design
    with pytest.raises(LoadtestError, match="scale"):
        design.scaled(0)


OF_REQUESTS = {"arrivals": "poisson", "rate_hz": 50, "image_px": 64, "requests": 100}
BY_CAPACITY = {"arrivals": "poisson", "utilisation": 0.8, "image_px": 64, "requests": 400}


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [
        pytest.param({**OF_REQUESTS, "warmup_s": 2}, 2, id="requests"),
        pytest.param({**OF_REQUESTS, "requests": 400, "max_duration_s": 1, "warmup_s": 1}, 1, id="at-most"),
        pytest.param({**OF_REQUESTS, "min_duration_s": 3, "warmup_s": 3}, 3, id="at-least"),
        pytest.param({**BY_CAPACITY, "max_duration_s": 4, "warmup_s": 4}, 4, id="of-the-capacity-at-most"),
        pytest.param(
            {"arrivals": "trace", "trace": "arrivals.txt", "image_px": 64, "duration_s": 9, "warmup_s": 5},
            5,
            id="trace",
        ),
    ],
)
def test_a_warm_up_that_leaves_nothing_is_refused(tmp_path: Path, cell: dict[str, Any], seconds: float) -> None:
    (tmp_path / "arrivals.txt").write_text("0\n5\n")
    with pytest.raises(LoadtestError, match=f"warmup_s leaves nothing of the {seconds} s to measure"):
        load(tmp_path, cells=[cell])
    assert load(tmp_path, cells=[{**cell, "warmup_s": 0.9 * seconds}]).cells[0].shortest_s == seconds


def test_a_warm_up_that_leaves_nothing_of_what_the_capacity_decides_is_said(tmp_path: Path) -> None:
    (cell,) = load(tmp_path, cells=[{**BY_CAPACITY, "warmup_s": 1}]).cells
    quick, slow = (Capacity(rate, 0.01, 0.0, 0.0, 0.01, None, {"one": rate}, 1, "gaps") for rate in (500.0, 400.0))
    assert warnings_ahead([cell], {"64px": slow}, None) == []
    assert warnings_ahead([cell], {"64px": quick}, None) == [
        "poisson-u0.8-64px: warmup_s leaves nothing of the 1 s that a trial lasts here"
    ]


@pytest.mark.parametrize(("cell", "factor"), [({**GOOD["cells"][0], "warmup_s": 1}, 0.5), (OF_REQUESTS, 0.1)])
def test_a_scale_that_leaves_only_warm_up_is_refused(tmp_path: Path, cell: dict[str, Any], factor: float) -> None:
    design = load(tmp_path, cells=[{**cell, "warmup_s": 1}])
    with pytest.raises(LoadtestError, match="leaves nothing"):
        design.scaled(factor)


STEP = {"arrivals": "step", "rate_hz": 5, "factor": 4, "at_s": 2, "image_px": 64, "duration_s": 10}
RAMP = {"arrivals": "ramp", "rate_hz": 5, "factor": 4, "image_px": 64, "duration_s": 10}
SINE = {"arrivals": "sine", "rate_hz": 5, "amplitude": 0.5, "period_s": 4, "image_px": 64, "duration_s": 10}


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        pytest.param({**STEP, "factor": None}, "step arrivals need factor and at_s", id="step-without-factor"),
        pytest.param({**STEP, "at_s": None}, "step arrivals need factor and at_s", id="step-without-beginning"),
        pytest.param({**STEP, "at_s": 10}, "at_s must come before until_s, and both within", id="step-at-the-end"),
        pytest.param({**STEP, "until_s": 11}, "at_s must come before until_s, and both within", id="step-beyond"),
        pytest.param({**RAMP, "at_s": 5, "until_s": 4}, "at_s must come before until_s", id="ramp-backwards"),
        pytest.param({**RAMP, "factor": None}, "ramp arrivals need factor", id="ramp-without-factor"),
        pytest.param({**RAMP, "factor": -1}, "-1 is impossible; give 0 to 1000", id="negative-factor"),
        pytest.param({**SINE, "period_s": None}, "sine arrivals need amplitude and period_s", id="sine-without-period"),
        pytest.param({**SINE, "amplitude": 1.5}, "1.5 is impossible; give 0 to 1", id="sine-below-nothing"),
        pytest.param({**SINE, "factor": 2}, "factor has no meaning for sine arrivals", id="factor-of-a-sine"),
        pytest.param({**SINE, "rate_hz": None}, "sine arrivals need one of rate_hz", id="sine-without-rate"),
        pytest.param(
            {**STEP, "duration_s": None, "requests": 50}, "step arrivals need duration_s", id="step-of-requests"
        ),
        pytest.param({**GOOD["cells"][0], "period_s": 3}, "period_s has no meaning for poisson", id="steady-sine"),
    ],
)
def test_changing_rates_that_mean_nothing_are_refused(tmp_path: Path, cell: dict[str, Any], says: str) -> None:
    given = {key: value for key, value in cell.items() if value is not None}
    with pytest.raises(LoadtestError) as caught:
        load(tmp_path, cells=[given])
    assert says in str(caught.value)


def test_changing_rates_are_named_kept_and_lengthened(tmp_path: Path) -> None:
    design = load(tmp_path, cells=[{**STEP, "factor": [2, 4]}, {**RAMP, "until_s": 6}, SINE])
    names = [cell.id for cell in design.cells]
    assert names == [
        "step-r5-x2-from2-64px",
        "step-r5-x4-from2-64px",
        "ramp-r5-x4-to6-64px",
        "sine-r5-a0.5-p4-64px",
    ]
    assert design_from_resolved(yaml.safe_load(yaml.safe_dump(design.resolved()))) == design
    step, _, ramp, sine = design.scaled(3).cells
    assert (step.at_s, ramp.until_s, sine.period_s, sine.duration_s) == (6, 18, 12, 30)
    assert "factor" not in load(tmp_path).resolved()["cells"][0]  # runs that have none say what they always said


def test_a_changing_rate_asks_for_what_its_trial_has_on_average(tmp_path: Path) -> None:
    step, ramp, sine = load(tmp_path, cells=[STEP, RAMP, {**SINE, "duration_s": 8}]).cells
    assert mean_rate(step, 5.0, 10.0) == pytest.approx((2 * 5 + 8 * 20) / 10)
    assert mean_rate(ramp, 5.0, 10.0) == pytest.approx(12.5)
    assert mean_rate(sine, 5.0, 8.0) == pytest.approx(5.0)
    assert mean_rate(load(tmp_path).cells[0], 5.0, 2.0) == 5.0
    assert warnings_ahead([step, sine], {}, Limits(address_rate_hz=10)) == [
        "step-r5-x4-from2-64px: one address sends 20 requests a second and the balancer takes 10 from one address: "
        "it will refuse the rest; set balancer_address_rate_hz to 0"
    ]


def test_minutes_are_those_of_the_trials_with_changing_rates(tmp_path: Path) -> None:
    steady = load(tmp_path, cells=[{**GOOD["cells"][0], "duration_s": 60}]).minutes
    assert load(tmp_path, cells=[{**SINE, "duration_s": 60}]).minutes == pytest.approx(steady)
    assert load(tmp_path, cells=[{**SINE, "duration_s": 660}]).minutes == pytest.approx(steady + 50)


TRACE = {"arrivals": "trace", "trace": "arrivals.txt", "image_px": 64}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"0\n0.5\nsoon\n", "arrivals.txt, line 3: 'soon' is not a number of seconds"),
        (b"# nothing\n", "holds no arrival"),
        (None, "cannot read the trace"),
    ],
)
def test_a_bad_trace_is_refused_with_the_design(tmp_path: Path, content: bytes | None, says: str) -> None:
    """Before anything is measured, and not after minutes of calibration."""
    if content is not None:
        (tmp_path / "arrivals.txt").write_bytes(content)
    with pytest.raises(LoadtestError) as caught:
        load(tmp_path, cells=[TRACE])
    assert says in str(caught.value)


def test_a_trace_stands_beside_its_design(tmp_path: Path) -> None:
    with pytest.raises(LoadtestError, match="put the trace beside the design and give its name alone"):
        load(tmp_path, cells=[TRACE | {"trace": "../arrivals.txt"}])


def test_a_trace_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "arrivals.txt").write_bytes(b"\xef\xbb\xbf0\n0.5\n")
    assert load(tmp_path, cells=[TRACE]).cells[0].trace == "arrivals.txt"


def test_a_run_keeps_its_traces_and_notices_another(tmp_path: Path) -> None:
    trace = tmp_path / "arrivals.txt"
    trace.write_text("0\n0.5\n")
    design = load(tmp_path, cells=[TRACE])
    run = RunFolder.create(tmp_path / "run", design, "2026-01-01T00:00:00+00:00", traces=tmp_path)
    assert (run.path / "traces/arrivals.txt").read_text() == "0\n0.5\n"
    assert design_from_resolved(design.resolved()) == design
    trace.write_text("0\n0.6\n")
    with pytest.raises(LoadtestError, match=r"holds a run of another design \(it differs in cells"):
        RunFolder.resume(run.path, load(tmp_path, cells=[TRACE]), "2026-01-01T00:00:00+00:00", traces=tmp_path)


def test_a_trace_that_was_changed_in_the_run_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "arrivals.txt").write_text("0\n0.5\n")
    (cell,) = load(tmp_path, cells=[TRACE]).cells
    (tmp_path / "arrivals.txt").write_text("0\n0.6\n")
    rng, legacy = np.random.default_rng(1), np.random.RandomState(1)
    with pytest.raises(LoadtestError, match="is not the trace that the run was begun with"):
        load_of(cell, tmp_path, rate_hz=None, length_s=None, rng=rng, legacy=legacy)


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "design.yml"
    path.write_text(yaml.safe_dump(GOOD) + "seed: 2\n")
    with pytest.raises(LoadtestError, match=r"seed stands twice, at line 10"):
        load_design(path)


def test_what_a_design_does_not_ask_for_its_run_does_not_name(tmp_path: Path) -> None:
    plain = load(tmp_path)
    assert not {"precision", "dirty"} & plain.resolved().keys()
    assert plain.precision is None
    precise = load(tmp_path, precision={"half_width": 0.05}, dirty=True)
    assert precise.precision == {"of": "mean", "half_width": 0.05}
    assert design_from_resolved(precise.resolved()) == precise
    assert design_from_resolved(plain.resolved()) == plain
    run = RunFolder.create(tmp_path / "run", plain, "2026-01-01T00:00:00+00:00")
    with pytest.raises(LoadtestError, match=r"it differs in dirty, precision\)"):
        RunFolder.resume(run.path, precise, "2026-01-01T00:00:00+00:00")
