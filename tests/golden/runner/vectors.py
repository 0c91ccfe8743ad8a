#!/usr/bin/python3
"""vectors.py > vectors.txt: packets as golden files write them, each with its bytes as scapy makes them.

scapy has no UDP-Lite: there the checksum comes from its pseudo-header sums (in4_chksum, in6_chksum).
"""

import struct

from scapy.all import (ICMP, IP, TCP, UDP, ICMPv6DestUnreach, ICMPv6EchoRequest, ICMPv6PacketTooBig, IPOption_NOP, IPv6,
                       IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, Pad1, Raw, raw)
from scapy.layers.inet import in4_chksum
from scapy.layers.inet6 import in6_chksum
from scapy.layers.sctp import SCTP, SCTPChunkAbort, SCTPChunkData, SCTPChunkInit

V4 = {"src": "198.51.100.7", "dst": "10.96.0.10"}
V6 = {"src": "2001:db8:7::7", "dst": "fd00:96::10"}
COUNTED = bytes(range(48))
TCP_OPTIONS = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 2)), ("NOP", None), ("WScale", 7)]


def ip(**fields):
    return IP(**V4, **{"id": 0, **fields})


def udp():
    return UDP(sport=40000, dport=53)


def tcp(**fields):
    return TCP(sport=40000, dport=80, **{"window": 64240, **fields})


def sctp(tag=5):
    return SCTP(sport=40000, dport=80, tag=tag)


def data():
    return SCTPChunkData(beginning=1, ending=1, tsn=1, stream_id=0, stream_seq=0, proto_id=0, data=b"hello")


def udplite(header, checksum_of, payload, coverage):
    """The sums take their length from what they sum: uncovered bytes are given as zeros, which add nothing."""
    l4 = struct.pack("!HHHH", 40000, 53, coverage, 0) + payload
    covered = coverage or len(l4)
    checksum = checksum_of(136, header, l4[:covered] + bytes(len(l4) - covered))
    return header / Raw(l4[:6] + struct.pack("!H", checksum) + payload)


def answered():
    """The header of a packet back to the client, as an error quotes it."""
    return IP(src=V4["dst"], dst=V4["src"], id=0), IPv6(src=V6["dst"], dst=V6["src"])


def ipv4():
    back = answered()[0] / UDP(sport=53, dport=40000)
    datagram = raw(ip() / udp() / COUNTED)[20:]
    pending = ~in4_chksum(17, ip(), bytes(11)) & 0xffff  # the sum of the pseudo-header alone
    yield ("tcp client:40000 > vip:80 SYN seq 1 options 020405b40402080a000000010000000201030307",
           ip() / tcp(flags="S", seq=1, options=TCP_OPTIONS))
    yield ('tcp client:40000 > vip:80 PSH|ACK seq 0xfffffff0 ack 5 window 1 ttl 3 dscp 46 ecn 1 id 7 df "hello"',
           ip(id=7, ttl=3, tos=0xb9, flags="DF") / tcp(flags="PA", seq=0xfffffff0, ack=5, window=1) / b"hello")
    yield 'udp client:40000 > vip:53 "abc"', ip() / udp() / b"abc"
    yield 'udp client:40000 > vip:53 checksum 0 "abc"', ip() / UDP(sport=40000, dport=53, chksum=0) / b"abc"
    yield 'udp client:40000 > vip:53 pending "abc"', ip() / UDP(sport=40000, dport=53, chksum=pending) / b"abc"
    yield ('udp client:40000 > vip:53 ip-options 01010101 "abc"',
           ip(options=[IPOption_NOP() for _ in range(4)]) / udp() / b"abc")
    yield ("udp client:40000 > vip:53 id 9 bytes 48 piece 0-32",
           ip(id=9, flags="MF", proto=17) / Raw(datagram[:32]))
    yield ("udp client:40000 > vip:53 id 9 bytes 48 piece 32-56",
           ip(id=9, frag=4, proto=17) / Raw(datagram[32:]))
    yield 'udplite client:40000 > vip:53 "abcd"', udplite(ip(proto=136), in4_chksum, b"abcd", 0)
    yield 'udplite client:40000 > vip:53 coverage 9 "abcd"', udplite(ip(proto=136), in4_chksum, b"abcd", 9)
    yield ("sctp client:40000 > vip:80 init 0x1234",
           ip() / sctp(tag=0) /
           SCTPChunkInit(init_tag=0x1234, a_rwnd=65536, n_out_streams=1, n_in_streams=1, init_tsn=1))
    yield 'sctp client:40000 > vip:80 tag 5 data "hello"', ip() / sctp() / data()
    yield "sctp client:40000 > vip:80 tag 5 abort", ip() / sctp() / SCTPChunkAbort()
    yield ('icmp client > vip port-unreachable [udp vip:53 > client:40000 "abc"]',
           ip() / ICMP(type=3, code=3) / Raw(raw(back / b"abc")))
    yield ("icmp client > vip too-big 1400 [udp vip:53 > client:40000 bytes 48 first 28]",
           ip() / ICMP(type=3, code=4, nexthopmtu=1400) / Raw(raw(back / COUNTED)[:28]))
    yield 'icmp client > vip echo-request 0x00070001 "abc"', ip() / ICMP(id=7, seq=1) / b"abc"


def ipv6():
    back = answered()[1] / UDP(sport=53, dport=40000)
    datagram = raw(IPv6(**V6) / udp() / COUNTED)[40:]
    yield ("tcp client:40000 > vip:80 SYN|ACK seq 1 ack 2 ttl 3 dscp 46 ecn 1 flow 0x12345",
           IPv6(**V6, hlim=3, tc=0xb9, fl=0x12345) / tcp(flags="SA", seq=1, ack=2))
    yield ('udp client:40000 > vip:53 hop-by-hop 8 destination-options 16 "abc"',
           IPv6(**V6) / IPv6ExtHdrHopByHop(options=[Pad1() for _ in range(6)], autopad=0) /
           IPv6ExtHdrDestOpt(options=[Pad1() for _ in range(14)], autopad=0) / udp() / b"abc")
    yield ("udp client:40000 > vip:53 id 9 bytes 48 piece 32-56",
           IPv6(**V6) / IPv6ExtHdrFragment(offset=4, m=0, id=9, nh=17) / Raw(datagram[32:]))
    yield 'udplite client:40000 > vip:53 coverage 9 "abcd"', udplite(IPv6(**V6, nh=136), in6_chksum, b"abcd", 9)
    yield 'sctp client:40000 > vip:80 tag 5 data "hello"', IPv6(**V6, nh=132) / sctp() / data()
    yield ('icmp client > vip port-unreachable [udp vip:53 > client:40000 "abc"]',
           IPv6(**V6) / ICMPv6DestUnreach(code=4) / Raw(raw(back / b"abc")))
    yield ('icmp client > vip too-big 1280 [udp vip:53 > client:40000 "abc"]',
           IPv6(**V6) / ICMPv6PacketTooBig(mtu=1280) / Raw(raw(back / b"abc")))
    yield ('icmp client > vip echo-request 0x00070001 "abc"',
           IPv6(**V6) / ICMPv6EchoRequest(id=7, seq=1, data=b"abc"))


for family, vectors in (("ipv4", ipv4()), ("ipv6", ipv6())):
    for text, packet in vectors:
        print(f"{family} {text}\n{raw(packet).hex()}")
