"""The faults: how each is brought about from outside, how its cause is taken away, and the bar for what clients see."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chaos.scene import Scene
from chaos.verdict import SETTLE_S, Marks, Row, answered, percentile
from deployed.load import CLIENT_PYTHON
from loadtest.generate.samples import Sample
from rspec.local_slice.host import run
from rspec.local_slice.network import shape_commands

VICTIM = "worker2"
_CONNECT_TIMEOUT_MS = 1000
_LONGEST_WAIT_MS = 2000
Act = Callable[[Scene, Marks], None]
Bar = Callable[[Row, Sequence[Sample], Scene], dict[str, bool]]
Phases = Callable[[Scene], list[tuple[float, float]]]


def _nothing(_scene: Scene, _marks: Marks) -> None:
    """Leave everything as it is."""


def nothing_lost(row: Row, _samples: Sequence[Sample], _scene: Scene) -> dict[str, bool]:
    """No request lost, none answered wrongly, and no retry storm."""
    return {
        "0 lost": row.lost == 0,
        "0 wrong": row.wrong == 0,
        "tries per request ≤ 2": row.tries_per_request is None or row.tries_per_request <= 2,
    }


def barely_felt(row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
    """Nothing lost, and p99 at most three times what it was before."""
    return nothing_lost(row, samples, scene) | {"p99 ≤ 3 × quiet p99": row.p99_ms <= 3 * row.quiet_p99_ms}


def soon(row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
    """Nothing lost, and nobody who was accepted waited longer than 2 s: the pool was told in time."""
    return nothing_lost(row, samples, scene) | {
        "longest wait ≤ 2 s": row.worst_ms is not None and row.worst_ms <= _LONGEST_WAIT_MS
    }


def detected(row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
    """Nothing lost, p99 within the connect timeout and two service times, back within 15 s."""
    limit_ms = _CONNECT_TIMEOUT_MS + 2e3 * scene.service_s
    return soon(row, samples, scene) | {
        f"p99 ≤ {limit_ms:.0f} ms": row.p99_ms <= limit_ms,
        "back ≤ 15 s": row.back_after_s is not None and row.back_after_s <= 15,
    }


def stated(row: Row, _samples: Sequence[Sample], _scene: Scene) -> dict[str, bool]:
    """Without the only balancer requests are lost; what is answered must be right, and the service must be back."""
    return {"0 wrong": row.wrong == 0}


def held(row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
    """Overload: capacity is delivered, what is accepted is quick, the rest is told to come back."""
    end = max(each.scheduled_s for each in samples)
    delivered = sum(answered(each) and SETTLE_S <= each.done_s <= end for each in samples)
    goodput = delivered / (end - SETTLE_S) / scene.capacity_hz
    accepted = percentile([each.response_s for each in samples if answered(each)], 0.99)
    return {
        f"goodput {goodput:.0%} of capacity, ≥ 95 %": goodput >= 0.95,
        f"p99 of accepted {accepted / scene.service_s:.1f} × service time, ≤ 5": accepted <= 5 * scene.service_s,
        "every refusal a 429 with Retry-After": row.lost == 0,
        "0 wrong": row.wrong == 0,
    }


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        what: said on the figure.
        inject: brings it about; may take its time, as an upgrade does.
        recover: takes the cause away, and returns when the machine itself is back.
        bar: what must hold.
        hold_s: seconds from inject's end to recover.
        tail_s: seconds of load after recover.
        victim: the worker whose return is timed.
        phases: [seconds, requests a second]; a share of the capacity for as long as needed where not given.
        utilisation: that share.
    """

    name: str
    what: str
    inject: Act
    recover: Act = _nothing
    bar: Bar = nothing_lost
    hold_s: float = 10.0
    tail_s: float = 15.0
    victim: str | None = None
    phases: Phases | None = None
    utilisation: float = 0.5


