"""packets.py: packets that no ordinary program sends, written and read by scapy.

    ghost = Ghost(host, router, address)      an address at the end of a cable that no kernel answers for
    ghost.send(IP(...) / UDP(...) / b"...")   byte for byte, as it stands there
    ghost.receive(match)                      what the router delivered to that address, dissected

    faults(packet)                            what is wrong with its checksums, those of quoted packets included

scapy only builds and dissects here: the sockets are a host's own (AF_PACKET, so that neither the host's kernel nor its
rules touch what is sent), and there is no sniffing thread. The router is told by a permanent neighbour entry where the
ghost lives; the host's kernel sees packets that are not for it, and does not forward, so it stays silent.
"""

import ipaddress
import logging
import os
import select
import socket
import struct
import time

from netns import skip

os.environ.setdefault("XDG_CONFIG_HOME", "/run")  # scapy would make its folders in HOME, which nobody may not write to
os.environ.setdefault("XDG_CACHE_HOME", "/run")
logging.getLogger("scapy.runtime").setLevel(logging.ERROR)  # it would complain about lo's lack of an address
try:
    from scapy.config import conf
    from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_Router_Alert  # noqa: F401
    from scapy.layers.inet6 import (ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest,  # noqa: F401
                                    ICMPv6PacketTooBig, ICMPv6ParamProblem, ICMPv6TimeExceeded, IPv6,
                                    IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, PadN)
    from scapy.layers.sctp import (SCTP, SCTPChunkCookieAck, SCTPChunkCookieEcho, SCTPChunkData,  # noqa: F401
                                    SCTPChunkInit, SCTPChunkInitAck, SCTPChunkParamStateCookie, SCTPChunkSACK,
                                    SCTPChunkShutdown, SCTPChunkShutdownAck, SCTPChunkShutdownComplete, crc32c)
    from scapy.packet import Raw  # noqa: F401
    from scapy.utils import checksum
    from scapy.layers.inet import in4_chksum
    from scapy.layers.inet6 import in6_chksum
except ImportError as missing:
    skip(f"needs python3-scapy: {missing}")

conf.debug_dissector = False

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "udplite": 136, "icmp": 1, "icmp6": 58}
ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD
PACKET_OUTGOING = 4  # linux/if_packet.h
EXTENSION_HEADERS = (0, 43, 44, 60, 135)


def version(address):
    return ipaddress.ip_address(address).version


def ip(source, target, **fields):
    """An IP header of the addresses' family."""
    return (IP if version(source) == 4 else IPv6)(src=source, dst=target, **fields)


def dissect(data):
    return (IP if data[0] >> 4 == 4 else IPv6)(data)


def echo_request(source, target, ident, sequence, payload=b""):
    kind = ICMP(type=8, id=ident, seq=sequence) if version(source) == 4 else ICMPv6EchoRequest(id=ident, seq=sequence)
    return ip(source, target) / kind / Raw(payload)


def sctp(sport, dport, *chunks, tag=0):
    """An SCTP packet of these chunks; its checksum is CRC32c (RFC 9260 section 6.8)."""
    packet = SCTP(sport=sport, dport=dport, tag=tag)
    for chunk in chunks:
        packet = packet / chunk
    return packet


def init_chunk(tag, tsn=1):
    return SCTPChunkInit(init_tag=tag, a_rwnd=65535, n_out_streams=1, n_in_streams=1, init_tsn=tsn)


def init_ack_chunk(tag, tsn=1, cookie=b"cookie--"):
    return SCTPChunkInitAck(init_tag=tag, a_rwnd=65535, n_out_streams=1, n_in_streams=1, init_tsn=tsn,
                            params=[SCTPChunkParamStateCookie(cookie=cookie)])


def data_chunk(tsn, payload):
    return SCTPChunkData(beginning=1, ending=1, tsn=tsn, data=payload)


def udplite_bytes(header, sport, dport, payload, coverage):
    """A UDP-Lite packet's transport part below that IP header (RFC 3828: the pseudo-header has the whole length)."""
    data = struct.pack("!HHHH", sport, dport, coverage, 0) + payload
    return data[:6] + struct.pack("!H", _udplite_sum(header, data, coverage)) + data[8:]


def _udplite_sum(header, data, coverage):
    """One's complement sum over pseudo-header and covered bytes, complemented; 0 is never sent."""
    addresses = [ipaddress.ip_address(address).packed for address in (header.src, header.dst)]
    pseudo = b"".join(addresses) + struct.pack("!II", len(data), PROTOCOLS["udplite"])
    covered = data[:coverage] if coverage else data
    return checksum(pseudo + covered) or 0xFFFF


