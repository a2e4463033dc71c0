"""The entry for gunicorn and its hooks: starting, refusing to start, shared metrics."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from imagerec_worker import gunicorn_hooks, shared_metrics
from imagerec_worker.app import create_app
from imagerec_worker.bundle import Bundle
from imagerec_worker.settings import Settings
from tests.unit.worker.conftest import start_server, stop_server

SERVER = SimpleNamespace(log=logging.getLogger("gunicorn"))


def start(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("IMAGEREC_", "PROMETHEUS_"))}
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "gunicorn", "--no-control-socket", "--worker-tmp-dir", str(folder)),
            *("--bind", f"unix:{folder / 'socket'}", *arguments, "imagerec_worker.wsgi:app"),
        ],
        env=clean | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def stop(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    try:
        return process.communicate(timeout=60)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0]


@pytest.mark.slow
@pytest.mark.parametrize("value", [None, "/nowhere"], ids=["no bundle named", "no bundle there"])
def test_a_bad_setting_ends_gunicorn_with_one_line(tmp_path: Path, value: str | None) -> None:
    process = start(tmp_path, **({"IMAGEREC_BUNDLE": value} if value else {}))
    output = process.communicate(timeout=60)[0]
    assert process.returncode not in {0, None}
    reason = "IMAGEREC_BUNDLE is not set" if value is None else "/nowhere does not exist; build the bundle again"
    assert output.count(f"error: imagerec-worker cannot start: {reason}") == 1
    assert "Traceback" not in output


def test_importing_the_package_loads_neither_flask_nor_the_network() -> None:
    """Who only reads bundles must not pay for serving them."""
    code = (
        "import sys, imagerec_worker, imagerec_worker.bundle;"
        "print(sorted({'flask', 'numpy', 'cv2', 'PIL', 'ai_edge_litert'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_first_process_has_one_thread_when_it_forks() -> None:
    """A library's threads do not outlive a fork, and hold memory for nothing where there is a process for each core."""
    code = "import os, imagerec_worker.gunicorn_worker; print(len(os.listdir('/proc/self/task')))"
    environment = {key: value for key, value in os.environ.items() if key != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_an_application_computes_in_one_thread(colours: Bundle) -> None:
    """There is a process for every core already."""
    cv2.setNumThreads(4)
    create_app(Settings(bundle=colours.path))
    assert cv2.getNumThreads() == 1


LISTENING = """
import ctypes
import imagerec_worker.app
class Library:
    def __init__(self, name):
        print(name)
    def mallopt(self, what, value):
        print(what, value)
ctypes.CDLL = Library
import imagerec_worker.wsgi
"""


def test_the_c_library_is_told_what_to_keep() -> None:
    """16 MiB of what is freed, no block from 4 MiB on, and one heap: M_TRIM_THRESHOLD and the next ones of malloc.h."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("IMAGEREC_")}
    done = subprocess.run([sys.executable, "-c", LISTENING], env=clean, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["None", "-1 16777216", "-3 4194304", "-8 1"]
    assert "imagerec-worker cannot start: IMAGEREC_BUNDLE is not set" in done.stderr


RECORDING = """
import sys
def post_fork(server, worker):
    worker.had = set(sys.modules)
def post_worker_init(worker):
    with open("loaded.txt", "w") as file:
        print(*sorted(set(sys.modules) - worker.had), file=file)
"""


def test_a_new_process_has_all_code_from_the_first(colours: Bundle, tmp_path: Path) -> None:
    """Each process that takes the place of another would load what is missing anew, and hold a copy of its own."""
    (tmp_path / "gunicorn.conf.py").write_text(RECORDING)
    options = ("--config", str(tmp_path / "gunicorn.conf.py"), "--chdir", str(tmp_path))
    stop_server(start_server(colours.path, "imagerec_worker.gunicorn_worker.ImageWorker", tmp_path, *options))
    assert (tmp_path / "loaded.txt").read_text() == "imagerec_worker.wsgi\n"


CONFIGURATION = """
from imagerec_worker.gunicorn_hooks import child_exit, on_starting
bind = "127.0.0.1:{port}"
workers = 2
control_socket_disable = True
worker_class = "imagerec_worker.gunicorn_worker.ImageWorker"
max_requests = 5
"""


@pytest.mark.slow
def test_processes_add_up_their_metrics_and_outlive_none(
    colours: Bundle, tmp_path: Path, unused_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes, each replaced after five requests: no answer may be missing from the sum."""
    (tmp_path / "gunicorn.conf.py").write_text(CONFIGURATION.format(port=unused_port))
    shared = tmp_path / "run/metrics"
    environment = {"IMAGEREC_BUNDLE": str(colours.path), "PROMETHEUS_MULTIPROC_DIR": str(shared)}
    monkeypatch.chdir(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--config", "gunicorn.conf.py", "imagerec_worker.wsgi:app"],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    url = f"http://127.0.0.1:{unused_port}"
    try:
        answered = 0
        deadline = time.monotonic() + 60
        while answered < 23 and time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{url}/version", timeout=60) as answer:
                    answered += answer.status == 200
            except OSError:
                time.sleep(0.05)
        with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:
            text = answer.read().decode()
    finally:
        output = stop(process)
    assert output.count("Booting worker") > 4
    assert re.search(r'imagerec_answers_total\{route="/version",status="200"\} 23\.0', text), text
    assert len(re.findall(r"^imagerec_model_info\{", text, re.MULTILINE)) == 1


def test_starting_forgets_the_metrics_of_an_earlier_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "metrics"))
    gunicorn_hooks.on_starting(None)
    (tmp_path / "metrics/counter_1.db").touch()
    (tmp_path / "metrics/notes.txt").touch()
    gunicorn_hooks.on_starting(None)
    assert [path.name for path in (tmp_path / "metrics").iterdir()] == ["notes.txt"]