# --- processes -----------------------------------------------------------------------------------------------------
_MAIN = "$(systemctl show -p MainPID --value imagerec-worker.service)"


def _kill_one_process(scene: Scene, _marks: Marks) -> None:
    for _ in range(5):
        scene.on(VICTIM, f"m={_MAIN}; set -- $(cat /proc/$m/task/$m/children); kill -9 $1")
        time.sleep(2)


def _kill_all_processes(scene: Scene, _marks: Marks) -> None:
    for _ in range(3):
        scene.on(VICTIM, "systemctl kill --signal=KILL --kill-who=all imagerec-worker.service")
        time.sleep(3)


def _kill_nginx(scene: Scene, _marks: Marks) -> None:
    scene.on("balancer", "systemctl kill --signal=KILL --kill-who=all imagerec-balancer.service")


_DROP_IN = "/run/systemd/system/imagerec-worker.service.d"
_BROKEN = "/run/failing"
_FAILING = """
from imagerec_worker.wsgi import app as sound

def app(environ, start_response):
    if environ["PATH_INFO"] != "/predict":
        return sound(environ, start_response)
    environ["wsgi.input"].read()
    start_response("500 Internal Server Error", [("Content-Length", "3"), ("X-Worker", "worker2")])
    return [b"{} "]
"""


def _start_instead(scene: Scene, command: str) -> None:
    unit = f"[Service]\\nExecStart=\\nExecStart={command}\\n"
    scene.on(VICTIM, f"mkdir -p {_DROP_IN}; printf '{unit}' > {_DROP_IN}/chaos.conf; systemctl daemon-reload")
    scene.on(VICTIM, "systemctl kill --signal=KILL --kill-who=all imagerec-worker.service")


def _never_start(scene: Scene, _marks: Marks) -> None:
    """Its process dies, and what systemd starts instead ends at once, again and again; the socket stays open."""
    _start_instead(scene, "/bin/false")


def _fail(scene: Scene, _marks: Marks) -> None:
    scene.on(VICTIM, f"mkdir -p {_BROKEN}; printf '%s' '{_FAILING}' > {_BROKEN}/failing.py")
    program = "/opt/imagerec-worker/current/venv/bin/python -m gunicorn --config /etc/imagerec-worker/gunicorn.conf.py"
    _start_instead(scene, f"{program} --pythonpath {_BROKEN} failing:app")


def _start(scene: Scene, _marks: Marks) -> None:
    scene.on(VICTIM, f"rm -rf {_DROP_IN} {_BROKEN}; systemctl daemon-reload; systemctl restart imagerec-worker.service")
    scene.until_ready(VICTIM)


# --- machines ------------------------------------------------------------------------------------------------------
def _freeze(scene: Scene, _marks: Marks) -> None:
    _signal(scene, signal.SIGSTOP)


def _thaw(scene: Scene, _marks: Marks) -> None:
    _signal(scene, signal.SIGCONT)
    scene.until_ready(VICTIM)


def _signal(scene: Scene, number: signal.Signals) -> None:
    for process in scene.limiter.processes(VICTIM):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def _power_off(scene: Scene, _marks: Marks) -> None:
    # The wire first: a machine without power says no goodbye, but the kernel would send one for its sockets.
    _link(scene, "down")
    scene.limiter.kill(VICTIM)


def _power_on(scene: Scene, _marks: Marks) -> None:
    _link(scene, "up")
    scene.system.tool("boot", VICTIM)
    scene.until_ready(VICTIM)


def _reboot_balancer(scene: Scene, _marks: Marks) -> None:
    scene.on("balancer", "systemctl reboot", check=False)


def _balancer_back(scene: Scene, _marks: Marks) -> None:
    scene.until("the balancer answers", lambda: scene.system.on("client", "curl -sf -m 2 http://balancer/healthz"))


# --- the network ---------------------------------------------------------------------------------------------------
def _link(scene: Scene, state: str) -> None:
    words = ["ip", "-n", scene.namespace(VICTIM), "link", "set", "dev", scene.device(VICTIM), state]
    run(words)


