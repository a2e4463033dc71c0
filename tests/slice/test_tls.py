"""The balancer under TLS on a machine with systemd: who comes in, what is turned away, and a new certificate."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.slice.conftest import URL, Slice, eventually, load

SECURE = URL.replace("http:", "https:")
NAME = "imagerec.test"
TRUSTED = "/tmp/balancer.pem"
CERTIFICATE = "/etc/imagerec-balancer/tls/certificate.pem"
TLS = {"balancer_tls": "self_signed", "balancer_tls_name": NAME}


@pytest.fixture(scope="module")
def secured(deployed: Slice) -> Iterator[Slice]:
    """The slice behind a certificate that its balancer has signed for itself; afterwards without again."""
    try:
        deployed.play("playbooks/balancers.yml", variables=TLS)
        trust(deployed)
        yield deployed
    finally:
        deployed.play("playbooks/balancers.yml")


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
    assert outcomes["200"] > 40


def served_certificate(system: Slice) -> str:
    """The serial number of the certificate that a client is shown."""
    connect = f"openssl s_client -connect 10.10.1.1:443 -servername {NAME} </dev/null 2>/dev/null"
    return system.on("client", f"{connect} | openssl x509 -noout -serial")
