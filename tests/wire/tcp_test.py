#!/usr/bin/python3
"""TCP's corners, segment by segment: duplicates, a SYN on an old connection, simultaneous open, packets from the middle.

Client and endpoints are ghosts, whose segments the test writes itself. The kernel's own NAT is shown first (class
KernelTcp). Where limpet means to differ, a test of its own says so.
"""

import signal
import threading

import lab
import netns
import packets

MASKED, PLAIN, MANY = 40, 41, 42  # VIPs: one endpoint with masquerade, without, and three endpoints
CROSSING = range(43, 59)          # VIPs with the endpoint of PLAIN
SERVER = 8081
SYN, ACK, RST, FIN, PSH = "S", "A", "R", "F", "P"
BURST = 60


def build(network):
    plan = network.addresses
    one = [(plan.ghost_pods["pod-a"], SERVER)]
    three = [(address, SERVER) for address in plan.ghost_pods.values()]
    network.services += [
        network.service("test/masked:p", plan.virtual(MASKED), one, masquerade="always"),
        network.service("test/plain:p", plan.virtual(PLAIN), one, masquerade="never"),
        network.service("test/many:p", plan.virtual(MANY), three, masquerade="never"),
    ]
    network.services += [network.service(f"test/crossing-{number}:p", plan.virtual(number), one, masquerade="never")
                         for number in CROSSING]
    network.ghost_client = packets.Ghost(network.client, network.node, plan.ghost)
    network.ghost_pods = {name: packets.Ghost(pod, network.node, plan.ghost_pods[name])
                          for name, pod in network.pods.items()}


class Segments:
    """One client port at a time; helpers that send a segment and say what arrived at the other end."""

    port = 2300

    def setUp(self):
        Segments.port += 1
        self.client = self.net.ghost_client
        self.pods = list(self.net.ghost_pods.values())
        for ghost in (self.client, *self.pods):
            ghost.clear()
        self.masked, self.plain, self.many = (self.plan.virtual(number) for number in (MASKED, PLAIN, MANY))

    def request(self, vip, flags, seq, ack=0, payload=b""):
        """A segment of the client's."""
        return packets.ip(self.plan.ghost, vip) / packets.TCP(
            sport=Segments.port, dport=80, flags=flags, seq=seq, ack=ack) / packets.Raw(payload)

    def answer(self, to, flags, seq, ack=0, payload=b""):
        """A segment of the endpoint's, back to where `to` came from."""
        return packets.ip(to.dst, to.src) / packets.TCP(
            sport=SERVER, dport=to[packets.TCP].sport, flags=flags, seq=seq, ack=ack) / packets.Raw(payload)

    def send(self, packet, seconds=5):
        """From the client; (what arrived, at which ghost)."""
        self.client.send(packet)
        arrived, pod = packets.receive_any(self.listeners(packet.dst), self.same(packet), seconds)
        if arrived is not None:
            self.assertEqual(packets.faults(arrived), [])
        return arrived, pod

    def listeners(self, vip):
        return self.pods if vip == self.many else self.pods[:1]

    def reply(self, pod, packet, seconds=5):
        pod.send(packet)
        arrived = self.client.receive(self.same(packet), seconds)
        if arrived is not None:
            self.assertEqual(packets.faults(arrived), [])
            self.assertEqual(arrived[packets.TCP].sport, 80)
            self.assertEqual(arrived[packets.TCP].dport, Segments.port)
        return arrived

    def same(self, sent):
        """NAT changes addresses and ports, nothing else that tells segments apart."""
        def key(packet):
            tcp = packet[packets.TCP]
            return tcp.flags, tcp.seq, tcp.ack, bytes(tcp.payload)

        wanted = key(packets.dissect(bytes(sent)))
        return lambda packet: packets.TCP in packet and key(packet) == wanted

    def handshake(self, vip, isn=1000, seconds=5):
        """(the SYN as it arrived, the ghost that it arrived at), established."""
        syn, pod = self.send(self.request(vip, SYN, isn), seconds)
        self.assertIsNotNone(syn, "the SYN arrives")
        self.assertIsNotNone(self.reply(pod, self.answer(syn, SYN + ACK, 5000, isn + 1)), "the SYN|ACK arrives")
        self.assertIsNotNone(self.send(self.request(vip, ACK, isn + 1, 5001))[0], "the ACK arrives")
        return syn, pod

    def close(self, vip, syn, pod, isn=1000):
        """The client closes first."""
        self.assertIsNotNone(self.send(self.request(vip, FIN + ACK, isn + 1, 5001))[0])
        self.assertIsNotNone(self.reply(pod, self.answer(syn, FIN + ACK, 5001, isn + 2)))
        self.assertIsNotNone(self.send(self.request(vip, ACK, isn + 2, 5002))[0])


