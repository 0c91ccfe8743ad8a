#!/usr/bin/python3
"""Masquerade: whose address and which port the endpoint sees, and what happens when ports run out or addresses change.

Ghosts write and read every packet, so the client's port is the test's choice. The kernel's MASQUERADE is shown first
(class KernelMasquerade); where limpet means to differ (it gives out no port that a socket of the node could take, and
none that is a nodePort) both behaviours stand as tests of their own. Which address the kernel would choose, route by
route, is compared in divert_egress_test.cpp; here it is followed on a living node.
"""

import time

import lab
import netns
import packets

ALWAYS, NEVER, TCP = 50, 51, 52  # VIPs
SERVER = 5400
FREE, EPHEMERAL = 2000, 40_000  # client ports below, and inside, ip_local_port_range (32768-60999)
NODE_PORT = 1999


def build(network):
    plan = network.addresses
    both = [(plan.ghost_pods[pod], SERVER) for pod in ("pod-a", "pod-b")]
    network.services += [
        # Two services with one endpoint each, so that the endpoint is the test's choice.
        *(network.service(f"test/always-{index}:p", plan.virtual(ALWAYS), [endpoint], port=53 + index, protocol="UDP",
                          masquerade="always") for index, endpoint in enumerate(both)),
        network.service("test/never:p", plan.virtual(NEVER), both[:1], port=53, protocol="UDP", masquerade="never"),
        network.service("test/tcp:p", plan.virtual(TCP), both[:1], masquerade="always", nodePort=NODE_PORT),
    ]
    network.client_ghosts = [packets.Ghost(network.client, network.node, address)
                             for address in (plan.ghost, plan.ghost[:-1] + "8")]
    network.pod_ghosts = [packets.Ghost(network.pods[pod], network.node, plan.ghost_pods[pod])
                          for pod in ("pod-a", "pod-b")]


class Datagrams:
    offset = 0

    def setUp(self):
        Datagrams.offset += 100
        self.free, self.ephemeral = FREE + Datagrams.offset, EPHEMERAL + Datagrams.offset
        for ghost in (*self.net.client_ghosts, *self.net.pod_ghosts):
            ghost.clear()

    def ask(self, port, client=0, endpoint=0, vip=ALWAYS, seconds=5):
        """A datagram from that port; what arrives at the endpoint, after its answer has come back. None: nothing."""
        client, pod = self.net.client_ghosts[client], self.net.pod_ghosts[endpoint]
        client.send(self.question(client.address, port, vip, endpoint))
        arrived = pod.receive(lambda packet: packets.payload_of(packet) == b"question", seconds)
        if arrived is None:
            return None
        self.assertEqual(packets.faults(arrived), [])
        pod.send(packets.ip(arrived.dst, arrived.src) / packets.UDP(
            sport=SERVER, dport=arrived[packets.UDP].sport) / b"answer")
        answer = client.receive()
        self.assertIsNotNone(answer, "the answer comes back")
        self.assertEqual(packets.faults(answer), [])
        self.assertEqual(packets.tuple_of(answer),
                         ((self.plan.virtual(vip), 53 + endpoint), (client.address, port)))
        return arrived

    def question(self, source, port, vip=ALWAYS, endpoint=0):
        return packets.ip(source, self.plan.virtual(vip)) / packets.UDP(sport=port, dport=53 + endpoint) / b"question"

    def port_for(self, *arguments, **options):
        return packets.ports(self.ask(*arguments, **options))[0]


class Common(Datagrams):
    def test_always_hides_the_client_behind_the_address_of_the_way_out(self):
        for endpoint, pod in enumerate(("pod-a", "pod-b")):
            self.assertEqual(self.ask(self.free, endpoint=endpoint).src, self.plan.gateways[pod])

    def test_never_shows_the_client(self):
        arrived = self.ask(self.ephemeral, vip=NEVER)
        self.assertEqual((arrived.src, packets.ports(arrived)[0]), (self.plan.ghost, self.ephemeral))

    def test_a_free_port_is_kept(self):
        self.assertEqual(self.port_for(self.free), self.free)

    def test_a_taken_port_is_not_given_twice(self):
        self.assertEqual(self.port_for(self.free, client=0), self.free)
        other = self.port_for(self.free, client=1)
        self.assertNotEqual(other, self.free)
        # Both go on as before.
        self.assertEqual(self.port_for(self.free, client=0), self.free)
        self.assertEqual(self.port_for(self.free, client=1), other)

    def test_another_endpoint_may_have_the_same_port(self):
        self.assertEqual(self.port_for(self.free, client=0, endpoint=0), self.free)
        self.assertEqual(self.port_for(self.free, client=1, endpoint=1), self.free)

    def test_a_changed_address_is_followed(self):
        """New connections take the new address, as soon as the kernel has told limpet; and back again."""
        first = self.plan.gateways["pod-a"]
        other = first[:-1] + "3"
        self.assertEqual(self.ask(self.free).src, first)
        ports = iter(range(self.free + 1, self.free + 100))
        for old, new in ((first, other), (other, first)):
            self.replace_address(old, new)
            netns.wait_until(lambda: self.hidden_behind(next(ports)) == new, 5, f"{new} is used")
            self.assertEqual(self.ask(next(ports)).src, new)

    def hidden_behind(self, port):
        """The address that the endpoint sees; it does not answer. After a while, so that a hundred ports last 5 s."""
        time.sleep(0.05)
        self.net.client_ghosts[0].send(self.question(self.plan.ghost, port))
        return getattr(self.net.pod_ghosts[0].receive(seconds=0.5), "src", None)

    def replace_address(self, old, new):
        length, nodad = (64, " nodad") if ":" in old else (24, "")
        self.net.node.ip(f"addr del {old}/{length} dev pod-a")
        self.net.node.ip(f"addr add {new}/{length} dev pod-a{nodad}")
        self.net.pod_ghosts[0].introduce()  # its neighbour entry went with the subnet


