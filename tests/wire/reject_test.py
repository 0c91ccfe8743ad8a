#!/usr/bin/python3
"""A service without endpoints says so: port unreachable at once, for every protocol, from the service's address.

The kernel's REJECT, by kube-proxy's rules, is shown first (classes Kernel...). With conntrack on the node's firewall drops
INVALID packets in OUTPUT as well: what limpet sends itself must not be taken for one. Also here: `rejectWith: tcp-reset`,
the limit on answers, and echo requests to a VIP.
"""

import errno
import socket
import time

import lab
import packets

NODE_PORT = 30195
AT_ONCE = 0.9  # s; a client that lost the first answer gets its next with TCP's retransmission, after one second
ECHO_IDENT = 77


def build(network):
    plan = network.addresses
    network.services += [
        network.service("test/empty:udp", plan.empty, [], port=53, protocol="UDP", nodePort=NODE_PORT),
        network.service("test/empty:tcp", plan.empty, [], port=81, nodePort=NODE_PORT),
        network.service("test/empty:sctp", plan.empty, [], port=82, protocol="SCTP"),
    ]
    # No limits on the kernel's own answers, for they are many here; and checksums complete when they leave.
    network.node.sysctl("net.ipv4.icmp_ratelimit", 0)
    network.node.sysctl("net.ipv6.icmp.ratelimit", 0)
    network.node.run("ethtool", "-K", "client", "tx", "off")
    node = {**network.config()["node"], "nodePortAddresses": [plan.client_network]}
    LimpetRefusesEverywhere.changes = {"node": node}
    network.ghost = packets.Ghost(network.client, network.node, plan.ghost)
    if network.options.conntrack == "on":
        for iptables in ("iptables", "ip6tables"):
            network.node.run(iptables, "-w", *"-A OUTPUT -m conntrack --ctstate INVALID -j DROP".split())


class Refusals:
    port = 42000
    at_once = True
    answers_from_vip = True
    local_udp = errno.ECONNREFUSED

    def setUp(self):
        Refusals.port += 1
        self.ghost = self.net.ghost
        self.ghost.clear()

    def clients(self):
        return [("outside", self.net.client), ("a pod", self.net.pods["pod-b"]), ("the node", self.net.node)]

    def destinations(self, port):
        return [(self.plan.empty, port), (self.plan.node, NODE_PORT)]

    def check_refused(self, host, kind, target, expected=errno.ECONNREFUSED):
        """At once in one of three attempts: a kernel that hears of it while connect() still holds the socket puts TCP off
        until the first retransmission (tcp_v4_err, sock_owned_by_user), and so does it always for the kernel's REJECT."""
        waited = []
        while not waited or (self.at_once and min(waited) > AT_ONCE and len(waited) < 3):
            waited.append(self.seconds_until(expected, host, kind, target))
        if self.at_once:
            self.assertLess(min(waited), AT_ONCE)

    def seconds_until(self, expected, host, kind, target):
        with host.socket(self.net.socket_family, kind) as client:
            client.settimeout(5)
            began = time.monotonic()
            with self.assertRaises(OSError) as failed:
                client.connect(target)
                client.send(b"anybody?")
                client.recv(100)
            self.assertEqual(failed.exception.errno, expected, failed.exception)
            return time.monotonic() - began

    def test_tcp_clients_are_refused_at_once(self):
        for name, host in self.clients():
            for target in self.destinations(81):
                with self.subTest(name, target=target):
                    self.check_refused(host, socket.SOCK_STREAM, target)

    def test_udp_clients_are_refused_at_once(self):
        for name, host in self.clients():
            for target in self.destinations(53):
                with self.subTest(name, target=target):
                    expected = self.local_udp if host is self.net.node else errno.ECONNREFUSED
                    self.check_refused(host, socket.SOCK_DGRAM, target, expected)

    def request(self, layer):
        packet = packets.dissect(bytes(packets.ip(self.plan.ghost, self.plan.empty) / layer))
        self.ghost.send(packet)
        return packet

    def check_port_unreachable(self, layer):
        sent = self.request(layer)
        told = self.ghost.receive(packets.quotes)
        self.assertIsNotNone(told)
        self.assertEqual(packets.error_of(told), packets.ERRORS["port unreachable"][self.net.family == "v6"])
        self.assertEqual(told.src, self.plan.empty if self.answers_from_vip else self.plan.node)
        self.assertEqual(packets.tuple_of(packets.quoted(told)), packets.tuple_of(sent))
        self.assertEqual(packets.upper_layer(packets.quoted(told)), packets.upper_layer(sent), "all of it is quoted")
        self.assertEqual(packets.faults(told), [])

    def test_udp_is_told_port_unreachable(self):
        self.check_port_unreachable(packets.UDP(sport=self.port, dport=53) / b"question")

    def test_sctp_is_told_port_unreachable(self):
        # RFC 9260 section 11.2: ICMP is how an SCTP peer without the protocol refuses, too.
        self.check_port_unreachable(packets.sctp(self.port, 82, packets.init_chunk(tag=0x1234)))