class Common(Segments):
    """As the kernel's NAT, so limpet."""

    def test_duplicate_syns_are_one_connection(self):
        for vip in (self.masked, self.plain, self.many):
            with self.subTest(vip):
                arrived, dropped = self.burst(vip)
                self.assertEqual(len(arrived) + dropped, BURST)
                self.assertEqual(len({packets.tuple_of(packet) for packet in arrived}), 1)
            Segments.port += 1

    def burst(self, vip):
        """BURST times the same SYN: (what arrived, how many the node's conntrack dropped).

        It drops what it has taken for a new connection once the same has been confirmed: of SYNs that overtake one which
        still waits in a queue between PREROUTING and POSTROUTING, one passes.
        """
        before = self.insertions_failed()
        syn = self.request(vip, SYN, 1000)
        self.client.send(*[syn] * BURST)
        arrived = []

        def all_told():
            arrived.extend(packet for pod in self.listeners(vip) for packet in pod.all(self.same(syn)))
            return len(arrived) + self.insertions_failed() - before >= BURST

        netns.wait_until(all_told, 5, "each SYN has arrived or been dropped by conntrack")
        return arrived, self.insertions_failed() - before

    def insertions_failed(self):
        """Of the node's conntrack, since it began; none where nothing is tracked."""
        if self.net.options.conntrack == "off":
            return 0
        heading, *rows = self.net.node.run("cat", "/proc/net/stat/nf_conntrack").stdout.splitlines()
        column = heading.split().index("insert_failed")
        return sum(int(row.split()[column], 16) for row in rows)

    def test_retransmissions_cross_answers(self):
        """Both directions at once, again and again, through whichever queues they take: one connection all the while."""
        for vip in (self.masked, self.plain, *map(self.plan.virtual, CROSSING)):
            with self.subTest(vip):
                syn, pod = self.handshake(vip)
                data = self.request(vip, PSH + ACK, 1001, 5001, b"request")
                answer = self.answer(syn, PSH + ACK, 5001, 1001, b"answer")
                for _ in range(BURST):
                    self.client.send(data)
                    pod.send(answer)
                there, back = pod.all(self.same(data)), self.client.all(self.same(answer))
                self.assertEqual((len(there), len(back)), (BURST, BURST))
                self.assertEqual({packets.tuple_of(packet) for packet in there}, {packets.tuple_of(syn)})
                self.assertEqual({packet.src for packet in back}, {vip})
            Segments.port += 1

    def test_a_syn_on_time_wait_is_a_new_connection(self):
        """Another endpoint may be chosen for it: of 24 choices among 3, all fall on the first with 3^-24 = 4e-12."""
        pods = set()
        for attempt in range(24):
            isn = 1000 + 100_000 * attempt
            syn, pod = self.handshake(self.many, isn)
            self.close(self.many, syn, pod, isn)
            pods.add(pod.address)
        self.assertGreater(len(pods), 1)

    def test_a_syn_on_time_wait_behind_masquerade(self):
        for attempt in range(3):
            isn = 1000 + 100_000 * attempt
            syn, pod = self.handshake(self.masked, isn)
            self.close(self.masked, syn, pod, isn)

    def test_a_reset_ends_it_and_a_new_syn_begins_anew(self):
        for vip in (self.masked, self.plain):
            with self.subTest(vip):
                syn, pod = self.handshake(vip)
                self.assertIsNotNone(self.reply(pod, self.answer(syn, RST + ACK, 5001, 1001)))
                self.handshake(vip, isn=900_000)
            Segments.port += 1

    def test_simultaneous_open(self):
        """RFC 9293 section 3.5: SYNs cross, each is answered by a SYN|ACK."""
        for vip in (self.masked, self.plain):
            with self.subTest(vip):
                syn, pod = self.send(self.request(vip, SYN, 1000))
                self.assertIsNotNone(syn)
                self.assertIsNotNone(self.reply(pod, self.answer(syn, SYN, 5000)), "the endpoint's SYN")
                self.assertIsNotNone(self.send(self.request(vip, SYN + ACK, 1000, 5001))[0], "the client's SYN|ACK")
                self.assertIsNotNone(self.reply(pod, self.answer(syn, SYN + ACK, 5000, 1001)), "the endpoint's SYN|ACK")
                self.assertIsNotNone(self.send(self.request(vip, ACK, 1001, 5001))[0])
                self.assertIsNotNone(self.reply(pod, self.answer(syn, PSH + ACK, 5001, 1001, b"hello")))
            Segments.port += 1


class Midstream(Segments):
    """A segment of a connection that nobody remembers."""

    def knock(self, vip):
        """Where an ACK from the middle of nothing arrives."""
        Segments.port += 1
        return self.send(self.request(vip, ACK, 70_000, 80_000), seconds=0.3)[1]


