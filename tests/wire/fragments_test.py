#!/usr/bin/python3
"""Datagrams larger than the links: whole, both ways, through a VIP; never half of one translated.

With conntrack on its defragmentation puts them together before the hooks, with conntrack off that of a `socket` rule
which never matches (classes KernelFragments and LimpetFragments). With `divert: {defragment: never}` and no conntrack
nobody does, and limpet translates fragment by fragment (class LimpetTracksFragments).
"""

import random
import socket
import struct
import unittest

import lab
import packets
from scapy.utils import checksum

HIDDEN, VISIBLE = 80, 81  # VIPs: masqueraded, and not
SERVER = 5800
SIZES = (1472, 3000, 60_000)  # one packet, three of IPv4, many


def build(network):
    plan = network.addresses
    endpoint = [(plan.ghost_pods["pod-a"], SERVER)]
    network.services += [
        network.service("test/hidden:p", plan.virtual(HIDDEN), endpoint, port=53, protocol="UDP", masquerade="always"),
        network.service("test/visible:p", plan.virtual(VISIBLE), endpoint, port=53, protocol="UDP", masquerade="never"),
    ]
    network.client_ghost = packets.Ghost(network.client, network.node, plan.ghost)
    network.pod_ghost = packets.Ghost(network.pods["pod-a"], network.node, plan.ghost_pods["pod-a"])
    # What is addressed to a VIP and was not translated goes to the node's default route: the client's cable.
    network.lost = [packets.Ghost(network.client, network.node, plan.virtual(number)) for number in (HIDDEN, VISIBLE)]


class Sockets:
    """Two programs."""

    def hosts(self):
        return [("masqueraded", self.net.client), ("visible", self.net.pods["pod-b"]),
                ("a process of the node", self.net.node)]

    def test_large_datagrams_both_ways(self):
        with self.net.sink(socket.SOCK_DGRAM) as server:
            for name, host in self.hosts():
                for size in SIZES:
                    with self.subTest(name, size=size), host.socket(
                            self.net.socket_family, socket.SOCK_DGRAM) as client:
                        self.check(server, client, random.Random(size).randbytes(size))

    def test_a_large_echo_request_to_the_node(self):
        """Its fragments come to the node's own address, and are nobody's but the node's."""
        self.assertEqual(self.echoed(self.net.client, self.plan.node, bytes(3000)), 3000)

    def echoed(self, host, address, payload):
        """How many bytes come back."""
        v6 = self.net.family == "v6"
        with host.socket(self.net.socket_family, socket.SOCK_RAW, socket.IPPROTO_ICMPV6 if v6 else
                         socket.IPPROTO_ICMP) as ping:
            ping.settimeout(3)
            ping.connect((address, 0))
            message = struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, 77, 1) + payload
            if not v6:  # of ICMPv6 the kernel sees to the checksum
                message = message[:2] + struct.pack("!H", checksum(message)) + message[4:]
            ping.send(message)
            while True:  # an IPv4 socket hears the IP header, too
                got = ping.recv(5000)[0 if v6 else 20:]
                if got[0] == (129 if v6 else 0):
                    return len(got) - 8

    def check(self, server, client, datagram):
        client.settimeout(5)
        client.connect((self.plan.sink, 9))
        for _ in range(3):
            client.send(datagram)
            received, peer = server.recvfrom(65535)
            self.assertEqual(received, datagram)
            server.sendto(datagram[::-1], peer)
            self.assertEqual(client.recv(65535), datagram[::-1])


class Ghosts:
    """Fragments written by hand, in any order."""

    port = 2800

    def setUp(self):
        Ghosts.port += 10
        self.client, self.pod = self.net.client_ghost, self.net.pod_ghost
        for ghost in (self.client, self.pod, *self.net.lost):
            ghost.clear()

    def fragments(self, source, target, payload, ident=None):
        """A UDP datagram in pieces of at most 1,000 bytes; source and target are (address, port)."""
        datagram = packets.UDP(sport=source[1], dport=target[1]) / payload
        return packets.fragments(packets.ip(source[0], target[0]), datagram, 1000, ident or self.port)

    def arrived(self, ghost, seconds=5):
        """The fragments that come to a ghost, until they are a whole datagram, or none comes for so long."""
        found = []
        while not packets.are_whole(found) and (packet := ghost.receive(packets.is_fragment, seconds)) is not None:
            found.append(packet)
        return found

    def check_whole(self, found, source, target, payload):
        """Together they are this datagram between these ends, its checksum right. source's port None: any."""
        self.assertEqual({(packet.src, packet.dst) for packet in found}, {(source[0], target[0])})
        data = packets.reassembled(found)
        ports = packets.ports_in(data)
        self.assertEqual(ports, (source[1] or ports[0], target[1]))
        self.assertEqual(data[8:], payload)
        self.assertTrue(packets.udp_is_right(found[0], data))
        return ports[0]

    def paths(self):
        return [((self.plan.virtual(HIDDEN), 53), self.plan.gateways["pod-a"]),
                ((self.plan.virtual(VISIBLE), 53), self.plan.ghost)]

    def nothing_is_lost(self):
        for lost in self.net.lost:
            self.assertEqual(lost.all(quiet=0.1), [], "left the node untranslated")

    def check_both_ways(self, order):
        """Fragments in that order, both ways. They may have been put together and cut up again on their way."""
        payload = random.Random(self.port).randbytes(2500)
        server = (self.plan.ghost_pods["pod-a"], SERVER)
        for vip, seen in self.paths():
            with self.subTest(vip):
                Ghosts.port += 1
                asking = (self.plan.ghost, Ghosts.port)
                sent = self.fragments(asking, vip, payload)
                self.client.send(*(sent[index] for index in order))
                found = self.arrived(self.pod)
                port = self.check_whole(found, (seen, None), server, payload)
                sent = self.fragments(server, (seen, port), payload[::-1])
                self.pod.send(*(sent[index] for index in order))
                self.check_whole(self.arrived(self.client), vip, asking, payload[::-1])
        self.nothing_is_lost()


