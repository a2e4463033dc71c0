"""The tool that changes a line at a time: which changes it knows, and whether it tells noticed from unnoticed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests import mutate
from tests.conftest import REPOSITORY

PYTHON = """\
def f(n, flag=True):
    if n < 3 and not flag:
        return n + 40
    return None
"""
TEMPLATE = """\
# a remark
server {
    listen 8080 ssl;
{% if tls == 'off' %}
    gzip on;
{% endif %}
    map $a $b {
        default "";
    }
}
"""


def changes(folder: Path, name: str, text: str) -> list[tuple[int, str]]:
    (folder / name).write_text(text)
    return [(each.line, "" if each.new is None else each.new.strip()) for each in mutate.mutations(name, folder)]


def test_python_is_changed_where_it_decides(tmp_path: Path) -> None:
    assert sorted(changes(tmp_path, "f.py", PYTHON)) == [
        (1, "def f(n, flag=False):"),
        (2, "if n < 3 and flag:"),
        (2, "if n < 3 or not flag:"),
        (2, "if n < 4 and not flag:"),
        (2, "if n <= 3 and not flag:"),
        (3, "return None"),
        (3, "return n + 80"),
        (3, "return n - 40"),
    ]


def test_of_a_template_lines_are_left_out_and_values_turned(tmp_path: Path) -> None:
    assert changes(tmp_path, "nginx.conf.j2", TEMPLATE) == [
        (3, ""),
        (3, "listen 16160 ssl;"),
        (5, ""),
        (5, "gzip off;"),
    ]


def test_the_seed_decides_what_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text(PYTHON)
    drawn = [mutate.choose(["f.py"], 2, seed, tmp_path) for seed in (1, 1, 2, 3, 4)]
    assert drawn[0] == drawn[1]
    assert any(drawn[0] != other for other in drawn[2:])
    assert len({each.line for each in drawn[0]}) == 2


def test_where_files_are_more_than_changes_each_line_counts_alike(tmp_path: Path) -> None:
    for name, lines in (("long", 400), ("short", 1), ("tiny", 1)):
        (tmp_path / f"{name}.j2").write_text("listen on;\n" * lines)
    drawn = [mutate.choose(["short.j2", "long.j2", "tiny.j2"], 2, seed, tmp_path) for seed in range(20)]
    assert drawn[0] == mutate.choose(["short.j2", "long.j2", "tiny.j2"], 2, 0, tmp_path)
    assert sum(each.file == "long.j2" for both in drawn for each in both) >= 30


def test_yaml_that_cannot_be_read_or_says_the_same_is_no_change(tmp_path: Path) -> None:
    text = "---\na: >-\n  one\n\n  two  # 3\nb: {c: 7,\n  d: 'true'}\n"
    assert changes(tmp_path, "f.yml", text) == [(3, ""), (5, ""), (6, ""), (6, "b: {c: 8,"), (7, "d: 'false'}")]


def test_each_file_of_roles_and_playbooks_has_tests_that_are_there() -> None:
    concerned = mutate.Concerned(REPOSITORY / "tests/mutations.yml")
    parts = re.compile(r"roles/\w+/(tasks|templates|defaults|vars|handlers)/|playbooks/.*\.yml")
    wanted = [each for each in mutate.tracked() if parts.match(each)]
    assert len(wanted) > 100
    assert [each for each in wanted if concerned.pattern(each) is None] == []
    assert {concerned.pattern(each) for each in concerned.files()} == set(concerned.rows)
    tests = {word for row in concerned.rows.values() for word in row.split() if word.startswith("tests/")}
    assert [each for each in tests if not (REPOSITORY / each.partition("::")[0]).exists()] == []


@pytest.mark.long
def test_what_no_test_notices_is_a_survivor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`tests/unit/test_mutate.py` looks at this tool and at no role."""
    record = tmp_path / "record.md"
    pytest_arguments = ["-q", "tests/unit/test_mutate.py", "-k", "seed"]
    files = ["tests/mutate.py", "roles/balancer/defaults/main.yml"]
    status = mutate.main([*files, "--count", "2", "--seed", "1", "--record", str(record), "--", *pytest_arguments])
    said = capsys.readouterr().out
    assert (status, "SURVIVED roles/balancer/defaults/main.yml:" in said) == (1, True)
    assert "| `roles/balancer/defaults/main.yml:" in record.read_text()


@pytest.mark.long
def test_who_fails_also_without_a_change_has_noticed_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["roles/balancer/defaults/main.yml", "--count", "1", "--", "-q", "tests/unit/test_nowhere.py"]
    assert mutate.main(words) == 2
    assert "these fail also where nothing is changed:" in capsys.readouterr().err


def test_a_test_in_the_copy_may_ask_git_for_the_files(tmp_path: Path) -> None:
    copy = mutate.copy_checkout(tmp_path)
    asked = subprocess.run(["git", "ls-files"], cwd=copy, capture_output=True, text=True, check=True)
    assert asked.stdout.splitlines() == mutate.tracked()


def test_the_changed_module_is_the_one_that_is_imported(tmp_path: Path) -> None:
    copy = mutate.copy_checkout(tmp_path)
    modules = [*copy.glob("services/*/src/*/__init__.py"), *copy.glob("*/src/*/__init__.py")]
    assert len(modules) >= 4
    for path in (*modules, copy / "services/pool/src/imagerec_pool/kernel.py", copy / "tests/mutate.py"):
        assert mutate.imported(copy, str(path.relative_to(copy))) == str(path)


def test_a_module_that_the_tests_import_from_elsewhere_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mutate, "SOURCES", [each for each in mutate.SOURCES if "pool" not in each])
    file = "services/pool/src/imagerec_pool/kernel.py"
    assert mutate.main([file, "--count", "1", "--", "-q", "tests/unit/test_mutate.py", "-k", "seed"]) == 2
    assert f"{file} is imported from " in capsys.readouterr().err
