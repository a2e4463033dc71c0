"""When a strike at one of two balancers happened, and how long the address was away."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chaos.faults import ALL, pair
from chaos.verdict import Marks

SYSTEMCTL = """#!/bin/sh
date +%s.%N > {folder}/killed
"""


def scene_of(folder: Path) -> Any:
    """A machine that is this one, behind a slow way there and back; its systemctl notes when it was called."""
    program = folder / "systemctl"
    program.write_text(SYSTEMCTL.format(folder=folder))
    program.chmod(0o755)
    origin = time.time()

    def on(_machine: str, command: str, *, check: bool = True) -> str:
        time.sleep(0.2)
        (folder / "reached").write_text(str(time.time()))
        path = f"{folder}:/usr/bin:/bin"
        said = subprocess.run(["sh", "-c", command], env={"PATH": path}, capture_output=True, text=True, check=check)
        (folder / "left").write_text(str(time.time()))
        time.sleep(0.2)
        return said.stdout

    load = SimpleNamespace(origin=origin, now=lambda: time.time() - origin)
    return SimpleNamespace(on=on, load=load, moved_s=7.0, struck_s=(7.0, 8.0))


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[list[str]]], None]:
    """The address is with `balancer`, and then with whom the lists say."""

    def set_up(holders: list[list[str]]) -> None:
        monkeypatch.setattr(pair, "_settled", lambda _scene: "balancer")
        monkeypatch.setattr(pair, "holders", lambda _scene: holders.pop(0) if len(holders) > 1 else holders[0])

    return set_up


def inject(name: str, scene: Any) -> Marks:
    marks = Marks(injected_s=0.0)
    next(fault for fault in ALL if fault.name == name).inject(scene, marks)
    return marks


def test_a_kill_is_timed_on_the_machine_not_on_the_way_there(
    tmp_path: Path, settled: Callable[[list[list[str]]], None]
) -> None:
    settled([["balancer"], [], ["balancer2"]])
    scene = scene_of(tmp_path)
    marks = inject("kill-balancer", scene)
    reached, killed, left = (
        float((tmp_path / name).read_text()) - scene.load.origin for name in ("reached", "killed", "left")
    )
    began, ended = scene.struck_s
    assert reached <= began <= killed <= ended <= left
    assert marks.injected_s == began
    assert marks.victim == "balancer"
    assert scene.moved_s > ended - began


def test_an_address_that_nobody_takes_is_said_and_has_no_time(
    tmp_path: Path, settled: Callable[[list[list[str]]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    settled([["balancer"]])
    monkeypatch.setattr(pair, "_PATIENCE_S", 0.0)
    scene = scene_of(tmp_path)
    with pytest.raises(RuntimeError, match="nobody takes the address from balancer"):
        inject("kill-balancer", scene)
    assert scene.moved_s is None


def test_a_strike_that_did_not_happen_leaves_no_time_of_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsettled(_scene: Any) -> str:
        raise RuntimeError("not within 90 s: one balancer has the address")

    monkeypatch.setattr(pair, "_settled", unsettled)
    scene = scene_of(tmp_path)
    with pytest.raises(RuntimeError, match="not within 90 s"):
        inject("kill-balancer", scene)
    assert (scene.struck_s, scene.moved_s) == (None, None)


def test_a_shutdown_lasts_until_the_address_has_left(
    tmp_path: Path, settled: Callable[[list[list[str]]], None]
) -> None:
    settled([["balancer"], [], ["balancer2"]])
    scene = scene_of(tmp_path)
    inject("balancer-reboot", scene)
    killed = float((tmp_path / "killed").read_text()) - scene.load.origin
    began, ended = scene.struck_s
    assert began <= killed <= ended
    assert ended == began + scene.moved_s


@pytest.mark.parametrize("replaced", [True, False])
def test_an_upgrade_of_all_replaces_both_balancers_and_then_rolls_the_workers(
    monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    steps: list[str] = []

    def on(machine: str, command: str) -> str:
        if "MainPID" in command:
            return f"{2 if replaced and 'balancers' in steps else 1}\n"
        steps.append(f"nginx of {machine}")
        return ""

    monkeypatch.setattr(pair, "_settled", lambda _scene: "balancer")
    monkeypatch.setattr(pair, "upgrade_bundle", lambda _scene, _marks: steps.append("workers"))
    scene = SimpleNamespace(on=on, balancers=["balancer", "balancer2"], balance=lambda: steps.append("balancers"))
    if replaced:
        inject("upgrade-all", scene)
    else:
        with pytest.raises(RuntimeError, match="nginx was not replaced on balancer, balancer2"):
            inject("upgrade-all", scene)
    assert steps == ["nginx of balancer", "nginx of balancer2", "balancers", *(["workers"] if replaced else [])]