def _link_down(scene: Scene, _marks: Marks) -> None:
    _link(scene, "down")


def _link_up(scene: Scene, _marks: Marks) -> None:
    _link(scene, "up")
    scene.until_ready(VICTIM)


def _firewall(scene: Scene, action: str) -> None:
    rule = ["INPUT", "--in-interface", scene.device(VICTIM), "--jump", "DROP"]
    words = ["ip", "netns", "exec", scene.namespace(VICTIM), "iptables", "--wait", action, *rule]
    run(words)


def _drop_packets(scene: Scene, _marks: Marks) -> None:
    _firewall(scene, "--insert")


def _pass_packets(scene: Scene, _marks: Marks) -> None:
    _firewall(scene, "--delete")
    scene.until_ready(VICTIM)


def _ends(scene: Scene) -> list[tuple[str, str, str]]:
    """Both ends of the victim's wire: namespace, device, and whose packets it sends."""
    (port,) = scene.plan.ports(VICTIM)
    ends = [(scene.namespace(VICTIM), port.device, "sends")]
    for number, wiring in enumerate(scene.plan.wirings):
        for index, other in enumerate(wiring.ports):
            if other == port and wiring.lan:
                ends.append((scene.system.names.mark, f"lan{number}p{index}", "receives"))
    return ends


def _slow_link(scene: Scene, _marks: Marks) -> None:
    for namespace, device, _ in _ends(scene):
        words = ["tc", "-n", namespace, "qdisc", "replace", "dev", device, "root", "tbf"]
        run([*words, "rate", "1mbit", "burst", "15140", "latency", "400ms"])


def _full_link(scene: Scene, _marks: Marks) -> None:
    (port,) = scene.plan.ports(VICTIM)
    for namespace, device, whose in _ends(scene):
        run(["tc", "-n", namespace, "qdisc", "del", "dev", device, "root"])
        for command in shape_commands(namespace, device, getattr(port, whose), netem=False):
            run(command)


# --- resources -----------------------------------------------------------------------------------------------------
_MEMORY_FILES = ("/dev/shm", "/run", "/tmp")  # noqa: S108  what a worker writes to


def _fill_disks(scene: Scene, _marks: Marks) -> None:
    """Fill every file system that a worker writes to: heartbeats, metrics, uploads. The root is the host's own disk."""
    for folder in _MEMORY_FILES:
        scene.on(
            VICTIM,
            f"mountpoint -q {folder} || mount -t tmpfs -o size=1m tmpfs {folder}; "
            f"used=$(df -k --output=used {folder} | tail -1); mount -o remount,size=$((used + 256))k {folder}; "
            f"dd if=/dev/zero of={folder}/fill bs=64k 2>/dev/null || true",
        )
    scene.on(VICTIM, f"m={_MAIN}; set -- $(cat /proc/$m/task/$m/children); kill -9 $1")


def _empty_disks(scene: Scene, _marks: Marks) -> None:
    for folder in _MEMORY_FILES:
        scene.on(VICTIM, f"rm -f {folder}/fill; mount -o remount,size=64m {folder}")
    scene.until_ready(VICTIM)


def _limit_memory(scene: Scene, _marks: Marks) -> None:
    """Let the machine grow by 32 MiB only, then send it an image that takes 200."""
    _set_memory(scene, None, extra=32 * 2**20)
    draw = "Image.new('RGBA',(7000,7000)).save(sys.stdout.buffer,'PNG',compress_level=1)"
    picture = f"import sys;from PIL import Image;{draw}"
    send = f"curl -s -o /dev/null -m 30 -H 'Content-Type: image/png' --data-binary @- http://{VICTIM}:5000/predict"
    for _ in range(3):
        scene.on("client", f'{CLIENT_PYTHON} -c "{picture}" | {send}', check=False)


