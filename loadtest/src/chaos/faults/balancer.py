"""What happens to the only balancer."""

from __future__ import annotations

from chaos.bars import stated
from chaos.fault import Fault
from chaos.scene import Scene
from chaos.verdict import Marks


def _kill_nginx(scene: Scene, _marks: Marks) -> None:
    scene.on("balancer", "systemctl kill --signal=KILL --kill-who=all imagerec-balancer.service")


def _reboot_balancer(scene: Scene, _marks: Marks) -> None:
    scene.on("balancer", "systemctl reboot", check=False)


def _balancer_back(scene: Scene, _marks: Marks) -> None:
    scene.until("the balancer answers", lambda: scene.system.on("client", "curl -sf -m 2 http://balancer/healthz"))


FAULTS = (
    Fault("kill-nginx", "kill -9 of the balancer's nginx", _kill_nginx, _balancer_back, stated),
    Fault("reboot-balancer", "the balancer reboots", _reboot_balancer, _balancer_back, stated),
)
