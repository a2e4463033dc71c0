"""The house stays as CONTRIBUTING.md describes it: short modules, nothing written twice, a row for each long test."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests import mutate
from tests.conftest import REPOSITORY

TESTS = REPOSITORY / "tests"
ROOMS = ("inventory", "loadtest/src", "playbooks", "profile.py", "roles", "rspec", "services", "tools")
MODULES = sorted(module for room in ROOMS for module in ([*(REPOSITORY / room).rglob("*.py")] or [REPOSITORY / room]))
RUN = 6
# What stays: two files that hold the same run, and why.
TWICE = {
    # Two services of their own, which share no package: a third for twelve lines would be more to keep.
    ("services/autoscaler/src/imagerec_autoscaler/__main__.py", "services/pool/src/imagerec_pool/__main__.py"),
    # A sample keeps what a reply says, in a file format of its own.
    ("loadtest/src/loadtest/generate/answers.py", "loadtest/src/loadtest/generate/samples.py"),
}


def name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def lines(module: Path) -> list[tuple[int, str]]:
    """The lines that say something, with their numbers: without imports, comments, blank lines and indentation."""
    text = module.read_text()
    imports = {
        number
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    told = ((number, line.split("  #")[0].strip()) for number, line in enumerate(text.splitlines(), 1))
    return [(number, line) for number, line in told if line and line[0] != "#" and number not in imports]


def twice(modules: list[Path]) -> Iterator[tuple[tuple[str, int], tuple[str, int]]]:
    """Where a run of RUN lines stands again: each place with the one before it."""
    places: dict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    for module in modules:
        said = lines(module)
        for first in range(len(said) - RUN + 1):
            run = said[first : first + RUN]
            places[tuple(line for _, line in run)].append((name(module), run[0][0]))
    for found in places.values():
        yield from pairwise(found)


def test_no_module_is_long() -> None:
    assert len(MODULES) > 200
    assert [name(one) for one in MODULES if len(one.read_text().splitlines()) >= 250] == []


def test_nothing_is_written_twice() -> None:
    found = list(twice(MODULES))
    assert [pair for pair in found if (pair[0][0], pair[1][0]) not in TWICE] == []
    assert {(one, other) for (one, _), (other, _) in found} == TWICE  # what has gone needs no excuse


def test_a_run_that_stands_twice_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(f"{__name__}.REPOSITORY", tmp_path)
    run = "".join(f"    x{number} = {number}\n" for number in range(RUN))
    (tmp_path / "a.py").write_text("import os\n\n\ndef one():\n" + run)
    (tmp_path / "b.py").write_text("if True:\n" + run.replace("x1 = 1\n", "x1 = 1  # a remark\n\n    # another\n"))
    assert list(twice([tmp_path / "a.py", tmp_path / "b.py"])) == [(("a.py", 5), ("b.py", 2))]


def long_tests(path: Path) -> Iterator[str]:
    """The names of a file's tests with the mark long; an empty one where parameters or the whole file have it."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.FunctionDef(name=test, decorator_list=marks) if "pytest.mark.long" in map(ast.unparse, marks):
                yield test
            case ast.keyword(arg="marks", value=value) | ast.Assign(targets=[ast.Name("pytestmark")], value=value):
                if "pytest.mark.long" in ast.unparse(value):
                    yield ""


def stands_for(row: tuple[str, ...], test: tuple[str, str]) -> bool:
    """Whether a row is about this test: it names the test or the file; of parameters any row of the file tells."""
    return row == test[: len(row)] or (test[1] == "" and row[0] == test[0])


def test_each_long_test_has_a_row_that_says_what_runs_always() -> None:
    table = (TESTS / "README.md").read_text().partition("\n## Long tests\n")[2].partition("\n## ")[0]
    rows = {tuple(row.split("::")) for row in re.findall(r"^\| `([^`[]+)`", table, re.MULTILINE)}
    files = TESTS.rglob("test_*.py")
    marked = {(path.relative_to(TESTS).as_posix(), test) for path in files for test in long_tests(path)}
    assert [one for one in sorted(marked) if not any(stands_for(row, one) for row in rows)] == []
    assert [row for row in sorted(rows) if not any(stands_for(row, one) for one in marked)] == []


def rows_twice(text: str) -> list[str]:
    """The rows that stand twice in one table, and the items that stand twice in a list: git keeps both of a merge."""
    found: list[str] = []
    seen: set[str] = set()
    for line in text.splitlines():
        if line[:2] not in {"| ", "- ", "  "}:  # a table or a list has ended; an item may have further lines
            seen.clear()
        elif line[:2] != "  " and line in seen:
            found.append(line)
        seen.add(line)
    return found


def test_no_document_says_a_row_or_an_item_twice() -> None:
    documents = [REPOSITORY / each for each in mutate.tracked() if each.endswith(".md")]
    assert len(documents) > 20
    assert {name(one): found for one in documents if (found := rows_twice(one.read_text()))} == {}
    assert rows_twice("| a | b |\n|---|---|\n| 1 | 2 |\n| 1 | 2 |\n\n- c\n  d\n- c\n") == ["| 1 | 2 |", "- c"]


def test_printed_commands_of_ansible_bring_the_locale_that_it_needs() -> None:
    """`make` sets it. Without it Ansible says only that it requires one."""
    manuals = (path for path in REPOSITORY.rglob("*.md") if ".venv" not in path.parts)
    printed = [
        (name(path), found[1])
        for path in manuals
        for found in re.finditer(r"(?:`|^\$ )([^`\n]*\.venv/bin/ansible[^`\n]*)", path.read_text(), re.MULTILINE)
    ]
    assert printed
    assert [one for one in printed if not one[1].startswith("LC_ALL=C.UTF-8 ")] == []
