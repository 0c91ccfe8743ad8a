#!/usr/bin/python3
"""Protocols and headers: what arrives is what was sent, field by field, but for the addresses and ports that NAT changes.

Every packet goes from a ghost client through a VIP whose port differs from the endpoint's, once masqueraded and once
not, and its answer comes back. The kernel's own NAT is shown first (class KernelProtocols).
"""

import lab
import packets
from packets import TCP, UDP, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop, PadN, Raw

HIDDEN, VISIBLE = 70, 71  # VIPs: masqueraded, and not
PORT, SERVER = 700, 7700
UDPLITE_SERVER = PORT  # the kernel's iptables can give UDP-Lite no other port


def build(network):
    plan = network.addresses
    for name, number, masquerade in (("hidden", HIDDEN, "always"), ("visible", VISIBLE, "never")):
        for protocol in PROTOCOLS:
            server = UDPLITE_SERVER if protocol == "UDPLite" else SERVER
            network.services.append(network.service(
                f"test/{name}-{protocol.lower()}:p", plan.virtual(number), [(plan.ghost_pods["pod-a"], server)], port=PORT,
                protocol=protocol, masquerade=masquerade))
    network.client_ghost = packets.Ghost(network.client, network.node, plan.ghost)
    network.pod_ghost = packets.Ghost(network.pods["pod-a"], network.node, plan.ghost_pods["pod-a"])


PROTOCOLS = ("TCP", "UDP", "UDPLite", "SCTP")
# Every option of a TCP that wants them all (RFC 9293, 7323, 2018), and a TCP fast open cookie (RFC 7413).
TCP_OPTIONS = [("MSS", 1400), ("SAckOK", b""), ("Timestamp", (1234, 0)), ("NOP", None), ("WScale", 7), (34, b"cookie!!")]


class Fields:
    port = 2700

    def setUp(self):
        Fields.port += 1
        self.client, self.pod = self.net.client_ghost, self.net.pod_ghost
        self.client.clear()
        self.pod.clear()

    def paths(self):
        return [(self.plan.virtual(HIDDEN), self.plan.gateways["pod-a"]), (self.plan.virtual(VISIBLE), self.plan.ghost)]

    def header(self, source, target, **fields):
        return packets.ip(source, target, **fields)

    def cross(self, ghost, to, packet, seconds=5):
        """Send; what arrives at the other ghost of the same protocol, every checksum right."""
        packet = packets.dissect(bytes(packet))
        protocol = packets.upper_layer(packet)[0]
        ghost.send(packet)
        arrived = to.receive(lambda got: packets.upper_layer(got)[0] == protocol, seconds)
        if arrived is not None:
            self.assertEqual(packets.faults(arrived), [])
        return packet, arrived

    def check_same(self, sent, arrived, source, target):
        """NAT put these addresses and ports there, the router took one from the hop limit, and nothing else changed."""
        expected = packets.dissect(bytes(sent))
        expected.src, expected.dst = source[0], target[0]
        if expected.version == 4:
            expected.ttl -= 1
            expected.chksum = arrived.chksum
        else:
            expected.hlim -= 1
        expected = bytearray(bytes(expected))
        got = bytearray(arrived.original)
        at = len(expected) - len(packets.upper_layer(arrived)[1])
        expected[at:at + 4] = source[1].to_bytes(2, "big") + target[1].to_bytes(2, "big")
        field = CHECKSUMS[packets.upper_layer(arrived)[0]]
        # The checksum is known to be right (cross), the rest is to be equal.
        expected[at + field.start:at + field.stop] = got[at + field.start:at + field.stop]
        self.assertEqual(expected.hex(" "), got.hex(" "))

    def check_both_ways(self, request, answer, server=SERVER, **fields):
        """The layers, given (source port, destination port), there and back."""
        for vip, seen in self.paths():
            with self.subTest(vip):
                Fields.port += 1
                sent, arrived = self.cross(self.client, self.pod, self.header(
                    self.plan.ghost, vip, **fields) / request(Fields.port, PORT))
                self.assertIsNotNone(arrived, "the request")
                port = packets.ports(arrived)[0]
                self.check_same(sent, arrived, (seen, port), (self.plan.ghost_pods["pod-a"], server))
                sent, back = self.cross(self.pod, self.client, self.header(
                    arrived.dst, arrived.src, **fields) / answer(server, port))
                self.assertIsNotNone(back, "the answer")
                self.check_same(sent, back, (vip, PORT), (self.plan.ghost, Fields.port))