class KernelTcp(Common, Midstream, lab.WithKernelNat):
    def test_the_middle_is_taken_for_a_beginning(self):
        """nf_conntrack_tcp_loose: any endpoint will do."""
        for vip in (self.masked, self.plain, self.many):
            self.assertIsNotNone(self.knock(vip))


class LimpetTcp(Common, Midstream, lab.WithLimpet):
    def test_syns_that_overtake_the_first(self):
        """All wait in one queue at once, then, behind masquerade, in the next, while conntrack has confirmed none yet."""
        for vip, most_dropped in ((self.masked, BURST - 1), (self.plain, 0)):
            with self.subTest(vip):
                self.limpet.process.send_signal(signal.SIGSTOP)
                self.addCleanup(self.limpet.process.send_signal, signal.SIGCONT)
                waker = threading.Thread(target=self.go_on_when_all_wait)
                waker.start()
                arrived, dropped = self.burst(vip)
                waker.join()
                self.assertEqual(len(arrived) + dropped, BURST)
                self.assertLessEqual(dropped, most_dropped if self.net.options.conntrack == "on" else 0)
                self.assertEqual(len({packets.tuple_of(packet) for packet in arrived}), 1)
            Segments.port += 1

    def test_retransmissions_cross_answers(self):
        """The answers of CROSSING share one pair of addresses, and so one queue; by chance, 2^-16, all requests meet it, too."""
        before = self.packets_by_queue()
        super().test_retransmissions_cross_answers()
        for now, then in zip(self.packets_by_queue(), before):
            self.assertGreater(now, then, "each queue has seen packets")

    def go_on_when_all_wait(self):
        """Wakes limpet once the kernel holds the whole burst for it."""
        try:
            netns.wait_until(lambda: self.waiting() >= BURST, 5, "the burst waits")
        finally:
            self.limpet.process.send_signal(signal.SIGCONT)

    def waiting(self):
        """Packets in the kernel's queues: the third column."""
        rows = self.net.node.run("cat", "/proc/net/netfilter/nfnetlink_queue").stdout.splitlines()
        return sum(int(row.split()[2]) for row in rows)

    def packets_by_queue(self):
        counters = self.limpet.counters()
        return [counters[f"queues.{number}.packets"] for number in range(2)]

    def test_the_middle_is_dropped_where_no_affinity_leads(self):
        before = self.limpet.counter("dropped_midstream")
        for vip in (self.masked, self.plain, self.many):
            self.assertIsNone(self.knock(vip))
        self.assertEqual(self.limpet.counter("dropped_midstream") - before, 3)


class LimpetFollows(Midstream, lab.WithLimpet):
    """midstream: affinity, and a service that has it."""

    @classmethod
    def setUpClass(cls):
        affinity = {"sessionAffinity": {"clientIP": {"timeoutSeconds": 600}}}
        cls.changes = {"services": [{**service, **affinity} for service in lab.current.services]}
        super().setUpClass()

    def test_the_middle_follows_a_known_client(self):
        self.assertIsNone(self.knock(self.many), "not known yet")
        _, pod = self.handshake(self.many)
        for _ in range(10):  # by chance 3^-10 = 2e-5
            self.assertIs(self.knock(self.many), pod)


class LimpetPicks(Midstream, lab.WithLimpet):
    changes = {"midstream": "pick"}

    def test_the_middle_is_taken_for_a_beginning(self):
        for vip in (self.masked, self.plain, self.many):
            self.assertIsNotNone(self.knock(vip))

    def test_a_connection_survives_a_restart_where_there_is_no_choice(self):
        """One endpoint, no masquerade: the flow that the next limpet makes of it is the same."""
        syn, pod = self.handshake(self.plain)
        self.assertEqual(self.limpet.stop(), 0)
        type(self).limpet = self.net.limpet("--ephemeral", **self.changes).wait_ready()
        data, _ = self.send(self.request(self.plain, PSH + ACK, 1001, 5001, b"still there?"))
        self.assertEqual(packets.tuple_of(data), packets.tuple_of(syn))
        self.assertIsNotNone(self.reply(pod, self.answer(syn, PSH + ACK, 5001, 1013, b"yes")))


class LimpetDrops(Midstream, lab.WithLimpet):
    @classmethod
    def setUpClass(cls):
        affinity = {"sessionAffinity": {"clientIP": {"timeoutSeconds": 600}}}
        cls.changes = {"services": [{**service, **affinity} for service in lab.current.services], "midstream": "drop"}
        super().setUpClass()

    def test_the_middle_is_dropped_even_of_a_known_client(self):
        self.handshake(self.many)
        before = self.limpet.counter("dropped_midstream")
        self.assertIsNone(self.knock(self.many))
        self.assertEqual(self.limpet.counter("dropped_midstream") - before, 1)


if __name__ == "__main__":
    lab.main(build)