class KernelMasquerade(Common, lab.WithKernelNat):
    def test_a_port_that_sockets_may_take_is_kept(self):
        """The kernel sees its own sockets' connections, too, and so can avoid them."""
        self.assertEqual(self.port_for(self.ephemeral), self.ephemeral)


class LimpetMasquerade(Common, lab.WithLimpet):
    def test_a_port_that_sockets_may_take_is_not_kept(self):
        port = self.port_for(self.ephemeral)
        self.assertTrue(1024 <= port <= 29_999 or 61_000 <= port, port)

    def test_the_number_of_a_node_port_is_not_kept(self):
        self.assertNotEqual(self.port_for(NODE_PORT), NODE_PORT)

    def test_the_nodes_own_range_is_respected(self):
        """ip_local_port_range is read at start."""
        self.net.node.sysctl("net.ipv4.ip_local_port_range", "2000 9999")
        self.addCleanup(self.net.node.sysctl, "net.ipv4.ip_local_port_range", "32768 60999")
        self.restart()
        self.addCleanup(self.restart)
        # Another one is drawn from 34,000; that it is the same again has a chance of 3e-5.
        self.assertNotEqual(self.port_for(self.free), self.free)

    def restart(self):
        self.assertEqual(self.limpet.stop(), 0)
        type(self).limpet = self.net.limpet("--ephemeral", **self.changes).wait_ready()


class LimpetRunsOut(Datagrams, lab.WithLimpet):
    changes = {"masqueradePorts": ["1500-1503"]}

    def test_when_no_port_is_left_it_is_dropped_and_counted(self):
        """Four ports, five clients' ports that may not be kept."""
        given = {self.port_for(self.ephemeral + index) for index in range(4)}
        self.assertEqual(given, set(range(1500, 1504)))
        before = self.limpet.counter("dropped_no_port")
        self.assertIsNone(self.ask(self.ephemeral + 4, seconds=0.3))
        self.assertEqual(self.limpet.counter("dropped_no_port") - before, 1)
        # To another endpoint they are free.
        self.assertIn(self.port_for(self.ephemeral + 4, endpoint=1), range(1500, 1504))

    def segment(self, flags, port, seq, ack=0):
        return packets.ip(self.plan.ghost, self.plan.virtual(TCP)) / packets.TCP(
            sport=port, dport=80, flags=flags, seq=seq, ack=ack)

    def arrives(self, packet, seconds=5):
        self.net.client_ghosts[0].send(packet)
        flags = packet[packets.TCP].flags
        return self.net.pod_ghosts[0].receive(lambda got: packets.TCP in got and got[packets.TCP].flags == flags, seconds)

    def answered(self, to, flags, seq, ack):
        self.net.pod_ghosts[0].send(packets.ip(to.dst, to.src) / packets.TCP(
            sport=SERVER, dport=to[packets.TCP].sport, flags=flags, seq=seq, ack=ack))
        self.assertIsNotNone(self.net.client_ghosts[0].receive(
            lambda got: packets.TCP in got and got[packets.TCP].flags == flags))

    def test_a_closed_connections_port_is_taken_back_when_none_is_left(self):
        """It would be held for 60 s."""
        ports = [self.ephemeral + index for index in range(4)]
        opened = {}
        for port in ports:
            opened[port] = self.arrives(self.segment("S", port, 1000))
            self.answered(opened[port], "SA", 5000, 1001)
            self.arrives(self.segment("A", port, 1001, 5001))
        fifth = self.segment("S", self.ephemeral + 4, 1000)
        self.assertIsNone(self.arrives(fifth, seconds=0.3), "four established ones hold the four ports")
        closed = ports[2]
        self.arrives(self.segment("FA", closed, 1001, 5001))
        self.answered(opened[closed], "FA", 5001, 1002)
        self.arrives(self.segment("A", closed, 1002, 5002))
        before = self.limpet.counter("ports_reclaimed")
        self.assertEqual(packets.ports(self.arrives(fifth))[0], packets.ports(opened[closed])[0])
        self.assertEqual(self.limpet.counter("ports_reclaimed") - before, 1)


if __name__ == "__main__":
    lab.main(build)
