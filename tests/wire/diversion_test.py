#!/usr/bin/python3
"""What the rules bring to limpet, seen from outside, beyond the packets of services as they are.

    Strict     compat: nftables. Another port of a clusterIP is refused at once, an address of serviceCIDRs that nobody
               has gets nothing; the node's own addresses, ICMP and neighbours are left alone
    Drift      another hand flushes the rules: they are back within a second, and it is counted
    Removed    a connection lives on when its endpoint, or its service, is balanced no longer; then its rules go
"""

import errno
import re
import socket
import time
import unittest

import lab
import netns
import packets

AT_ONCE = 0.9  # s; a client that lost the first answer gets its next with TCP's retransmission, after one second
QUIET = 0.3
UNALLOCATED = 200  # of lab.py's VIPs
PORT = 7001  # of no endpoint else
HIDDEN, VISIBLE = 50, 51
KEEP = {"stop": "keep", "state": {"path": "auto"}}
SOON = {"timeouts": {f"tcp_{state}": "1s" for state in ("fin_wait", "close_wait", "last_ack", "time_wait", "close")}}


def beyond(plan):
    """The first address after serviceCIDRs: the VIPs' network is a /24, or a /120."""
    return "10.96.1.1" if "." in plan.vip else "fd96::1:1"


def build(network):
    plan = network.addresses
    network.serve_http()
    network.node.sysctl("net.ipv4.icmp_ratelimit", 0)
    network.node.sysctl("net.ipv6.icmp.ratelimit", 0)
    for device in ("all", "client"):
        network.node.sysctl(f"net.ipv4.conf.{device}.send_redirects", 0)
    network.node.run("ethtool", "-K", "client", "tx", "off")
    network.ghost = packets.Ghost(network.client, network.node, plan.ghost)
    if network.options.conntrack == "on":  # nor does the node's firewall, from the client's cable and back into it
        for iptables in ("iptables", "ip6tables"):
            network.node.run(iptables, "-w", *"-I FORWARD -i client -o client -j ACCEPT".split())
    # What nobody holds back goes to the node's default route: the client's cable.
    network.lost = {address: packets.Ghost(network.client, network.node, address)
                    for address in (plan.virtual(UNALLOCATED), plan.vip, beyond(plan))}


class Strict(lab.WithLimpet):
    port = 43000

    @classmethod
    def setUpClass(cls):
        plan = lab.current.addresses
        node = {**lab.current.config()["node"], "compat": "nftables", "serviceCIDRs": [plan.vips]}
        cls.changes = {"node": node}
        super().setUpClass()

    def setUp(self):
        Strict.port += 1
        self.ghost, self.lost = self.net.ghost, self.net.lost
        for ghost in (self.ghost, *self.lost.values()):
            ghost.clear()

    def syn(self, target, port=80):
        packet = packets.ip(self.plan.ghost, target) / packets.TCP(sport=Strict.port, dport=port, flags="S", seq=1)
        self.ghost.send(packets.dissect(bytes(packet)))

    def counted(self, name, action):
        """How much the counter grew by it."""
        before = self.limpet.settled_counters()[f"{name}"]
        action()
        return self.limpet.settled_counters()[f"{name}"] - before

    def check_refused(self, host, kind):
        waited = []
        while not waited or (min(waited) > AT_ONCE and len(waited) < 3):  # reject_test.py says why more than once
            with host.socket(self.net.socket_family, kind) as client:
                client.settimeout(5)
                began = time.monotonic()
                with self.assertRaises(OSError) as failed:
                    client.connect((self.plan.vip, 81))
                    client.send(b"anybody?")
                    client.recv(1)
                self.assertEqual(failed.exception.errno, errno.ECONNREFUSED)
                waited.append(time.monotonic() - began)
        self.assertLess(min(waited), AT_ONCE)

    def test_another_port_is_refused_at_once(self):
        for host in (self.net.client, self.net.pods["pod-b"]):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                with self.subTest(kind=kind, host=host):
                    self.assertGreater(self.counted("dropped_rejected", lambda: self.check_refused(host, kind)), 0)

    def test_an_address_of_nobody_gets_nothing(self):
        nobody = self.plan.virtual(UNALLOCATED)
        ask = lambda: [self.syn(nobody, port) for port in (80, 81, 82)]  # noqa: E731
        self.assertEqual(self.counted("dropped_unallocated", ask), 3)
        self.assertEqual(self.ghost.all(quiet=QUIET), [], "not even an ICMP error")
        self.assertEqual(self.lost[nobody].all(quiet=QUIET), [], "nor does it leave the node")

    def test_neighbours_are_left_alone(self):
        neighbour = beyond(self.plan)
        self.syn(neighbour)
        self.assertIsNotNone(self.lost[neighbour].receive(), "it is routed as ever")
        self.ghost.send(packets.echo_request(self.plan.ghost, self.plan.vip, 7, 1))
        self.assertIsNotNone(self.lost[self.plan.vip].receive(), "ICMP is none of a service's")
        with self.net.client.socket(self.net.socket_family, socket.SOCK_STREAM) as client:
            client.settimeout(5)
            client.connect((self.plan.vip, 80))

    def test_the_nodes_own_ports_are_its_own(self):
        with self.net.node.socket(self.net.socket_family, socket.SOCK_STREAM) as server:
            server.bind((self.plan.node, 0))
            server.listen()
            with self.net.client.socket(self.net.socket_family, socket.SOCK_STREAM) as client:
                client.settimeout(5)
                client.connect((self.plan.node, server.getsockname()[1]))