class Resets:
    """What differs with rejectWith: tcp-reset."""

    def test_the_reset_is_that_of_a_closed_port(self):
        """RFC 9293 section 3.10.7.1: a SYN is acknowledged, an ACK's number becomes the reset's sequence number."""
        self.request(packets.TCP(sport=self.port, dport=81, flags="S", seq=1000))
        reset = self.ghost.receive(lambda packet: packets.TCP in packet)
        self.assertIsNotNone(reset)
        self.assertEqual(packets.faults(reset), [])
        self.assertEqual(packets.tuple_of(reset), ((self.plan.empty, 81), (self.plan.ghost, self.port)))
        tcp = reset[packets.TCP]
        self.assertEqual((tcp.flags, tcp.seq, tcp.ack), ("RA", 0, 1001))


class PortUnreachable(Refusals):
    def test_tcp_is_told_port_unreachable(self):
        self.check_port_unreachable(packets.TCP(sport=self.port, dport=81, flags="S", seq=1000))


class AsTheKernel:
    """Where it differs: errors come from the router that the node is; and a local sender is told already when it sends,
    that it may not."""

    at_once = False
    answers_from_vip = False
    local_udp = errno.EPERM


class KernelRefuses(AsTheKernel, PortUnreachable, lab.WithKernelNat):
    pass


class KernelResets(AsTheKernel, Refusals, Resets, lab.WithKernelNat):
    changes = {"rejectWith": "tcp-reset"}


class LimpetRefuses(PortUnreachable, lab.WithLimpet):
    def test_every_refusal_is_counted(self):
        before = self.limpet.counters()
        self.check_port_unreachable(packets.UDP(sport=self.port, dport=53) / b"question")
        self.assertEqual(self.limpet.counter("dropped_rejected") - before["dropped_rejected"], 1)
        self.assertEqual(self.limpet.counter("replies_sent") - before["replies_sent"], 1)

    def test_echo_requests_are_ignored_unless_wanted(self):
        self.ghost.send(packets.echo_request(self.plan.ghost, self.plan.vip, ECHO_IDENT, 1, b"echo"))
        answer = self.ghost.receive(packets.is_echo_reply, seconds=0.3)
        self.assertIsNone(answer)


class LimpetRefusesEverywhere(Refusals, lab.WithLimpet):
    """nodePortAddresses is the client's network. Whoever listens on another address of the node has the port to himself,
    but while the service has no endpoint: as in kube-proxy's iptables mode."""

    def addresses(self):
        localhost = "::1" if self.net.family == "v6" else "127.0.0.1"
        return [(localhost, [self.net.node]),
                (self.plan.gateways["pod-a"], [self.net.node, self.net.client, self.net.pods["pod-a"]])]

    def test_nobody_is_let_through_to_a_process_of_the_node(self):
        for address, hosts in self.addresses():
            with self.net.node.socket(self.net.socket_family, socket.SOCK_STREAM) as server:
                server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a closed connection may still wait
                server.bind((address, NODE_PORT))
                server.listen()
                for host in hosts:
                    with self.subTest(host.name, address=address):
                        self.check_refused(host, socket.SOCK_STREAM, (address, NODE_PORT))

    def test_a_process_that_asks_from_that_port_is_answered(self):
        """Its answers come to a port that is refused, but they open no connection."""
        address, _ = self.addresses()[0]
        with self.net.node.socket(self.net.socket_family, socket.SOCK_STREAM) as server, \
                self.net.node.socket(self.net.socket_family, socket.SOCK_STREAM) as client:
            server.bind((address, 0))
            server.listen()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind((address, NODE_PORT))
            client.settimeout(5)
            client.connect(server.getsockname())
            peer, _ = server.accept()
            with peer:
                peer.send(b"answer")
                self.assertEqual(client.recv(100), b"answer")