def ended_process(shared: Path, pid: int) -> None:
    """What a process leaves behind: its counters, its histograms and its gauge."""
    for kind, name, labels, value in (
        ("counter", "imagerec_answers_total", {"route": "/predict", "status": "200"}, 1.0),
        ("histogram", "imagerec_phase_seconds_bucket", {"phase": "decode", "le": "0.004"}, 2.0),
        ("gauge_livemax", "imagerec_model_info", {"name": f"model-{pid}"}, 1.0),
    ):
        metric = name.removesuffix("_bucket").removesuffix("_total")
        values = MmapedDict(str(shared / f"{kind}_{pid}.db"))
        values.write_value(mmap_key(metric, name, list(labels), list(labels.values()), "help"), value, 0.0)
        values.close()


def test_ended_processes_leave_their_counts_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "metrics"
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(shared))
    gunicorn_hooks.on_starting(None)
    for pid in range(1, 501):
        ended_process(shared, pid)
        gunicorn_hooks.child_exit(SERVER, SimpleNamespace(pid=pid))
    ended_process(shared, os.getpid())  # which has not
    assert sorted(path.suffix for path in shared.iterdir()) == ["", *[".db"] * 5]
    text = shared_metrics.render(shared).decode()
    assert 'imagerec_answers_total{route="/predict",status="200"} 501.0' in text
    assert 'imagerec_phase_seconds_bucket{le="0.004",phase="decode"} 1002.0' in text
    assert re.findall(r"^imagerec_model_info\{.*", text, re.MULTILINE) == [
        f'imagerec_model_info{{name="model-{os.getpid()}"}} 1.0'
    ]


def test_a_new_model_takes_the_place_of_the_old_one_in_the_metrics(
    write_colours: Callable[..., Bundle], tmp_path: Path, unused_port: int
) -> None:
    """A reload keeps the master, so nothing but the end of the old processes can forget their model."""
    (tmp_path / "gunicorn.conf.py").write_text(CONFIGURATION.format(port=unused_port).replace("= 5", "= 0"))
    link = tmp_path / "current"
    for name in ("old", "new"):
        write_colours(tmp_path / name, version=name)
    link.symlink_to("old")
    environment = {"IMAGEREC_BUNDLE": str(link), "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics")}
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "gunicorn", "--config", str(tmp_path / "gunicorn.conf.py")),
            *("--worker-tmp-dir", str(tmp_path), "imagerec_worker.wsgi:app"),
        ],
        env=os.environ | environment,
        stderr=subprocess.DEVNULL,
    )

    def versions() -> set[str]:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{unused_port}/metrics", timeout=60) as answer,
        ):
            return set(re.findall(r'imagerec_model_info\{.*version="(\w+)"', answer.read().decode()))
        return set()

    try:
        deadline = time.monotonic() + 60
        while versions() != {"old"} and time.monotonic() < deadline:
            time.sleep(0.1)
        (tmp_path / "next").symlink_to("new")
        (tmp_path / "next").rename(link)  # at once: the second process may be about to read it
        process.send_signal(signal.SIGHUP)
        while versions() != {"new"} and time.monotonic() < deadline:
            time.sleep(0.1)
        assert versions() == {"new"}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def test_half_a_file_of_a_killed_process_does_not_end_the_listener(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    (tmp_path / "counter_7.db").write_bytes(b"half")
    gunicorn_hooks.child_exit(SERVER, SimpleNamespace(pid=7))
    assert "the counts of process 7 are lost" in caplog.text
    assert shared_metrics.render(tmp_path) == b""


def test_the_hooks_do_nothing_without_shared_metrics(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    gunicorn_hooks.on_starting(None)
    gunicorn_hooks.child_exit(SERVER, SimpleNamespace(pid=7))
    assert list(tmp_path.iterdir()) == []
