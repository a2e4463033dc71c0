"""What the balancer's role makes of its settings, evaluated without a host."""

from __future__ import annotations

from typing import Any

import pytest

from tests.ansible.evaluation import evaluated, tasks_named, variables_of

WORKERS = [{"name": name, "address": "10.0.0.1", "port": 1, "processes": 1} for name in ("w1", "w2", "w3")]


def said(name: str, **given: Any) -> Any:
    """A private variable of the role."""
    given = {f"balancer_{each}" if each[0] != "_" else each: value for each, value in given.items()}
    known = variables_of("balancer", {"balancer_workers": WORKERS} | given)
    return evaluated(known[f"__balancer_{name}"], known)


@pytest.mark.parametrize(("size", "names"), [(0, ["w1", "w2", "w3"]), ("1", ["w1"]), (2, ["w1", "w2"])])
def test_the_pool_is_the_first_workers_or_all(size: object, names: list[str]) -> None:
    assert [each["name"] for each in said("pool", pool_size=size)] == names
    status = said("status", pool_size=size)
    assert (status["pool_size"], status["workers"]) == (len(names), names)


def test_a_change_of_a_member_or_of_how_it_is_tried_changes_the_configuration() -> None:
    changes = ({}, {"pool_size": 2}, {"max_fails": 3}, {"fail_timeout_s": 3}, {"max_conns": 3})
    assert len({said("servers_digest", **given) for given in changes}) == len(changes)


@pytest.mark.parametrize(("version", "new"), [("1.25.0", False), ("1.25.1", True), ("1.26.3", True), ("1.9.9", False)])
def test_http_2_is_asked_for_as_the_version_of_nginx_wants_it(version: str, *, new: bool) -> None:
    assert said("http2_directive", __balancer_nginx_says={"stderr": f"nginx version: nginx/{version} (Debian)"}) is new


@pytest.mark.parametrize("exists", [True, False], ids=["there", "not yet"])
def test_the_encrypted_port_is_served_once_there_is_a_certificate(*, exists: bool) -> None:
    given = {"tls": "acme", "__balancer_certificate": {"stat": {"exists": exists}}, "port": 1, "tls_port": 2}
    assert said("tls_served", **given) is exists
    ports = [(each["variable"], each["port"]) for each in said("ports_served", **given)]
    assert ports == [("balancer_port", 1), ("balancer_tls_port", 2)][: 1 + exists]
    known = variables_of("balancer", {"balancer_tls": "acme", "__balancer_certificate": {"stat": {"exists": exists}}})
    environment = evaluated(known["balancer_service_definition"], known)["socket_environment"]
    assert environment == {"NGINX": "3;4;" if exists else "3;"}  # as nginx is told of sockets that are open already


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"slice_address": "10.0.0.1"}, ["-checkip", "10.0.0.1"]),
        ({"slice_address": "b.org", "balancer_tls_name": "a.org"}, ["-checkhost", "b.org", "-checkhost", "a.org"]),
    ],
    ids=["address", "names"],
)
def test_the_certificate_is_checked_for_the_kind_of_address_and_each_name(
    given: dict[str, str], words: list[str]
) -> None:
    (ask,) = tasks_named(
        "roles/balancer/tasks/self_signed.yml",
        "Ask whether the certificate is of this key, for these names and good for another month",
    )
    argv = evaluated(
        ask["ansible.builtin.command"]["argv"], variables_of("balancer", {"balancer_tls": "self_signed", **given})
    )
    assert argv[6:8] == ["-checkend", 30 * 86400]
    assert argv[8:] == words


def test_the_authority_finds_its_proof_and_the_certificate_is_where_nginx_reads_it() -> None:
    known = variables_of("balancer", {"balancer_tls": "acme", "balancer_tls_name": "a.org"})
    (obtain,) = tasks_named("roles/balancer/tasks/acme.yml", "Obtain the certificate")
    argv = evaluated(obtain["ansible.builtin.command"]["argv"], known)
    (folder,) = tasks_named(
        "roles/balancer/tasks/tls.yml", "Create the folder that proofs of owning the name are served from"
    )
    assert argv[argv.index("--webroot-path") + 1] == evaluated(folder["ansible.builtin.file"]["path"], known)
    assert argv[argv.index("--domain") + 1] == "a.org"
    pair = evaluated(known["__balancer_tls_pair"], known)
    assert set(pair.values()) == {f"/etc/letsencrypt/live/a.org/{name}.pem" for name in ("fullchain", "privkey")}
    assert f"/live/{argv[argv.index('--cert-name') + 1]}/" in pair["key"]
