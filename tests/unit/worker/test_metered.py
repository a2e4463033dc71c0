"""Decoding that no header gives away ends with its time, and what has become dear is known."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from flask.testing import FlaskClient

from imagerec_worker import budget, metered, offload, sources
from imagerec_worker.errors import TooLargeError
from imagerec_worker.metered import Meter, MeteredFile
from tests.unit.worker.bomb_files import EMPTY, behind, png, repeated, with_chunk


def work() -> None:
    sum(range(10_000))


def work_on(meter: Meter) -> None:
    while True:
        work()
        meter.check()


def test_whoever_has_used_its_time_up_is_stopped_and_told_the_limit() -> None:
    meter = Meter("PNG", 0)
    work()
    with pytest.raises(TooLargeError, match=r"the PNG image needs more than the 0\.0 s of processor time that"):
        meter.check()


def test_a_slower_machine_has_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    fast, slow = Meter("PNG", 1e-9), Meter("PNG", 1e-9)
    work()
    with monkeypatch.context() as faster:
        faster.setattr(metered, "_SAMPLE_S", 3600)  # a faster one has no less
        with pytest.raises(TooLargeError):
            fast.check()
    monkeypatch.setattr(metered, "_SAMPLE_S", 1e-15)
    slow.check()


def test_a_machine_is_measured_once_for_a_picture_which_does_not_pay_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[float] = []

    def slowness() -> float:
        begun_s = time.thread_time()
        while time.thread_time() - begun_s < 0.2:
            work()
        measured.append(100_000)
        return measured[-1]

    monkeypatch.setattr(metered, "slowness", slowness)
    meter = Meter("PNG", 1e-6)
    work()
    for _ in range(10):
        meter.check()
    assert len(measured) == 1
    with pytest.raises(TooLargeError, match=r"more than the 0\.1 s of"):
        work_on(meter)


def test_what_has_become_dear_is_handed_over_once_and_its_time_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []

    def take_turn() -> None:
        work()
        turns.append("taken")

    monkeypatch.setattr(budget, "DEAR_WORK_NS", 0)
    monkeypatch.setattr(offload, "take_turn", take_turn)
    meter = Meter("PNG", 3600)
    for _ in range(3):
        work()
        meter.check()
    assert turns == ["taken"]


def test_a_child_s_clock_begins_anew_and_the_picture_s_time_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, measured = SimpleNamespace(now_s=10.0), list[float]()
    monkeypatch.setattr(metered, "time", SimpleNamespace(thread_time=lambda: clock.now_s))
    monkeypatch.setattr(metered, "slowness", lambda: measured.append(clock.now_s) or 1.0)
    monkeypatch.setattr(offload, "take_turn", lambda: setattr(clock, "now_s", 0.0))
    meter = Meter("PNG", 1.0)
    clock.now_s += 0.75
    meter.check()
    clock.now_s += 0.25
    meter.check()  # as much as it may take
    assert measured == []
    clock.now_s += 0.125
    with pytest.raises(TooLargeError, match=r"more than the 1\.0 s of"):
        meter.check()
    assert measured == [0.375]


def test_what_measuring_takes_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is half as fast has twice the time."""
    clock = SimpleNamespace(now_s=10.0)

    def slowness() -> float:
        clock.now_s += 0.5
        return 2.0

    monkeypatch.setattr(metered, "time", SimpleNamespace(thread_time=lambda: clock.now_s))
    monkeypatch.setattr(metered, "slowness", slowness)
    meter = Meter("PNG", 1.0)
    for more_s in (1.5, 0.5):
        clock.now_s += more_s
        meter.check()
    clock.now_s += 0.125
    with pytest.raises(TooLargeError, match=r"more than the 2\.0 s of"):
        meter.check()


def test_a_machine_is_as_slow_as_the_fastest_of_three_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(zlib.decompress(metered._sample())) == 500_000
    ticks = iter([0.0, 0.5, 1.0, 1.0045, 2.0, 2.25])
    monkeypatch.setattr(metered, "time", SimpleNamespace(thread_time=lambda: next(ticks)))
    assert metered.slowness() == pytest.approx(2.5)
    assert list(ticks) == []


def test_a_metered_file_is_read_like_any_other() -> None:
    file = MeteredFile("PNG", b"abcdef")
    assert (file.read(2), file.seek(4), file.read(), file.read(1)) == (b"ab", 4, b"ef", b"")


@pytest.mark.parametrize("keyed", [False, True], ids=["by Pillow", "by OpenCV"])
def test_a_png_is_not_decoded_beyond_its_time(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, keyed: bool
) -> None:
    picture = with_chunk(png(64, 64, 16, 2), b"tRNS", bytes(6)) if keyed else png(64, 64, 8, 2)
    data = behind(repeated(EMPTY["dynamic"], 1_000_000), picture)
    assert client.post("/predict", data=data, content_type="image/png").status_code == 200
    monkeypatch.setattr(metered, "LIMIT_S", 1e-3)
    monkeypatch.setattr(sources, "_INFLATING_S", 1e-3)
    monkeypatch.setattr(metered, "_SAMPLE_S", 3600)
    answer = client.post("/predict", data=data, content_type="image/png")
    assert answer.status_code == 413
    assert "the PNG image needs more than the 0.0 s of processor time" in answer.get_json()["detail"]
    assert "save it again, or send an ordinary JPEG" in answer.get_json()["detail"]


NOISE = np.random.default_rng(3).integers(0, 65_536, (1800, 1800, 3), np.uint16)


def png_of_noise(bits: int, level: int) -> bytes:
    """A PNG of some megabytes, as honest as a photograph."""
    pixels = NOISE if bits == 16 else NOISE.astype(np.uint8)
    return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, level])[1].tobytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "data",
    [
        lambda: png_of_noise(8, 1),
        lambda: png_of_noise(16, 0),
        lambda: png_of_noise(16, 6),
        lambda: with_chunk(png_of_noise(16, 1), b"tRNS", bytes(6)),
    ],
    ids=["8-bits", "16-bits-stored", "16-bits", "16-bits-with-a-colour-key"],
)
def test_many_megabytes_of_honest_noise_are_answered(client: FlaskClient, data: Callable[[], bytes]) -> None:
    assert client.post("/predict", data=data(), content_type="image/png").status_code == 200