class Ghost:
    """Records what is delivered to an address, sends what is written by hand."""

    def __init__(self, host, router, address):
        """The host's interface is named after the router, the router's after the host (netns.link)."""
        self.address = address
        self._mac_of_router = bytes.fromhex(_mac(router, host.name).replace(":", ""))
        self._host, self._router = host, router
        self.introduce()
        self._type = ETH_P_IP if version(address) == 4 else ETH_P_IPV6
        self._device = router.name
        self._socket = host.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(self._type))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind((router.name, self._type))

    def introduce(self):
        """Tell the router where this address is to be found."""
        self._router.run("ip", "neigh", "replace", self.address, "lladdr", _mac(self._host, self._router.name),
                         "dev", self._host.name, "nud", "permanent")

    def close(self):
        self._socket.close()

    def send(self, *packets):
        for packet in packets:
            destination = (self._device, self._type, 0, 0, self._mac_of_router)
            self._socket.sendto(bytes(packet), destination)

    def clear(self):
        """Forget what has arrived until now."""
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(65535)
        except BlockingIOError:
            pass

    def receive(self, match=lambda packet: True, seconds=5):
        """The next packet to this address that matches; None after so long without one."""
        return receive_any([self], match, seconds)[0]

    def take(self, match):
        """As receive(), of what is there already."""
        self._socket.setblocking(False)
        while True:
            try:
                data, origin = self._socket.recvfrom(65535)
            except BlockingIOError:
                return None
            packet = None if origin[2] == PACKET_OUTGOING else dissect(data)
            if packet and ipaddress.ip_address(packet.dst) == ipaddress.ip_address(self.address) and match(packet):
                return packet

    def fileno(self):
        return self._socket.fileno()

    def all(self, match=lambda packet: True, quiet=0.3):
        """Every matching packet, until none has come for so many seconds."""
        found = []
        while (packet := self.receive(match, quiet)) is not None:
            found.append(packet)
        return found


def receive_any(ghosts, match=lambda packet: True, seconds=5):
    """(packet, ghost) of the first that matches at any of them; (None, None) after so long."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        for ghost in select.select(ghosts, [], [], left)[0]:
            packet = ghost.take(match)
            if packet is not None:
                return packet, ghost
    return None, None


def _mac(host, device):
    link, = host.json("ip", "-j", "link", "show", "dev", device)
    return link["address"]


# ------------------------------------------------------------------------------------------------------------ checksums


def upper_layer(packet):
    """(protocol, bytes of the transport header and what follows) of a dissected packet."""
    data = bytes(packet.original)
    if packet.version == 4:
        return packet.proto, data[packet.ihl * 4:packet.len]
    protocol, offset = packet.nh, 40
    while protocol in EXTENSION_HEADERS:
        length = 8 if protocol == 44 else (data[offset + 1] + 1) * 8
        protocol, offset = data[offset], offset + length
    return protocol, data[offset:40 + packet.plen]


def is_fragment(packet):
    if packet.version == 4:
        return bool(packet.flags.MF or packet.frag)
    return IPv6ExtHdrFragment in packet


def fragment_offset(packet):
    """In bytes."""
    return 8 * (packet.frag if packet.version == 4 else packet[IPv6ExtHdrFragment].offset)


def fragments(header, upper, size, ident):
    """The packet in pieces that carry at most `size` bytes each (RFC 791, RFC 8200 section 4.5)."""
    data = upper_layer(dissect(bytes(header / upper)))[1]  # its checksum is of the whole
    number = bytes(header / upper)[9 if header.version == 4 else 6]
    found = []
    for offset in range(0, len(data), size):
        piece, more = Raw(data[offset:offset + size]), offset + size < len(data)
        if header.version == 4:
            part = header.copy()
            part.id, part.frag, part.flags, part.proto = ident, offset // 8, "MF" if more else 0, number
        else:
            part = header.copy() / IPv6ExtHdrFragment(id=ident, offset=offset // 8, m=int(more), nh=number)
        found.append(part / piece)
    return found


def _has_more_after(packet):
    return bool(packet.flags.MF) if packet.version == 4 else bool(packet[IPv6ExtHdrFragment].m)


def are_whole(found):
    """Do these fragments make a datagram without a gap?"""
    end = [fragment_offset(packet) + len(upper_layer(packet)[1]) for packet in found if not _has_more_after(packet)]
    return bool(end) and sum(len(upper_layer(packet)[1]) for packet in found) == end[0]


def reassembled(found):
    """The transport part that these fragments make together, however they came."""
    pieces = {fragment_offset(packet): upper_layer(packet)[1] for packet in found}
    whole = b""
    for offset in sorted(pieces):
        assert offset == len(whole), f"fragments begin at {sorted(pieces)}"
        whole += pieces[offset]
    return whole


def ports_in(upper):
    return int.from_bytes(upper[0:2], "big"), int.from_bytes(upper[2:4], "big")


def udp_is_right(header, upper):
    """The checksum of a UDP datagram between that packet's addresses."""
    return _transport_is_right(ip(header.src, header.dst), PROTOCOLS["udp"], upper)


