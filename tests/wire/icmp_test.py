#!/usr/bin/python3
"""ICMP errors about a connection through a service, in both directions: who sends them, whom they reach, what they quote.

Every case is first shown with the kernel's own NAT (classes Kernel...), then with limpet. `closed` has a port that
nobody listens on, on a real pod: a kernel answers. `ghost` leads to an address whose packets the test writes itself.
"""

import errno
import re
import socket
import threading
import time

import lab
import packets

CLOSED, GHOST, NODE_PORT = 20, 21, 30090  # the services' VIPs, and the nodePort of the one whose clients stay visible
SMALL_MTU = 1300  # at least 1280, IPv6's smallest


def build(network):
    plan = network.addresses
    nobody = (plan.pods["pod-a"], 4999)
    ghost = (plan.ghost_pods["pod-a"], 5353)
    network.services += [
        network.service("test/closed:udp", plan.virtual(CLOSED), [nobody], port=53, protocol="UDP", nodePort=NODE_PORT,
                        externalTrafficPolicy="Local"),
        network.service("test/ghost:udp", plan.virtual(GHOST), [ghost], port=53, protocol="UDP", nodePort=NODE_PORT + 1,
                        externalTrafficPolicy="Local"),
    ]
    network.local_clients()
    network.ghost_client = packets.Ghost(network.client, network.node, plan.ghost)
    network.ghost_pod = packets.Ghost(network.pods["pod-a"], network.node, plan.ghost_pods["pod-a"])
    for host, device in ((network.client, "node"), (network.pods["pod-a"], "node"), (network.pods["pod-b"], "node")):
        # Packets as on a real cable: with their checksums.
        host.run("ethtool", "-K", device, "tx", "off")


