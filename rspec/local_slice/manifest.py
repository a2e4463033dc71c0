"""Write the manifest RSpec of a local slice, in the shape in which CloudLab and Emulab answer."""

from __future__ import annotations

from lxml import etree

from rspec.local_slice.host import give_to_owner_of, write
from rspec.local_slice.naming import LOGIN, Names
from rspec.local_slice.plan import Machine, Plan, Port, Wiring
from rspec.model import EMULAB_NS, RSPEC_NS

# One element of our own, where RSpecs allow extensions: which key opens the machines. CloudLab's users have
# their own key; the local slice made one.
LOCAL_NS = "urn:imagerec:rspec:ext:local-slice:1"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_AUTHORITY = "urn:publicid:IDN+localhost"


def _tag(name: str) -> str:
    return f"{{{RSPEC_NS}}}{name}"


def _sliver(names: Names, thing: str) -> str:
    return f"{_AUTHORITY}+sliver+{names.mark}.{thing}"


def _interface_urn(port: Port) -> str:
    return f"{_AUTHORITY}+interface+{port.machine}:{port.device}"


def _add_interface(names: Names, parent: etree._Element, port: Port) -> None:
    interface = etree.SubElement(
        parent,
        _tag("interface"),
        client_id=port.interface,
        component_id=_interface_urn(port),
        sliver_id=_sliver(names, port.interface),
        mac_address=port.mac.replace(":", ""),
    )
    address, netmask = port.ip.with_netmask.split("/")
    etree.SubElement(interface, _tag("ip"), address=address, type="ipv4", netmask=netmask)


def _add_node(names: Names, plan: Plan, parent: etree._Element, machine: Machine) -> None:
    node = etree.SubElement(
        parent,
        _tag("node"),
        client_id=machine.name,
        component_manager_id=f"{_AUTHORITY}+authority+cm",
        component_id=f"{_AUTHORITY}+node+{names.machine(machine.name)}",
        sliver_id=_sliver(names, machine.name),
        exclusive=str(machine.exclusive).lower(),
    )
    sliver = etree.SubElement(node, _tag("sliver_type"), name="raw-pc" if machine.exclusive else "emulab-xen")
    size = {}
    if machine.cores is not None:
        size["cores"] = f"{machine.cores:g}"
    if machine.memory_mb is not None:
        size["ram"] = str(machine.memory_mb)
    if size:
        etree.SubElement(sliver, f"{{{EMULAB_NS}}}xen", **size)
    for port in plan.ports(machine.name):
        _add_interface(names, node, port)
    etree.SubElement(node, f"{{{EMULAB_NS}}}vnode", name=names.machine(machine.name), hardware_type="systemd-nspawn")
    etree.SubElement(
        node, _tag("host"), name=f"{machine.name}.{plan.slice_name}.localhost", ipv4=machine.control_address
    )
    services = etree.SubElement(node, _tag("services"))
    etree.SubElement(
        services,
        _tag("login"),
        authentication="ssh-keys",
        hostname=machine.control_address,
        port="22",
        username=LOGIN,
    )
    etree.SubElement(
        services,
        f"{{{LOCAL_NS}}}ssh",
        identity_file=str(names.key_file),
        known_hosts=str(names.known_hosts),
    )


def _add_link(names: Names, parent: etree._Element, wiring: Wiring) -> None:
    link = etree.SubElement(parent, _tag("link"), client_id=wiring.name, sliver_id=_sliver(names, wiring.name))
    for port in wiring.ports:
        etree.SubElement(
            link,
            _tag("interface_ref"),
            client_id=port.interface,
            component_id=_interface_urn(port),
            sliver_id=_sliver(names, port.interface),
        )
    if wiring.lan:
        etree.SubElement(link, _tag("link_type"), name="lan")
    for port in wiring.ports:
        others = [wiring.name] if wiring.lan else [item.interface for item in wiring.ports if item is not port]
        for other in others:
            properties = {}
            if port.sends.rate_kbps is not None:
                properties["capacity"] = str(port.sends.rate_kbps)
            if port.sends.delay_ms:
                properties["latency"] = f"{port.sends.delay_ms * (2 if wiring.lan else 1):g}"
            if port.sends.loss:
                properties["packet_loss"] = f"{port.sends.loss:g}"
            if properties:
                etree.SubElement(link, _tag("property"), source_id=port.interface, dest_id=other, **properties)


def manifest_text(names: Names, plan: Plan) -> str:
    """The manifest RSpec of a slice, as XML text with an encoding declaration."""
    root = etree.Element(
        _tag("rspec"), nsmap={None: RSPEC_NS, "emulab": EMULAB_NS, "local": LOCAL_NS, "xsi": _XSI}, type="manifest"
    )
    root.set(f"{{{_XSI}}}schemaLocation", f"{RSPEC_NS} {RSPEC_NS}/manifest.xsd")
    for machine in plan.machines:
        _add_node(names, plan, root, machine)
    for wiring in plan.wirings:
        _add_link(names, root, wiring)
    text: bytes = etree.tostring(root, pretty_print=True, xml_declaration=True, encoding="UTF-8")
    return text.decode()


def write_manifest(names: Names, plan: Plan) -> bool:
    """Write the manifest where inventories look for it; return whether that changed it."""
    changed = write(names.manifest, manifest_text(names, plan))
    give_to_owner_of(names.project, names.manifest)
    return changed
