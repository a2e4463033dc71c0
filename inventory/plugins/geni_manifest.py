"""Ansible inventory plugin: the hosts of a slice, from the manifest RSpec that granted it."""

from __future__ import annotations

import getpass
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from ansible.plugins.inventory import BaseInventoryPlugin

sys.path.append(str(Path(__file__).parents[2]))  # the checkout, whose own packages Ansible does not know

from rspec.manifest import Login, ManifestError, Node, read_manifest
from rspec.ssh import ssh_path

DOCUMENTATION = """
name: geni_manifest
short_description: Hosts of a slice, from its manifest RSpec
description:
  - Reads a manifest as CloudLab, Emulab or the local slice answers with, and puts its nodes into the groups
    C(balancers), C(workers) and C(clients) by their names.
  - Each host gets C(ansible_host), C(ansible_port) and C(ansible_user), by which it is reached, C(slice_address), its
    address on the experiment network, and C(slice_cores) where the manifest says how many cores the node has.
  - Other nodes are left out, with a warning that names them.
options:
  plugin:
    description: Marks a file as this plugin's.
    required: true
    choices: [geni_manifest]
  manifest:
    description: Path of the manifest; a relative one starts at the inventory file's folder, or for the environment
      variable at the working directory.
    type: str
    default: ../../rspec/manifests/local.xml
    env: [{name: GENI_MANIFEST}]
  user:
    description: Which of several logins to use; without it, the one of the user who runs Ansible, or the only one.
    type: str
    default: ""
    env: [{name: GENI_USER}]
  groups_by_name:
    description: Group of each node, by a regular expression that its whole name matches.
    type: dict
    default:
      balancers: "balancer\\\\d*"
      workers: "(worker|server)-?\\\\d+"
      clients: "client\\\\d*"
author: imagerec
"""
EXAMPLES = """
plugin: geni_manifest
manifest: ../../rspec/manifests/cloudlab.xml
user: alice
"""

# Whom a host of each group talks to: of several addresses, the one on a link they share is its slice_address.
_PEERS = {"workers": "balancers", "clients": "balancers", "balancers": "clients"}
# Of the addresses that both ends of a link have, an IPv4 one is taken first.
_FAMILIES = (4, 6)


def group_of(name: str, groups: dict[str, str]) -> str | None:
    """The group whose expression matches the whole name of a node, or None."""
    return next((group for group, pattern in groups.items() if re.fullmatch(pattern, name)), None)


def choose_login(node: Node, user: str, own_user: str) -> Login:
    """Choose how to reach a node; an empty `user` asks for no login.

    Raises:
        ManifestError: there is no login, not that one, or several of which none is the own user's.
    """
    by_user: dict[str, Login] = {}
    for login in node.logins:
        by_user.setdefault(login.user, login)
    if not by_user:
        raise ManifestError(f"node {node.name} has no login: is it ready? Save the manifest again when it is")
    listed = ", ".join(sorted(by_user))
    if user:
        if user not in by_user:
            raise ManifestError(f"node {node.name} has no login of {user!r}, but of {listed}: set user or GENI_USER")
        return by_user[user]
    if len(by_user) == 1:
        return next(iter(by_user.values()))
    if own_user in by_user:
        return by_user[own_user]
    raise ManifestError(f"node {node.name} has logins of {listed}: choose yours by user or GENI_USER")


def slice_address(node: Node, peers: list[Node]) -> str:
    """The address at which a node's peers reach it.

    Args:
        node: the node.
        peers: those it talks to; their links come first where the node is on several. A peer must have an address of
            the same IP version; IPv4 comes first where both have both.

    Raises:
        ManifestError: the node has no address on any link, or none of an IP version that its peers have.
    """
    if not node.addresses:
        raise ManifestError(f"node {node.name} has no address on any link: give its interface one in the request")
    shared = [(link, peer) for peer in peers for link in node.addresses if link in peer.addresses]
    for version in _FAMILIES:
        for link, peer in shared:
            if version in node.addresses[link] and version in peer.addresses[link]:
                return node.addresses[link][version]
    if shared:
        link, peer = shared[0]
        raise ManifestError(
            f"nodes {node.name} and {peer.name} have no addresses of one IP version on link {link}: give both an IPv4 "
            "or both an IPv6 address in the request"
        )
    addresses = next(iter(node.addresses.values()))
    return next(addresses[version] for version in _FAMILIES if version in addresses)