class Errors:
    """What the kernel's NAT and limpet have in common."""

    port = 41000

    @classmethod
    def next_port(cls):
        Errors.port += 1
        return Errors.port

    def setUp(self):
        self.client, self.pod = self.net.ghost_client, self.net.ghost_pod
        self.client.clear()
        self.pod.clear()

    # ------------------------------------------------------------------------------------------- a program is told

    def refused_in(self, host, address, port):
        """Seconds until a connected UDP socket learns that nobody listens."""
        with host.socket(self.net.socket_family, socket.SOCK_DGRAM) as client:
            client.settimeout(3)
            client.connect((address, port))
            began = time.monotonic()
            client.send(b"anybody?")
            with self.assertRaises(OSError) as failed:
                client.recv(100)
            self.assertEqual(failed.exception.errno, errno.ECONNREFUSED, failed.exception)
            return time.monotonic() - began

    def test_a_program_is_refused_at_once(self):
        closed = self.plan.virtual(CLOSED)
        table = [("from outside, masqueraded", self.net.client, closed, 53),
                 ("from outside, visible", self.net.client, self.plan.node, NODE_PORT),
                 ("a pod, visible", self.net.pods["pod-b"], closed, 53),
                 ("the pod itself, a hairpin", self.net.pods["pod-a"], closed, 53),
                 ("a process of the node", self.net.node, closed, 53)]
        for name, host, address, port in table:
            with self.subTest(name):
                self.assertLess(self.refused_in(host, address, port), 1)

    # ------------------------------------------------------------------------------------------ packet by packet

    def paths(self):
        """(name, address and port that the client asks, the client's address as the endpoint sees it)."""
        return [("masqueraded", (self.plan.virtual(GHOST), 53), self.plan.gateways["pod-a"]),
                ("visible", (self.plan.node, NODE_PORT + 1), self.plan.ghost)]

    def ask(self, service, port=None, hop_limit=64, payload=b"question", seconds=5):
        """A datagram of the ghost client's; returns it and what the ghost endpoint received. Port None: a new connection."""
        limit = {"ttl": hop_limit} if self.net.family == "v4" else {"hlim": hop_limit}
        sent = packets.ip(self.plan.ghost, service[0], **limit) / packets.UDP(
            sport=port or self.next_port(), dport=service[1]) / packets.Raw(payload)
        sent = packets.dissect(bytes(sent))
        self.client.send(sent)
        return sent, self.pod.receive(lambda packet: packets.payload_of(packet) == payload, seconds)

    def check_told(self, ghost, kind, source, quoted):
        """An error of that kind has arrived, from `source` (if any), quoting that tuple, every checksum right."""
        told = ghost.receive(packets.quotes)
        self.assertIsNotNone(told, "nothing arrived")
        self.assertEqual(packets.error_of(told), packets.ERRORS[kind][0 if self.net.family == "v4" else 1])
        self.assertEqual(packets.tuple_of(packets.quoted(told)), quoted)
        self.assertEqual(packets.faults(told), [])
        if source is not None:
            self.assertEqual(told.src, source)
        return told

    def kinds(self):
        family = 0 if self.net.family == "v4" else 1
        return [kind for kind, numbers in packets.ERRORS.items() if numbers[family]]

    def test_errors_about_a_request_reach_the_client_as_about_the_service(self):
        router = self.plan.ghost_pods["pod-a"][:-1] + "77"
        for name, service, _ in self.paths():
            for sender in (self.plan.ghost_pods["pod-a"], router):
                for kind in self.kinds():
                    with self.subTest(name, sender=sender, kind=kind):
                        sent, arrived = self.ask(service)
                        self.assertIsNotNone(arrived)
                        self.pod.send(packets.error(kind, sender, arrived))
                        # As the kernel: the error comes from the service even if a router made it.
                        self.check_told(self.client, kind, service[0], packets.tuple_of(sent))

    def test_a_quotation_of_eight_transport_bytes_is_enough(self):
        header = 20 if self.net.family == "v4" else 40
        for name, service, _ in self.paths():
            with self.subTest(name):
                sent, arrived = self.ask(service)
                self.pod.send(packets.error("port unreachable", arrived.dst, arrived, quote=header + 8))
                self.check_told(self.client, "port unreachable", service[0], packets.tuple_of(sent))

    def test_errors_about_an_answer_reach_the_endpoint_as_about_what_it_sent(self):
        for name, service, seen in self.paths():
            for kind in self.kinds():
                with self.subTest(name, kind=kind):
                    sent, arrived = self.ask(service)
                    answer = packets.ip(arrived.dst, arrived.src) / packets.UDP(
                        sport=5353, dport=packets.ports(arrived)[0]) / b"answer"
                    answer = packets.dissect(bytes(answer))
                    self.pod.send(answer)
                    received = self.client.receive()
                    self.assertEqual(packets.tuple_of(received), packets.tuple_of(sent)[::-1])
                    self.assertEqual(packets.faults(received), [])
                    self.client.send(packets.error(kind, self.plan.ghost, received))
                    self.check_told(self.pod, kind, seen, packets.tuple_of(answer))

    def test_the_nodes_own_errors_are_about_the_service(self):
        """Of a connection that stands. About the first packet of all, with conntrack on, the kernel lets no queue have the
        error: both hold one conntrack entry, which is not confirmed yet (nfnetlink_queue.c, nf_ct_drop_unconfirmed)."""
        for name, service, _ in self.paths():
            with self.subTest(name):
                first, _ = self.ask(service)
                port = packets.ports(first)[0]
                sent, arrived = self.ask(service, port, hop_limit=1, payload=b"too far", seconds=0.2)
                self.assertIsNone(arrived)
                self.check_told(self.client, "time exceeded", service[0], packets.tuple_of(sent))

    # ------------------------------------------------------------------------------------------------ path MTU

    def learnt_mtu(self, host, target):
        found = re.search(r"mtu (\d+)", host.ip(f"route get {target}").stdout)
        return int(found[1]) if found else None

    def transfer(self, sender, receiver, size=2_000_000):
        """Bytes through an established connection of two sockets, all of them."""
        for end in (sender, receiver):
            end.settimeout(10)
        writer = threading.Thread(target=sender.sendall, args=(bytes(size),), daemon=True)
        writer.start()
        got = 0
        while got < size:
            got += len(receiver.recv(1 << 20))
        writer.join()
        return got

    def small_link(self, device):
        """The node's way out on this device is small. What comes in may still be large: no MSS tells it beforehand."""
        for host in (self.net.client, self.net.pods["pod-a"]):
            for family in ("-4", "-6"):
                host.run("ip", family, "route", "flush", "cache")  # what an earlier test taught it
        self.net.node.ip(f"link set {device} mtu {SMALL_MTU}")
        self.addCleanup(self.net.node.ip, f"link set {device} mtu 1500")

    def connect(self):
        server = self.net.sink(socket.SOCK_STREAM)
        self.addCleanup(server.close)
        server.listen()
        client = self.net.client.socket(self.net.socket_family, socket.SOCK_STREAM)
        self.addCleanup(client.close)
        client.settimeout(5)
        client.connect((self.plan.sink, 9))
        accepted, peer = server.accept()
        self.addCleanup(accepted.close)
        return client, accepted, peer[0]

    def test_path_mtu_is_learnt_towards_the_service(self):
        self.small_link("pod-a")
        client, accepted, _ = self.connect()
        self.assertEqual(self.transfer(client, accepted), 2_000_000)
        self.assertEqual(self.learnt_mtu(self.net.client, self.plan.sink), SMALL_MTU)

    def test_path_mtu_is_learnt_by_the_endpoint(self):
        pod = self.net.pods["pod-a"]
        self.small_link("client")
        client, accepted, seen = self.connect()
        self.assertEqual(self.transfer(accepted, client), 2_000_000)
        self.assertEqual(self.learnt_mtu(pod, seen), SMALL_MTU)


class KernelErrors(Errors, lab.WithKernelNat):
    pass


class LimpetErrors(Errors, lab.WithLimpet):
    pass


if __name__ == "__main__":
    lab.main(build)
