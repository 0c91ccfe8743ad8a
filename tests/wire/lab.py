"""lab.py: the network that every wire test runs in, and its command line.

                                        node                          pod-a  .2   HTTP :8080, DNS :53
    client  10.1.0.2 ──── 10.1.0.1              10.2.N.1 ────────────  pod-b  .2
            198.18.0.0/16 (many clients)        (N = 1, 2, 3)          pod-c  .2

IPv6 the same with fd01:: for 10.1.0, fd02:N:: for 10.2.N and fd98::/64 for the many clients. limpet runs on the node,
whose own address and whose pod networks it knows. Services, in the chosen family (VIPs 10.96.0.x, fd96::x):

    vip .10:80        → pods :8080       ClientIP affinity, nodePort 30080, externalTrafficPolicy Cluster
    local .11:80      → pods :8080       ClientIP affinity, nodePort 30081, externalTrafficPolicy Local
    plain .12:80      → pods :8080       no affinity
    self .13:80       → pod-a :8080      one endpoint: for hairpins
    dns .10:53 UDP    → pods :53
    empty .14:80      no endpoints
    sink .15:9        → pod-a :9         TCP and UDP, for servers that a test brings itself

A test's build() may add more (Lab.service(), Lab.services), and ghosts: addresses .9 of the same networks, which no kernel
answers for (support/packets.py).

Masquerade follows kube-proxy's table: a client outside the pod networks is hidden on a clusterIP and on a Cluster
nodePort, not on a Local nodePort.

    usage   NAME_test.py --limpet PROGRAM --clients PROGRAM
                         [--family v4|v6] [--conntrack on|off] [--mode root|rootless|auto] [TEST ...]

With conntrack on, the node has a stateful firewall: FORWARD drops INVALID, accepts ESTABLISHED and RELATED, and of the
new connections only those between the two networks: so it also proves that such firewalls keep working. With conntrack
off, nothing is tracked. Which of the two it was is asked of the kernel at the end, while a connection stands: a variant
that ran under the wrong name fails.
"""

import argparse
import dataclasses
import ipaddress
import pathlib
import socket
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

import kernel_nat  # noqa: E402
import netns  # noqa: E402
import programs  # noqa: E402

PODS = ("pod-a", "pod-b", "pod-c")
HTTP_PORT = 8080
NODE_PORT = 30080
LOCAL_NODE_PORT = 30081

current = None  # the one Lab of this process, once main() has made it


@dataclasses.dataclass(frozen=True)
class Addresses:
    """One family's plan of addresses; the picture is above."""

    client: str
    node: str
    pods: dict
    gateways: dict  # the node's address on each pod's link
    many: str
    ghost: str  # of the client's network
    ghost_pods: dict
    vip: str
    local: str
    plain: str
    self: str
    empty: str
    sink: str
    pod_networks: str
    vips: str
    client_network: str

    def virtual(self, number):
        """The VIP of that number."""
        network = ipaddress.ip_network(self.vips)
        return str(network[number])


V4 = Addresses(
    client="10.1.0.2", node="10.1.0.1", client_network="10.1.0.0/24", many="198.18.0.0/16",
    pods={pod: f"10.2.{n}.2" for n, pod in enumerate(PODS, 1)},
    gateways={pod: f"10.2.{n}.1" for n, pod in enumerate(PODS, 1)},
    ghost="10.1.0.9", ghost_pods={pod: f"10.2.{n}.9" for n, pod in enumerate(PODS, 1)},
    pod_networks="10.2.0.0/16", vips="10.96.0.0/24",
    vip="10.96.0.10", local="10.96.0.11", plain="10.96.0.12", self="10.96.0.13", empty="10.96.0.14", sink="10.96.0.15")
V6 = Addresses(
    client="fd01::2", node="fd01::1", client_network="fd01::/64", many="fd98::/64",
    pods={pod: f"fd02:{n}::2" for n, pod in enumerate(PODS, 1)},
    gateways={pod: f"fd02:{n}::1" for n, pod in enumerate(PODS, 1)},
    ghost="fd01::9", ghost_pods={pod: f"fd02:{n}::9" for n, pod in enumerate(PODS, 1)},
    pod_networks="fd02::/16", vips="fd96::/120",
    vip="fd96::a", local="fd96::b", plain="fd96::c", self="fd96::d", empty="fd96::e", sink="fd96::f")


def _with_length(address):
    return f"{address}/{64 if ':' in address else 24}"


