"""Unknown inventories, settings and empty groups are refused in one line, with the nearest known name."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ansible.plays import briefly
from tests.ansible.test_make import make, words
from tests.conftest import REPOSITORY

SCRIPT = REPOSITORY / "playbooks/lookup_plugins/misnamed.py"
spec = importlib.util.spec_from_file_location("misnamed", SCRIPT)
assert spec is not None
assert spec.loader is not None
misnamed = importlib.util.module_from_spec(spec)
spec.loader.exec_module(misnamed)

# All begin with known.yml, as `test_playbooks.py` holds.
ALSO = [pytest.param(target, marks=pytest.mark.long) for target in ("rollback", "down")]
LOCAL = [REPOSITORY / "inventory/local/hosts.yml"]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["up", "verify", "experiment", *ALSO])
def test_a_setting_that_nothing_reads_is_refused(target: str) -> None:
    refused = make(target, "ARGS=-e balancer_polcy=random", ANSIBLE_STDOUT_CALLBACK="default")
    assert refused.returncode != 0
    assert "-e sets balancer_polcy, which nothing reads; did you mean balancer_policy?" in words(refused)
    assert "changed=1" not in refused.stdout


def test_an_inventory_that_is_not_there_is_refused() -> None:
    refused = make("verify", "INVENTORY=inventory/slcie")
    assert refused.returncode != 0
    said = [line for line in (refused.stdout + refused.stderr).splitlines() if "slcie" in line]
    assert len(said) == 1
    assert "did you mean inventory/slice?" in said[0]


@pytest.mark.parametrize("target", ["verify", "deploy", *ALSO])
def test_a_slice_that_is_not_ready_is_a_failure(target: str, tmp_path: Path) -> None:
    """Without a login there is no host, and a play without hosts would do nothing and succeed."""
    manifest = tmp_path / "manifest.xml"
    text = (REPOSITORY / "rspec/manifests/example-cloudlab.xml").read_text()
    manifest.write_text("\n".join(line for line in text.splitlines() if "<login" not in line))
    refused = make(target, "INVENTORY=inventory/slice", GENI_MANIFEST=str(manifest))
    assert refused.returncode != 0
    said = words(refused)
    assert said.count("node worker1 has no login") == 1
    assert "save the manifest again" in said.lower()


def test_a_manifest_that_is_not_there_is_told_once(tmp_path: Path) -> None:
    refused = make("verify", "INVENTORY=inventory/slice", GENI_MANIFEST=str(tmp_path / "none.xml"))
    assert refused.returncode != 0
    assert words(refused).count("there is no manifest at") == 1


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """A copy of the local inventory."""
    shutil.copytree(REPOSITORY / "inventory/local", tmp_path / "local")
    return tmp_path / "local/hosts.yml"


@pytest.mark.parametrize("hosts", [{}, None], ids=["empty", "absent"])
def test_a_group_without_hosts_is_refused(inventory: Path, hosts: dict[str, None] | None) -> None:
    content = yaml.safe_load(inventory.read_text())
    content["all"]["children"]["workers"]["hosts"] = hosts
    if hosts is None:
        del content["all"]["children"]["workers"]
    inventory.write_text(yaml.safe_dump(content))
    refused = make("verify", f"INVENTORY={inventory}")
    assert refused.returncode != 0
    assert "has no host in workers; inventory/README.md says what it needs" in words(refused)


def test_hosts_without_a_place_of_their_own_are_refused(inventory: Path) -> None:
    (inventory.parent / "group_vars/all.yml").write_text(
        "".join(
            line
            for line in (inventory.parent / "group_vars/all.yml").read_text().splitlines(keepends=True)
            if not line.startswith("slice_address")
        )
    )
    content = yaml.safe_load(inventory.read_text())
    groups = content["all"]["children"]
    groups["balancers"]["hosts"]["balancer"]["slice_address"] = "127.0.0.1"
    groups["clients"]["hosts"]["client"] = {"slice_address": "127.0.0.1"}
    inventory.write_text(yaml.safe_dump(content))
    said = words(make("verify", f"INVENTORY={inventory}"))
    assert f"the inventory {inventory} gives no slice_address to worker1, worker2;" in said
    for worker in groups["workers"]["hosts"].values():
        worker |= {"slice_address": "127.0.0.1", "worker_port": 5001}
    inventory.write_text(yaml.safe_dump(content))
    said = words(make("verify", f"INVENTORY={inventory}"))
    assert f"the inventory {inventory} gives one address and port to worker1 and worker2;" in said


def change(inventory: Path, *, shared: str, workers: dict[str, dict[str, object]]) -> None:
    """Give the hosts of an inventory another line about their address, and workers further variables."""
    every = inventory.parent / "group_vars/all.yml"
    lines = [shared if line.startswith("slice_address") else line for line in every.read_text().splitlines()]
    every.write_text("\n".join(lines))
    content = yaml.safe_load(inventory.read_text())
    hosts = content["all"]["children"]["workers"]["hosts"]
    for name, more in workers.items():
        hosts[name] |= more
    inventory.write_text(yaml.safe_dump(content))


FROM_FACTS = 'slice_address: "{{ ansible_facts.lo.ipv4.address }}"'


@pytest.mark.parametrize("ports", [(5001, 5002), (5001, 5001)], ids=["two-ports", "one-port"])
def test_an_address_made_of_facts_is_taken(inventory: Path, ports: tuple[int, int]) -> None:
    """What it is, and whether two workers share it, is known once they were asked."""
    change(inventory, shared=FROM_FACTS, workers={f"worker{n}": {"worker_port": p} for n, p in enumerate(ports, 1)})
    done = briefly("playbooks/known.yml", "-i", inventory)
    assert done.returncode == 0, done.stdout + done.stderr


def test_workers_are_at_one_place_where_the_balancer_reaches_them_there(inventory: Path) -> None:
    shared = {"worker_address": "127.0.0.1", "worker_port": "5001"}
    workers = {f"worker{n}": shared | {"slice_address": f"127.0.0.{n}"} for n in (1, 2)}
    change(inventory, shared="slice_address: 127.0.0.1", workers=workers)
    done = briefly("playbooks/known.yml", "-i", inventory)
    assert done.returncode != 0
    assert "gives one address and port to worker1 and worker2;" in words(done)


@pytest.mark.parametrize(
    ("address", "asked"), [(FROM_FACTS, True), ("slice_address: 127.0.0.1", False)], ids=["of-facts", "said"]
)
def test_a_worker_is_asked_only_for_what_the_inventory_does_not_say(
    inventory: Path, address: str, *, asked: bool
) -> None:
    change(inventory, shared=address, workers={f"worker{n}": {"worker_processes": 1} for n in (1, 2)})
    done = briefly("playbooks/members.yml", "-i", inventory, ANSIBLE_STDOUT_CALLBACK="default")
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("TASK [Ask it for its facts]" in done.stdout) == asked


def test_a_misspelt_setting_of_the_inventory_is_refused(inventory: Path) -> None:
    with (inventory.parent / "group_vars/balancers.yml").open("a") as file:
        file.write("balancer_maxconns: 5\n")
    refused = make("verify", f"INVENTORY={inventory}")
    assert "the inventory sets balancer_maxconns, which nothing reads; did you mean balancer_max_conns?" in words(
        refused
    )


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("autoscalr: true", "autoscaler"),
        ("modell: lite2", "model"),
        ("model_fallbck: lite0", "model_fallback"),
        ("virtual_adress: 10.10.1.100/24", "virtual_address"),
        ("workers_serail: 2", "workers_serial"),
        ("drain_patience: 60", "drain_patience_s"),
    ],
)
@pytest.mark.parametrize("place", ["group", "host", "vars"])
def test_a_misspelt_setting_without_the_name_of_a_role_is_refused(
    tmp_path: Path, line: str, meant: str, place: str
) -> None:
    files = {
        "group": ("group_vars/all.yml", f"{line}\n"),
        "host": ("hosts.yml", f"all: {{children: {{workers: {{hosts: {{worker1: {{{line}}}}}}}}}}}\n"),
        "vars": ("hosts.yml", f"all: {{vars: {{{line}}}}}\n"),
    }
    path, content = files[place]
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text(content)
    name = line.partition(":")[0]
    assert misnamed.misnamed(set(), REPOSITORY, misnamed.said_by([tmp_path])) == [
        f"the inventory sets {name}, which nothing reads; did you mean {meant}?"
    ]


def test_the_inventory_may_have_names_of_its_own(tmp_path: Path) -> None:
    """Those of hosts, groups and keys within a value, those of other matters, and those that its own templates read."""
    every = "all: {vars: {rack: 3, autoscalers: {modell: 1}}}"
    (tmp_path / "hosts.yml").write_text(f"models: {{hosts: {{modell: }}}}\n{every}\n")
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/all.yml").write_text("modelx: 4\nworker_processes: '{{ modelx + autoscalers.modell }}'\n")
    assert misnamed.misnamed(set(), REPOSITORY, misnamed.said_by([tmp_path])) == []


@pytest.mark.parametrize(
    "content", ["hosts: [a, b]", "vars: 3", "children: x", "all: {hosts: {a: 1}, vars: , children: }", "- a"]
)
def test_an_inventory_of_another_shape_is_left_to_ansible(tmp_path: Path, content: str) -> None:
    """A file of group_vars may have a variable called hosts, too."""
    (tmp_path / "some.yml").write_text(f"{content}\n")
    assert misnamed.misnamed(set(), REPOSITORY, misnamed.said_by([tmp_path])) == []


def test_the_settings_of_the_playbooks_are_read_and_documented() -> None:
    files = [file for place in ("playbooks", "inventory/slice") for file in (REPOSITORY / place).rglob("*.yml")]
    read = "\n".join(file.read_text() for file in files)
    assert [name for name in sorted(misnamed.OF_THE_PLAYBOOKS) if not re.search(rf"\b{name}\b", read)] == []
    said = (REPOSITORY / "docs/operate.md").read_text() + (REPOSITORY / "inventory/README.md").read_text()
    assert [name for name in sorted(misnamed.OF_THE_PLAYBOOKS) if f"| `{name}` |" not in said] == []


def test_every_option_of_every_role_is_known_and_the_inventories_are_sound() -> None:
    options = {name for names in misnamed.options_of(REPOSITORY / "roles").values() for name in names}
    assert {"balancer_policy", "worker_port", "service_provider"} <= options
    for name in ("local/hosts.yml", "example", "slice"):
        said = misnamed.said_by([REPOSITORY / "inventory" / name])
        assert misnamed.misnamed(options, REPOSITORY, said) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *("model", "model_mirror", "model_offline", "model_fallback", "dist_dir", "design", "images", "scale", "run"),
        *(
            "runs_dir",
            "cpu_share",
            "back_to_default",
            "thorough",
            "possible_only",
            "slice_parameters",
            "slice_name",
            "workers_serial",
            "slice_address",
        ),
        "ansible_user",
    ],
)
def test_what_the_playbooks_read_is_known(name: str) -> None:
    assert misnamed.misnamed({name}, REPOSITORY, misnamed.said_by(LOCAL)) == []


def mistaken(given: dict[str, Any], inventories: list[Path]) -> list[str]:
    found: list[str] = misnamed.mistaken(given, REPOSITORY, misnamed.said_by(inventories))
    return found


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"balancer_read_timeout_s": "forty"}, "to forty, which is no number"),
        ({"balancer_max_conns": "2.5"}, "to 2.5, which is no whole number"),
        ({"monitoring_enabled": "tru"}, "to tru, which is neither true nor false"),
        ({"autoscaler": "ture"}, "to ture, which is neither true nor false"),
        ({"thorough": "ys"}, "to ys, which is neither true nor false"),
        ({"drain_patience_s": "30s"}, "to 30s, which is no number"),
        ({"worker_log_level": "inf"}, "to inf, which is unknown; did you mean info?"),
        ({"balancer_tls": "false"}, "to false, which is unknown; did you mean off?"),
        ({"balancer_api_keys": ""}, """which is no list; write it as in -e '{"balancer_api_keys": [""]}'"""),
        (
            {"balancer_trusted_proxies": "10.0.0.0/8"},
            """which is no list; write it as in -e '{"balancer_trusted_proxies": ["10.0.0.0/8"]}'""",
        ),
    ],
)
def test_a_value_that_an_option_cannot_have_is_refused(given: dict[str, str], said: str) -> None:
    (refused,) = mistaken(given, LOCAL)
    assert refused.startswith(f"-e sets {next(iter(given))} ")
    assert refused.endswith(said)


def test_a_value_of_the_inventory_is_refused_before_anything_changes(inventory: Path) -> None:
    """The role itself would refuse it in the middle of the roll, when the worker's code is another already."""
    with (inventory.parent / "group_vars/workers.yml").open("a") as file:
        file.write("worker_log_level: verbose\n")
    refused = words(make("up", f"INVENTORY={inventory}", "ARGS=-e balancer_max_conns=many"))
    assert "the inventory sets worker_log_level to verbose, which is unknown; choose one of debug, info" in refused
    assert "-e sets balancer_max_conns to many, which is no number" in refused


