"""The autoscaler's role: what it writes is what the program reads, and what cannot work is refused before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imagerec_autoscaler.settings import read_settings
from tests.ansible.plays import play

REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "above": ({"autoscaler_minimum": "3"}, "autoscaler_minimum 3 is above the maximum of 2 workers"),
    "nobody": ({"autoscaler_minimum": 0}, "autoscaler_minimum is 0; choose 1 or more"),
    "too-many": ({"autoscaler_maximum": "5"}, "autoscaler_maximum is 5 and there are 2 workers; choose 0 (all)"),
    "always-busy": ({"autoscaler_utilisation": 1}, "autoscaler_utilisation is 1; choose a share above 0 and below 1"),
    "no-time": ({"autoscaler_objective_s": 0}, "autoscaler_objective_s, autoscaler_down_after_s"),
    "given": (
        {"autoscaler_objective_s": "0.01", "autoscaler_service_s": 0.02},
        "autoscaler_objective_s is 0.01 and one answer takes 0.02 s, however many workers serve; set "
        "autoscaler_objective_s to 0.063 or more, or use faster workers ",
    ),
    "negative": ({"autoscaler_service_s": -1}, "autoscaler_service_s is -1; give seconds, or 0"),
    "hook": (
        {"autoscaler_hook": ["more"], "autoscaler_maximum": 5},
        "autoscaler_hook more must begin with the whole path of a program",
    ),
}
# What an autoscaler that ran in the folder before had measured, and settings.
SLOW, MODEL = '{"asleep": [], "service_s": 0.3, "model": "slow+1-0f"}', {"autoscaler_model": "slow+1-0f"}
BEFORE: dict[str, tuple[str, dict[str, object]]] = {
    "slow": (SLOW, {**MODEL}),
    "fast": (SLOW.replace("0.3", "0.02"), {**MODEL}),
    "faster-now": (SLOW, {**MODEL, "autoscaler_service_s": 0.02}),
    "another-model": (SLOW, {"autoscaler_model": "lite0-0f"}),
    "model-unknown": (SLOW, {}),
    "nothing-yet": (SLOW.replace("0.3", "null"), {**MODEL}),
    "cut-off": ('{"asleep": ["wor', {**MODEL}),
}
ACCEPTED: dict[str, dict[str, object]] = {
    "usual": {"autoscaler_model": "lite0-0f"},
    "texts": {"autoscaler_minimum": "2", "autoscaler_objective_s": "0.5", "autoscaler_down_after_s": "60"},
    "machines": {"autoscaler_hook": ["/usr/local/bin/machines", "--pool"], "autoscaler_maximum": "9"},
}


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with one of each case's name, and what Ansible said."""
    folder = tmp_path_factory.mktemp("autoscaler")
    cases = {name: variables for name, (variables, _) in REFUSED.items()} | ACCEPTED
    hosts = {name: variables | {"folder": str(folder / name)} for name, variables in cases.items()}
    hosts["removed"] = {"folder": str(folder / "removed"), "removed": True}
    for name, (record, variables) in BEFORE.items():
        (folder / name / "state").mkdir(parents=True)
        (folder / name / "state/standby.json").write_text(record)
        hosts[name] = variables | {"folder": str(folder / name)}
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    done = play("autoscale", {}, inventory=str(folder / "hosts.json"))
    return folder, " ".join(done.stdout.split())


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_work_is_refused_before_anything_is_written(applied: tuple[Path, str], name: str) -> None:
    folder, said = applied
    assert f"{name}: {REFUSED[name][1]}" in said
    assert not (folder / name).exists()


def test_an_objective_below_what_was_measured_before_is_refused(applied: tuple[Path, str]) -> None:
    folder, said = applied
    assert "slow: autoscaler_objective_s is 0.25 and one answer takes 0.3 s, however many workers serve; set" in said
    assert "(so it was measured here before, of this model; give autoscaler_service_s where it takes less now)" in said
    assert [name for name in BEFORE if not (folder / name / "etc/autoscaler.json").exists()] == ["slow"]


@pytest.mark.parametrize("name", ACCEPTED)
def test_the_program_reads_what_the_role_writes(applied: tuple[Path, str], name: str) -> None:
    folder, _ = applied
    settings = read_settings(folder / name / "etc/autoscaler.json")
    assert settings.processes == {"worker1": 2, "worker2": 4}
    assert (settings.standby, settings.socket) == (
        folder / name / "state/standby.json",
        folder / name / "run/autoscaler.sock",
    )
    assert (settings.minimum, settings.maximum, settings.objective_s, settings.down_after_s) == {
        "usual": (1, 2, 0.25, 30),
        "texts": (2, 2, 0.5, 60),
        "machines": (1, 9, 0.25, 30),
    }[name]
    places = {name: (worker["address"], int(worker["port"])) for name, worker in settings.workers.items()}
    assert places == {"worker1": ("10.0.0.1", 5000), "worker2": ("fd00::2", 5001)}
    assert settings.hook == tuple(ACCEPTED[name].get("autoscaler_hook", ()))  # type: ignore[arg-type]


def test_what_it_made_it_takes_away(applied: tuple[Path, str]) -> None:
    folder, _ = applied
    assert list((folder / "removed").iterdir()) == []
