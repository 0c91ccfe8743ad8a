#!/usr/bin/python3
"""Two connections that would look the same to the endpoint: one client port towards two VIPs, or towards a VIP and directly.

The client is a pod, which no masquerade hides: its own address and port reach the endpoint. The kernel's NAT gives the
second connection another source port (classes Kernel...). limpet does the same where it sees both; a direct connection it
sees only with `divert: {direct: true}`, and the tests without say what is lost.
"""

import contextlib
import socket

import lab

ONE, TWO = 30, 31  # VIPs of two services with one endpoint, pod-a's
SERVER = 7000


def build(network):
    endpoint = [(network.addresses.pods["pod-a"], SERVER)]
    for number in (ONE, TWO):
        network.services += [
            network.service(f"test/tcp-{number}:p", network.addresses.virtual(number), endpoint),
            network.service(f"test/udp-{number}:p", network.addresses.virtual(number), endpoint, protocol="UDP")]


class Case:
    port = 2100  # of the client; below the range that the kernel gives out

    def setUp(self):
        Case.port += 1
        self.closing = contextlib.ExitStack()
        self.addCleanup(self.closing.close)
        self.direct = (self.plan.pods["pod-a"], SERVER)
        self.one = (self.plan.virtual(ONE), 80)
        self.two = (self.plan.virtual(TWO), 80)

    def open(self, host, kind):
        opened = self.closing.enter_context(host.socket(self.net.socket_family, kind))
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.settimeout(3)
        return opened

    def serve(self, kind):
        server = self.open(self.net.pods["pod-a"], kind)
        server.bind(self.direct)
        if kind == socket.SOCK_STREAM:
            server.listen()
        return server

    def connect(self, target, kind=socket.SOCK_STREAM):
        client = self.open(self.net.pods["pod-b"], kind)
        client.bind((self.plan.pods["pod-b"], Case.port))
        client.connect(target)
        return client

    def carries(self, client, accepted):
        """Bytes both ways."""
        for sender, receiver, words in ((client, accepted, b"there"), (accepted, client, b"and back")):
            sender.sendall(words)
            if receiver.recv(100) != words:
                return False
        return True

    def both(self, first, second):
        """Two TCP connections at once from one client port, to these; asserts that both carry bytes, and goes on to.

        Returns the ports of the client that the endpoint sees.
        """
        server = self.serve(socket.SOCK_STREAM)
        pairs = []
        for target in (first, second):
            client = self.connect(target)
            accepted, peer = server.accept()
            self.closing.enter_context(accepted)
            accepted.settimeout(3)
            pairs.append((client, accepted, peer))
        for _ in range(3):
            for client, accepted, _ in pairs:
                self.assertTrue(self.carries(client, accepted))
        seen = [peer for _, _, peer in pairs]
        self.assertEqual({address for address, *_ in seen}, {self.plan.pods["pod-b"]}, "nobody is hidden")
        return [peer[1] for peer in seen]


class TwoServices(Case):
    """Both see both connections."""

    def test_tcp_to_two_services(self):
        ports = self.both(self.one, self.two)
        self.assertEqual(ports[0], Case.port, "the first keeps its port")
        self.assertNotEqual(ports[1], Case.port, "the second is told apart")

    def test_udp_to_two_services(self):
        server = self.serve(socket.SOCK_DGRAM)
        clients = [self.connect(target, socket.SOCK_DGRAM) for target in (self.one, self.two)]
        seen = []
        for client in clients:
            client.send(b"ask")
            _, peer = server.recvfrom(100)
            seen.append(peer)
        for client, peer in reversed(list(zip(clients, seen))):
            server.sendto(str(peer[1]).encode(), peer)
            # A connected socket takes datagrams of its own server only.
            self.assertEqual(client.recv(100), str(peer[1]).encode())
        self.assertEqual(seen[0][1], Case.port)
        self.assertNotEqual(seen[1][1], Case.port)

    def test_one_service_after_the_other_keeps_the_port(self):
        """Closed by the client, which lets the endpoint forget: nothing to clash with, once the flow is in TIME_WAIT."""
        server = self.serve(socket.SOCK_STREAM)
        for target in (self.one, self.two):
            client = self.connect(target)
            accepted, peer = server.accept()
            with accepted:
                self.assertTrue(self.carries(client, accepted))
                self.assertEqual(peer[0], self.plan.pods["pod-b"])
                # A reset, so that the client's own kernel lets the port be used again.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                client.close()
                with self.assertRaises(ConnectionResetError):
                    accepted.recv(100)


    def test_direct_after_a_services_connection_that_is_over(self):
        """The flow is in TIME_WAIT still, and makes way for what begins anew."""
        server = self.serve(socket.SOCK_STREAM)
        for target in (self.one, self.direct):
            client = self.connect(target)
            accepted, _ = server.accept()
            with accepted:
                accepted.settimeout(3)
                self.assertTrue(self.carries(client, accepted))
                client.close()
                self.assertEqual(accepted.recv(100), b"")


class BesideDirect(Case):
    """What sees direct connections as well."""

    def test_direct_after_the_service(self):
        ports = self.both(self.one, self.direct)
        self.assertEqual(ports[0], Case.port)
        self.assertNotEqual(ports[1], Case.port)

    def test_direct_before_the_service(self):
        ports = self.both(self.direct, self.one)
        self.assertEqual(ports[0], Case.port)
        self.assertNotEqual(ports[1], Case.port)


class KernelClash(TwoServices, BesideDirect, lab.WithKernelNat):
    pass


class Unanswered(Case):
    """limpet's limit: a direct connection's SYN that meets a service's connection is left alone."""

    def test_direct_after_the_service_is_not_answered(self):
        """The endpoint takes its SYN for one of the connection that it has; that one goes on."""
        server = self.serve(socket.SOCK_STREAM)
        first = self.connect(self.one)
        accepted, _ = server.accept()
        self.closing.enter_context(accepted)
        accepted.settimeout(3)
        self.assertTrue(self.carries(first, accepted))
        second = self.open(self.net.pods["pod-b"], socket.SOCK_STREAM)
        second.bind((self.plan.pods["pod-b"], Case.port))
        second.settimeout(0.5)
        with self.assertRaises(TimeoutError):
            second.connect(self.direct)
        second.close()
        self.assertTrue(self.carries(first, accepted), "the first is not disturbed")


class LimpetClash(TwoServices, Unanswered, lab.WithLimpet):
    """Direct connections are not seen: what that costs."""

    def test_direct_before_the_service_is_reset(self):
        """The endpoint doubts the second's SYN, the client's kernel knows nothing of the connection that it answers with,
        and resets it (RFC 5961 section 4): the newer one, retransmitted after a second, is the one that lives."""
        server = self.serve(socket.SOCK_STREAM)
        first = self.connect(self.direct)
        accepted, _ = server.accept()
        self.closing.enter_context(accepted)
        accepted.settimeout(3)
        self.assertTrue(self.carries(first, accepted))
        second = self.connect(self.one)
        again, _ = server.accept()
        self.closing.enter_context(again)
        again.settimeout(3)
        self.assertTrue(self.carries(second, again))
        with self.assertRaises(ConnectionResetError):
            accepted.recv(100)


class LimpetClashDirect(TwoServices, BesideDirect, Unanswered, lab.WithLimpet):
    changes = {"divert": {"direct": True}}
    test_direct_after_the_service = None


if __name__ == "__main__":
    lab.main(build)
