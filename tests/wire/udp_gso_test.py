#!/usr/bin/python3
"""UDP super-packets (UDP_SEGMENT, as QUIC servers send them): cut up after translation, every datagram with a good checksum.

One sendmsg of five datagrams crosses the node as one packet, client → VIP (masqueraded) and endpoint → client; with the
links' own segmentation on, and off, where the kernel cuts the packet up in software behind limpet.
"""

import socket

import lab

UDP_SEGMENT = 103  # linux/udp.h
SEGMENT = 1000
PAYLOAD = b"".join(bytes([65 + n]) * SEGMENT for n in range(5))


def build(network):
    pass


class UdpGso(lab.WithLimpet):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.server = cls.net.sink(socket.SOCK_DGRAM)
        cls.client = cls.net.client.socket(cls.net.socket_family, socket.SOCK_DGRAM)
        cls.client.settimeout(5)
        for end in (cls.server, cls.client):
            end.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, SEGMENT)

    @classmethod
    def tearDownClass(cls):
        cls.server.close()
        cls.client.close()
        super().tearDownClass()

    def check_both_ways(self):
        before = self.limpet.counter("rewritten")
        self.client.sendto(PAYLOAD, (self.plan.sink, 9))
        arrived = [self.server.recvfrom(65535) for _ in range(5)]
        self.assertEqual(b"".join(sorted(data for data, _ in arrived)), PAYLOAD)
        self.server.sendto(PAYLOAD, arrived[0][1])
        answers = [self.client.recvfrom(65535) for _ in range(5)]
        self.assertEqual(b"".join(sorted(data for data, _ in answers)), PAYLOAD)
        self.assertEqual({source[0] for _, source in answers}, {self.plan.sink})
        # One packet a direction, each rewritten at two hooks (the client is masqueraded): not five.
        self.assertEqual(self.limpet.counter("rewritten") - before, 4)

    def test_segmented_by_the_receiving_socket_or_the_link(self):
        self.check_both_ways()

    def test_segmented_in_software_behind_the_node(self):
        for peer in ("client", "pod-a"):
            self.net.node.run("ethtool", "-K", peer, "tx-udp-segmentation", "off")
        self.check_both_ways()


if __name__ == "__main__":
    lab.main(build)
