#!/usr/bin/python3
"""BIG TCP: segments of more than 64 KiB do not fit into a netlink attribute, so limpet gets their first bytes only.

What of them needs translation cannot be written back: it is dropped and counted, and never leaves as it is. What needs
none passes, whole. The kernel's NAT (class KernelBigTcp) shows that such packets do travel here, and that it can. The
remedy is the devices' gso_max_size.
"""

import ctypes
import os
import socket
import struct
import threading
import time

import lab
import netns

SIZE = 4_000_000
BIG, USUAL = 200_000, 65_536
SERVER = 9  # of the service `sink`, and of its endpoint
# linux/if_link.h: IFLA_GSO_MAX_SIZE, IFLA_GRO_MAX_SIZE, IFLA_GSO_IPV4_MAX_SIZE, IFLA_GRO_IPV4_MAX_SIZE. The `ip` of
# Debian 12 knows the first two only.
LIMITS = (41, 58, 63, 64)
RTM_NEWLINK, RTM_GETLINK, NLM_F_REQUEST, NLM_F_ACK, NLMSG_ERROR = 16, 18, 1, 4, 2  # linux/rtnetlink.h, linux/netlink.h
SO_ATTACH_FILTER = 26


def ask(host, kind, flags, device, attributes=b""):
    """One message about a device to rtnetlink; the kernel's answer."""
    index = host.json("ip", "-j", "link", "show", "dev", device)[0]["ifindex"]
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, 0, 0) + attributes
    with host.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.send(struct.pack("=IHHII", 16 + len(body), kind, NLM_F_REQUEST | flags, 1, 0) + body)
        return netlink.recv(65536)


def limits(host, device):
    """In the order of LIMITS."""
    answer = ask(host, RTM_GETLINK, 0, device)
    values, offset = {}, 32  # after nlmsghdr and ifinfomsg
    while offset < len(answer):
        length, kind = struct.unpack_from("=HH", answer, offset)
        values[kind] = answer[offset + 4:offset + length]
        offset += (length + 3) & ~3
    return [struct.unpack("=I", values[kind])[0] for kind in LIMITS]


def set_limits(network, size):
    attributes = b"".join(struct.pack("=HHI", 8, kind, size) for kind in LIMITS)
    for host, device in ((network.client, "node"), (network.node, "client"), (network.node, "pod-a"),
                         (network.pods["pod-a"], "node")):
        _, kind, _, _, _, error = struct.unpack("=IHHIIi", ask(host, RTM_NEWLINK, NLM_F_ACK, device, attributes)[:20])
        if kind != NLMSG_ERROR or error != 0:
            netns.skip(f"no BIG TCP here: {os.strerror(-error)}")


def build(network):
    set_limits(network, BIG)
    # IPv6 writes the length into an option of 8 bytes, which are not cut off again before it is routed on (seen on 6.18): a
    # little room, or the router finds its segments too big.
    network.pods["pod-a"].ip("link set node mtu 1400")


def hear_only_longer_than(length, tap):
    """A classic BPF program (linux/filter.h): ld len; jgt #length; ret all, or nothing."""
    program = [(0x80, 0, 0, 0), (0x25, 0, 1, length), (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    tap.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))


class Transfers:
    def send(self, sender, left):
        sender.settimeout(20)
        try:
            sender.sendall(bytes(left))
        except OSError:
            pass  # closed by the end of the test

    def start(self, target):
        """(client, server) of a connection on which the endpoint sends, as a server does that is asked for a file."""
        with self.net.sink(socket.SOCK_STREAM) as server:
            server.listen()
            client = self.net.client.socket(self.net.socket_family, socket.SOCK_STREAM)
            self.addCleanup(client.close)
            client.settimeout(10)
            client.connect(target)
            accepted, _ = server.accept()
        self.addCleanup(accepted.close)
        threading.Thread(target=self.send, args=(accepted, SIZE), daemon=True).start()
        return client, accepted

    def download(self, target):
        """All of it; did a packet of more than 64 KiB reach the client's cable on the way?"""
        with self.net.client.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as tap:
            hear_only_longer_than(USUAL + 100, tap)
            tap.bind(("node", 3))  # ETH_P_ALL
            client, accepted = self.start(target)
            got = 0
            while got < SIZE:
                more = len(client.recv(1 << 20))
                self.assertGreater(more, 0, "closed early")
                got += more
            client.close()
            accepted.close()  # the next one binds to its port
            tap.setblocking(False)
            try:
                return len(tap.recv(64, socket.MSG_TRUNC)) > 0
            except BlockingIOError:
                return False


class KernelBigTcp(Transfers, lab.WithKernelNat):
    def test_through_the_service_and_directly(self):
        for target in ((self.plan.sink, SERVER), (self.plan.pods["pod-a"], SERVER)):
            with self.subTest(target):
                self.assertTrue(self.download(target))


class LimpetBigTcp(Transfers, lab.WithLimpet):
    def test_direct_packets_pass_whole(self):
        """From the endpoint's port, so that they do cross a queue."""
        before = self.limpet.counter("accepted_miss")
        self.assertTrue(self.download((self.plan.pods["pod-a"], SERVER)))
        self.assertGreater(self.limpet.counter("accepted_miss"), before)

    def test_what_needs_translation_is_dropped_and_counted(self):
        before = self.limpet.counter("dropped_truncated")
        client, _ = self.start((self.plan.sink, SERVER))
        client.settimeout(0.2)
        got, deadline = 0, time.monotonic() + 10
        while self.limpet.counter("dropped_truncated") == before and time.monotonic() < deadline:
            try:
                got += len(client.recv(1 << 20))
            except TimeoutError:
                pass
        self.assertGreater(self.limpet.counter("dropped_truncated"), before)

    def test_the_remedy_is_named_at_the_start(self):
        """Every limit of these two devices is too high; the command, carried out, lowers all four of each."""
        log = self.limpet.text()
        for device in ("client", "pod-a"):
            mend = f"ip link set dev {device} gso_max_size {USUAL} gro_max_size {USUAL}"
            found = [line for line in log.splitlines() if f"{device} has gso_max_size {BIG}, " in line]
            self.assertEqual(len(found), 1, log)
            self.assertIn("warn", found[0])
            self.assertTrue(found[0].endswith(mend), found[0])
            self.net.node.run(*mend.split())
        self.addCleanup(set_limits, self.net, BIG)
        self.assertEqual(limits(self.net.node, "client"), [USUAL] * 4)
        self.assertEqual(limits(self.net.node, "pod-a"), [USUAL] * 4)

    def test_with_the_remedy_it_passes(self):
        set_limits(self.net, USUAL)
        self.addCleanup(set_limits, self.net, BIG)
        before = self.limpet.counter("dropped_truncated")
        self.assertFalse(self.download((self.plan.sink, SERVER)))
        self.assertEqual(self.limpet.counter("dropped_truncated"), before)


if __name__ == "__main__":
    lab.main(build)
