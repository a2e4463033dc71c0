"""What the fuzzer found to reach something new (`make fuzz`), once more: refused as documented, or accepted."""

from __future__ import annotations

import functools
import io
import mmap
import time
from pathlib import Path

import pytest
from PIL import Image

from imagerec_worker.preprocess import preprocess
from tests.conftest import REPOSITORY
from tests.fuzz import growth
from tests.fuzz.growth import TRIED_BYTES, asking, check_growth, grown
from tests.fuzz.targets import MAX_PIXELS, SIZE, TARGETS, seeds

CORPUS = REPOSITORY / "tests/fuzz/corpus"


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.filterwarnings("default")  # decoders warn of what is odd
def test_what_the_fuzzer_found_is_answered_as_documented(target: str) -> None:
    files = {path: path.read_bytes() for path in sorted((CORPUS / target).iterdir())}
    assert len(files) > 50
    larger = {path: large for path, data in files.items() if (large := grown(data, TRIED_BYTES))}
    assert larger
    most_s = 10 * reference_s()
    for file, data in [*files.items(), *larger.items()]:
        started_s = time.process_time()
        try:
            TARGETS[target](data)
        except Exception as error:
            raise AssertionError(f"{file.relative_to(REPOSITORY)}, {len(data)} bytes: {error!r}") from error
        assert time.process_time() - started_s < most_s, file


@functools.cache
def reference_s() -> float:
    """Seconds of computing that this machine takes for an honest photograph of 12 million pixels."""
    file = io.BytesIO()
    Image.effect_noise((4000, 3000), 50).save(file, "PNG", compress_level=1)
    started_s = time.process_time()
    preprocess(file.getvalue(), SIZE, MAX_PIXELS)
    return time.process_time() - started_s


def test_a_target_tells_what_is_not_documented(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise IndexError

    monkeypatch.setattr("tests.fuzz.targets.without_metadata", broken)
    with pytest.raises(IndexError):
        TARGETS["metadata"]((CORPUS / "metadata/frame-too-short").read_bytes())


@pytest.mark.parametrize(
    ("data", "size", "expected"),
    [
        (asking(b"abcd", 1, 2), 4, b"abcd"),
        (asking(b"abcd", 1, 2), 10, b"abcbcbcbcd"),
        (asking(b"abcd", 3, 9), 7, b"abcdddd"),
        (asking(b"abcd", 4, 9), 7, None),
        (asking(b"abcd", 0, 0), 7, None),
        (b"abcd", 7, None),
        (asking(b"", 0, 1)[1:], 7, None),
    ],
    ids=["as it is", "larger", "at its end", "beyond it", "of nothing", "without asking", "cut"],
)
def test_a_part_of_an_input_is_repeated(data: bytes, size: int, expected: bytes | None) -> None:
    assert grown(data, size) == expected


def test_what_could_cost_too_much_is_tried_in_full_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "MAX_CPU_S", 3600)
    monkeypatch.setattr(growth, "MAX_MEMORY_BYTES", 20_000_000)
    monkeypatch.setattr(growth, "MOST_BYTES", 2_000_000)
    small = asking(b"a small one", 2, 5)
    sizes: list[int] = []

    def target(data: bytes, copies: int) -> None:
        """Take memory that this process does not hold already."""
        with mmap.mmap(-1, copies * len(data)) as taken:
            for _ in range(copies):
                taken.write(data)
        sizes.append(len(data))

    check_growth(functools.partial(target, copies=4), b"a small one")
    check_growth(functools.partial(target, copies=4), small)
    assert sizes == [999_996]
    with pytest.raises(AssertionError, match=r"repeated to 1999996 bytes it took \d+ MB"):
        check_growth(functools.partial(target, copies=20), small)
    monkeypatch.setattr(growth, "MAX_CPU_S", 0)
    with pytest.raises(AssertionError, match=r"repeated to 1999996 bytes it took \d\.\d\d s"):
        check_growth(functools.partial(target, copies=1), small)


@pytest.mark.parametrize("target", TARGETS)
def test_fuzzing_begins_with_inputs_that_ask_for_more(target: str) -> None:
    asked = [seed for seed in seeds(target) if grown(seed, TRIED_BYTES)]
    assert 2 * len(asked) == len(seeds(target))


def test_the_corpus_stays_small() -> None:
    assert sum(path.stat().st_size for path in Path(CORPUS).rglob("*") if path.is_file()) < 300_000
