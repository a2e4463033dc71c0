"""What bombs cost one worker process, and what a scrape costs after many processes: `python -m tests.bombs BUNDLE`.

    python -m tests.bombs dist/bundles/imagenet --into results/requests/README.md

Each file of the corpus goes to a process of gunicorn's that has classified one ordinary photograph and nothing else. It
is gunicorn's own class of processes, which decodes everything itself: ours lets a child decode what is dear.
Its memory is the peak while it answers, less what it held before; its time is that of the processor. A file that takes
longer than the bar is sent to two more processes, and the least counts: neighbours on the machine make processor time
longer, never shorter. The raw figures go into bombs.json beside the page. With --only the other figures of that file
stay. Without BUNDLE the page is written anew from it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.machine import machine_here
from imagerec_worker import shared_metrics
from loadtest.draw.model_table import write_between
from loadtest.experiments.provenance import source_state
from tests.bombs_page import CPU_BAR_S, TRIES, page
from tests.conftest import REPOSITORY
from tests.unit.worker.bomb_files import BOMBS, bomb
from tests.unit.worker.conftest import Server, form_body, start_server, stop_server

BEGIN, END = "<!-- bombs:begin -->", "<!-- bombs:end -->"
RECORD = "bombs.json"
ENDED, SCRAPES = 10_000, 300
FIRST_PID = 1 << 22  # the kernel gives none from here on
PHOTOGRAPH = REPOSITORY / "loadtest/src/loadtest/photo.jpg"
CONFIGURATION = REPOSITORY / "tests/ansible/golden/gunicorn.conf.py"
CHAOS = REPOSITORY / "results/chaos/reference/hostile-bombs.json"
TICKS_HZ = os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def worker(bundle: Path, folder: Path) -> Iterator[Server]:
    """Run gunicorn as the role configures it, with one process, which shares its metrics."""
    server = start_server(
        bundle,
        "sync",
        folder,
        *("--config", str(CONFIGURATION)),
        **{shared_metrics.VARIABLE: str(folder / "metrics")},
    )
    try:
        yield server
    finally:
        stop_server(server)


def upload(server: Server, data: bytes) -> int:
    """Classify a file as a browser sends it; return the status."""
    return server.ask("POST", "/predict", *form_body(("image", "a", data))).status


def renew(server: Server) -> None:
    """Let a new process take the place of the one that serves."""
    old = server.worker_pid()
    os.kill(old, signal.SIGTERM)
    for _ in range(600):
        with contextlib.suppress(OSError, ValueError):  # none is there yet
            if server.worker_pid() != old and server.ask("GET", "/readyz").status == 200:
                return
        time.sleep(0.1)
    raise SystemExit("error: no new process came within a minute")


def cpu_s(pid: int) -> float:
    """Return the processor's time that a process has had, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_HZ


def cost_of(server: Server, data: bytes) -> dict[str, Any]:
    """Send a file to a new process; return the status, the memory above idle and the processor's time."""
    renew(server)
    assert upload(server, PHOTOGRAPH.read_bytes()) == 200
    pid = server.worker_pid()
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
    idle_bytes, before_s = server.resident_bytes("VmHWM"), cpu_s(pid)
    status = upload(server, data)
    assert server.worker_pid() == pid, "the process did not outlive it"
    return {
        "status": status,
        "memory_bytes": server.resident_bytes("VmHWM") - idle_bytes,
        "cpu_s": round(cpu_s(pid) - before_s, 2),
    }


def measure_bomb(server: Server, name: str) -> dict[str, Any]:
    """Return what a bomb costs: the least of a few processes, where the first one needs too long."""
    costs = [cost_of(server, bomb(name))]
    while costs[-1]["cpu_s"] > CPU_BAR_S and len(costs) < TRIES:
        costs.append(cost_of(server, bomb(name)))
    least = min(costs, key=lambda cost: float(cost["cpu_s"]))
    print(name, least, file=sys.stderr, flush=True)
    return {"name": name, "bytes": len(bomb(name)), **least, "tries": len(costs)}


