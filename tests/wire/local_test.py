#!/usr/bin/python3
"""Endpoints that are processes of the node, and nodePorts on localhost.

The kernel's own NAT is shown first (classes Kernel...). For localhost it needs route_localnet, which limpet sets and puts
back, behind a guard: nothing on a cable may use an address of 127.0.0.0/8 (as kube-proxy's KUBE-FIREWALL, CVE-2020-8558).
"""

import socket
import unittest

import lab

import conversations  # of tests/support, which lab has put on the path
import packets

PROCESS, PODS = 100, 101  # VIPs: the endpoint is a process of the node; it is pod-a
TIME, TIME_PORT = 102, 123  # a process of the node behind a VIP, a pod behind the next: servers that ask each other
SERVER, NODE_PORT, LOCAL_ONLY = 8100, 30200, 8101
ROUTE_LOCALNET = "net.ipv4.conf.all.route_localnet"


def build(network):
    plan = network.addresses
    for protocol in ("TCP", "UDP"):
        name = protocol.lower()
        network.services += [
            network.service(f"test/process-{name}:p", plan.virtual(PROCESS), [(plan.node, SERVER)], protocol=protocol,
                            nodePort=NODE_PORT),
            network.service(f"test/pod-{name}:p", plan.virtual(PODS), [(plan.pods["pod-a"], SERVER)], protocol=protocol,
                            nodePort=NODE_PORT + 1)]
    network.services += [
        network.service("test/time:p", plan.virtual(TIME), [(plan.node, TIME_PORT)], port=TIME_PORT, protocol="UDP",
                        masquerade="always"),
        network.service("test/pod-time:p", plan.virtual(TIME + 1), [(plan.pods["pod-b"], TIME_PORT)], port=TIME_PORT,
                        protocol="UDP")]
    network.local_clients()


class Processes:
    """The endpoint listens on the node's own address."""

    def clients(self):
        pod = self.net.pods["pod-b"]
        return [("outside", self.net.client, self.plan.client), ("a pod", pod, self.plan.pods["pod-b"]),
                ("the node", self.net.node, self.plan.node)]

    def test_a_process_of_the_node_is_an_endpoint(self):
        for name, host, address in self.clients():
            for target in ((self.plan.virtual(PROCESS), 80), (self.plan.node, NODE_PORT)):
                for talk in (conversations.tcp, conversations.udp):
                    with self.subTest(name, target=target, talk=talk.__name__):
                        seen = talk(host, target, self.net.node, (self.plan.node, SERVER))
                        # Not masqueraded: there is no way out of the node on which it could be.
                        self.assertEqual(seen[0], address)

    def test_a_server_asks_a_process_from_its_own_port(self):
        """Masquerading is for what leaves the node; what comes from an endpoint's port meets the rules at INPUT, too."""
        with self.net.node.socket(self.net.socket_family, socket.SOCK_DGRAM) as process, \
                self.net.pods["pod-b"].socket(self.net.socket_family, socket.SOCK_DGRAM) as server:
            process.bind((self.plan.node, TIME_PORT))
            server.bind((self.plan.pods["pod-b"], TIME_PORT))
            process.settimeout(5)
            server.settimeout(5)
            server.connect((self.plan.virtual(TIME), TIME_PORT))
            server.send(b"what time is it?")
            question, asker = process.recvfrom(100)
            self.assertEqual((question, asker[:2]), (b"what time is it?", (self.plan.pods["pod-b"], TIME_PORT)))
            process.sendto(b"late", asker)
            self.assertEqual(server.recv(100), b"late")

    def test_a_process_sends_super_packets(self):
        """UDP_SEGMENT, as QUIC servers do: one packet at the hooks, five datagrams at the client, their checksums right."""
        for name, host, _ in self.super_packet_clients():
            with self.subTest(name):
                conversations.udp(host, (self.plan.virtual(PROCESS), 80), self.net.node, (self.plan.node, SERVER),
                                  segment=1000)

    def test_a_process_is_a_client(self):
        for talk in (conversations.tcp, conversations.udp):
            seen = talk(self.net.node, (self.plan.virtual(PODS), 80), self.net.pods["pod-a"],
                        (self.plan.pods["pod-a"], SERVER))
            self.assertIn(seen[0], (self.plan.node, self.plan.gateways["pod-a"]))


