#!/usr/bin/python3
"""100 MB through limpet, compared by MD5.

Between namespaces segments travel as GSO packets of up to 64 KiB whose checksums are not computed yet. That they did
so, or did not, is proven by counting: the queues' sequence numbers count what limpet saw, an interface what arrived.
"""

import hashlib
import itertools
import os
import re
import socket
import threading

import lab
import programs

SIZE = 100 * 1024 * 1024
FILE = "big"
# Ethernet's 1500 bytes less the smallest headers of IPv4 (20) and TCP (20): no segment carries more, so there are at
# least so many.
SEGMENTS = SIZE // 1460
# A GSO packet of 64 KiB holds 44 segments. With smaller ones, acknowledgements, and the second crossing of a
# masqueraded connection, still far fewer packets than segments are seen.
FEW = SEGMENTS // 3
OFFLOADS = {"tx": "tx-checksumming", "tso": "tcp-segmentation-offload", "gso": "generic-segmentation-offload",
            "gro": "generic-receive-offload"}


def build(network):
    network.serve_http()
    content = os.urandom(1024 * 1024)  # differs from run to run
    network.digest = hashlib.md5()
    for pod, folder in network.folders.items():
        (folder / FILE).write_bytes(b"")
    for index in range(SIZE // len(content)):
        block = index.to_bytes(8, "big") + content[8:]  # numbered, so that exchanged blocks differ too
        network.digest.update(block)
        for folder in network.folders.values():
            with open(folder / FILE, "ab") as file:
                file.write(block)


class Download(lab.WithLimpet):
    def digest(self, host, url):
        script = 'curl -sS -g --noproxy "*" --max-time 60 "$1" | md5sum'
        return host.run("bash", "-o", "pipefail", "-c", script, "-", url, timeout=90).stdout.split()[0]

    def queued(self):
        """Packets that limpet has been given so far, on all queues."""
        return sum(programs.queued_packets(self.net.node).values())

    def arrived(self):
        """Packets that the client's interface has received so far."""
        link, = self.net.client.json("ip", "-j", "-s", "link", "show", "dev", "node")
        return link["stats64"]["rx"]["packets"]

    def check(self, address, port=80):
        """Download as the client; packets (that limpet saw, that arrived at the client) for it."""
        before = self.queued(), self.arrived()
        self.assertEqual(self.digest(self.net.client, lab.url(address, port, "/" + FILE)), self.net.digest.hexdigest())
        seen = self.queued() - before[0], self.arrived() - before[1]
        print(f"{SEGMENTS} segments or more, {seen[0]} packets queued, {seen[1]} arrived", flush=True)
        return seen

    def without_offloads(self, *devices):
        """Until the end of this test these (host, device) have none. Skips where a device keeps them."""
        for host, device in devices:
            shown = host.run("ethtool", "-k", device).stdout
            before = {name: re.search(rf"^{key}: (on|off)", shown, re.MULTILINE)[1] for name, key in OFFLOADS.items()}
            off = [word for name in OFFLOADS for word in (name, "off")]
            done = host.run("ethtool", "-K", device, *off, check=False)
            self.addCleanup(host.run, "ethtool", "-K", device, *itertools.chain(*before.items()))
            shown = host.run("ethtool", "-k", device).stdout
            left = [key for key in OFFLOADS.values() if not re.search(rf"^{key}: off", shown, re.MULTILINE)]
            if done.returncode != 0 or left:
                self.skipTest(f"{device} of {host.name} keeps {', '.join(left)}: {done.stderr.strip()}")

    def test_masqueraded(self):
        queued, _ = self.check(self.plan.vip)
        self.assertLess(queued, FEW, "limpet saw GSO packets")

    def test_not_masqueraded(self):
        queued, _ = self.check(self.plan.node, lab.LOCAL_NODE_PORT)
        self.assertLess(queued, FEW, "limpet saw GSO packets")

    def test_segmented_after_limpet(self):
        # The client's cable without offloads: what limpet gave back is segmented and summed by the node's kernel.
        self.without_offloads((self.net.node, "client"), (self.net.client, "node"))
        queued, arrived = self.check(self.plan.vip)
        # Segments alone would be as many; the client may acknowledge each second one.
        self.assertLess(queued, SEGMENTS, "limpet saw GSO packets")
        self.assertGreaterEqual(arrived, SEGMENTS, "the client received segments")

    def test_segmented_before_limpet(self):
        # The pods' cables without offloads: limpet sees every segment by itself, complete with its checksum.
        cables = [((pod, "node"), (self.net.node, name)) for name, pod in self.net.pods.items()]
        self.without_offloads(*itertools.chain(*cables))
        queued, _ = self.check(self.plan.vip)
        self.assertGreaterEqual(queued, SEGMENTS, "limpet saw segments")

    def test_upload(self):
        """The other direction: a socket of the client's sends, one of pod-a's receives."""
        received = hashlib.md5()
        before = self.queued()
        with self.net.sink(socket.SOCK_STREAM) as server:
            server.listen()
            sender = threading.Thread(target=self.send, daemon=True)
            sender.start()
            connection, _ = server.accept()
            with connection:
                while chunk := connection.recv(1 << 20):
                    received.update(chunk)
            sender.join()
        self.assertLess(self.queued() - before, FEW, "limpet saw GSO packets")
        self.assertEqual(received.hexdigest(), self.net.digest.hexdigest())

    def send(self):
        with self.net.client.socket(self.net.socket_family, socket.SOCK_STREAM) as client:
            client.settimeout(30)
            client.connect((self.plan.sink, 9))
            with open(self.net.folders["pod-a"] / FILE, "rb") as file:
                client.sendfile(file)


if __name__ == "__main__":
    lab.main(build)