class LimpetResets(Refusals, Resets, lab.WithLimpet):
    changes = {"rejectWith": "tcp-reset"}


class LimpetLimits(Refusals, lab.WithLimpet):
    changes = {"replies": {"perSecond": 5, "burst": 10}}
    # The clients of the tests that this class inherits are 12, more than it would answer.
    test_tcp_clients_are_refused_at_once = test_udp_clients_are_refused_at_once = None
    test_udp_is_told_port_unreachable = test_sctp_is_told_port_unreachable = None

    def test_more_are_counted_only(self):
        began = time.monotonic()
        for _ in range(100):
            self.request(packets.UDP(sport=self.port, dport=53) / b"question")
        answers = len(self.ghost.all(packets.quotes))
        took = time.monotonic() - began
        self.assertGreaterEqual(answers, 10)
        self.assertLessEqual(answers, 10 + 5 * took + 1)
        self.assertEqual(self.limpet.counter("replies_sent"), answers)
        self.assertEqual(self.limpet.counter("replies_suppressed"), 100 - answers)
        self.assertEqual(self.limpet.counter("dropped_rejected"), 100)


class LimpetEchoes(lab.WithLimpet):
    changes = {"icmpEcho": "reply"}

    def test_a_vip_answers_echo_requests(self):
        for vip in (self.plan.vip, self.plan.empty):
            for length in (0, 56, 1400):
                with self.subTest(vip, length=length):
                    payload = bytes(range(256)) * 6
                    sent = packets.echo_request(self.plan.ghost, vip, ECHO_IDENT, length, payload[:length])
                    self.net.ghost.clear()
                    self.net.ghost.send(sent)
                    answer = self.net.ghost.receive()
                    self.assertIsNotNone(answer)
                    self.assertEqual((answer.src, packets.faults(answer)), (vip, []))
                    upper = packets.upper_layer(answer)[1]
                    self.assertEqual(upper[:2], b"\0\0" if self.net.family == "v4" else b"\x81\0", "an echo reply")
                    self.assertEqual(upper[4:], packets.upper_layer(packets.dissect(bytes(sent)))[1][4:])

    def test_a_process_of_the_node_and_a_pod_hear_it(self):
        for host in (self.net.node, self.net.pods["pod-b"]):
            with self.subTest(host.name):
                self.check_ping(host)

    def check_ping(self, host):
        """As ping does it, by a raw socket."""
        v6 = self.net.family == "v6"
        protocol = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
        with host.socket(self.net.socket_family, socket.SOCK_RAW, protocol) as ping:
            ping.settimeout(5)
            ping.connect((self.plan.vip, 0))
            request = packets.echo_request(ping.getsockname()[0], self.plan.vip, ECHO_IDENT, 5, b"ping")
            ping.send(packets.upper_layer(packets.dissect(bytes(request)))[1])
            wanted = (b"\x81" if v6 else b"\0") + b"\0"
            while True:  # the socket also hears what the node itself receives
                got = ping.recv(2000)
                got = got if v6 else got[20:]
                if got[:2] == wanted:
                    break
            self.assertEqual(got[4:], ECHO_IDENT.to_bytes(2, "big") + b"\0\5ping")

    def test_only_the_services_own_addresses_answer(self):
        before = self.limpet.counter("dropped_echo_request")
        silent = self.plan.virtual(199)
        self.net.ghost.clear()
        self.net.ghost.send(packets.echo_request(self.plan.ghost, silent, ECHO_IDENT, 1, b"echo"))
        self.assertIsNone(self.net.ghost.receive(packets.is_echo_reply, seconds=0.3))
        self.assertEqual(self.limpet.counter("dropped_echo_request"), before)


if __name__ == "__main__":
    lab.main(build)