# Where each protocol's checksum stands in its header.
CHECKSUMS = {6: slice(16, 18), 17: slice(6, 8), 132: slice(8, 12), 136: slice(6, 8)}


class Common(Fields):
    def syn(self, source, target):
        return TCP(sport=source, dport=target, flags="SEC", seq=99, window=1234, options=TCP_OPTIONS)

    def syn_ack(self, source, target):
        return TCP(sport=source, dport=target, flags="SAE", seq=77, ack=100, window=4321, options=TCP_OPTIONS)

    def udp(self, source, target):
        return UDP(sport=source, dport=target) / Raw(b"datagram")

    def test_tcp_options_flags_and_window(self):
        self.check_both_ways(self.syn, self.syn_ack)

    def test_urgent_data(self):
        def urgent(source, target):
            return TCP(sport=source, dport=target, flags="S", seq=9, urgptr=5) / Raw(b"odd")

        self.check_both_ways(urgent, self.syn_ack_of(9 + 4))

    def syn_ack_of(self, ack):
        return lambda source, target: TCP(sport=source, dport=target, flags="SA", seq=7, ack=ack)

    def test_dscp_and_ecn_and_hop_limit(self):
        for traffic_class, hops in ((0xB8 | 1, 3), (0x03, 255)):  # expedited forwarding, ECT(1); congestion experienced
            fields = {"tos": traffic_class, "ttl": hops} if self.net.family == "v4" else {"tc": traffic_class, "hlim": hops}
            self.check_both_ways(self.udp, self.udp, **fields)

    def test_identification_or_flow_label(self):
        fields = {"id": 0xBEEF, "flags": 0} if self.net.family == "v4" else {"fl": 0xABCDE}
        self.check_both_ways(self.udp, self.udp, **fields)

    def test_options_of_ip(self):
        """IPv4: a record route with room, which the router itself writes to, is avoided; a router alert and NOPs are not."""
        if self.net.family == "v4":
            self.check_both_ways(self.udp, self.udp, options=[packets.IPOption_Router_Alert()])
        else:
            chain = IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])
            hop = IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)])
            for headers in ([chain], [hop], [hop, chain, chain, chain]):
                self.check_both_ways(self.behind(headers, self.udp), self.behind(headers, self.udp))

    def behind(self, headers, layer):
        def build(source, target):
            built = headers[0].copy()
            for header in headers[1:]:
                built = built / header.copy()
            return built / layer(source, target)

        return build

    def test_a_udp_datagram_of_odd_length_and_an_empty_one(self):
        for payload in (b"", b"x", b"odd"):
            self.check_both_ways(lambda source, target: UDP(sport=source, dport=target) / Raw(payload), self.udp)

    def test_udp_without_checksum_stays_so(self):
        if self.net.family == "v6":
            self.skipTest("IPv6 has none without (RFC 8200 section 8.1)")
        for vip, _ in self.paths():
            Fields.port += 1
            _, arrived = self.cross(self.client, self.pod, self.header(self.plan.ghost, vip) / UDP(
                sport=Fields.port, dport=PORT, chksum=0) / b"unchecked")
            self.assertEqual(arrived[UDP].chksum, 0)
            _, back = self.cross(self.pod, self.client, self.header(arrived.dst, arrived.src) / UDP(
                sport=SERVER, dport=arrived[UDP].sport, chksum=0) / b"unchecked")
            self.assertEqual((back[UDP].chksum, back.src), (0, vip))

    def test_udp_lite(self):
        """RFC 3828: the checksum covers what its length field says, here all, or the header and eight bytes."""
        if self.net.options.conntrack == "on":
            # udplite_error() sums up the pseudo-header of UDP, and so calls every one of them INVALID (seen on 6.18).
            self.net.node.sysctl("net.netfilter.nf_conntrack_checksum", 0)
            self.addCleanup(self.net.node.sysctl, "net.netfilter.nf_conntrack_checksum", 1)
        for coverage in (0, 8, 16):
            def lite(source, target, coverage=coverage):
                return Raw(packets.udplite_bytes(self.around, source, target, b"partly covered, odd", coverage))

            self.check_lite(lite, coverage)

    def check_lite(self, lite, coverage):
        for vip, seen in self.paths():
            with self.subTest(vip, coverage=coverage):
                Fields.port += 1
                self.around = self.lite_header(self.plan.ghost, vip)
                sent, arrived = self.cross(self.client, self.pod, self.around / lite(Fields.port, PORT))
                self.assertIsNotNone(arrived, "the request")
                port = packets.ports(arrived)[0]
                self.check_same(sent, arrived, (seen, port), (self.plan.ghost_pods["pod-a"], UDPLITE_SERVER))
                self.around = self.lite_header(arrived.dst, arrived.src)
                sent, back = self.cross(self.pod, self.client, self.around / lite(UDPLITE_SERVER, port))
                self.assertIsNotNone(back, "the answer")
                self.check_same(sent, back, (vip, PORT), (self.plan.ghost, Fields.port))

    def lite_header(self, source, target):
        number = packets.PROTOCOLS["udplite"]
        return self.header(source, target, **({"proto": number} if self.net.family == "v4" else {"nh": number}))

    def test_an_sctp_association_from_init_to_shutdown(self):
        """RFC 9260 section 5.1 and 9.2. Tags are each side's own choice, and stand in what the other sends."""
        ours, theirs = 0x11111111, 0x22222222
        steps = [
            ("INIT", True, 0, packets.init_chunk(ours)),
            ("INIT ACK", False, ours, packets.init_ack_chunk(theirs)),
            ("COOKIE ECHO", True, theirs, packets.SCTPChunkCookieEcho(cookie=b"cookie--")),
            ("COOKIE ACK", False, ours, packets.SCTPChunkCookieAck()),
            ("DATA", True, theirs, packets.data_chunk(1, b"from the client")),
            ("SACK", False, ours, packets.SCTPChunkSACK(cumul_tsn_ack=1, a_rwnd=65535)),
            ("DATA back", False, ours, packets.data_chunk(1, b"from the endpoint, odd")),
            ("SHUTDOWN", True, theirs, packets.SCTPChunkShutdown(cumul_tsn_ack=1)),
            ("SHUTDOWN ACK", False, ours, packets.SCTPChunkShutdownAck()),
            ("SHUTDOWN COMPLETE", True, theirs, packets.SCTPChunkShutdownComplete()),
        ]
        for vip, seen in self.paths():
            Fields.port += 1
            behind = Fields.port
            for name, from_client, tag, chunk in steps:
                with self.subTest(vip, step=name):
                    behind = self.check_sctp_step(vip, seen, behind, from_client, tag, chunk)

    def check_sctp_step(self, vip, seen, behind, from_client, tag, chunk):
        """One packet; the port that the endpoint knows the client by."""
        pod = self.plan.ghost_pods["pod-a"]
        if from_client:
            sent, arrived = self.cross(self.client, self.pod, self.header(self.plan.ghost, vip) / packets.sctp(
                Fields.port, PORT, chunk.copy(), tag=tag))
            self.assertIsNotNone(arrived)
            behind = packets.ports(arrived)[0]
            self.check_same(sent, arrived, (seen, behind), (pod, SERVER))
        else:
            sent, arrived = self.cross(self.pod, self.client, self.header(pod, seen) / packets.sctp(
                SERVER, behind, chunk.copy(), tag=tag))
            self.assertIsNotNone(arrived)
            self.check_same(sent, arrived, (vip, PORT), (self.plan.ghost, Fields.port))
        return behind


