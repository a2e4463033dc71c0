"""The one table of options: the command, and the role that calls it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from rspec.local_slice.__main__ import build_parser, main
from rspec.local_slice.options import Options
from tests.conftest import REPOSITORY

ROLE = REPOSITORY / "roles/local_slice"
OTHER_NAMES = {"boot_timeout_s": "timeout"}


def test_the_role_gives_every_option() -> None:
    up = yaml.safe_load((ROLE / "tasks/up.yml").read_text())[0]["vars"]["__local_slice_words"]
    given = {word.partition("=")[0] for word in up if re.match(r"--.*=", word)}
    assert given == {f"--{one.name.replace('_', '-')}" for one in dataclasses.fields(Options)} | {"--slice"}
    variables = {name.removeprefix("local_slice_") for name in yaml.safe_load((ROLE / "defaults/main.yml").read_text())}
    assert {OTHER_NAMES.get(name, name) for name in variables} - {"name"} == {
        one.name for one in dataclasses.fields(Options)
    }


def test_what_is_given_reaches_the_options() -> None:
    words = ["--parameters", '{"workers": 2, "topology": "star"}', "--cpu-scale", "0.3", "--request", "mine.xml"]
    given = Options.of(build_parser().parse_args(["up", *words]))
    assert given == Options(
        request=Path("mine.xml"), parameters={"workers": "2", "topology": "star"}, cpu_scale=0.3, timeout=120
    )
    assert Options.of(build_parser().parse_args(["up"])) == Options()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--parameters", "workers=2"], "is no JSON object, such as"),
        (["--cpu-scale", "0"], "0 is not above zero"),
        (["--cpu-scale", "two"], "invalid"),
        (["--cpu-scaled", "("], "is no regular expression"),
        (["--control-subnet", "10.200.7.1/24"], "it must be written as 10.200.7.0/24: 10.200.7.1/24 has host bits set"),
        (["--control-subnet", "10.200.0.0/16"], "it must be a /24, not 10.200.0.0/16"),
    ],
    ids=["parameters", "zero", "word", "expression", "no-subnet", "large-subnet"],
)
def test_what_means_nothing_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["up", *words])
    assert said in capsys.readouterr().err


def test_an_empty_text_is_an_option_not_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--slice=no/name", "--request=", "--release=", "--control-subnet="]) == 1
    assert "error: " in capsys.readouterr().err
