"""The bundle: written, read back, refused with the reason."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from imagerec_worker.bundle import Bundle, BundleError, load_bundle


@pytest.fixture
def copy(colours: Bundle, tmp_path: Path) -> Path:
    """A copy of the colour bundle that a test may break."""
    return shutil.copytree(colours.path, tmp_path / "copy")


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    manifest = folder / "bundle.json"
    document = json.loads(manifest.read_text())
    change(document)
    manifest.write_text(json.dumps(document))


def replace_file(folder: Path, name: str, content: bytes) -> None:
    """Replace a file and its sha256, so that only its content is wrong."""
    (folder / name).write_bytes(content)
    rewrite(folder, lambda document: document["files"].update({name: hashlib.sha256(content).hexdigest()}))


def test_what_was_written_is_read_back(colours: Bundle) -> None:
    loaded = load_bundle(colours.path)
    assert loaded == colours
    assert (loaded.name, loaded.version, loaded.input_size) == ("colours", "1.0", 16)
    assert [entry.label for entry in loaded.classes] == ["red", "green", "blue"]
    assert loaded.digest == hashlib.sha256((colours.path / "bundle.json").read_bytes()).hexdigest()


def test_the_same_arguments_give_the_same_digest(
    colours: Bundle, write_colours: Callable[..., Bundle], tmp_path: Path
) -> None:
    assert write_colours(tmp_path / "again").digest == colours.digest
    assert write_colours(tmp_path / "a/new/folder").digest == colours.digest
    assert write_colours(tmp_path / "other", notice="Only colours.").digest != colours.digest


def test_the_files_are_written_as_people_read_them(write_colours: Callable[..., Bundle], tmp_path: Path) -> None:
    """Other bytes would be another digest, for which every worker gets its bundle anew."""
    written = write_colours(tmp_path / "b", classes=[("n1", "café"), ("n2", "b"), ("n3", "c")])
    expected = '[\n {\n  "wnid": "n1",\n  "label": "café"\n },\n {\n  "wnid": "n2",\n  "label": "b"\n },\n'
    expected += ' {\n  "wnid": "n3",\n  "label": "c"\n }\n]\n'
    assert (written.path / "classes.json").read_text() == expected
    assert (written.path / "bundle.json").read_text().startswith('{\n "schema": 2,\n "name": "colours",\n')


def test_the_model_may_be_a_path(colours: Bundle, write_colours: Callable[..., Bundle], tmp_path: Path) -> None:
    assert write_colours(tmp_path / "copied", model=colours.model_path).digest == colours.digest


@pytest.mark.parametrize("name", ["model.tflite", "classes.json"])
def test_a_damaged_file_is_refused_by_name(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name} is damaged.*sha256.*build the bundle again"):
        load_bundle(copy)


@pytest.mark.parametrize("name", ["bundle.json", "model.tflite", "classes.json"])
def test_a_missing_file_is_refused_by_name(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(BundleError, match=rf"{copy.name} has no {name}; build the bundle again"):
        load_bundle(copy)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere does not exist"):
        load_bundle(tmp_path / "nowhere")


BROKEN = {
    "later schema": (lambda d: d.update(schema=3), "schema is 3, this version reads schema 2"),
    "name that is no folder name": (lambda d: d.update(name="../etc"), "name must be"),
    "name too long": (lambda d: d.update(name="a" * 65), "name must be"),
    "version missing": (lambda d: d.pop("version"), "version must be"),
    "title that is no text": (lambda d: d.update(title=7), "title must be a string"),
    "input missing": (lambda d: d.pop("input"), "input.size must be 1 to 4096 pixels"),
    "size zero": (lambda d: d["input"].update(size=0), "input.size must be"),
    "size too large": (lambda d: d["input"].update(size=4097), "input.size must be"),
    "size as text": (lambda d: d["input"].update(size="224"), "input.size must be"),
    "scale zero": (lambda d: d["input"].update(scale=0), "input.scale must be a number above 0"),
    "scale infinite": (lambda d: d["input"].update(scale=float("inf")), "input.scale must be"),
    "crop zero": (lambda d: d["input"].update(crop=0), "input.crop must be a number above 0, at most 1"),
    "crop beyond the photograph": (lambda d: d["input"].update(crop=1.01), "input.crop must be"),
    "crop missing": (lambda d: d["input"].pop("crop"), "input.crop must be"),
    "offset missing": (lambda d: d["input"].pop("offset"), "input.offset must be a number"),
    "unknown activation": (
        lambda d: d["output"].update(activation="tanh"),
        "output.activation must be softmax or logits",
    ),
    "background as text": (lambda d: d["output"].update(background="yes"), "output.background must be true or false"),
    "unsure in percent": (
        lambda d: d["output"].update(unsure_below=30),
        "output.unsure_below must be a number from 0 to 1",
    ),
    "unsure above one": (lambda d: d["output"].update(unsure_below=1.01), "output.unsure_below must be"),
    "unsure missing": (lambda d: d["output"].pop("unsure_below"), "output.unsure_below must be"),
    "unknown quantisation": (lambda d: d.update(quantisation="int4"), "quantisation must be int8 or float32"),
    "file not listed": (lambda d: d["files"].pop("model.tflite"), "files must be the sha256 of"),
    "foreign file listed": (lambda d: d["files"].update({"../passwd": "0" * 64}), "files must be the sha256 of"),
    "digest cut short": (lambda d: d["files"].update({"model.tflite": "abc"}), "64 hexadecimal digits"),
}


@pytest.mark.parametrize(("change", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_description_is_refused(copy: Path, change: Callable[[dict[str, Any]], object], reason: str) -> None:
    rewrite(copy, change)
    with pytest.raises(BundleError, match=r"bundle\.json is not a valid bundle manifest") as refusal:
        load_bundle(copy)
    assert reason in str(refusal.value)


AT_THE_EDGE = {
    "the smallest input": lambda d: d["input"].update(size=1),
    "the largest input": lambda d: d["input"].update(size=4096),
    "the whole square": lambda d: d["input"].update(crop=1),
    "never unsure": lambda d: d["output"].update(unsure_below=0),
    "always unsure": lambda d: d["output"].update(unsure_below=1),
    "the longest name": lambda d: d.update(name="a" * 64),
}


@pytest.mark.parametrize("change", AT_THE_EDGE.values(), ids=AT_THE_EDGE)
def test_a_description_at_the_edge_is_read(copy: Path, change: Callable[[dict[str, Any]], object]) -> None:
    rewrite(copy, change)
    assert load_bundle(copy).classes


def test_every_reason_is_given_at_once(copy: Path) -> None:
    rewrite(copy, lambda document: document.update(name="", quantisation="none", licence=None))
    with pytest.raises(BundleError) as refusal:
        load_bundle(copy)
    assert all(word in str(refusal.value) for word in ("name must", "quantisation must", "licence must"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"{", "not valid JSON"), (b"\xff\xfe", "not valid JSON"), (b"[]", "not a JSON object")],
    ids=["cut short", "not text", "a list"],
)
def test_a_description_that_is_no_object_is_refused(copy: Path, content: bytes, reason: str) -> None:
    (copy / "bundle.json").write_bytes(content)
    with pytest.raises(BundleError, match=reason):
        load_bundle(copy)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"not JSON", "classes.json is not valid JSON"),
        (b"[]", "list of classes that is not empty"),
        (b'{"0": "red"}', "list of classes that is not empty"),
        (b'[{"wnid": "n1", "label": "red"}, {"wnid": "n2"}]', "entry 1 must have a wnid and a label"),
        (b'[{"wnid": "n1", "label": ""}]', "entry 0 must have a wnid and a label"),
        (b'["red"]', "entry 0 must have a wnid and a label"),
    ],
    ids=["not JSON", "empty", "an object", "label missing", "label empty", "bare names"],
)
def test_broken_classes_are_refused(copy: Path, content: bytes, reason: str) -> None:
    replace_file(copy, "classes.json", content)
    with pytest.raises(BundleError, match=reason):
        load_bundle(copy)


def test_writing_refuses_what_reading_would(write_colours: Callable[..., Bundle], tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"input\.scale must be a number above 0"):
        write_colours(tmp_path / "bad", scale=-1.0)
    with pytest.raises(BundleError, match="list of classes that is not empty"):
        write_colours(tmp_path / "bad", classes=[])
    assert list(tmp_path.iterdir()) == []


def test_writing_replaces_an_older_bundle_whole(write_colours: Callable[..., Bundle], tmp_path: Path) -> None:
    write_colours(tmp_path / "bundle")
    (tmp_path / "bundle/leftover").touch()
    newer = write_colours(tmp_path / "bundle", version="2.0")
    assert load_bundle(tmp_path / "bundle") == newer
    assert sorted(path.name for path in newer.path.iterdir()) == ["bundle.json", "classes.json", "model.tflite"]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_several_may_write_the_same_bundle_at_once(write_colours: Callable[..., Bundle], tmp_path: Path) -> None:
    """As deployments onto two inventories of one checkout do."""
    with ThreadPoolExecutor(8) as several:
        written = list(several.map(lambda _: write_colours(tmp_path / "shared").digest, range(40)))
    assert set(written) == {load_bundle(tmp_path / "shared").digest}
    assert [path.name for path in tmp_path.iterdir()] == ["shared"]


def test_writing_refuses_a_folder_of_something_else(write_colours: Callable[..., Bundle], tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(BundleError, match="holds files that are no bundle"):
        write_colours(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_model_that_is_not_there_is_refused(write_colours: Callable[..., Bundle], tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"has no absent\.tflite"):
        write_colours(tmp_path / "bundle", model=tmp_path / "absent.tflite")