class KernelProtocols(Common, lab.WithKernelNat):
    pass


class LimpetProtocols(Common, lab.WithLimpet):
    def test_udp_over_ipv6_without_checksum_is_dropped_and_counted(self):
        if self.net.family == "v4":
            self.skipTest("IPv4 allows it")
        for vip, _ in self.paths():
            before = self.limpet.counter("dropped_zero_checksum")
            _, arrived = self.cross(self.client, self.pod, self.header(self.plan.ghost, vip) / UDP(
                sport=Fields.port, dport=PORT, chksum=0) / b"unchecked", seconds=0.3)
            self.assertIsNone(arrived)
            self.assertEqual(self.limpet.counter("dropped_zero_checksum") - before, 1)

    def test_a_wrong_checksum_stays_wrong(self):
        """Nobody downstream may take for good what was bad (RFC 1624 keeps the difference); conntrack would drop it."""
        if self.net.options.conntrack == "on":
            self.skipTest("the firewall drops what conntrack calls INVALID")
        for vip, _ in self.paths():
            for layer in (TCP(sport=Fields.port, dport=PORT, flags="S", chksum=0x1234),
                          UDP(sport=Fields.port, dport=PORT, chksum=0x1234) / b"bad"):
                self.client.send(packets.ip(self.plan.ghost, vip) / layer)
                arrived = self.pod.receive()
                self.assertIsNotNone(arrived)
                self.assertNotEqual(packets.faults(arrived), [])
                self.pod.clear()


if __name__ == "__main__":
    lab.main(build)
