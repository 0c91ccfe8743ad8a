#!/usr/bin/python3
"""make_captures.py: the captures that `limpet trace` is tested with. Needs python3-scapy; the files are checked in.

    usage   make_captures.py [FOLDER]      default: where this file stands

One conversation, as two observers would capture it. Node 10.128.0.5; service 10.96.0.10:80 with the endpoints 10.2.0.1:8080
and 10.2.0.2:8080; client 203.0.113.7, which is masqueraded as 10.128.0.5. The balancer that was at work chose 10.2.0.2.

    client_side.pcap   Ethernet, between client and node: the client's handshake, request, answer and goodbye; a datagram to
                       10.96.0.20:53, which has no endpoint, and the refusal; a packet of somebody else; one ARP
    any.pcap           Linux cooked v2 (tcpdump -i any on the node): the same handshake, each packet before and after its
                       translation; then a port unreachable from a router behind the node about the client's datagram
    six.pcap           raw IP: an IPv6 client and the service fd96::10:80
"""

import pathlib
import struct
import sys

from scapy.all import ARP, ICMP, IP, TCP, UDP, Ether, IPv6, PcapWriter, Raw, raw, wrpcap

BEGIN = 1_700_000_000  # 2023-11-14T22:13:20Z
CLIENT, VIP, NODE, CHOSEN = "203.0.113.7", "10.96.0.10", "10.128.0.5", "10.2.0.2"
DNS, SERVER, ROUTER = "10.96.0.20", "10.2.0.9", "10.2.0.254"


def at(packet, milliseconds):
    packet.time = BEGIN + milliseconds / 1000
    return packet


def tcp(source, target, flags, identification, ttl=64, seq=0, ack=0, payload=b""):
    (source, sport), (target, dport) = source, target
    return IP(src=source, dst=target, id=identification, ttl=ttl) / TCP(
        sport=sport, dport=dport, flags=flags, seq=seq, ack=ack) / Raw(payload)


def client_side():
    client, vip = (CLIENT, 40000), (VIP, 80)
    packets = [
        at(tcp(client, vip, "S", 1, seq=100), 0),
        at(tcp(vip, client, "SA", 0, ttl=62, seq=500, ack=101), 1),
        at(tcp(client, vip, "A", 2, seq=101, ack=501), 2),
        at(tcp(client, vip, "PA", 3, seq=101, ack=501, payload=b"GET /\r\n"), 3),
        at(tcp(vip, client, "PA", 4, ttl=62, seq=501, ack=108, payload=b"hello\r\n"), 4),
        at(tcp(("198.51.100.1", 999), vip, "S", 5), 5),
        at(tcp(client, vip, "FA", 6, seq=108, ack=508), 6),
        at(tcp(vip, client, "FA", 7, ttl=62, seq=508, ack=109), 7),
        at(tcp(client, vip, "A", 8, seq=109, ack=509), 8),
        at(IP(src=CLIENT, dst=DNS, id=9) / UDP(sport=5353, dport=53) / Raw(b"query"), 1000),
    ]
    refused = IP(src=DNS, dst=CLIENT, id=0) / ICMP(type=3, code=3) / raw(packets[-1])
    packets.append(at(refused, 1001))
    frames = [Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / packet for packet in packets]
    for frame, packet in zip(frames, packets):
        frame.time = packet.time
    frames.insert(5, at(Ether() / ARP(pdst=CLIENT), 4))
    return frames


def seen(packet, milliseconds, interface, outgoing):
    """A frame of a cooked capture v2 (LINKTYPE_LINUX_SLL2): protocol, reserved, interface, ARPHRD_ETHER, type, address."""
    header = struct.pack("!HHIHBB8s", 0x0800, 0, interface, 1, 4 if outgoing else 0, 6, b"\x02" + bytes(7))
    return milliseconds, header + raw(packet)


def any_interface():
    client, vip, masqueraded, endpoint = (CLIENT, 40000), (VIP, 80), (NODE, 40000), (CHOSEN, 8080)
    outside, pods = 2, 3
    frames = []
    for time, flags, identification, numbers in ((0, "S", 1, {"seq": 100}), (4, "A", 2, {"seq": 101, "ack": 501})):
        frames.append(seen(tcp(client, vip, flags, identification, **numbers), time, outside, False))
        frames.append(seen(tcp(masqueraded, endpoint, flags, identification, ttl=63, **numbers), time, pods, True))
        if flags == "S":
            numbers = {"seq": 500, "ack": 101}
            frames.append(seen(tcp(endpoint, masqueraded, "SA", 0, **numbers), time + 1, pods, False))
            frames.append(seen(tcp(vip, client, "SA", 0, ttl=63, **numbers), time + 1, outside, True))
    # A datagram that is not the service's: forwarded, and a router behind the node refuses it.
    datagram = IP(src=CLIENT, dst=SERVER, id=7) / UDP(sport=5000, dport=9) / Raw(b"x")
    frames.append(seen(datagram, 10, outside, False))
    datagram.ttl = 63
    frames.append(seen(datagram, 10, pods, True))
    error = IP(src=ROUTER, dst=CLIENT, id=8) / ICMP(type=3, code=3) / raw(datagram)
    frames.append(seen(error, 11, pods, False))
    error.ttl = 63
    frames.append(seen(error, 11, outside, True))
    return frames


def six():
    client, vip = "2001:db8::7", "fd96::10"
    return [
        at(IPv6(src=client, dst=vip) / TCP(sport=40000, dport=80, flags="S", seq=1), 0),
        at(IPv6(src=client, dst=vip) / TCP(sport=40000, dport=80, flags="S", seq=1), 1000),
    ]


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    wrpcap(str(folder / "client_side.pcap"), client_side(), linktype=1)
    with PcapWriter(str(folder / "any.pcap"), linktype=276) as writer:
        writer.write_header(None)
        for milliseconds, frame in any_interface():
            writer.write_packet(frame, sec=BEGIN, usec=milliseconds * 1000)
    wrpcap(str(folder / "six.pcap"), six(), linktype=101)


if __name__ == "__main__":
    main()
