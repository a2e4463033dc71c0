"""Every command of the manuals as it is printed there, in a clean clone, by somebody who has nothing but the README.

The commands of one manual need what those of another have left, so they are run as one story. A line that a manual
prints below a command must be in what the command says; numbers may differ.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPOSITORY, SHARED

MODEL, MEASURE, OPERATE = "services/model/README.md", "docs/measure.md", "docs/operate.md"
# A manual and the number of its block, counted from 0.
STORY = [
    ("README.md", 0),
    (MEASURE, 0),
    (MEASURE, 1),
    (MEASURE, 2),
    ("docs/api.md", 0),
    ("docs/api.md", 1),
    ("docs/api.md", 2),
    ("loadtest/README.md", 0),
    ("docs/develop.md", 0),
    (OPERATE, 0),
    ("README.md", 1),
    (MODEL, 2),
    (MODEL, 0),
    (MODEL, 1),
    (OPERATE, 1),
    ("docs/deploy.md", 0),
    ("docs/deploy.md", 1),
    ("README.md", 2),
]
# What is no command of the manuals' reader here, and why.
ELSEWHERE = {
    ("README.md", 3): "these tests are run by it",
    ("CONTRIBUTING.md", 0): "other tiers",
    (MEASURE, 3): "half an hour of load; tests/unit/loadtest holds its parts",
    (MEASURE, 4): "half an hour; tests/unit/bench holds its parts",
    **{("docs/scale.md", block): "tests/unit/loadtest compares what it prints" for block in (0, 4)},
    **{("docs/scale.md", block): "loadtest/README.md runs the command; minutes of simulation" for block in (1, 2, 3)},
    ("services/autoscaler/README.md", 0): "how a service starts a program",
    ("inventory/README.md", 0): "needs a testbed's grant, but for what other blocks do as well",
    ("inventory/README.md", 1): "needs hosts of the reader's own",
    ("results/security/README.md", 0): "needs the deployment under a name that it was recorded with",
    ("services/pool/README.md", 0): "how a service starts a program",
}
PATIENCE_S = 1500


def blocks(manual: str | Path) -> list[tuple[str, list[str]]]:
    """Return the console blocks of a manual: commands, a line each or joined by backslashes, and what they print."""
    found = []
    for text in re.findall(r"^```console\n(.*?)^```", (REPOSITORY / manual).read_text(), re.MULTILINE | re.DOTALL):
        commands, printed, continues = [], [], False
        for line in text.splitlines():
            if line.startswith("$ ") or continues:
                commands.append(line.removeprefix("$ "))
                continues = line.endswith("\\")
            else:
                printed.append(line)
        found.append(("\n".join(commands), printed))
    return found


def manuals() -> list[str]:
    """Return the names of all documents that print commands."""
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split() if blocks(name)]


def pattern(line: str) -> str:
    """Return what a printed line stands for: other numbers, anything for an ellipsis, any amount of blanks."""
    words = [re.sub(r"\d+(\\\.\d+)?", r"[\\d.]+", re.escape(word)).replace("…", ".*") for word in line.split()]
    return r"\s+".join(words)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A clone of what is committed, with photographs of the reader's own; all that was started is removed again."""
    folder = tmp_path_factory.mktemp("clone") / "imagerec"
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(folder)], check=True)
    random = np.random.default_rng(1)
    for colour, name in enumerate(("banana", "bell_pepper", "orange")):
        (folder / "photographs" / name).mkdir(parents=True)
        for number in range(8):
            pixels = random.integers(0, 120, (96, 96, 3), dtype=np.uint8)
            pixels[:, :, colour] += 120
            Image.fromarray(pixels).save(folder / "photographs" / name / f"{number}.png")
    (folder / "FOLDER").mkdir()
    for photograph in (folder / "photographs/orange").iterdir():
        shutil.copy(photograph, folder / "FOLDER" / f"n07747607_{photograph.name}")  # labelled, as evaluate wants it
    try:
        yield folder
    finally:
        for command in ("make down", "make slice-down"):
            run(folder, command)


def run(folder: Path, commands: str) -> subprocess.CompletedProcess[str]:
    """Run commands in one shell, without the tests' own environment; curl fails where the answer is an error."""
    own = str(Path(sys.executable).parent)
    path = os.pathsep.join(part for part in os.environ["PATH"].split(os.pathsep) if part != own)
    (folder / "photographs/.curlrc").write_text("fail-with-body\n")
    environment = os.environ | {"PATH": path, "CURL_HOME": str(folder / "photographs")}
    if (SHARED / "models").exists():
        environment["MODEL_MIRROR"] = str(SHARED / "models")
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-v", "-c", commands],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def test_the_story_has_every_block() -> None:
    told = sorted([*STORY, *ELSEWHERE])
    assert told == sorted((manual, number) for manual in manuals() for number in range(len(blocks(manual))))


def test_no_command_reads_a_run_that_none_before_it_has_made() -> None:
    """A clean clone has the recorded runs alone."""
    made: set[str] = set()
    for manual, number in STORY:
        for command in blocks(manual)[number][0].splitlines():
            made |= set(re.findall(r"(?:--out |RECORD=)(results/runs/[\w-]+)", command))
            assert set(re.findall(r"results/runs/[\w-]+", command)) <= made, f"{manual}: {command}"


@pytest.mark.parametrize(
    ("given", "said", "same"), [("3 of 24 in …/x", "3 of 25  in /a/x", True), ("a b", "a c", False)]
)
def test_numbers_may_differ_from_what_is_printed(given: str, said: str, same: bool) -> None:
    assert bool(re.search(pattern(given), said)) == same


@pytest.mark.long
@pytest.mark.parametrize(("manual", "number"), STORY)
def test_the_commands_work_as_printed(clone: Path, manual: str, number: int) -> None:
    commands, printed = blocks(manual)[number]
    done = run(clone, commands)
    assert done.returncode == 0, f"{commands}\n{done.stdout[-6000:]}"
    for line in printed:
        assert re.search(pattern(line), done.stdout), f"{commands}\n{done.stdout[-6000:]}\nlacks: {line}"