def at(address, port):
    """"10.0.0.1:80", "[fd00::1]:80"."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def url(address, port=80, path="/"):
    return f"http://{at(address, port)}{path}"


class Lab:
    """The network, without limpet in it."""

    def __init__(self, options):
        self.options = options
        self.family = options.family
        self.addresses = V6 if options.family == "v6" else V4
        self.client = netns.Host("client")
        self.node = netns.Host("node", forward=True)
        self.pods = {pod: netns.Host(pod) for pod in PODS}
        self.folders = {}
        self.services = self._services()
        self._cable()
        if options.conntrack == "on":
            self._firewall()
        self.clients = programs.Clients(self.client, options.clients)

    def _cable(self):
        netns.link(self.client, self.node)
        for pod in self.pods.values():
            netns.link(pod, self.node)
        self._address(V4, "default")
        self._address(V6, "::/0")

    def _address(self, plan, default):
        def assign(host, address, opposite):
            nodad = " nodad" if ":" in address else ""
            host.ip(f"addr add {_with_length(address)} dev {opposite.name}{nodad}")

        assign(self.client, plan.client, self.node)
        assign(self.node, plan.node, self.client)
        self.client.ip(f"route add {default} via {plan.node}")
        self.client.own_prefix(plan.many)
        self.node.ip(f"route add {default} via {plan.client}")
        for name, pod in self.pods.items():
            assign(pod, plan.pods[name], self.node)
            assign(self.node, plan.gateways[name], pod)
            pod.ip(f"route add {default} via {plan.gateways[name]}")

    def _firewall(self):
        for plan, iptables in ((V4, "iptables"), (V6, "ip6tables")):
            networks = (plan.client_network, plan.many)
            between = [pair for net in networks for pair in ((net, plan.pod_networks), (plan.pod_networks, net))]
            rules = ["-P FORWARD DROP",
                     "-A FORWARD -m conntrack --ctstate INVALID -j DROP",
                     "-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
                     f"-A FORWARD -s {plan.pod_networks} -d {plan.pod_networks} -j ACCEPT",
                     *(f"-A FORWARD -s {source} -d {target} -j ACCEPT" for source, target in between),
                     "-A INPUT -m conntrack --ctstate INVALID -j DROP"]
            for rule in rules:
                self.node.run(iptables, "-w", *rule.split())

    # ---------------------------------------------------------------------------------------------------------- servers

    def serve_http(self, pods=PODS):
        for pod in pods:
            self.folders[pod] = programs.http_server(self.pods[pod], pod, ports=(HTTP_PORT,))

    def sink(self, kind):
        """A bound server socket of pod-a, behind the service `sink`. Kind: socket.SOCK_STREAM or SOCK_DGRAM."""
        server = self.pods["pod-a"].socket(self.socket_family, kind)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((self.addresses.pods["pod-a"], 9))
        server.settimeout(10)
        return server

    @property
    def socket_family(self):
        return socket.AF_INET6 if self.family == "v6" else socket.AF_INET

    def serve_dns(self, pods=PODS):
        for pod in pods:
            programs.dns_server(self.pods[pod], pod)

    def local_clients(self):
        """Processes on the node need a route to the VIPs; the packets are re-routed once they are rewritten."""
        plan = self.addresses
        self.node.ip(f"route add {plan.vips} dev lo src {plan.node}")

    # -------------------------------------------------------------------------------------------------------- conntrack

    def tracked(self):
        """Connections that the node's kernel tracks now."""
        return int(self.node.run("sysctl", "-n", "net.netfilter.nf_conntrack_count").stdout)

    def check_conntrack(self):
        """The kernel tracked connections if it was to, and none if not. Asked while one crosses the node directly."""
        pod = self.addresses.pods["pod-a"]
        with self.pods["pod-a"].socket(self.socket_family, socket.SOCK_STREAM) as server:
            server.bind((pod, 0))
            server.listen()
            with self.client.socket(self.socket_family, socket.SOCK_STREAM) as client:
                client.settimeout(5)
                client.connect((pod, server.getsockname()[1]))
                tracked = self.tracked()
        if (tracked > 0) != (self.options.conntrack == "on"):
            sys.exit(f"conntrack is to be {self.options.conntrack}, but {tracked} connections are tracked")

    # ----------------------------------------------------------------------------------------------------------- limpet

    def config(self, **changes):
        """limpet's configuration for this network; keyword arguments replace top-level keys."""
        plan = self.addresses
        return {
            "node": {"name": "node", "nodeIP": plan.node, "podCIDRs": [plan.pod_networks],
                     "detectLocal": {"mode": "ClusterCIDR"}},
            "queues": {"first": 0, "count": 2},
            "stop": "remove",
            "state": {"path": "none"},  # a test's limpet knows nothing of the one before
            "tables": {"flows": 20000, "affinity": 20000},
            "services": self.services,
            **changes,
        }

    def service(self, name, address, endpoints, port=80, protocol="TCP", **more):
        """A service's configuration. Endpoints: (address, port) each; all of them on this node."""
        listed = [{"address": target, "port": number, "nodeName": "node"} for target, number in endpoints]
        return {"name": name, "clusterIP": address, "port": port, "protocol": protocol, "endpoints": listed, **more}

    def _services(self):
        plan = self.addresses
        affinity = {"sessionAffinity": {"clientIP": {"timeoutSeconds": 10800}}}

        def service(name, address, pods=PODS, port=80, target=HTTP_PORT, protocol="TCP", **more):
            return self.service(name, address, [(plan.pods[pod], target) for pod in pods], port, protocol, **more)

        return [
            service("test/vip:http", plan.vip, nodePort=NODE_PORT, **affinity),
            service("test/local:http", plan.local, nodePort=LOCAL_NODE_PORT, externalTrafficPolicy="Local", **affinity),
            service("test/plain:http", plan.plain),
            service("test/self:http", plan.self, pods=("pod-a",)),
            service("test/dns:dns", plan.vip, port=53, target=53, protocol="UDP"),
            service("test/empty:http", plan.empty, pods=()),
            service("test/sink:tcp", plan.sink, pods=("pod-a",), port=9, target=9),
            service("test/sink:udp", plan.sink, pods=("pod-a",), port=9, target=9, protocol="UDP"),
        ]

    def limpet(self, *options, **changes):
        return programs.Limpet(self.node, self.options.limpet, self.config(**changes), *options)

    def kernel_nat(self, affinity=False, **changes):
        """The same services by the kernel's own NAT, instead of limpet."""
        return kernel_nat.KernelNat(self.node, self.config(**changes), affinity)

    def ask_limpet(self, *words):
        """A subcommand that asks the running daemon; what it prints."""
        return self.node.run(self.options.limpet, *words).stdout