class Defragmented(Sockets, Ghosts):
    def test_fragments_in_order(self):
        self.check_both_ways((0, 1, 2))

    def test_fragments_out_of_order(self):
        self.check_both_ways((2, 0, 1))

    def test_a_missing_fragment_lets_none_through(self):
        for vip, _ in self.paths():
            Ghosts.port += 1
            sent = self.fragments((self.plan.ghost, Ghosts.port), vip, bytes(2500))
            self.client.send(sent[0], sent[2])
            self.assertEqual(self.arrived(self.pod, seconds=0.3), [])


class KernelFragments(Defragmented, lab.WithKernelNat):
    pass


class LimpetFragments(Defragmented, lab.WithLimpet):
    pass


class LimpetTracksFragments(Sockets, Ghosts, lab.WithLimpet):
    changes = {"divert": {"defragment": "never"}}

    @classmethod
    def setUpClass(cls):
        if lab.current.options.conntrack == "on":
            raise unittest.SkipTest("conntrack puts fragments together")
        super().setUpClass()

    def test_fragments_in_order(self):
        self.check_both_ways((0, 1, 2))

    def test_fragments_that_follow_the_first_in_any_order(self):
        self.check_both_ways((0, 2, 1))

    def test_a_fragment_that_overtakes_its_first_does_not_leave(self):
        """It is dropped, so the datagram is lost; whatever arrives of it is translated."""
        server = self.plan.ghost_pods["pod-a"]
        for vip, seen in self.paths():
            with self.subTest(vip):
                Ghosts.port += 1
                before = self.limpet.counter("dropped_fragment")
                sent = self.fragments((self.plan.ghost, Ghosts.port), vip, bytes(2500))
                self.client.send(sent[2], sent[0], sent[1])
                found = self.arrived(self.pod, seconds=0.3)
                self.assertEqual([packets.fragment_offset(packet) for packet in found], [0, 1000])
                self.assertEqual({(packet.src, packet.dst) for packet in found}, {(seen, server)})
                self.assertEqual(self.limpet.counter("dropped_fragment") - before, 1)
        self.nothing_is_lost()

    def test_a_reply_that_overtakes_its_first_is_not_translated(self):
        """Addressed to the node it stays there. Of a visible client's connection it cannot be told from a datagram that the
        endpoint sends the client without a service, so it passes; nobody can put it together with the others."""
        payload = bytes(2500)
        server = (self.plan.ghost_pods["pod-a"], SERVER)
        for vip, seen in self.paths():
            with self.subTest(vip):
                Ghosts.port += 1
                self.client.send(*self.fragments((self.plan.ghost, Ghosts.port), vip, payload))
                port = self.check_whole(self.arrived(self.pod), (seen, None), server, payload)
                sent = self.fragments(server, (seen, port), payload, ident=9_000 + Ghosts.port)
                self.pod.send(sent[2], sent[0], sent[1])
                found = [(packet.src, packets.fragment_offset(packet)) for packet in self.arrived(self.client, seconds=0.3)]
                overtaker = [(server[0], 2000)] if seen == self.plan.ghost else []
                self.assertEqual(found, [*overtaker, (vip[0], 0), (vip[0], 1000)])

    def test_other_fragments_pass_as_they_are(self):
        """Of a connection that the client made to the endpoint itself, and its answers, in any order."""
        payload = random.Random(1).randbytes(2500)
        client, server = (self.plan.ghost, self.port), (self.plan.ghost_pods["pod-a"], SERVER)
        for order in ((0, 1, 2), (2, 1, 0)):
            for sender, receiver, ends in ((self.client, self.pod, (client, server)),
                                           (self.pod, self.client, (server, client))):
                with self.subTest(order=order, source=ends[0]):
                    Ghosts.port += 1
                    sent = self.fragments(*ends, payload)
                    sender.send(*(sent[index] for index in order))
                    found = self.arrived(receiver)
                    self.assertEqual([packets.fragment_offset(packet) for packet in found],
                                     [1000 * index for index in order])
                    self.check_whole(found, *ends, payload)


if __name__ == "__main__":
    lab.main(build)