def measure_scrape(server: Server, shared: Path, ended: int) -> dict[str, Any]:
    """Leave behind what so many processes like this one leave, then scrape."""
    assert upload(server, PHOTOGRAPH.read_bytes()) == 200
    own = server.worker_pid()
    for pid in range(FIRST_PID, FIRST_PID + ended):
        for file in shared.glob(f"*_{own}.db"):
            shutil.copyfile(file, shared / file.name.replace(f"_{own}.", f"_{pid}."))
        shared_metrics.inherit(shared, pid)
    took_ms, began_s = [], cpu_s(own)
    for _ in range(SCRAPES):
        start_s = time.perf_counter()
        answer = server.exchange(b"GET /metrics HTTP/1.1\r\nHost: worker\r\n\r\n")
        took_ms.append(1000 * (time.perf_counter() - start_s))
    assert f'route="/predict",status="200"}} {ended + 1}.0' in answer.decode(), answer
    return {
        "ended": ended,
        "scrapes": SCRAPES,
        "median_ms": round(statistics.median(took_ms), 2),
        "p99_ms": round(statistics.quantiles(took_ms, n=100)[-1], 2),
        "cpu_ms": round(1000 * (cpu_s(own) - began_s) / SCRAPES, 2),
    }


def beside_bombs() -> dict[str, Any]:
    """Return what good requests felt beside bombs in the recorded run of `make chaos`."""
    fault = json.loads(CHAOS.read_text())
    figures = {name: fault["row"][name] for name in ("requests", "lost", "quiet_p99_ms", "p99_ms")}
    deployed = {"model": fault["deployed"]["version"]["model"]["name"], "worker_cores": fault["cores"]["worker1"]}
    return {"commit": fault["commit"], **deployed, **figures}


def measure_bombs(bundle: Path, names: Sequence[str]) -> dict[str, Any]:
    """Measure these bombs; return a record without a scrape."""
    record: dict[str, Any] = {"source": source_state(), "machine": machine_here()}
    record["load"] = round(os.getloadavg()[0], 1)
    with tempfile.TemporaryDirectory(prefix="bombs-") as name, worker(bundle, Path(name)) as server:
        model = server.ask("GET", "/version").json["model"]
        record["model"] = f"{model['name']} {model['version']}"
        record["bombs"] = [measure_bomb(server, each) for each in names]
    return record


def added(kept: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    """Return the record that was kept, with bombs that were measured later."""
    if any(kept[name] != later[name] for name in ("machine", "model")):
        raise SystemExit("error: the others were measured on another machine or with another model; measure all")
    new = {each["name"]: each | {"source": later["source"]} for each in later["bombs"]}
    rows = {each["name"]: each for each in kept["bombs"]} | new
    return kept | {"bombs": [rows[name] for name in BOMBS if name in rows]}


def measure(bundle: Path, names: Sequence[str], ended: int) -> dict[str, Any]:
    """Measure all of it; return the record."""
    record = measure_bombs(bundle, names)
    with tempfile.TemporaryDirectory(prefix="bombs-") as name, worker(bundle, Path(name)) as server:
        record["scrape"] = measure_scrape(server, Path(name) / "metrics", ended)
    return record


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, keep the raw figures, and write the page; see the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.bombs", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path, nargs="?", help="of the model; without it the page is written anew")
    parser.add_argument("--into", type=Path, required=True, metavar="PAGE", help="page with the two marks")
    parser.add_argument(
        "--only", nargs="+", choices=BOMBS, default=list(BOMBS), metavar="BOMB", help="these bombs alone"
    )
    parser.add_argument(
        "--ended", type=int, default=ENDED, help=f"processes that end before a scrape (default {ENDED})"
    )
    options = parser.parse_args(argv)
    kept = options.into.parent / RECORD
    if options.bundle is None:
        record = json.loads(kept.read_text())
    elif options.only != list(BOMBS) and kept.exists():
        record = added(json.loads(kept.read_text()), measure_bombs(options.bundle.resolve(), options.only))
    else:
        record = measure(options.bundle.resolve(), options.only, options.ended)
    record |= {"beside": beside_bombs()}
    kept.write_text(json.dumps(record, indent=1) + "\n")
    write_between(options.into, page(record), BEGIN, END)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
