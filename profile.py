"""Image recognition as a distributed web service: one balancer (or two), N workers, one client.

The balancer serves a web page and spreads image uploads at random over the workers; each worker
classifies images with MobileNetV2; the client generates the load. Choose how many workers there are,
whether there is a second balancer that stands in for the first, how the machines are joined (one LAN,
or a link of its own from the balancer to each worker) and how fast and how long the links are.

Instructions:
1. Wait until every node is ready, then save the experiment's manifest (the Manifest tab) as
   `rspec/manifests/cloudlab.xml` in a checkout of the repository on your own computer.
2. Deploy from there: `GENI_MANIFEST=rspec/manifests/cloudlab.xml make deploy INVENTORY=inventory/slice`.
   If the project has several members, add `GENI_USER=<your login>`.
3. Open the balancer's public address in a browser, or measure from the client:
   `GENI_MANIFEST=rspec/manifests/cloudlab.xml make experiment INVENTORY=inventory/slice DESIGN=scaling`.
"""

# The portal imports this file alone, under a Python whose version it does not tell: so it holds no
# sibling imports, no f-strings and no annotations, and runs on Python 2.7 and 3 alike. Its name is the portal's choice.
# ruff: noqa: A005, PLR0402, UP031

import geni.portal as portal
import geni.rspec.igext  # noqa: F401  registers XenVM on Request
import geni.rspec.pg as pg

MAX_WORKERS = 16
NETMASK = "255.255.255.0"
# Experiment interfaces a raw machine can be expected to have; each link of a star takes one.
RAW_INTERFACES = 4
# Numbers a request may not hold: below the first, above the second (None: no limit).
LIMITS = [
    ("workers", 1, MAX_WORKERS, "workers must be from 1 to 16"),
    ("balancers", 1, 2, "balancers must be 1 or 2"),
    ("bandwidth", 0, None, "the link bandwidth must be 0 (unlimited) or a rate in kbps"),
    ("latency", 0, None, "the link latency must be 0 or more milliseconds"),
    ("cores", 1, 64, "the cores of a virtual machine must be from 1 to 64"),
    ("memory", 256, None, "the memory of a virtual machine must be at least 256 MB"),
]


def main():
    """Ask for the balancers, some workers and one client, and join them."""
    context = portal.context
    define_parameters(context)
    params = context.bindParameters()
    check_parameters(context, params)

    request = context.makeRequestRSpec()
    balancers = [add_node(request, params, name) for name in ("balancer", "balancer2")[: params.balancers]]
    workers = [add_node(request, params, "worker%d" % (index + 1)) for index in range(params.workers)]
    client = add_node(request, params, "client")
    if params.topology == "star":
        add_star(request, params, balancers[0], workers, client)
    else:
        add_lan(request, params, balancers, workers, client)
    if params.public_balancer:
        for balancer in balancers:
            balancer.routable_control_ip = True
    context.printRequestRSpec()


def add_lan(request, params, balancers, workers, client):
    """Join all machines by one LAN: balancer .1, client .2, second balancer .3, worker i .(10 + i)."""
    lan = request.LAN("lan")
    hosts = [(balancers[0], 1), (client, 2)]
    hosts += [(balancer, 3) for balancer in balancers[1:]]
    hosts += [(worker, 11 + index) for index, worker in enumerate(workers)]
    for node, last in hosts:
        address = pg.IPv4Address("10.10.1.%d" % last, NETMASK)
        lan.addInterface(node.addInterface(address=address))
    shape(lan, params)


def add_star(request, params, balancer, workers, client):
    """Give the balancer one link to each worker (10.10.i.0/24) and one to the client (the next subnet)."""
    for index, worker in enumerate(workers):
        subnet = index + 1
        add_spoke(request, params, "link-%d" % subnet, subnet, (worker, 1), (balancer, 2))
    subnet = len(workers) + 1
    add_spoke(request, params, "link-client", subnet, (balancer, 1), (client, 2))


def add_spoke(request, params, name, subnet, *ends):
    """Add one link; each end is a node and the last part of its address."""
    interfaces = [
        node.addInterface(address=pg.IPv4Address("10.10.%d.%d" % (subnet, last), NETMASK)) for node, last in ends
    ]
    link = request.Link(name, members=interfaces)
    shape(link, params)
    if params.node_kind == "raw":
        # Several links may then share one physical interface of the balancer.
        link.link_multiplexing = True
        link.vlan_tagging = True


