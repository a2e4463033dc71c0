"""A model whose file is out of reach: the deployment takes the one of the package index and says so, or stops."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from skimage import data

from imagerec_worker.bundle import load_bundle
from imagerec_worker.classifier import Classifier
from imagerec_worker.preprocess import preprocess
from tests.conftest import REPOSITORY, SHARED, Deployment
from tests.local.test_deployment import jpeg, predict, recap

pytestmark = pytest.mark.slow


def without_the_model(dist: Path, *more: str) -> tuple[str, ...]:
    """Return arguments of `make` that ask for `imagenet` where no mirror, no network and no earlier file has it."""
    return (
        "MODEL=imagenet",
        "MODEL_MIRROR=",
        f"ARGS={' '.join(('-e model_offline=true', f'-e dist_dir={dist}', *more))}",
    )


@pytest.fixture(scope="module")
def dist(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what was built, without any model."""
    del deployment  # has built it
    folder = tmp_path_factory.mktemp("dist") / "dist"
    shutil.copytree(
        REPOSITORY / "dist", folder, ignore=shutil.ignore_patterns("bundles", "bundle.json", ".building*", "*.partial")
    )
    return folder


@pytest.fixture(scope="module")
def fallen_back(deployment: Deployment, dist: Path) -> Iterator[tuple[Deployment, str]]:
    """The deployment after a run that could not get its model, and what that run said."""
    try:
        yield deployment, deployment.make("up", *without_the_model(dist)).stdout
    finally:
        deployment.make("up")


def test_the_play_says_it_once_in_a_plain_line(fallen_back: tuple[Deployment, str]) -> None:
    _, said = fallen_back
    assert {counts["failed"] for counts in recap(said).values()} == {0}
    words = " ".join(said.split())  # Ansible folds long lines
    plain = (
        "The file of imagenet could not be had. lite0 is deployed instead, a full recogniser of the same 1000 classes. "
        "`make bundle MODEL=imagenet` says what is missing."
    )
    assert words.count(plain) == 1
    assert "WARNING" not in words


def test_version_and_every_answer_carry_the_name(fallen_back: tuple[Deployment, str]) -> None:
    system, _ = fallen_back
    for _ in range(6):
        assert predict(system, jpeg(data.chelsea())).json()["model"]["name"] == "lite0"
    for url in system.workers.values():
        model = requests.get(f"{url}/version", timeout=60).json()["model"]
        assert model["name"] == "lite0"
        assert (model["classes"], model["notice"]) == (1000, "")


def test_the_hundred_photographs_are_recognised_as_offline(fallen_back: tuple[Deployment, str]) -> None:
    """Through the balancer: 82 right first and 95 among the first five at least, and the same answers as in process."""
    system, _ = fallen_back
    folder = SHARED / "images/imagenet-sample"
    if not folder.is_dir():
        pytest.skip("needs the photographs of IMAGEREC_SHARED")
    classifier = Classifier(load_bundle(system.folder / ".run/worker1/models/current"))
    bundle = classifier.bundle
    first = five = 0
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        served = predict(system, content).json()["predictions"]
        pixels, _ = preprocess(content, bundle.input_size, 10**8, bundle.crop)
        assert served == [one._asdict() for one in classifier.classify(pixels, 5)]
        found = [one["wnid"] for one in served]
        first += found[0] == path.name.split("_")[0]
        five += path.name.split("_")[0] in found
    assert first >= 82
    assert five >= 95


def test_verify_and_a_second_run_find_nothing_wrong(fallen_back: tuple[Deployment, str], dist: Path) -> None:
    system, _ = fallen_back
    assert "serves lite0" in system.make("verify", *without_the_model(dist)).stdout
    again = recap(system.make("up", *without_the_model(dist)).stdout)
    assert {host: counts["changed"] for host, counts in again.items()} == dict.fromkeys(again, 0)


def test_without_a_fallback_the_play_stops_with_the_remedy(deployment: Deployment, dist: Path) -> None:
    before = requests.get(f"{deployment.workers['worker1']}/version", timeout=60).json()
    stopped = deployment.make("up", *without_the_model(dist, "-e model_fallback="), check=False)
    assert stopped.returncode != 0
    words = " ".join(stopped.stdout.split())  # Ansible folds long lines
    assert "could not be had (offline, and no mirror is set). Put the file from https://" in words
    assert "MODEL_MIRROR=FOLDER" in words
    assert "is deployed instead" not in words
    hosts = recap(stopped.stdout)
    assert {host: counts["failed"] for host, counts in hosts.items() if counts["failed"]} == {"localhost": 1}
    assert {counts["changed"] for host, counts in hosts.items() if host != "localhost"} == {0}  # none was touched
    assert requests.get(f"{deployment.workers['worker1']}/version", timeout=60).json() == before


@pytest.mark.parametrize("inventory", ["local", "example"])
def test_every_inventory_names_the_fallback_where_it_can_be_removed(inventory: str) -> None:
    listed = subprocess.run(
        ["ansible-inventory", "-i", f"inventory/{inventory}/hosts.yml", "--list"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    variables = json.loads(listed.stdout)["_meta"]["hostvars"]
    assert len(variables) > 2
    assert {host.get("model_fallback") for host in variables.values()} == {"lite0"}