def host_variables(node: Node, peers: list[Node], user: str, own_user: str) -> dict[str, Any]:
    """The variables of a host.

    Raises:
        ManifestError: it has no usable login or no address.
    """
    login = choose_login(node, user, own_user)
    variables: dict[str, Any] = {
        "ansible_host": login.host,
        "ansible_port": login.port,
        "ansible_user": login.user,
        "slice_address": slice_address(node, peers),
    }
    if node.cores is not None:
        variables["slice_cores"] = node.cores
    if node.identity_file:
        variables["ansible_ssh_private_key_file"] = ssh_path(node.identity_file)  # Ansible quotes it
    if node.known_hosts:
        option = f'UserKnownHostsFile="{ssh_path(node.known_hosts)}"'
        variables["ansible_ssh_common_args"] = f"-o {shlex.quote(option)} -o StrictHostKeyChecking=yes"
    return variables


def read_hosts(
    nodes: list[Node], groups: dict[str, str], user: str, own_user: str
) -> tuple[dict[str, dict[str, dict[str, Any]]], list[str]]:
    """Sort nodes into groups by a regular expression each; an empty `user` asks for no login.

    Returns:
        The variables of each host, by group and host, and the names of the nodes that fit no group.

    Raises:
        ManifestError: every problem of every node that fits a group, or two nodes have one name.
    """
    members: dict[str, list[Node]] = {group: [] for group in groups}
    extra, problems = [], []
    for node in nodes:
        group = group_of(node.name, groups)
        if group is None:
            extra.append(node.name or "a node without a name")
        elif any(node.name == other.name for other in members[group]):
            problems.append(f"two nodes are named {node.name}")
        else:
            members[group].append(node)
    hosts: dict[str, dict[str, dict[str, Any]]] = {group: {} for group in groups}
    for group, grouped in members.items():
        peers = members.get(_PEERS.get(group, ""), [])
        for node in grouped:
            try:
                hosts[group][node.name] = host_variables(node, peers, user, own_user)
            except ManifestError as error:
                problems += [*node.problems, str(error)]
    problems += [f"no node is one of the {group} (named {groups[group]})" for group in groups if not members[group]]
    if problems:
        raise ManifestError("; ".join(problems))
    return hosts, extra


class InventoryModule(BaseInventoryPlugin):  # type: ignore[misc]  # Ansible has no types
    """Reads `*.yml` files that name this plugin."""

    NAME = "geni_manifest"

    def verify_file(self, path: str) -> bool:
        """Whether a file can be this plugin's: YAML; its `plugin` key says whether it is."""
        return bool(super().verify_file(path)) and path.endswith((".yml", ".yaml")) and self._names_us(Path(path))

    def _names_us(self, path: Path) -> bool:
        return re.search(rf"^plugin:\s*{self.NAME}\s*$", path.read_text(errors="replace"), re.MULTILINE) is not None

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill the inventory from the manifest that the file names."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        manifest = Path(self.get_option("manifest"))
        if self.get_option_and_origin("manifest")[1] != "env: GENI_MANIFEST":
            manifest = Path(path).resolve().parent / manifest
        try:
            hosts, extra = read_hosts(
                read_manifest(manifest.read_bytes(), str(manifest)),
                self.get_option("groups_by_name"),
                self.get_option("user"),
                getpass.getuser(),
            )
        # After any other exception Ansible would try its other plugins on this file, and print what each of them says.
        except OSError as error:
            raise SystemExit(
                f"ERROR: there is no manifest at {manifest} ({error.strerror}): make one with `make slice-up`, or save "
                "the testbed's and name it by GENI_MANIFEST or in the inventory file"
            ) from error
        except ManifestError as error:
            raise SystemExit(f"ERROR: manifest {manifest}: {error}") from error
        for group, members in hosts.items():
            inventory.add_group(group)
            for host, variables in members.items():
                inventory.add_host(host, group=group)
                for name, value in variables.items():
                    inventory.set_variable(host, name, value)
        if extra:
            self.display.warning(f"nodes that are no part of the system are left out: {', '.join(extra)}")