@pytest.mark.parametrize(
    "given",
    [
        {"balancer_read_timeout_s": "40", "pool_silent_s": "1.5", "autoscaler": "true", "worker_log_level": "debug"},
        {"balancer_api_keys": [], "balancer_tls": False, "worker_processes": "{{ 2 }}", "monitoring_enabled": "yes"},
        {"balancer_trusted_proxies": "", "worker_processes": "{% if true %}2{% endif %}"},
    ],
)
def test_what_an_option_can_have_is_taken(given: dict[str, Any]) -> None:
    for inventory in ("local/hosts.yml", "example", "slice"):
        assert mistaken(given, [REPOSITORY / "inventory" / inventory]) == []


def test_a_group_s_variable_that_the_playbooks_set_above_it_is_refused(tmp_path: Path) -> None:
    """Ansible passes by it without a word. A host's own counts, and so does another group's."""
    (tmp_path / "hosts.yml").write_text(
        "all:\n  vars: {worker_stands_by: true, rack: 3}\n  children:\n"
        "    balancers: {hosts: {balancer: {pool_prometheus: ''}}, vars: {monitoring_ask_workers: true}}\n"
    )
    (tmp_path / "group_vars/all").mkdir(parents=True)
    (tmp_path / "group_vars/all/some.yml").write_text("virtual_address_drain: []\nworker_port: 5000\n")
    (tmp_path / "group_vars/balancers.yml").write_text("pool_prometheus: ''\nbalancer_port: 80\n")
    (tmp_path / "group_vars/workers.yml").write_text("monitoring_programs: []\n")
    expected = [
        f"the group {group} of the inventory sets {name}, which the playbooks set themselves; "
        "set it for a host, or with -e"
        for group, name in (
            ("all", "virtual_address_drain"),
            ("all", "worker_stands_by"),
            ("balancers", "monitoring_ask_workers"),
            ("balancers", "pool_prometheus"),
        )
    ]
    for inventory in (tmp_path, tmp_path / "hosts.yml"):
        assert misnamed.overruled(REPOSITORY, [inventory]) == expected
    for name in ("local/hosts.yml", "example", "slice"):
        assert misnamed.overruled(REPOSITORY, [REPOSITORY / "inventory" / name]) == []


def test_what_is_not_known_yet_is_taken_and_a_secret_is_not_printed(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text(
        "plugin: constructed\nstrict: true\ncompose: {worker_port: base_port + 1, worker_log_level: level}\n"
    )
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars/all.yml").write_text(
        "worker_port: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  3132\nbalancer_tls: !unsafe secret\n"
        "balancer_api_keys: !mine {name: alice}\nworker_processes: many\n"
    )
    assert mistaken({}, [tmp_path]) == ["the inventory sets worker_processes to many, which is no number"]


def test_localhost_alone_is_an_inventory_for_those_who_say_so() -> None:
    done = subprocess.run(
        ["ansible-inventory", "-i", "localhost,", "--list"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["ungrouped"]["hosts"] == ["localhost"]
