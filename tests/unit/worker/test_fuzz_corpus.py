"""What the fuzzer found to reach something new (`make fuzz`), once more: refused as documented, or accepted."""

from __future__ import annotations

import functools
import io
import time
from pathlib import Path

import pytest
from PIL import Image

from imagerec_worker.preprocess import preprocess
from tests.conftest import REPOSITORY
from tests.fuzz.targets import MAX_PIXELS, SIZE, TARGETS

CORPUS = REPOSITORY / "tests/fuzz/corpus"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.filterwarnings("default")  # decoders warn of what is odd
def test_what_the_fuzzer_found_is_answered_as_documented(target: str) -> None:
    files = sorted((CORPUS / target).iterdir())
    assert len(files) > 50
    most_s = 10 * reference_s()
    for file in files:
        started_s = time.process_time()
        try:
            TARGETS[target](file.read_bytes())
        except Exception as error:
            raise AssertionError(f"{file.relative_to(REPOSITORY)}: {error!r}") from error
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


def test_the_corpus_stays_small() -> None:
    assert sum(path.stat().st_size for path in Path(CORPUS).rglob("*") if path.is_file()) < 300_000
