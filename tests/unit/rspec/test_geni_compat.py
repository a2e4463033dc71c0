"""The repair of geni-lib 0.9.9.4, on the library as it is installed."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from rspec import geni_compat
from tests.conftest import REPOSITORY


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a Python of its own, with nothing imported before."""
    return subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_the_library_still_needs_the_repair() -> None:
    assert "SyntaxError" in python("import geni.portal").stderr


def test_the_repaired_portal_imports_and_leaves_no_bytecode() -> None:
    done = python("from rspec import geni_compat; print(geni_compat.install().__file__)")
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip()).parent
    assert not list((folder / "__pycache__").glob("portal.*"))


def test_installing_twice_changes_nothing() -> None:
    code = (
        "import sys; from rspec import geni_compat as g\n"
        "assert g.install() is g.install()\n"
        "assert sum(type(finder).__name__ == '_PortalFinder' for finder in sys.meta_path) == 1"
    )
    assert python(code).stderr == ""


def test_print_statements_become_calls() -> None:
    source = "if x:\n    print 'a' % b\nname = raw_input(p)\nprint(c)\nsprint = 1\n"
    assert geni_compat.translate(source) == "if x:\n    print('a' % b)\nname = input(p)\nprint(c)\nsprint = 1\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("True", True),
        ("yes", True),
        (" on ", True),
        ("1", True),
        ("False", False),
        ("no", False),
        ("0", False),
        (False, False),
    ],
)
def test_booleans_are_read_as_people_write_them(text: str | bool, value: bool) -> None:
    assert geni_compat.parse_boolean(text) is value


def test_another_word_is_no_boolean() -> None:
    with pytest.raises(ValueError, match="'maybe' is not a boolean"):
        geni_compat.parse_boolean("maybe")


def test_a_missing_or_different_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(name: str) -> str:
        if name == "six":
            raise PackageNotFoundError(name)
        return "0.9.9.3" if name == "geni-lib" else version(name)

    monkeypatch.setattr(geni_compat, "version", found)
    with pytest.raises(geni_compat.GeniLibError) as refused:
        geni_compat.check_installed()
    assert "six is not installed; geni-lib is 0.9.9.3, not 0.9.9.4. Run `make setup`" in str(refused.value)


def test_the_request_writes_itself_as_text(tmp_path: Path) -> None:
    code = (
        "from rspec import geni_compat; geni_compat.install()\n"
        "import geni.rspec.pg as pg\n"
        f"r = pg.Request(); r.addResource(pg.RawPC('a')); r.writeXML({str(tmp_path / 'r.xml')!r}); r.writeXML(None)"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (tmp_path / "r.xml").read_text()
    assert 'client_id="a"' in done.stdout