def _free_memory(scene: Scene, _marks: Marks) -> None:
    _set_memory(scene, scene.plan.machine(VICTIM).memory_mb, extra=0)
    scene.until_ready(VICTIM)


def _set_memory(scene: Scene, mebibytes: int | None, *, extra: int) -> None:
    for group in scene.limiter.groups(VICTIM):
        for limit, used in (("memory.limit_in_bytes", "memory.usage_in_bytes"), ("memory.max", "memory.current")):
            if (group / limit).exists():
                now = int((group / used).read_text())
                (group / limit).write_text(str(mebibytes * 2**20 if mebibytes else now + extra))


# --- load ----------------------------------------------------------------------------------------------------------
def _loss(name: str, what: str, inject: Act, recover: Act) -> Fault:
    return Fault(name, what, inject, recover, detected, hold_s=20, tail_s=25, victim=VICTIM)


def _long_enough_s(rate_hz: float) -> float:
    return max(20.0, 5000 / rate_hz)


def _overload(factor: float) -> Fault:
    return Fault(
        name=f"overload-{factor:g}x".replace(".", "_"),
        what=f"{factor:g} × the capacity is asked for",
        inject=_nothing,
        bar=held,
        phases=lambda scene: [(_long_enough_s(factor * scene.capacity_hz), factor * scene.capacity_hz)],
    )


_STEPS = (0.7, 1.4, 0.7)


def _step_s(scene: Scene) -> float:
    return _long_enough_s(sum(_STEPS) * scene.capacity_hz)


def _steps(scene: Scene) -> list[tuple[float, float]]:
    return [(_step_s(scene), factor * scene.capacity_hz) for factor in _STEPS]


def _recovered(row: Row, samples: Sequence[Sample], scene: Scene) -> dict[str, bool]:
    late = [each.response_s for each in samples if answered(each) and each.scheduled_s >= 2 * _step_s(scene) + 2]
    p99 = percentile(late, 0.99)
    return {
        f"p99 of accepted from 2 s after the step down {p99 / scene.service_s:.1f} × service time, ≤ 4": p99
        <= 4 * scene.service_s,
        "every refusal a 429 with Retry-After": row.lost == 0,
        "0 wrong": row.wrong == 0,
    }


FAULTS = (
    Fault("kill-process", "kill -9 of a worker's process, five times", _kill_one_process, bar=barely_felt),
    Fault("kill-worker", "kill -9 of all of a worker's processes, three times", _kill_all_processes, bar=barely_felt),
    Fault("freeze", "SIGSTOP of a worker machine", _freeze, _thaw, soon, hold_s=20, victim=VICTIM),
    Fault("grey", "a worker that never starts behind its open socket", _never_start, _start, soon, victim=VICTIM),
    Fault("failing", "a worker that answers every photograph by 500", _fail, _start, soon, hold_s=20, victim=VICTIM),
    _loss("power-off", "power off a worker machine", _power_off, _power_on),
    _loss("link-down", "a worker's link down", _link_down, _link_up),
    _loss("drop", "a worker's packets dropped", _drop_packets, _pass_packets),
    Fault("slow-link", "a worker's link at 1 Mbit/s", _slow_link, _full_link, hold_s=20, victim=VICTIM),
    Fault("disk-full", "a worker's disks full, a process killed", _fill_disks, _empty_disks, hold_s=15, victim=VICTIM),
    Fault("memory", "a worker's machine out of memory", _limit_memory, _free_memory, victim=VICTIM),
    Fault("kill-nginx", "kill -9 of the balancer's nginx", _kill_nginx, _balancer_back, stated),
    Fault("reboot-balancer", "the balancer reboots", _reboot_balancer, _balancer_back, stated),
    _overload(1.5),
    _overload(3),
    _overload(10),
    Fault("step", "0.7 × → 1.4 × → 0.7 × the capacity", _nothing, bar=_recovered, phases=_steps),
)
