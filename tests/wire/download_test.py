#!/usr/bin/python3
"""100 MB through limpet, compared by MD5: segments arrive as 64 KiB GSO packets whose checksums are not computed yet."""

import hashlib
import os
import socket
import threading
import unittest

import lab

SIZE = 100 * 1024 * 1024
FILE = "big"


def build(network):
    network.serve_http()
    content = os.urandom(1024 * 1024)  # differs from run to run; a repeated block still shows every lost or doubled byte
    network.digest = hashlib.md5()
    for pod, folder in network.folders.items():
        (folder / FILE).write_bytes(b"")
    for index in range(SIZE // len(content)):
        block = index.to_bytes(8, "big") + content[8:]  # numbered, so that exchanged blocks differ too
        network.digest.update(block)
        for folder in network.folders.values():
            with open(folder / FILE, "ab") as file:
                file.write(block)


class Download(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.net = lab.current
        cls.plan = cls.net.addresses
        cls.limpet = cls.net.limpet("--ephemeral").wait_ready()

    @classmethod
    def tearDownClass(cls):
        assert cls.limpet.stop() == 0, cls.limpet.text()

    def digest(self, host, url):
        script = 'curl -sS -g --noproxy "*" --max-time 60 "$1" | md5sum'
        return host.run("bash", "-o", "pipefail", "-c", script, "-", url, timeout=90).stdout.split()[0]

    def check(self, host, address, port=80):
        self.assertEqual(self.digest(host, lab.url(address, port, "/" + FILE)), self.net.digest.hexdigest())

    def test_masqueraded(self):
        self.check(self.net.client, self.plan.vip)

    def test_not_masqueraded(self):
        self.check(self.net.client, self.plan.node, lab.LOCAL_NODE_PORT)

    def test_segmented_by_software(self):
        # The client's side of the cable without offloads: what leaves the node is segmented and summed in the kernel.
        for host, device in ((self.net.node, "client"), (self.net.client, "node")):
            host.run("ethtool", "-K", device, "tx", "off", "tso", "off", "gso", "off", "gro", "off", check=False)
        self.check(self.net.client, self.plan.vip)

    def test_upload(self):
        """The other direction: a socket of the client's sends, one of pod-a's receives."""
        received = hashlib.md5()
        with self.net.sink(socket.SOCK_STREAM) as server:
            server.listen()
            sender = threading.Thread(target=self.send, daemon=True)
            sender.start()
            connection, _ = server.accept()
            with connection:
                while chunk := connection.recv(1 << 20):
                    received.update(chunk)
            sender.join()
        self.assertEqual(received.hexdigest(), self.net.digest.hexdigest())

    def send(self):
        with self.net.client.socket(self.net.socket_family, socket.SOCK_STREAM) as client:
            client.settimeout(30)
            client.connect((self.plan.sink, 9))
            with open(self.net.folders["pod-a"] / FILE, "rb") as file:
                client.sendfile(file)


if __name__ == "__main__":
    lab.main(build)
