"""What a worker's machine runs out of: disks, memory."""

from __future__ import annotations

from chaos.fault import VICTIM, Fault
from chaos.faults.workers import MAIN_PID
from chaos.scene import Scene
from chaos.verdict import Marks
from deployed.load import CLIENT_PYTHON

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
    scene.on(VICTIM, f"m={MAIN_PID}; set -- $(cat /proc/$m/task/$m/children); kill -9 $1")


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


FAULTS = (
    Fault("disk-full", "a worker's disks full, a process killed", _fill_disks, _empty_disks, hold_s=15, victim=VICTIM),
    Fault("memory", "a worker's machine out of memory", _limit_memory, _free_memory, victim=VICTIM),
)