class Drift(lab.WithLimpet):
    changes = {"divert": {"checkSeconds": 1}}

    def connects(self):
        with self.net.client.socket(self.net.socket_family, socket.SOCK_STREAM) as client:
            client.settimeout(0.3)
            try:
                client.connect((self.plan.vip, 80))
            except OSError:
                return False
            return True

    def test_flushed_rules_come_back_and_are_counted(self):
        iptables = "ip6tables" if self.net.family == "v6" else "iptables"
        self.assertTrue(self.connects())
        for repairs, table in enumerate(("raw", "mangle"), 1):
            self.net.node.run(iptables, "-w", "-t", table, "-F")
            flushed = time.monotonic()
            netns.wait_until(lambda: self.limpet.counter("drift_repairs") == repairs, 5, f"{table} is repaired")
            self.assertTrue(self.connects())
            print(f"{table} flushed: repaired and connected after {time.monotonic() - flushed:.2f} s", flush=True)
        self.assertIn("changed by another hand: IPv", self.limpet.text())
        time.sleep(2.5)  # two checks more
        self.assertEqual(self.limpet.counter("drift_repairs"), 2, "what stands is left alone")
        self.assertRegex(self.net.ask_limpet("show", "stats"), r"drift_repairs\s+2\b")


class Removed(unittest.TestCase):
    """By a restart, whose flows the next process takes over."""

    def setUp(self):
        self.net, self.plan = lab.current, lab.current.addresses
        self.servers = [self.server(pod) for pod in ("pod-a", "pod-b")]
        self.connections = []
        self.limpet = None
        self.addCleanup(self.leave_nothing)

    def leave_nothing(self):
        for one in self.servers + self.connections:
            one.close()
        if self.limpet.process.poll() is None:
            self.limpet.kill()
        self.assertEqual(self.net.limpet("--ephemeral", stop="remove").wait_ready().stop(), 0)
        self.net.node.run("sh", "-c", "rm -f /run/limpet/*.state")

    def server(self, pod):
        server = self.net.pods[pod].socket(self.net.socket_family, socket.SOCK_STREAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((self.plan.pods[pod], PORT))
        server.listen()
        server.settimeout(15)
        return server

    def start(self, pod=None):
        """With both services and this pod behind them; without them."""
        endpoints = [(self.plan.pods[pod], PORT)] if pod else []
        modes = {HIDDEN: "always", VISIBLE: "never"}
        services = [self.net.service(f"test/{mode}:tcp", self.plan.virtual(vip), endpoints, port=PORT, masquerade=mode)
                    for vip, mode in modes.items()] if pod else []
        self.limpet = self.net.limpet(services=services + self.net.services, **KEEP, **SOON).wait_ready()

    def restart(self, pod=None):
        self.assertEqual(self.limpet.stop(), 0)
        self.start(pod)

    def connect(self, vip):
        """Both ends of a new connection."""
        client = self.net.client.socket(self.net.socket_family, socket.SOCK_STREAM)
        client.settimeout(15)
        self.connections.append(client)
        client.connect((self.plan.virtual(vip), PORT))
        return client

    def accept(self, server):
        peer, _ = server.accept()
        peer.settimeout(15)
        self.connections.append(peer)
        return peer

    def check_alive(self, pairs, words):
        for client, peer in pairs:
            client.sendall(words)
            self.assertEqual(peer.recv(100), words)
            peer.sendall(words[::-1])
            self.assertEqual(client.recv(100), words[::-1])

    def rules(self):
        return self.net.node.run("ip6tables-save" if self.net.family == "v6" else "iptables-save").stdout + \
            self.net.node.run("ipset", "save", check=False).stdout

    def test_a_connection_outlives_its_endpoint_and_its_service(self):
        self.start("pod-a")
        pairs = []
        for vip in (HIDDEN, VISIBLE):
            client = self.connect(vip)
            pairs.append((client, self.accept(self.servers[0])))
        self.check_alive(pairs, b"before")
        self.assertEqual(self.limpet.counter("diversions_lingering"), 0)

        self.restart("pod-b")
        self.check_alive(pairs, b"its endpoint is gone")
        self.assertEqual(self.limpet.counter("diversions_lingering"), 1)
        self.connect(HIDDEN)
        self.accept(self.servers[1])

        self.restart()
        self.check_alive(pairs, b"its service is gone")
        self.assertEqual(self.limpet.counter("diversions_lingering"), 4, "two services, pod-a, pod-b")

        for connection in self.connections:
            connection.close()
        netns.wait_until(lambda: self.limpet.counter("diversions_lingering") == 0, 10, "nothing is kept needlessly")
        named = [rf"{re.escape(self.plan.virtual(vip))}[/, ]" for vip in (HIDDEN, VISIBLE)]
        self.assertNotRegex(self.rules(), "|".join(named))


if __name__ == "__main__":
    lab.main(build)
