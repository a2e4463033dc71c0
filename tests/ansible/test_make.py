"""The Makefile as users call it: paths start where they stand, and what is wrong is told in one line."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.ansible.plays import play
from tests.conftest import REPOSITORY
from tests.manuals.test_commands import blocks

# By these a make tells those that it calls how it was called, the one below `make test` too.
FROM_MAKE = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "GNUMAKEFLAGS"}


def make(*arguments: str, folder: Path = REPOSITORY, **environment: str) -> subprocess.CompletedProcess[str]:
    """Call make in a folder, by default the checkout, as a user does."""
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if name not in FROM_MAKE} | environment,
    )


def words(done: subprocess.CompletedProcess[str]) -> str:
    """What was said, on one line and without Ansible's quoting."""
    return " ".join((done.stdout + done.stderr).split()).replace("''", "'")


def test_a_design_is_a_file_where_the_user_stands(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("goal: Is it read?\n")
    relative = os.path.relpath(tmp_path / "mine.yml", REPOSITORY)
    refused = make("experiment", f"DESIGN={relative}")
    assert refused.returncode != 0
    assert f"the design {tmp_path}/mine.yml cannot be run" in words(refused)


def test_an_unknown_design_is_refused_with_the_nearest_known_one() -> None:
    assert "there is no design 'scalin'; did you mean scaling?" in words(make("experiment", "DESIGN=scalin"))


@pytest.mark.parametrize(
    ("target", "variable"), [("up", "MODEL"), ("up", "MODEL_MIRROR"), ("experiment", "IMAGES"), ("slice-up", "RSPEC")]
)
def test_a_path_may_have_spaces_and_a_dry_run_runs_nothing(target: str, variable: str) -> None:
    before = {path.name for path in REPOSITORY.iterdir()}
    planned = make("-n", target, f"{variable}=../my things/x", ANSIBLE_STDOUT_CALLBACK="default").stdout
    made = {path.name for path in REPOSITORY.iterdir()} - before
    assert made <= {".choices"}  # other tests make that one, in a clean checkout at the same time
    assert "PLAY [" not in planned
    assert f'"{REPOSITORY.parent}/my things/x"' in planned


def test_a_plan_without_a_question_says_how_to_ask() -> None:
    refused = make("-o", "setup-measure", "plan")
    assert refused.returncode != 0
    assert words(refused).startswith("Say what is wanted: make plan ARGS='--rate 50 --slo-p99 0.3'")
    planned = make("-n", "-o", "setup-measure", "plan", "ARGS=--rate 5 --slo-p99 1").stdout
    assert planned.rstrip().endswith("plan --from results/reference/scaling --rate 5 --slo-p99 1")


def test_a_choice_goes_back_to_the_default() -> None:
    planned = " ".join(make("-n", "up", "MODEL=default", "POLICY=default").stdout.split())
    assert "site.yml -e 'back_to_default=\"model balancer_policy\"'" in planned


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("POLCY=round_robin", "nothing reads POLCY; did you mean POLICY?"),
        ("model=lite2", "nothing reads model; did you mean MODEL?"),
        ("ARG=-e balancer_pool_size=1", "nothing reads ARG; did you mean ARGS?"),
        ("HTTPS_PROXY=x", "nothing reads HTTPS_PROXY; a variable of the environment stands before the command"),
        ("PYTEST_ADDOPTS=-x", "nothing reads PYTEST_ADDOPTS; a variable of the environment stands before the command"),
        ("CPU=2", "nothing reads CPU;"),
        ("URL=http://127.0.0.1", "nothing reads URL;"),
        ("BIN=/usr/bin", "nothing reads BIN;"),
        ("CURDIR=/", "nothing reads CURDIR;"),
    ],
)
def test_a_variable_that_make_does_not_read_is_refused_in_one_line(given: str, said: str) -> None:
    refused = make("-n", "up", given)
    assert refused.returncode != 0
    assert refused.stdout == ""
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_the_variables_of_a_make_that_calls_this_one_are_its_own(tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(f"all:\n\t@$(MAKE) -C '{REPOSITORY}' -n up\n")
    planned = make("VERSION=3", folder=tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert "site.yml" in planned.stdout


def test_every_variable_that_the_manuals_give_make_is_read() -> None:
    text = "".join(path.read_text() for path in MANUALS)
    given = {
        name
        for words in re.findall(r"make [a-z-]+((?: [A-Z_0-9]+=\S*)+)", text)
        for name in re.findall(r"(\w+)=", words)
    }
    assert {"MODEL", "INVENTORY", "ARGS"} <= given
    read = make("-n", "help", *(f"{name}=x" for name in sorted(given)))
    assert read.returncode == 0, read.stderr


def test_keras_is_bundled_by_the_environment_that_has_it() -> None:
    planned = make("-n", "bundle", "MODEL=keras").stdout
    assert ".venv-keras/bin/python -m imagerec_model get 'keras'" in " ".join(planned.replace("\\", "").split())


@pytest.mark.slow
@pytest.mark.parametrize("locale", ["C", "xx_YY.UTF-8"], ids=["plain-c", "not-generated"])
def test_the_locale_of_the_user_does_not_matter(locale: str) -> None:
    said = words(make("experiment", "DESIGN=scalin", LC_ALL=locale, LANG=locale))
    assert "there is no design" in said


def test_what_python_has_compiled_is_kept() -> None:
    """Else each start of a program compiles every package that it imports."""
    said = make("--eval", "said: ; @env", "said", PYTHONDONTWRITEBYTECODE="1").stdout
    assert "PATH=" in said
    assert "PYTHONDONTWRITEBYTECODE" not in said


def test_what_is_not_done_is_not_listed(tmp_path: Path) -> None:
    """Every task of this playbook is left out by its condition but the gathering of facts and the step."""
    done = play("releases", {"folder": str(tmp_path), "kind": "none", "steps": [["none", "a"]]})
    assert done.returncode == 0, done.stdout
    assert re.search(r"skipped=[1-9]", done.stdout)
    assert "skipping" not in done.stdout


MANUALS = sorted(
    REPOSITORY / name
    for name in subprocess.run(
        ["git", "ls-files", "*.md"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
)


def printed_commands(manual: Path) -> list[list[str]]:
    """The words of every command of a manual's console blocks, also of those in pipes and parentheses."""
    commands: list[list[str]] = []
    for text, _ in blocks(manual):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.shlex(line, posix=True, punctuation_chars=True)
            words.whitespace_split = True
            commands.append([])
            for word in words:
                if set(word) <= set("&|;()"):
                    commands.append([])
                else:
                    commands[-1].append(word)
    return [command for command in commands if command]


@pytest.mark.parametrize("manual", MANUALS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_printed_command_is_there_and_so_is_what_it_sends(manual: Path) -> None:
    """With the environment on the path, as the manuals say, and from the checkout's folder."""
    for words in printed_commands(manual):
        parts = [word for word in words if not re.match(r"[A-Z_]+=", word)]
        assert not parts or shutil.which(parts[0]) or parts[0] in {".", "cd"}, words
        for sent in re.findall(r"@([\w./]+)", " ".join(words)):
            assert parts[0] != "curl" or (REPOSITORY / sent).is_file(), words


def test_what_measures_takes_no_other_model_or_policy() -> None:
    for words in (["experiment", "POLICY=least_conn"], ["chaos", "MODEL=lite1"], ["slo", "MODEL=lite1"]):
        refused = make("-n", *words)
        assert refused.returncode != 0
        assert (
            f"make {words[0]} measures what is deployed; {words[1].partition('=')[0]} is for make up" in refused.stderr
        )
    assert make("-n", "deploy", "experiment", "POLICY=least_conn").returncode == 0


def test_figures_are_made_of_every_run_that_has_a_trial(tmp_path: Path) -> None:
    """A run whose first trial failed has its folder, and in it only what was set aside."""
    for file in (
        "reference/whole/trials/pool1-random/poisson-u0.8-64px.r1.jsonl.gz",
        "reference/whole/trials/pool2-random/poisson-u0.8-64px.r1.jsonl.gz",
        "runs/trials/trials/as-deployed/poisson-u0.8-64px.r1.jsonl.gz",
        "runs/failed/trials/as-deployed/poisson-u0.8-64px.r1.incomplete1.jsonl.gz",
        "runs/calibrated/calibration/as-deployed.64px.busy.jsonl.gz",
        "runs/calibrated/trials/as-deployed/poisson-u0.8-64px.r1.incomplete1.jsonl.gz",
    ):
        (tmp_path / "results" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "results" / file).touch()
    planned = make("-n", "figures").stdout
    found = planned.partition("runs=$(find")[2].partition("\ntest -n ")[0]
    command = ["bash", "-euc", f'runs=$(find{found}\necho "$runs"']
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["results/reference/whole", "results/runs/trials"]


def test_only_tests_need_a_browser() -> None:
    packages = {target: make("-n", target).stdout for target in ("experiment", "figures", "bench", "lint", "test-unit")}
    assert [target for target, planned in packages.items() if "chromium" in planned] == ["test-unit"]
    assert all("nginx" in planned for planned in packages.values())
