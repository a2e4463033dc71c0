"""The balancer is reloaded, restarted and updated while it is asked, and while one slow client is served."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from deployed.slice import URL, Slice
from tests.slice.conftest import load
from tests.slice.test_system import recap

pytestmark = pytest.mark.slow

# While the balancer waits for a slow client before it restarts, the others wait in its listener, and come all at once
# after that. So many of them find a place: four workers have 16 for each process.
WAITS_HZ = 4
# Takes ten seconds to send a photograph; prints the status.
SLOW = """
import http.client, sys, time, urllib.parse
body = open("/tmp/cat.jpg", "rb").read()
connection = http.client.HTTPConnection(urllib.parse.urlsplit(sys.argv[1]).hostname, 80, timeout=60)
connection.putrequest("POST", "/predict")
connection.putheader("Content-Type", "image/jpeg")
connection.putheader("Content-Length", str(len(body)))
connection.endheaders()
part = len(body) // 10 + 1
for start in range(0, len(body), part):
    connection.send(body[start:start + part])
    time.sleep(1)
print(connection.getresponse().status)
"""


@contextmanager
def slow_client(system: Slice) -> Iterator[None]:
    """Have one slow client served meanwhile; its photograph must be recognised."""
    system.on("client", "cat > /tmp/slow.py", SLOW)
    with system.start("client", f"python3 /tmp/slow.py {URL}") as asking:
        yield
        printed, _ = asking.communicate(timeout=120)
    assert printed.split() == [b"200"]


def main_pid(system: Slice) -> str:
    """The process id of nginx's master."""
    return system.on("balancer", "systemctl show --property=MainPID --value imagerec-balancer.service").strip()


def test_a_restart_refuses_nobody_while_a_slow_client_is_served(deployed: Slice) -> None:
    before = main_pid(deployed)
    with load(deployed, WAITS_HZ, at_least=60) as outcomes, slow_client(deployed):
        deployed.on("balancer", "sudo systemctl restart imagerec-balancer.service")
    assert main_pid(deployed) != before
    assert set(outcomes) == {"200"}, outcomes


def test_another_time_limit_needs_no_restart_also_after_the_logs_were_rotated(deployed: Slice) -> None:
    rotate = "/usr/sbin/logrotate --force --state /tmp/rotated /etc/imagerec-balancer/logrotate.conf"
    deployed.on("balancer", f"sudo {rotate}")
    before = main_pid(deployed)
    with load(deployed, 8, at_least=100) as outcomes, slow_client(deployed):
        deployed.play("playbooks/balancers.yml", variables={"balancer_read_timeout_s": "40"})
    try:
        assert main_pid(deployed) == before
        assert set(outcomes) == {"200"}, outcomes
        stop = deployed.on("balancer", "systemctl show --property=TimeoutStopUSec --value imagerec-balancer.service")
        assert stop.strip() == "50s"
    finally:
        deployed.play("playbooks/balancers.yml")


def test_an_updated_program_is_run_by_the_next_deployment(deployed: Slice) -> None:
    """A package's update puts another file in the program's place; the process goes on with the old one."""
    deployed.on(
        "balancer", "sudo sh -c 'cp -p /usr/sbin/nginx /usr/sbin/nginx.new && mv /usr/sbin/nginx.new /usr/sbin/nginx'"
    )
    before = main_pid(deployed)
    assert "(deleted)" in deployed.on("balancer", f"sudo readlink /proc/{before}/exe")
    with load(deployed, WAITS_HZ, at_least=60) as outcomes, slow_client(deployed):
        deployed.play("playbooks/balancers.yml")
    assert set(outcomes) == {"200"}, outcomes
    after = main_pid(deployed)
    assert after != before
    assert deployed.on("balancer", f"sudo readlink /proc/{after}/exe").strip() == "/usr/sbin/nginx"
    again = deployed.play("playbooks/balancers.yml", variables={"thorough": "true"})
    assert recap(again.stdout)["balancer"]["changed"] == 0