class Localhost:
    """127.0.0.1:nodePort; IPv4 only, for the kernel has no route_localnet for ::1."""

    def setUp(self):
        if self.net.family == "v6":
            self.skipTest("IPv4 only, as kube-proxy")

    def test_a_node_port_on_localhost(self):
        for talk in (conversations.tcp, conversations.udp):
            with self.subTest(talk.__name__):
                seen = talk(self.net.node, ("127.0.0.1", NODE_PORT + 1), self.net.pods["pod-a"],
                            (self.plan.pods["pod-a"], SERVER))
                self.assertEqual(seen[0], self.plan.gateways["pod-a"])

    def arrives(self, source, target):
        """Does a datagram from the cable reach a socket that is bound to 127.0.0.1 (or to any address)?"""
        ghost = packets.Ghost(self.net.client, self.net.node, self.plan.ghost)
        with self.net.node.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("0.0.0.0", LOCAL_ONLY))
            server.settimeout(0.3)
            ghost.send(packets.ip(source, target) / packets.UDP(sport=4000, dport=LOCAL_ONLY) / b"martian")
            try:
                return server.recv(100) == b"martian"
            except TimeoutError:
                return False
            finally:
                ghost.close()


class KernelLocal(Processes, lab.WithKernelNat):
    def super_packet_clients(self):
        return self.clients()


class KernelLocalhost(Localhost, lab.WithKernelNat):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.net.node.sysctl(ROUTE_LOCALNET, 1)

    @classmethod
    def tearDownClass(cls):
        cls.net.node.sysctl(ROUTE_LOCALNET, 0)
        super().tearDownClass()

    def test_without_a_guard_localhost_is_open_to_the_cable(self):
        self.assertTrue(self.arrives(self.plan.ghost, "127.0.0.1"))


class LimpetLocal(Processes, lab.WithLimpet):
    def super_packet_clients(self):
        """A limit (README): the node's own processes do not get an endpoint's super-packets."""
        return [client for client in self.clients() if client[0] != "the node"]


class LimpetLocalhost(Localhost, lab.WithLimpet):
    @classmethod
    def setUpClass(cls):
        cls.changes = {"node": {**lab.current.config()["node"], "localhostNodePorts": True}}
        super().setUpClass()

    def test_the_guard_keeps_the_cable_out(self):
        self.assertEqual(self.route_localnet(), 1)
        for source, target in ((self.plan.ghost, "127.0.0.1"), ("127.0.0.1", self.plan.node), ("127.0.0.9", "127.0.0.1")):
            with self.subTest(source=source, target=target):
                self.assertFalse(self.arrives(source, target))
        self.assertTrue(self.arrives(self.plan.ghost, self.plan.node), "the socket does hear what is addressed to the node")

    def route_localnet(self):
        return int(self.net.node.run("sysctl", "-n", ROUTE_LOCALNET).stdout)


class Setting(unittest.TestCase):
    """route_localnet belongs to the node: it is put back, and left alone where it was on already."""

    def setUp(self):
        self.net = lab.current
        if self.net.family == "v6":
            self.skipTest("IPv4 only, as kube-proxy")
        self.changes = {"node": {**self.net.config()["node"], "localhostNodePorts": True}}

    def now(self):
        return int(self.net.node.run("sysctl", "-n", ROUTE_LOCALNET).stdout)

    def test_put_back_at_the_end(self):
        limpet = self.net.limpet("--ephemeral", **self.changes).wait_ready()
        self.assertEqual(self.now(), 1)
        self.assertEqual(limpet.stop(), 0)
        self.assertEqual(self.now(), 0)

    def test_put_back_by_cleanup_after_a_kill(self):
        limpet = self.net.limpet(**self.changes).wait_ready()
        limpet.kill()
        self.assertEqual(self.now(), 1)
        self.net.node.run(self.net.options.limpet, "divert", "cleanup")
        self.assertEqual(self.now(), 0)

    def test_left_alone_where_it_was_on(self):
        self.net.node.sysctl(ROUTE_LOCALNET, 1)
        self.addCleanup(self.net.node.sysctl, ROUTE_LOCALNET, 0)
        self.assertEqual(self.net.limpet("--ephemeral", **self.changes).wait_ready().stop(), 0)
        self.assertEqual(self.now(), 1)

    def test_not_touched_unless_wanted(self):
        limpet = self.net.limpet("--ephemeral").wait_ready()
        self.assertEqual(self.now(), 0)
        self.assertEqual(limpet.stop(), 0)


if __name__ == "__main__":
    lab.main(build)