def faults(packet, where="packet"):
    """Names of the checksums that are wrong; a transport checksum is looked at only where all of it is there."""
    found = []
    data = bytes(packet.original)
    if packet.version == 4 and checksum(data[:packet.ihl * 4]) != 0:
        found.append(f"{where}: IPv4 header")
    protocol, upper = upper_layer(packet)
    stated = packet.len - packet.ihl * 4 if packet.version == 4 else None
    whole = len(upper) == stated if stated is not None else len(data) >= 40 + packet.plen
    if not whole or is_fragment(packet):
        return found
    if not _transport_is_right(packet, protocol, upper):
        found.append(f"{where}: protocol {protocol}")
    if quotes(packet):
        found += faults(dissect(upper[8:]), f"quoted {where}")
    return found


def _transport_is_right(packet, protocol, upper):
    if protocol == PROTOCOLS["icmp"]:
        return checksum(upper) == 0
    if protocol == PROTOCOLS["sctp"]:
        stated = upper[8:12]
        return crc32c(upper[:8] + bytes(4) + upper[12:]) == int.from_bytes(stated, "big")
    if protocol == PROTOCOLS["udplite"]:
        stated, coverage = int.from_bytes(upper[6:8], "big"), int.from_bytes(upper[4:6], "big")
        return stated == _udplite_sum(packet, upper[:6] + b"\0\0" + upper[8:], coverage)
    if protocol == PROTOCOLS["udp"] and upper[6:8] == b"\0\0":
        return packet.version == 4  # RFC 768: none was computed; RFC 8200 forbids it
    pseudo = in4_chksum if packet.version == 4 else in6_chksum
    return pseudo(protocol, packet, upper) == 0


def quotes(packet):
    """Is this an ICMP error?"""
    protocol, upper = upper_layer(packet)
    if protocol == PROTOCOLS["icmp"]:
        return upper[0] in (3, 4, 11, 12)
    return protocol == PROTOCOLS["icmp6"] and upper[0] in (1, 2, 3, 4)


def is_echo_reply(packet):
    protocol, upper = upper_layer(packet)
    return (protocol, upper[0]) in ((PROTOCOLS["icmp"], 0), (PROTOCOLS["icmp6"], 129))


def quoted(packet):
    """The packet inside an ICMP error, dissected."""
    return dissect(upper_layer(packet)[1][8:])


def ports(packet):
    """(source port, destination port) of any transport."""
    return ports_in(upper_layer(packet)[1])


def tuple_of(packet):
    """((source, port), (destination, port))."""
    source, target = ports(packet)
    return (packet.src, source), (packet.dst, target)


def payload_of(packet):
    """What a UDP datagram carries."""
    return upper_layer(packet)[1][8:]


# ---------------------------------------------------------------------------------------------------------- ICMP errors

# name → (type, code) of IPv4, of IPv6; None: the family has no such error
ERRORS = {
    "net unreachable": ((3, 0), (1, 0)),
    "host unreachable": ((3, 1), (1, 3)),
    "port unreachable": ((3, 3), (1, 4)),
    "administratively prohibited": ((3, 13), (1, 1)),
    "packet too big": ((3, 4), (2, 0)),
    "source quench": ((4, 0), None),
    "time exceeded": ((11, 0), (3, 0)),
    "parameter problem": ((12, 0), (4, 0)),
}


def error(kind, source, about, mtu=1400, quote=None):
    """An ICMP error from `source` to the sender of the packet `about`, quoting `quote` bytes of it (default: all)."""
    data = bytes(about.original or about)
    inner = Raw(data[:quote])
    family = 0 if about.version == 4 else 1
    number, code = ERRORS[kind][family]
    if family == 0:
        return ip(source, about.src) / ICMP(type=number, code=code, nexthopmtu=mtu if (number, code) == (3, 4) else 0) / inner
    classes = {1: ICMPv6DestUnreach, 2: ICMPv6PacketTooBig, 3: ICMPv6TimeExceeded, 4: ICMPv6ParamProblem}
    fields = {"mtu": mtu} if number == 2 else {"code": code}
    return ip(source, about.src) / classes[number](**fields) / inner


def error_of(packet):
    """(type, code) if this is an ICMP error."""
    upper = upper_layer(packet)[1]
    return (upper[0], upper[1]) if quotes(packet) else None
