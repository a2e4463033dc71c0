"""The balancer under TLS on a machine with systemd: who comes in, what is turned away, and a new certificate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

import pytest

from deployed.slice import URL, Slice
from tests.slice.conftest import eventually, load
from tests.slice.test_system import recap

pytestmark = pytest.mark.slow

SECURE = URL.replace("http:", "https:")
NAME = "imagerec.test"
TRUSTED = "/tmp/balancer.pem"
CERTIFICATE = "/etc/imagerec-balancer/tls/certificate.pem"
TLS = {"balancer_tls": "self_signed", "balancer_tls_name": NAME}


@pytest.fixture(scope="module")
def plain(deployed: Slice) -> Iterator[Slice]:
    """The slice, whose balancer is without a certificate again after the last test: once for those who give it one."""
    try:
        yield deployed
    finally:
        deployed.play("playbooks/balancers.yml")


@pytest.fixture(scope="module")
def secured(plain: Slice) -> Slice:
    """The slice behind a certificate that its balancer has signed for itself."""
    plain.play("playbooks/balancers.yml", variables=TLS)
    trust(plain)
    return plain


def trust(system: Slice) -> None:
    """Give the client the balancer's certificate."""
    system.on("client", f"cat > {TRUSTED}", system.on("balancer", f"cat {CERTIFICATE}"))


def curl(system: Slice, *words: str, check: bool = True) -> str:
    """Ask from the client, which trusts the balancer's certificate and knows its name."""
    resolve = "".join(f" --resolve {NAME}:{port}:10.10.1.1" for port in (80, 443))
    return system.on("client", f"curl -sS --cacert {TRUSTED}{resolve} {' '.join(words)}", check=check)


def test_a_photograph_is_classified_over_tls(secured: Slice) -> None:
    answer = json.loads(curl(secured, "-F image=@/tmp/cat.jpg", f"https://{NAME}/predict"))
    assert answer["predictions"]
    assert answer["worker"].startswith("worker")
    by_address = json.loads(curl(secured, "-F image=@/tmp/cat.jpg", f"{SECURE}/predict"))
    assert by_address["predictions"] == answer["predictions"]


def test_plain_http_is_sent_to_tls_with_the_body_that_it_had(secured: Slice) -> None:
    headers = curl(secured, "-o /dev/null -D -", f"http://{NAME}/predict?top=3")
    assert headers.startswith("HTTP/1.1 308 ")
    assert f"Location: https://{NAME}/predict?top=3" in headers.replace("\r", "")
    followed = json.loads(curl(secured, "-L -F image=@/tmp/cat.jpg", f"http://{NAME}/predict?top=3"))
    assert len(followed["predictions"]) == 3


def test_browsers_are_told_to_stay_with_tls(secured: Slice) -> None:
    assert "strict-transport-security: max-age=" in curl(secured, "-I", f"https://{NAME}/").lower()
    assert "strict-transport-security" not in curl(secured, "-I", f"http://{NAME}/").lower()


@pytest.mark.parametrize(("version", "welcome"), [("1.0", False), ("1.1", False), ("1.2", True), ("1.3", True)])
def test_only_modern_protocols_are_spoken(secured: Slice, version: str, *, welcome: bool) -> None:
    only = f"--tlsv{version} --tls-max {version} --ciphers DEFAULT@SECLEVEL=0"
    answer = curl(secured, only, "-o /dev/null -w '%{http_code}'", f"https://{NAME}/", check=False)
    assert answer == ("200" if welcome else "000")


def test_a_new_certificate_is_taken_up_without_a_lost_request(secured: Slice) -> None:
    """Twice while requests come in at 20 a second, the role finds no certificate, makes one and has it served."""
    with load(secured, 20, SECURE) as outcomes:
        for _ in range(2):
            before = served_certificate(secured)
            secured.on("balancer", f"sudo rm {CERTIFICATE}")
            secured.play("playbooks/balancers.yml", variables=TLS)
            eventually("the new certificate is served", lambda old=before: served_certificate(secured) != old)
    trust(secured)
    assert set(outcomes) == {"200"}, outcomes


