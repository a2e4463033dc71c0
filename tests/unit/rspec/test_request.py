"""`make rspec` and the profile: golden requests, portal mode, and what bad parameters get."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rspec.checks import check_request, load_checked
from rspec.model import load_request
from rspec.request import ProfileError, main, write_request
from tests.conftest import REPOSITORY

GOLDEN = Path(__file__).parent / "golden"
REQUESTS = {
    "lan-1": ["--workers", "1"],
    "lan-4": [],
    "lan-4-two-balancers": ["--balancers", "2"],
    "lan-16": ["--workers", "16", "--latency", "2", "--cores", "2", "--memory", "4096"],
    "star-1": ["--workers", "1", "--topology", "star"],
    "star-4": ["--topology", "star", "--bandwidth", "0", "--public_balancer", "False"],
    "star-4-raw": ["--topology", "star", "--node_kind", "raw", "--hardware_type", "d430"],
}
# The portal's way in: it names files by the environment and runs the profile.
AS_THE_PORTAL = """
import runpy, sys
from rspec import geni_compat
geni_compat.install()
sys.argv = ["profile.py"]
runpy.run_path("profile.py", run_name="__main__")
"""


@pytest.mark.parametrize("name", REQUESTS)
def test_request_equals_its_golden_file(tmp_path: Path, name: str) -> None:
    golden, out = GOLDEN / f"{name}.xml", tmp_path / "request.xml"
    write_request(REQUESTS[name], out)
    if os.environ.get("UPDATE_GOLDEN") == "1":
        golden.write_text(out.read_text())
    assert out.read_text() == golden.read_text()


@pytest.mark.parametrize("name", REQUESTS)
def test_golden_request_is_sound(name: str) -> None:
    assert check_request(load_request(GOLDEN / f"{name}.xml")) == []


def test_the_original_star_is_reproduced() -> None:
    request = load_request(GOLDEN / "star-4.xml")
    addresses = {(item.node, item.address) for item in request.interfaces}
    for subnet in range(1, 5):
        assert {(f"worker{subnet}", f"10.10.{subnet}.1"), ("balancer", f"10.10.{subnet}.2")} <= addresses
    assert {("balancer", "10.10.5.1"), ("client", "10.10.5.2")} <= addresses


def test_a_second_balancer_joins_the_lan_of_the_others() -> None:
    request = load_request(GOLDEN / "lan-4-two-balancers.xml")
    assert [node.client_id for node in request.nodes][:2] == ["balancer", "balancer2"]
    assert ("balancer2", "10.10.1.3") in {(item.node, item.address) for item in request.interfaces}
    (link,) = request.links
    assert len(link.interfaces) == 7


def portal(tmp_path: Path, parameters: dict[str, str]) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Run the profile as the portal does, with its parameters in a file."""
    params, out = tmp_path / "params.json", tmp_path / "out.xml"
    params.write_text(json.dumps(parameters))
    done = subprocess.run(
        [sys.executable, "-c", AS_THE_PORTAL],
        cwd=REPOSITORY,
        env=os.environ
        | {
            "GENILIB_PORTAL_MODE": "1",
            "GENILIB_PORTAL_REQUEST_PATH": str(out),
            "GENILIB_PORTAL_PARAMS_PATH": str(params),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done, out


def test_the_portal_gets_the_same_request(tmp_path: Path) -> None:
    done, out = portal(tmp_path, {"workers": "16", "latency": "2", "cores": "2", "memory": "4096"})
    assert done.returncode == 0, done.stderr
    assert load_checked(out) == load_request(GOLDEN / "lan-16.xml")


def test_the_portal_is_told_every_bad_parameter_at_once(tmp_path: Path) -> None:
    done, out = portal(tmp_path, {"workers": "17", "bandwidth": "-1"})
    errors = json.loads(done.stderr)
    assert [item["params"] for item in errors] == [["workers"], ["bandwidth"]]
    assert done.returncode > 100
    assert not out.exists()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        pytest.param(["--workers", "0"], "workers must be from 1 to 16", id="no-worker"),
        pytest.param(["--workers", "17"], "workers must be from 1 to 16", id="too-many-workers"),
        pytest.param(["--balancers", "3"], "balancers must be 1 or 2", id="too-many-balancers"),
        pytest.param(["--balancers", "2", "--topology", "star"], "balancers share one address", id="two-in-a-star"),
        pytest.param(["--workers", "many"], "invalid int value", id="not-a-number"),
        pytest.param(["--topology", "ring"], "invalid choice", id="unknown-topology"),
        pytest.param(["--public_balancer", "perhaps"], "public_balancer", id="neither-true-nor-false"),
        pytest.param(["--wokers", "4"], "unrecognized arguments", id="unknown-parameter"),
        pytest.param(["--memory", "1", "--cores", "0"], "cores: the cores", id="several-at-once"),
    ],
)
def test_a_bad_parameter_is_refused_and_nothing_written(tmp_path: Path, parameters: list[str], words: str) -> None:
    out = tmp_path / "request.xml"
    out.write_text("earlier")
    with pytest.raises(ProfileError) as refused:
        write_request(parameters, out)
    assert words in str(refused.value)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["earlier"]


def test_a_wide_star_of_raw_machines_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_request(REQUESTS["star-4-raw"], tmp_path / "request.xml")
    assert "5 experiment interfaces" in capsys.readouterr().err


def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new folder" / "request.xml"
    assert main(["--workers", "2", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"wrote {out}\n"
    assert len(load_checked(out).nodes) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--workers", "2"], "--out rspec/requests/local.xml", id="no-file"),
        pytest.param(["--workers", "0", "--out", "x.xml"], "workers must be from 1 to 16", id="bad-parameter"),
        pytest.param(["--out", "/proc/none/x.xml"], "cannot write /proc/none/x.xml", id="unwritable"),
    ],
)
def test_the_command_fails_with_one_error(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) != 0
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert words in said
    assert list(tmp_path.iterdir()) == []


def test_the_profile_is_written_in_the_common_subset_of_python_2_and_3() -> None:
    source = (REPOSITORY / "profile.py").read_text()
    assert source.isascii()
    for word in (' f"', " f'", "-> ", "from rspec", "import rspec"):
        assert word not in source
