"""From a request to machines, wires and names: no host is touched."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from rspec.local_slice import base
from rspec.local_slice.host import SliceError
from rspec.local_slice.naming import Names
from rspec.local_slice.network import shape_commands
from rspec.local_slice.options import Options
from rspec.local_slice.plan import Plan, Shape, load_plan, need_plan
from rspec.local_slice.planning import differences, make_plan
from rspec.local_slice.up import plan_slice
from rspec.model import load_request
from tests.conftest import REPOSITORY

REQUESTS = REPOSITORY / "tests/unit/rspec/golden"
SUBNET = ipaddress.IPv4Network("10.200.7.0/24")
WORKERS = r"(worker|server)-?\d+"


@pytest.fixture
def names(tmp_path: Path) -> Names:
    return Names("unit", tmp_path)


def plan_of(names: Names, name: str, cpu_scale: float = 1.0, cpu_scaled: str = ".*") -> Plan:
    request = load_request(REQUESTS / f"{name}.xml")
    return make_plan(names, request, SUBNET, "bookworm-x86_64-0", cpu_scale=cpu_scale, cpu_scaled=cpu_scaled)


def refusal(names: Names, options: Options) -> str:
    """Why this host cannot be the slice, or nothing: it may be none for any."""
    try:
        plan_slice(names, options, check=True)
    except SliceError as error:
        return str(error)
    return ""


def test_every_node_becomes_a_machine_of_its_size(names: Names) -> None:
    plan = plan_of(names, "lan-16")
    assert len(plan.machines) == 18
    assert {(machine.cores, machine.memory_mb) for machine in plan.machines} == {(2.0, 4096)}
    assert len({machine.control_address for machine in plan.machines}) == 18
    assert plan.release == "bookworm"


def test_only_workers_are_scaled(names: Names) -> None:
    plan = plan_of(names, "lan-4", 0.25, WORKERS)
    assert {machine.name: machine.cores for machine in plan.machines} == {
        "balancer": 1.0,
        "client": 1.0,
        **dict.fromkeys(["worker1", "worker2", "worker3", "worker4"], 0.25),
    }


def test_less_of_a_core_than_the_kernel_deals_out_is_refused(names: Names) -> None:
    with pytest.raises(SliceError) as refused:
        plan_of(names, "lan-4", 0.05, WORKERS)
    assert "0.1 cores are the least" in str(refused.value)
    assert ": worker1 0.05, worker2 0.05, worker3 0.05, worker4 0.05; raise CPU_SCALE" in str(refused.value)
    assert plan_of(names, "lan-4", 0.1, WORKERS).machine("worker1").cores == 0.1


def test_raw_machines_have_no_limit(names: Names) -> None:
    machines = plan_of(names, "star-4-raw", 0.25).machines
    assert {(machine.cores, machine.memory_mb, machine.exclusive) for machine in machines} == {(None, None, True)}


def test_a_lan_halves_the_delay_at_each_end_and_a_wire_does_not(names: Names) -> None:
    (lan,) = plan_of(names, "lan-16").wirings
    assert lan.lan
    assert {port.sends for port in lan.ports} == {Shape(100_000, 1.0)}
    assert {port.receives for port in lan.ports} == {Shape(100_000, 1.0)}
    wires = plan_of(names, "star-1").wirings
    assert [wire.lan for wire in wires] == [False, False]
    assert {port.receives for wire in wires for port in wire.ports} == {Shape()}


def test_a_plan_is_read_back_as_it_was_saved(names: Names) -> None:
    plan = plan_of(names, "star-4")
    plan.save(names.plan_file)
    assert load_plan(names) == plan


def test_without_a_plan_the_remedy_is_named(names: Names) -> None:
    assert load_plan(names) is None
    with pytest.raises(SliceError, match="make slice-up SLICE=unit"):
        need_plan(names)


@pytest.mark.parametrize(
    ("old", "new"), [("{", ""), ('"wirings"', '"wires"'), ('"cores"', '"cpus"')], ids=["damaged", "key", "field"]
)
def test_a_plan_that_is_damaged_or_of_another_version_is_named(names: Names, old: str, new: str) -> None:
    plan_of(names, "lan-1").save(names.plan_file)
    names.plan_file.write_text(names.plan_file.read_text().replace(old, new))
    with pytest.raises(SliceError, match=r"plan\.json cannot be read.*make slice-down SLICE=unit"):
        load_plan(names)


@pytest.mark.parametrize(
    ("name", "said"),
    [("wroker1", r"did you mean worker1\? It has balancer, worker1, client"), ("x", "it has balancer")],
)
def test_an_unknown_machine_is_refused_with_the_nearest_there_is(names: Names, name: str, said: str) -> None:
    with pytest.raises(SliceError, match=f"has no machine '{name}'; {said}"):
        plan_of(names, "lan-1").machine(name)


@pytest.mark.parametrize(
    ("other", "scale", "words"),
    [
        ("lan-1", 1.0, ["worker2 is gone", "worker3 is gone", "worker4 is gone"]),
        ("lan-4", 0.5, [f"{name} has another size" for name in ("worker1", "worker2", "worker3", "worker4")]),
        ("star-4", 1.0, ["the links, their addresses or their rates differ"]),
        ("lan-4", 1.0, []),
    ],
    ids=["fewer", "smaller", "other-links", "the-same"],
)
def test_two_plans_differ_in_words(names: Names, other: str, scale: float, words: list[str]) -> None:
    assert differences(plan_of(names, "lan-4"), plan_of(names, other, scale, WORKERS)) == words


@pytest.mark.parametrize("asked", ["trixie", "noble"])
def test_a_slice_that_runs_another_release_is_refused(names: Names, asked: str) -> None:
    request = REQUESTS / "lan-4.xml"
    plan_of(names, "lan-4").save(names.plan_file)
    with pytest.raises(SliceError, match=rf"the machines run bookworm, not {asked}\): take it down first .*slice-down"):
        plan_slice(names, Options(request=request, release=asked), check=True)


@pytest.mark.parametrize("asked", ["bookworm", None])
def test_a_slice_of_an_older_image_of_the_same_release_is_as_asked(names: Names, asked: str | None) -> None:
    plan_of(names, "lan-4").save(names.plan_file)
    assert "already up" not in refusal(names, Options(request=REQUESTS / "lan-4.xml", release=asked))


def test_a_slice_that_is_up_needs_no_other_image_than_its_own(names: Names) -> None:
    image = "warty-x86_64-0"  # of a release that the host's apt does not know
    request = REQUESTS / "lan-4.xml"
    make_plan(names, load_request(request), SUBNET, image).save(names.plan_file)
    (names.cache / image).mkdir(parents=True)
    assert "warty" not in refusal(names, Options(request=request))
    assert not base.build(names, image)
    assert [path.name for path in names.cache.iterdir()] == [image]


def test_an_image_that_is_gone_is_not_replaced_by_another(names: Names) -> None:
    said = r"^the base image bookworm-x86_64-0 is gone, .* \(make slice-down SLICE=unit\)$"
    with pytest.raises(SliceError, match=said):
        base.build(names, "bookworm-x86_64-0")


def test_a_request_in_another_encoding_is_read(names: Names, tmp_path: Path) -> None:
    request = tmp_path / "latin.xml"
    start = '<?xml version="1.0" encoding="ISO-8859-1"?>\n<!-- für Übungen -->\n'
    request.write_bytes((start + (REQUESTS / "lan-4.xml").read_text()).encode("latin-1"))
    assert "latin.xml" not in refusal(names, Options(request=request))


@pytest.mark.parametrize("name", ["", "Local", "-a", "a-", "a b", "a" * 33, "../a"])
def test_a_slice_name_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SliceError, match="cannot name a slice: use up to 32"):
        Names(name, tmp_path)


def test_names_of_two_slices_never_meet(tmp_path: Path) -> None:
    one, other = Names("experiment-number-1", tmp_path), Names("experiment-number-2", tmp_path)
    assert one.interface != other.interface
    assert max(len(one.interface), len(other.interface)) <= 15
    assert next(one.control_subnets()) != next(other.control_subnets())
    assert one.mac_address("worker1:if0") != other.mac_address("worker1:if0")
    assert len(set(one.control_subnets())) == 2**14


@pytest.mark.parametrize(
    ("shape", "netem", "expected"),
    [
        (Shape(), True, []),
        (Shape(100_000), True, ["root tbf rate 100000kbit burst 25000b latency 50ms"]),
        (Shape(1_000), True, ["root tbf rate 1000kbit burst 15140b latency 50ms"]),
        (
            Shape(100_000, 1.5, 0.01),
            True,
            [
                "root handle 1: netem limit 10000 delay 1.5ms loss 1%",
                "parent 1:1 handle 10: tbf rate 100000kbit burst 25000b latency 50ms",
            ],
        ),
        (Shape(100_000, 1.5), False, ["root tbf rate 100000kbit burst 25000b latency 50ms"]),
    ],
    ids=["as-fast-as-the-host", "rate", "slow-rate", "rate-delay-and-loss", "kernel-without-netem"],
)
def test_links_are_shaped_as_asked(shape: Shape, netem: bool, expected: list[str]) -> None:
    commands = shape_commands("space", "eth1", shape, netem=netem)
    assert [" ".join(command) for command in commands] == [
        f"tc -n space qdisc replace dev eth1 {words}" for words in expected
    ]