def main(build):
    """Enter private namespaces, let `build(lab)` prepare the network, run the calling script's tests.

    The lab is `lab.current` from then on. Exit code 0 passed, 1 failed, 77 nothing could be run.
    """
    global current
    options = _command_line()
    netns.enter(options.mode)
    current = Lab(options)
    build(current)
    # Warnings off: programs that still run at the end are meant to, they die with the namespaces.
    argv = [sys.argv[0], "-v", *options.tests]
    ended = unittest.main(module="__main__", argv=argv, exit=False, warnings="ignore").result
    if not ended.wasSuccessful():
        sys.exit(1)
    current.check_conntrack()
    # A class that was skipped as a whole is listed, but its tests do not count as run.
    if sum(isinstance(test, unittest.TestCase) for test, _ in ended.skipped) == ended.testsRun:
        netns.skip("; ".join(sorted({reason for _, reason in ended.skipped})))
    sys.exit(0)


class WithLimpet(unittest.TestCase):
    """Tests beside one limpet, which is started before the first and must end well after the last."""

    changes = {}  # of its configuration
    words = ()  # more of its command line

    @classmethod
    def setUpClass(cls):
        cls.net = current
        cls.plan = cls.net.addresses
        cls.limpet = cls.net.limpet("--ephemeral", *cls.words, **cls.changes).wait_ready()

    @classmethod
    def tearDownClass(cls):
        assert cls.limpet.stop() == 0, cls.limpet.text()


class WithKernelNat(unittest.TestCase):
    """Tests beside the kernel's own NAT. The tests of a mix-in that stand here and in a WithLimpet show that both do the same.

    It needs conntrack, so it is left out where that is to be off.
    """

    limpet = None
    changes = {}  # as of limpet's configuration

    @classmethod
    def setUpClass(cls):
        cls.net = current
        cls.plan = cls.net.addresses
        if cls.net.options.conntrack == "off":
            raise unittest.SkipTest("the kernel's NAT tracks connections")
        cls.nat = cls.net.kernel_nat(**cls.changes)

    @classmethod
    def tearDownClass(cls):
        cls.nat.stop()


def _command_line():
    parser = argparse.ArgumentParser()
    parser.add_argument("--limpet", required=True)
    parser.add_argument("--clients", required=True)
    parser.add_argument("--family", choices=("v4", "v6"), default="v4")
    parser.add_argument("--conntrack", choices=("on", "off"), default="off")
    parser.add_argument("--mode", choices=("root", "rootless", "auto"), default="auto")
    parser.add_argument("tests", nargs="*", help="names of tests, e.g. Http.test_vip (default: all)")
    options = parser.parse_args()
    for program in (options.limpet, options.clients):
        if not pathlib.Path(program).is_file():
            sys.exit(f"{program}: not built")
    return options