def test_a_key_opens_the_api_by_http_2_and_is_kept_nowhere(secured: Slice) -> None:
    key = "a key that alice has"
    alice = {"name": "alice", "sha256": hashlib.sha256(key.encode()).hexdigest()}
    settings = json.dumps(TLS | {"balancer_api_keys": [alice]})
    secured.run("ansible-playbook", "-i", "inventory/slice", "playbooks/balancers.yml", "-e", settings)
    trust(secured)
    ask = "--http2 -F image=@/tmp/cat.jpg -o /dev/null -w '%{http_version} %{http_code}'"
    assert curl(secured, ask, f"https://{NAME}/predict") == "2 401"
    assert curl(secured, ask, "-H 'X-API-Key: a guess'", f"https://{NAME}/predict") == "2 401"
    named = f"-H 'X-Request-Id: of-alice' -H 'X-API-Key: {key}'"
    assert curl(secured, ask, named, f"https://{NAME}/predict") == "2 200"
    line = "sudo grep of-alice /var/log/imagerec-balancer/access.log"
    eventually("the log names who asked", lambda: '"key":"alice"' in secured.on("balancer", line))
    secured.on("balancer", f"sudo grep -rlF '{key}' /etc/imagerec-balancer /var/log/imagerec-balancer; test $? = 1")


def served_certificate(system: Slice) -> str:
    """The serial number of the certificate that a client is shown."""
    connect = f"openssl s_client -connect 10.10.1.1:443 -servername {NAME} </dev/null 2>/dev/null"
    return system.on("client", f"{connect} | openssl x509 -noout -serial")


# --- a certificate from an authority ---------------------------------------------------------------------------------
# Pebble, Let's Encrypt's own small authority for tests, runs on the client: it asks the balancer for the proof by the
# name that the client's hosts file holds, and certbot trusts the certificate that its directory is served with. It
# refuses no good nonce, which it does one time in twenty unless told: certbot asks once more and then gives up.
AUTHORITY = """
set -e
apt-get update -qq
apt-get install -y -qq pebble >/dev/null
grep -q imagerec.test /etc/hosts || echo '10.10.1.1 imagerec.test' >> /etc/hosts
mkdir -p /etc/pebble && cd /etc/pebble
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout key.pem -out cert.pem \\
    -subj /CN=client -addext subjectAltName=DNS:client 2>/dev/null
echo '{"pebble": {"listenAddress": "0.0.0.0:14000", "managementListenAddress": "127.0.0.1:15000", "httpPort": 80,
    "tlsPort": 443, "certificate": "cert.pem", "privateKey": "key.pem"}}' > config.json
systemd-run --quiet --unit=pebble --working-directory=/etc/pebble --setenv=PEBBLE_VA_NOSLEEP=1 \\
    --setenv=PEBBLE_WFE_NONCEREJECT=0 /usr/bin/pebble -config config.json
"""
ACME = {
    "balancer_tls": "acme",
    "balancer_tls_name": NAME,
    "balancer_tls_email": "staff@imagerec.test",
    "balancer_acme_server": "https://client:14000/dir",
}


@pytest.fixture(scope="module")
def certified(plain: Slice) -> Iterator[Slice]:
    """The slice behind a certificate that certbot has obtained."""
    plain.on("client", "sudo sh -s", AUTHORITY)
    ask = "curl -sS --fail --cacert /etc/pebble/cert.pem --connect-to client:15000:localhost:15000"
    eventually("the authority is up", lambda: plain.on("client", f"{ask} https://client:15000/roots/0"))
    authority = plain.on("client", "cat /etc/pebble/cert.pem")
    plain.on("balancer", "sudo tee /usr/local/share/ca-certificates/pebble.crt >/dev/null", authority)
    plain.on("balancer", "sudo update-ca-certificates >/dev/null 2>&1")
    try:
        plain.play("playbooks/balancers.yml", variables=ACME)
        plain.on("client", f"{ask} https://client:15000/roots/0 > {TRUSTED}")
        yield plain
    finally:
        plain.on("client", "sudo systemctl stop pebble.service")


def test_certbot_obtains_a_certificate_that_the_page_is_served_with(certified: Slice) -> None:
    answer = json.loads(curl(certified, "-F image=@/tmp/cat.jpg", f"https://{NAME}/predict"))
    assert answer["predictions"]
    assert curl(certified, "-o /dev/null -D -", f"http://{NAME}/").startswith("HTTP/1.1 308 ")
    assert certified.on("balancer", "systemctl is-enabled certbot.timer").strip() == "enabled"


def test_a_second_run_asks_for_no_other_certificate(certified: Slice) -> None:
    before = served_certificate(certified)
    again = certified.play("playbooks/balancers.yml", variables=ACME)
    assert recap(again.stdout)["balancer"]["changed"] == 0
    assert served_certificate(certified) == before


def test_a_renewal_is_taken_up_without_a_lost_request(certified: Slice) -> None:
    before = served_certificate(certified)
    with load(certified, 20, f"https://{NAME}") as outcomes:
        certified.on("balancer", "sudo certbot renew --force-renewal --no-random-sleep-on-renew")
        eventually("the new certificate is served", lambda: served_certificate(certified) != before)
    assert set(outcomes) == {"200"}, outcomes