def shape(link, params):
    """Set the chosen rate and latency on a link or LAN."""
    if params.bandwidth > 0:
        link.bandwidth = int(params.bandwidth)
    if params.latency > 0:
        link.latency = params.latency


def add_node(request, params, name):
    """Add one machine of the chosen kind and return it."""
    if params.node_kind == "raw":
        node = request.RawPC(name)
        if params.hardware_type:
            node.hardware_type = params.hardware_type
    else:
        node = request.XenVM(name)
        node.cores = params.cores
        node.ram = params.memory
        if params.hardware_type:
            node.xen_ptype = params.hardware_type
    if params.disk_image:
        node.disk_image = params.disk_image
    return node


def check_parameters(context, params):
    """Report every value that cannot be granted, all at once, beside the fields they were typed in."""
    for name, lowest, highest, message in LIMITS:
        value = getattr(params, name)
        if value < lowest or (highest is not None and value > highest):
            context.reportError(portal.ParameterError(message, [name]))
    if params.topology == "star" and params.balancers > 1:
        message = "two balancers share one address, which takes the LAN: a link ends at one balancer"
        context.reportError(portal.ParameterError(message, ["balancers", "topology"]))
    if params.topology == "star" and params.node_kind == "raw" and params.workers >= RAW_INTERFACES:
        context.reportWarning(
            portal.ParameterWarning(
                "few raw machines have %d experiment interfaces, which a star of %d workers takes"
                % (params.workers + 1, params.workers),
                ["topology", "workers"],
                fixedValues={"topology": "lan"},
            )
        )
    context.verifyParameters()


def define_parameters(context):
    """Declare what the user of the portal, or of the command line, can choose."""
    kinds = portal.ParameterType
    context.defineParameterGroup("machines", "Machines")
    context.defineParameterGroup("links", "Links")
    context.defineParameter(
        "workers",
        "Number of workers (1-16)",
        kinds.INTEGER,
        4,
        longDescription="Each worker is a machine of its own that classifies images.",
    )
    context.defineParameter(
        "balancers",
        "Number of balancers (1 or 2)",
        kinds.INTEGER,
        1,
        longDescription="A second one takes over the address of the service when the first fails. Both need the LAN.",
    )
    context.defineParameter(
        "topology",
        "How the machines are joined",
        kinds.STRING,
        "lan",
        [("lan", "One LAN for all machines"), ("star", "One link from the balancer to each machine")],
        longDescription="The LAN scales to 16 workers. The star needs one experiment interface of the "
        "balancer for each worker and one for the client.",
    )
    context.defineParameter(
        "node_kind",
        "Kind of machine",
        kinds.STRING,
        "vm",
        [("vm", "Virtual machine"), ("raw", "Raw machine")],
        longDescription="Raw machines give undisturbed measurements; virtual machines are granted sooner.",
        groupId="machines",
    )
    context.defineParameter(
        "cores",
        "Cores of each virtual machine",
        kinds.INTEGER,
        1,
        longDescription="Ignored for raw machines.",
        groupId="machines",
    )
    context.defineParameter(
        "memory",
        "Memory of each virtual machine (MB)",
        kinds.SIZE,
        2048,
        longDescription="Ignored for raw machines.",
        groupId="machines",
    )
    context.defineParameter(
        "public_balancer",
        "Give the balancer a public address",
        kinds.BOOLEAN,
        True,
        longDescription="Without one the page can be reached from the client node only.",
        groupId="machines",
    )
    context.defineParameter(
        "bandwidth",
        "Bandwidth of each link (kbps, 0: unlimited)",
        kinds.BANDWIDTH,
        100000,
        longDescription="The rate at which each machine sends and receives on the experiment network.",
        groupId="links",
    )
    context.defineParameter(
        "latency",
        "One-way latency of each link (ms)",
        kinds.LATENCY,
        0,
        longDescription="Added to the network's own latency, in each direction.",
        groupId="links",
    )
    context.defineParameter(
        "hardware_type",
        "Hardware type (empty: any)",
        kinds.NODETYPE,
        "",
        longDescription="A node type of the testbed, such as m510 or d430. For virtual machines: their host's.",
        advanced=True,
    )
    context.defineParameter(
        "disk_image",
        "Disk image of every machine",
        kinds.IMAGE,
        "urn:publicid:IDN+emulab.net+image+emulab-ops//UBUNTU24-64-STD",
        longDescription="Debian 12 or 13, or Ubuntu 24.04: older ones have too old an nginx, and are refused.",
        advanced=True,
    )


if __name__ == "__main__":
    main()
