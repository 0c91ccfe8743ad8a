"""prepared_frames.py: frames that are made before they are sent, in thousands, from addresses that nobody owns.

    udp_frames(link, sources, to)    one datagram from each source, IPv4, without UDP checksum (legal there)
    syn_frames(link, sources, to)    one TCP SYN from each source, either family
    Sender(host, interface)          AF_PACKET: sends them at a bounded rate
    Link(host, interface, opposite)  the addresses of Ethernet's header
    waiting(file)                    packets in the node's queues, from Host.open("netfilter/nfnetlink_queue")

On a veth the node's whole receiving path runs inside of send(), so nothing is lost on the way to the queues; what the
queues have no room for is, so Sender.send() holds back while `backlog` packets wait in them.
"""

import ipaddress
import itertools
import socket
import struct
import time

ETHERNET = {4: 0x0800, 6: 0x86DD}
TCP, UDP = 6, 17
SYN = 0x02
PACKET_IGNORE_OUTGOING = 23


def _sum(data):
    """Ones' complement sum of 16-bit words, not folded (RFC 1071)."""
    return sum(struct.unpack(f">{len(data) // 2}H", data))


def _checksum(total):
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


class Link:
    """Ethernet's header for frames that a host puts on its cable to another."""

    def __init__(self, host, interface, opposite, opposite_interface):
        def address(where, name):
            link, = where.json("ip", "-j", "link", "show", "dev", name)
            return bytes.fromhex(link["address"].replace(":", ""))

        self.head = address(opposite, opposite_interface) + address(host, interface)

    def frame(self, version, packet):
        return self.head + struct.pack(">H", ETHERNET[version]) + packet


def sources(prefix, count):
    """The first `count` addresses of a prefix, packed."""
    network = ipaddress.ip_network(prefix)
    size = network.max_prefixlen // 8
    first = int(network.network_address) + 1
    return (number.to_bytes(size, "big") for number in range(first, first + count))


def _ipv4(protocol, source, target, length):
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + length, 0, 0x4000, 64, protocol, 0) + source + target
    return head[:10] + struct.pack(">H", _checksum(_sum(head))) + head[12:]


def udp_frames(link, from_sources, to, port=40000):
    target, number = socket.inet_aton(to[0]), to[1]
    datagram = struct.pack(">HHHH", port, number, 8 + 8, 0) + bytes(8)
    return [link.frame(4, _ipv4(UDP, source, target, len(datagram)) + datagram) for source in from_sources]


def syn_frames(link, from_sources, to):
    """Source ports and sequence numbers count up too: no SYN is like another."""
    version = 6 if ":" in to[0] else 4
    target = socket.inet_pton(socket.AF_INET6 if version == 6 else socket.AF_INET, to[0])
    frames = []
    for source, number in zip(from_sources, itertools.count()):
        port, sequence = 1024 + number % 60000, number * 7919 % 2**32
        segment = struct.pack(">HHIIBBHHH", port, to[1], sequence, 0, 0x50, SYN, 64240, 0, 0)
        total = _checksum(_sum(source + target) + TCP + len(segment) + _sum(segment))
        segment = segment[:16] + struct.pack(">H", total) + segment[18:]
        head = (_ipv4(TCP, source, target, len(segment)) if version == 4 else
                struct.pack(">IHBB", 6 << 28, len(segment), TCP, 64) + source + target)
        frames.append(link.frame(version, head + segment))
    return frames


def waiting(file):
    """nfnetlink_queue: queue_total is the third column."""
    file.seek(0)
    return sum(int(line.split()[2]) for line in file)


class Sender:
    BURST = 64

    def __init__(self, host, interface):
        self.socket = host.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self.socket.setsockopt(263, PACKET_IGNORE_OUTGOING, 1)  # SOL_PACKET: receive nothing of one's own
        self.socket.bind((interface, 0))

    def send(self, frames, rate=None, queues=None, backlog=2000, going=lambda: True):
        """Seconds that it took. rate: frames a second at most; queues: waiting()'s file, not to overrun them."""
        begun = time.monotonic()
        for first in range(0, len(frames), self.BURST):
            if not going():
                break
            while queues and waiting(queues) > backlog:
                time.sleep(0.001)
            for frame in frames[first:first + self.BURST]:
                self._send(frame)
            if rate:
                time.sleep(max(0, begun + (first + self.BURST) / rate - time.monotonic()))
        return time.monotonic() - begun

    def _send(self, frame):
        while True:
            try:
                self.socket.send(frame)
                return
            except OSError as error:  # ENOBUFS: the kernel is short of memory for a moment
                if error.errno != 105:
                    raise
                time.sleep(0.001)
