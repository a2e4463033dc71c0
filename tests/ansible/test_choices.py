"""What is chosen stays chosen: for the inventory, until it is forgotten, above group_vars and below `-e`."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.ansible.plays import briefly
from tests.conftest import REPOSITORY
from tests.power import disk

PLAYBOOK = f"""
- hosts: one
  gather_facts: false
  tasks:
    - debug:
        msg: "policy={{{{ balancer_policy }}}} model={{{{ model | default('none') }}}} why={{{{ why }}}}"
      vars: {{why: "{{{{ choices.why.balancer_policy }}}}"}}
- import_playbook: {REPOSITORY}/playbooks/choices.yml
"""


def load(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("choices", REPOSITORY / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


plugin, action = load("playbooks/vars_plugins/choices.py"), load("playbooks/action_plugins/choices.py")


class Inventory:
    """An inventory of two hosts, and a run with settings on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "group_vars").mkdir()
        (folder / "group_vars/all.yml").write_text(
            "balancer_policy: of-the-inventory\nansible_connection: local\n"
            f"ansible_python_interpreter: {sys.executable}\n"
        )
        (folder / "hosts").write_text("[workers]\none\ntwo\n")
        # As in the checkout: project_dir stands in the group_vars of the playbooks.
        shutil.copytree(REPOSITORY / "playbooks/group_vars", folder / "play/group_vars")
        (folder / "play/site.yml").write_text(PLAYBOOK)

    def run(self, *settings: str) -> str:
        extra = [word for setting in settings for word in ("-e", setting)]
        done = briefly("-i", self.folder / "hosts", self.folder / "play/site.yml", *extra)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def inventory(tmp_path: Path) -> Iterator[Inventory]:
    """An inventory whose choices are taken away again."""
    yield Inventory(tmp_path)
    plugin.file_of(tmp_path).unlink(missing_ok=True)


def test_a_choice_stays_is_said_and_goes_back(inventory: Inventory) -> None:
    assert "policy=of-the-inventory model=none why=default" in inventory.run()
    said = inventory.run("balancer_policy=round_robin", "model=lite2")
    assert "policy=round_robin model=lite2 why=of this command" in said
    assert "Kept for the next run: MODEL=lite2, POLICY=round_robin." in said
    again = inventory.run()
    assert "policy=round_robin model=lite2 why=chosen 2" in again
    assert "POLICY=default goes back" in again
    assert "Kept for" not in again
    assert "policy=random model=lite2" in inventory.run("balancer_policy=random")
    back = inventory.run("back_to_default=balancer_policy")
    assert "policy=of-the-inventory model=lite2 why=default" in back
    assert "Back to what the inventory says: POLICY." in back
    assert "policy=of-the-inventory model=lite2 why=default" in inventory.run()


def test_another_setting_counts_for_one_run_and_the_next_says_so(inventory: Inventory) -> None:
    assert "back" not in inventory.run("balancer_max_conns=8", "autoscaler=true", "workers_serial=1")
    said = inventory.run()
    back = "balancer_max_conns (it was 8), autoscaler (it was true), workers_serial (it was 1)"
    assert f"Counted for one run and back: {back}. Settings that stay stand in group_vars." in said
    assert "Counted" not in inventory.run()


def test_forgetting_says_what_was_kept(inventory: Inventory) -> None:
    inventory.run("balancer_policy=round_robin")
    assert "Forgotten: POLICY=round_robin." in inventory.run("choices_state=forgotten")
    assert "policy=of-the-inventory" in inventory.run()


def test_inventories_do_not_share_choices(inventory: Inventory, tmp_path: Path) -> None:
    inventory.run("balancer_policy=round_robin")
    shutil.copytree(inventory.folder, tmp_path / "copy" / "other", ignore=shutil.ignore_patterns("copy"))
    other = Inventory.__new__(Inventory)
    other.folder = tmp_path / "copy" / "other"
    assert "policy=of-the-inventory" in other.run()
    plugin.file_of(other.folder).unlink()


def test_the_manifest_that_is_taken_without_a_word_is_the_same_slice_when_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`make chaos` and SLICE=local name it; what was chosen without them counts there too."""
    inventory = REPOSITORY / "inventory/slice"
    monkeypatch.delenv("GENI_MANIFEST", raising=False)
    unnamed = plugin.file_of(inventory)
    monkeypatch.setenv("GENI_MANIFEST", str(REPOSITORY / "rspec/manifests/local.xml"))
    assert plugin.file_of(inventory) == unnamed
    monkeypatch.setenv("GENI_MANIFEST", str(REPOSITORY / "rspec/manifests/cloudlab.xml"))
    assert plugin.file_of(inventory) != unnamed


@pytest.mark.slow
def test_a_damaged_file_is_no_choice(inventory: Inventory) -> None:
    inventory.run("balancer_policy=round_robin")
    file = plugin.file_of(inventory.folder)
    assert file.exists()
    for content in ("", "{", "[]", json.dumps({"kept": {}})):
        file.write_text(content)
        assert "policy=of-the-inventory" in inventory.run(), content


def test_what_is_kept_outlives_a_power_cut(tmp_path: Path) -> None:
    """A file without content would mean that nothing was chosen."""
    with disk(tmp_path) as own:
        file = own.folder / ".choices/local.json"
        action.write(file, {"kept": {"model": {"value": "lite2", "at": "today"}}, "once": {}})
        with own.cut(names=False) as left:
            found = plugin.choices_of(left / ".choices/local.json")
            assert found["kept"]["model"]["value"] == "lite2"
