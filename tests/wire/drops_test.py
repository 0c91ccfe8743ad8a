#!/usr/bin/python3
"""What is dropped is counted, by reason, and never brings limpet down: malformed and spoofed packets, services without
endpoints.

Packets are written byte by byte through raw sockets of the client. IPv4: RFC 791; IPv6: RFC 8200; TCP: RFC 9293;
UDP: RFC 768. Headers that the kernel itself refuses (bad version, bad IHL, bad total length) never reach a hook, so
they are not here.
"""

import ipaddress
import random
import socket
import struct

import lab
import netns

TCP, UDP, DESTINATION_OPTIONS = 6, 17, 60
ICMP = {"v4": 1, "v6": 58}
SYN, ACK, RST, FIN = 0x02, 0x10, 0x04, 0x01
FUZZ_PACKETS = 3000
FUZZ_SEED = 20240


def build(network):
    network.serve_http()


def tcp(target_port, offset_words=5, flags=SYN, source_port=4242, payload=b""):
    return struct.pack("!HHIIBBHHH", source_port, target_port, 1, 0, offset_words << 4, flags, 1024, 0, 0) + payload


def udp(target_port, length, payload=b"12345678", source_port=4242):
    return struct.pack("!HHHH", source_port, target_port, length, 0) + payload


def ip(source, target, protocol, payload):
    """A complete packet. The kernel fills in the IPv4 header's checksum and length for raw sockets."""
    source, target = ipaddress.ip_address(source), ipaddress.ip_address(target)
    if source.version == 4:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0)
    else:
        head = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64)
    return head + source.packed + target.packed + payload


def options_chain(count, last_protocol, payload):
    """That many empty destination-options headers of 8 bytes, then the payload (RFC 8200 section 4.6: PadN of 4)."""
    chain = b""
    for index in range(count):
        following = last_protocol if index == count - 1 else DESTINATION_OPTIONS
        chain += bytes([following, 0, 1, 4, 0, 0, 0, 0])
    return chain + payload


class Drops(lab.WithLimpet):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.raw = cls.net.client.socket(cls.net.socket_family, socket.SOCK_RAW, socket.IPPROTO_RAW)

    @classmethod
    def tearDownClass(cls):
        cls.raw.close()
        super().tearDownClass()

    def send(self, target, protocol, payload, source=None):
        self.raw.sendto(ip(source or self.plan.client, target, protocol, payload), (target, 0))

    def check_alive(self):
        self.assertIsNone(self.limpet.process.poll(), self.limpet.text())
        self.assertIn(self.net.client.http_get(lab.url(self.plan.vip)).split()[0], lab.PODS)

    def check_counted(self, reason, before):
        netns.wait_until(lambda: self.limpet.counter(reason) > before, 5, f"{reason} is counted")

    def test_malformed_packets_are_counted_by_reason(self):
        vip, sink = self.plan.vip, self.plan.sink
        table = [
            ("TCP data offset 4 of at least 5", vip, TCP, tcp(80, offset_words=4), "dropped_bad_header_length"),
            ("TCP data offset 15, no options there", vip, TCP, tcp(80, offset_words=15), "dropped_too_short"),
            ("UDP length 7 of at least 8", sink, UDP, udp(9, length=7), "dropped_bad_header_length"),
            ("UDP length beyond the packet", sink, UDP, udp(9, length=100), "dropped_too_short"),
        ]
        if self.net.family == "v6":
            chain = options_chain(9, TCP, tcp(80))
            name = "nine extension headers of at most 8"
            table.append((name, vip, DESTINATION_OPTIONS, chain, "dropped_extension_chain"))
        for name, target, protocol, payload, reason in table:
            with self.subTest(name):
                before = self.limpet.counter(reason)
                self.send(target, protocol, payload)
                self.check_counted(reason, before)
        self.check_alive()

    def test_spoofed_sources_are_survived(self):
        plan = self.plan
        sources = [plan.vip, plan.node, plan.pods["pod-a"], plan.sink]
        if self.net.family == "v4":
            sources.append("127.0.0.1")  # IPv6 discards ::1 from a cable before any hook (ip6_input.c)
        for source in sources:
            with self.subTest(source=source):
                before = self.limpet.counter("packets")
                for flags in (SYN, SYN | ACK, RST, FIN, 0xFF, 0):
                    self.send(plan.vip, TCP, tcp(80, flags=flags, source_port=80), source=source)
                    self.send(plan.sink, UDP, udp(9, length=16, source_port=9), source=source)
                # All 12 were let through, and each crosses the queues at least once.
                self.check_counted("packets", before + 11)
        self.check_alive()

    def test_random_bytes_are_survived(self):
        chance = random.Random(FUZZ_SEED)
        print(f"seed {FUZZ_SEED}", flush=True)
        before = self.limpet.counter("packets")
        kinds = ((TCP, 80, self.plan.vip), (UDP, 9, self.plan.sink), (ICMP[self.net.family], 0, self.plan.vip))
        for _ in range(FUZZ_PACKETS):
            protocol, port, target = chance.choice(kinds)
            ports = struct.pack("!HH", chance.randrange(65536), port)
            self.send(target, protocol, ports + chance.randbytes(chance.randrange(60)))
        # Two of three go to a service; 2000 +- 26 (sigma).
        self.check_counted("packets", before + FUZZ_PACKETS // 2)
        self.check_alive()

    def test_a_service_without_endpoints_is_counted(self):
        before = self.limpet.counter("dropped_rejected")
        answer, = self.net.clients.visit(lab.at(self.plan.empty, 80), self.plan.client, timeout_ms=700)
        self.assertTrue(answer.words.startswith("!"), answer)
        self.check_counted("dropped_rejected", before)
        self.check_alive()

    def test_a_packet_in_the_middle_of_nothing_is_dropped(self):
        """An ACK without a connection and without an affinity to follow."""
        before = self.limpet.counter("dropped_midstream")
        self.send(self.plan.plain, TCP, tcp(80, flags=ACK))
        self.check_counted("dropped_midstream", before)
        self.check_alive()


if __name__ == "__main__":
    lab.main(build)
