"""What happens to a worker: its processes are killed, never start or fail, and its machine freezes or loses power."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from chaos.bars import barely_felt, of_enough, one_away
from chaos.fault import VICTIM, Fault, loss
from chaos.faults.network import link
from chaos.scene import Scene
from chaos.verdict import Marks
from rspec.local_slice.up import switch_on

MAIN_PID = "$(systemctl show -p MainPID --value imagerec-worker.service)"


def _kill_one_process(scene: Scene, _marks: Marks) -> None:
    for _ in range(5):
        scene.on(VICTIM, f"m={MAIN_PID}; set -- $(cat /proc/$m/task/$m/children); kill -9 $1")
        time.sleep(2)


def _kill_all_processes(scene: Scene, _marks: Marks) -> None:
    for _ in range(3):
        scene.on(VICTIM, "systemctl kill --signal=KILL --kill-who=all imagerec-worker.service")
        time.sleep(3)


DROP_IN = "/run/systemd/system/imagerec-worker.service.d"
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
    scene.on(VICTIM, f"mkdir -p {DROP_IN}; printf '{unit}' > {DROP_IN}/chaos.conf; systemctl daemon-reload")
    scene.on(VICTIM, "systemctl kill --signal=KILL --kill-who=all imagerec-worker.service")


def _never_start(scene: Scene, _marks: Marks) -> None:
    """Its process dies, and what systemd starts instead ends at once, again and again; the socket stays open."""
    _start_instead(scene, "/bin/false")


def _fail(scene: Scene, _marks: Marks) -> None:
    scene.on(VICTIM, f"mkdir -p {_BROKEN}; printf '%s' '{_FAILING}' > {_BROKEN}/failing.py")
    program = "/opt/imagerec-worker/current/venv/bin/python -m gunicorn --config /etc/imagerec-worker/gunicorn.conf.py"
    _start_instead(scene, f"{program} --pythonpath {_BROKEN} failing:app")


def _start(scene: Scene, _marks: Marks) -> None:
    scene.on(VICTIM, f"rm -rf {DROP_IN} {_BROKEN}; systemctl daemon-reload; systemctl restart imagerec-worker.service")
    scene.until_ready(VICTIM)


def _freeze(scene: Scene, _marks: Marks) -> None:
    _signal(scene, signal.SIGSTOP)


def _thaw(scene: Scene, _marks: Marks) -> None:
    _signal(scene, signal.SIGCONT)
    scene.until_ready(VICTIM)


def _signal(scene: Scene, number: signal.Signals) -> None:
    for process in scene.limiter.processes(VICTIM):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)


def power_off(scene: Scene, _marks: Marks) -> None:
    """Take the victim's power."""
    # The wire first: a machine without power says no goodbye, but the kernel would send one for its sockets.
    link(scene, VICTIM, "down")
    scene.limiter.kill(VICTIM)


def power_on(scene: Scene, _marks: Marks) -> None:
    """Give it back, and wait until the victim is ready."""
    link(scene, VICTIM, "up")
    switch_on(scene.system.names, VICTIM)
    scene.until_ready(VICTIM)


FAULTS = (
    Fault("kill-process", "kill -9 of a worker's process, five times", _kill_one_process, bar=barely_felt),
    Fault("kill-worker", "kill -9 of all of a worker's processes, three times", _kill_all_processes, bar=barely_felt),
    Fault("freeze", "SIGSTOP of a worker machine", _freeze, _thaw, one_away, hold_s=20, victim=VICTIM),
    Fault(
        "grey",
        "a worker that never starts behind its open socket",
        _never_start,
        _start,
        of_enough(one_away),
        victim=VICTIM,
    ),
    Fault(
        "failing", "a worker that answers every photograph by 500", _fail, _start, one_away, hold_s=20, victim=VICTIM
    ),
    loss("power-off", "power off a worker machine", power_off, power_on),
)
