"""Raw samples: what is written is read, whole or cut short, and nothing is overwritten."""

import gzip
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loadtest.errors import LoadtestError
from loadtest.generate.recorder import Recorder
from loadtest.generate.samples import Sample, read_trial


def sample(seq: int, **values: object) -> Sample:
    fields: dict[str, object] = {
        "seq": seq,
        "scheduled_s": round(seq * 0.01, 6),
        "sent_s": round(seq * 0.01 + 0.0005, 6),
        "done_s": round(seq * 0.01 + 0.02, 6),
        "status": 200,
        "worker": "worker1",
        "error": None,
        "image": "128px",
        "queue_s": 0.001,
        "decode_s": 0.002,
        "inference_s": 0.004,
        "total_s": 0.007,
        "upstream_s": 0.009,
    }
    return Sample(**{**fields, **values})  # type: ignore[arg-type]


def record(path: Path, count: int, footer: dict[str, object] | None) -> list[Sample]:
    recorder = Recorder(path, {"cell": "poisson"})
    samples = [sample(seq) for seq in range(count)]
    for one in samples:
        recorder.add(one)
    recorder.close(footer)
    return samples


def test_samples_come_back_to_the_microsecond(tmp_path: Path) -> None:
    path = tmp_path / "trial.jsonl.gz"
    failed = sample(9, status=None, worker=None, error="timeout", queue_s=None, total_s=None, answer="n01440764")
    recorder = Recorder(path, {"cell": "a"})
    recorder.add(sample(0))
    recorder.add(failed)
    recorder.close({"wall_s": 1.5})
    trial = read_trial(path)
    assert trial.header == {"cell": "a"}
    assert trial.footer == {"wall_s": 1.5}
    assert trial.damage is None
    assert trial.samples == (sample(0), failed)
    assert trial.samples[0].response_s == pytest.approx(0.02)
    assert trial.samples[0].service_s == pytest.approx(0.0195)
    assert trial.samples[0].lag_s == pytest.approx(0.0005)
    assert trial.samples[0].ok
    assert not trial.samples[1].ok


def test_the_file_is_plain_gzip_of_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "trial.jsonl.gz"
    record(path, 3, {})
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    assert lines[0]["columns"][:4] == ["seq", "scheduled_us", "lag_us", "service_us"]
    assert lines[1][:4] == [0, 0, 500, 19500]
    assert lines[-1] == {"end": {}, "samples": 3}


@pytest.mark.parametrize("kept", [0.3, 0.7, 0.99])
def test_a_truncated_file_is_noticed_and_gives_what_it_holds(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "trial.jsonl.gz"
    samples = record(path, 5000, {"wall_s": 1})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    trial = read_trial(path)
    assert trial.damage == "it is truncated"
    assert trial.footer is None
    assert len(trial.samples) > 5000 * (kept - 0.3)
    assert list(trial.samples) == samples[: len(trial.samples)]


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "trial.jsonl.gz"
    record(path, 5000, {"wall_s": 1})
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x55
    path.write_bytes(data)
    trial = read_trial(path)
    assert trial.damage is not None
    assert trial.footer is None


def test_an_interrupted_trial_has_no_end_mark(tmp_path: Path) -> None:
    path = tmp_path / "trial.jsonl.gz"
    samples = record(path, 10, None)
    trial = read_trial(path)
    assert trial.damage is not None
    assert list(trial.samples) == samples


def test_samples_reach_the_disk_while_the_trial_runs(tmp_path: Path) -> None:
    path = tmp_path / "trial.jsonl.gz"
    recorder = Recorder(path, {})
    recorder.add(sample(0))
    deadline = time.monotonic() + 60
    while path.stat().st_size == 0 or not read_trial(path).samples:  # the header may go first
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert [one.seq for one in read_trial(path).samples] == [0]
    recorder.close({})


def test_a_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "trial.jsonl.gz"
    record(path, 1, {})
    before = path.read_bytes()
    with pytest.raises(LoadtestError, match="never overwritten"):
        Recorder(path, {})
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"seq,scheduled\n0,1\n", id="not-gzip"),
        pytest.param(gzip.compress(b'{"other": 1}\n'), id="another-header"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "trial.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(LoadtestError, match="not a samples file"):
        read_trial(path)


FILL = """
import resource, signal, sys, time
from pathlib import Path
from loadtest.generate.recorder import Recorder, RecorderError
from loadtest.generate.samples import Sample
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
recorder = Recorder(Path(sys.argv[1]), {})
seq = 0
try:
    while seq < 10_000_000:
        recorder.add(Sample(seq, seq * 0.01, seq * 0.01 + (seq * 7919 % 1009) / 1e6, seq * 0.013 + 1, 200, "w", None))
        seq += 1
        if seq % 200 == 0:
            time.sleep(0.02)
except RecorderError as error:
    print(error)
try:
    recorder.close({})
except RecorderError as error:
    print("closed:", error)
"""


def test_when_the_disk_is_full_the_samples_so_far_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "trial.jsonl.gz"
    done = subprocess.run(
        [sys.executable, "-c", FILL, os.fspath(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    first, last = done.stdout.splitlines()
    assert "those recorded before are kept" in first
    assert "--resume" in first
    assert last == f"closed: {first}"
    trial = read_trial(path)
    assert trial.damage == "it is truncated"
    assert len(trial.samples) > 200
    assert [one.seq for one in trial.samples] == list(range(len(trial.samples)))
