#!/usr/bin/python3
"""When limpet is not there: README's table of that name, row by row: what waits, what passes, what is back at a restart.

Ghosts at both ends, so that a packet which leaves the node untranslated is seen as such. Each row is one way for limpet
to be gone; each column one packet, sent then:

    request      from a client to the VIP
    reply        from the endpoint, of a connection whose client is visible, made while limpet ran
    hidden       the same, of a masqueraded connection: it is addressed to the node
    direct       from the endpoint's port, to a client that asked the endpoint itself
    error        an ICMP error of the endpoint about the visible connection
"""

import unittest

import lab
import packets

VISIBLE, HIDDEN = 60, 61  # VIPs
SERVER = 5600
QUIET = 0.25  # s until a packet that has not come is taken for dropped; they take a millisecond

TRANSLATED, UNTRANSLATED, NOTHING = "translated", "untranslated", "nothing"
REFUSED = "refused by the node"  # it takes the packet for its own, and has no such socket

RUNNING = {"request": TRANSLATED, "reply": TRANSLATED, "hidden": TRANSLATED, "direct": UNTRANSLATED, "error": TRANSLATED}
HELD = {"request": NOTHING, "reply": NOTHING, "hidden": NOTHING, "direct": NOTHING, "error": UNTRANSLATED}
BYPASSED = {"request": NOTHING, "reply": UNTRANSLATED, "hidden": REFUSED, "direct": UNTRANSLATED, "error": UNTRANSLATED}


def build(network):
    plan = network.addresses
    endpoint = [(plan.ghost_pods["pod-a"], SERVER)]
    network.services += [
        network.service("test/visible:p", plan.virtual(VISIBLE), endpoint, port=53, protocol="UDP", masquerade="never"),
        network.service("test/hidden:p", plan.virtual(HIDDEN), endpoint, port=53, protocol="UDP", masquerade="always"),
    ]
    network.ghost_client = packets.Ghost(network.client, network.node, plan.ghost)
    network.ghost_pod = packets.Ghost(network.pods["pod-a"], network.node, plan.ghost_pods["pod-a"])
    for device in ("all", "client"):
        network.node.sysctl(f"net.ipv4.conf.{device}.send_redirects", 0)
    # A packet to the VIP that nobody translates goes to the node's default route: the client's cable.
    network.default_route = packets.Ghost(network.client, network.node, plan.virtual(VISIBLE))


class Gone(unittest.TestCase):
    maxDiff = None
    port = 2600

    def setUp(self):
        self.net, self.plan = lab.current, lab.current.addresses
        self.client, self.pod, self.lost = self.net.ghost_client, self.net.ghost_pod, self.net.default_route
        self.without = None
        for ghost in (self.client, self.pod, self.lost):
            ghost.clear()

    def start(self, *options, **changes):
        limpet = self.net.limpet(*options, **changes)
        self.addCleanup(lambda: limpet.process.poll() is None and limpet.kill())
        return limpet.wait_ready()

    def clean(self):
        """`limpet divert cleanup` removes what a dead one left."""
        self.net.node.run(self.net.options.limpet, "divert", "cleanup")
        self.assertNotIn("NFQUEUE", self.net.node.run("iptables-save").stdout + self.net.node.run("ip6tables-save").stdout)

    # ------------------------------------------------------------------------------------------------------- packets

    def datagram(self, source, target, sport, dport, words):
        return packets.dissect(bytes(packets.ip(source, target) / packets.UDP(sport=sport, dport=dport) / words))

    def ask(self, target, port=53):
        """A datagram of a new connection; (it, as it arrived at the endpoint)."""
        Gone.port += 1
        sent = self.datagram(self.plan.ghost, target, Gone.port, port, b"ask")
        self.client.send(sent)
        return sent, self.pod.receive(self.carries(b"ask"))

    def carries(self, words):
        return lambda packet: not packets.quotes(packet) and packets.payload_of(packet) == words

    def open(self):
        """Connections, made while limpet runs, that are looked at later."""
        self.visible = self.ask(self.plan.virtual(VISIBLE))
        self.hidden = self.ask(self.plan.virtual(HIDDEN))
        self.direct = self.ask(self.plan.ghost_pods["pod-a"], SERVER)
        for _, arrived in (self.visible, self.hidden, self.direct):
            self.assertIsNotNone(arrived)

    def observe(self):
        return {"request": self.request(), "reply": self.reply(*self.visible), "hidden": self.reply(*self.hidden),
                "direct": self.reply(*self.direct), "error": self.error(*self.visible)}

    def request(self):
        Gone.port += 1
        sent = self.datagram(self.plan.ghost, self.plan.virtual(VISIBLE), Gone.port, 53, b"request")
        self.client.send(sent)
        arrived, ghost = packets.receive_any([self.pod, self.lost], self.carries(b"request"), QUIET)
        return {None: NOTHING, self.pod: TRANSLATED, self.lost: UNTRANSLATED}[ghost]

    def reply(self, asked, arrived):
        answer = self.datagram(arrived.dst, arrived.src, SERVER, packets.ports(arrived)[0], b"reply")
        self.pod.send(answer)
        got, ghost = packets.receive_any(
            [self.client, self.pod], lambda packet: packets.quotes(packet) or packets.payload_of(packet) == b"reply", QUIET)
        if ghost is None:
            return NOTHING
        if ghost is self.pod:
            self.assertEqual(packets.error_of(got), packets.ERRORS["port unreachable"][self.net.family == "v6"])
            return REFUSED
        if packets.tuple_of(got) == packets.tuple_of(answer):
            return UNTRANSLATED
        self.assertEqual(packets.tuple_of(got), packets.tuple_of(asked)[::-1])
        return TRANSLATED

    def error(self, asked, arrived):
        self.pod.send(packets.error("host unreachable", arrived.dst, arrived))
        got = self.client.receive(packets.quotes, QUIET)
        if got is None:
            return NOTHING
        inner = packets.tuple_of(packets.quoted(got))
        if inner == packets.tuple_of(arrived):
            return UNTRANSLATED
        self.assertEqual((got.src, inner), (self.plan.virtual(VISIBLE), packets.tuple_of(asked)))
        return TRANSLATED

    def as_if_no_service(self):
        """A packet to the VIP is routed as any other, which a firewall may not like."""
        request = UNTRANSLATED if self.net.options.conntrack == "off" else NOTHING
        return {**BYPASSED, "request": request}

    # ---------------------------------------------------------------------------------------------------------- rows

    def check(self, end, expected, **changes):
        """Running; gone in this way; back again; and in the end nothing is left of it."""
        limpet = self.start(**changes)
        self.open()
        self.assertEqual(self.observe(), RUNNING)
        end(limpet)
        self.assertEqual(self.observe(), expected, "gone")
        again = self.start("--ephemeral", **changes)
        self.open()
        self.assertEqual(self.observe(), RUNNING, "back")
        self.assertEqual(again.stop(), 0)
        self.assertEqual(self.observe(), self.as_if_no_service(), "ended for good")

    def kill(self, limpet):
        limpet.kill()

    def stop(self, limpet):
        self.assertEqual(limpet.stop(), 0)

    def test_killed_hold(self):
        self.check(self.kill, HELD, onDeath="hold", stop="keep")

    def test_killed_bypass(self):
        self.check(self.kill, BYPASSED, onDeath="bypass", stop="keep")

    def test_killed_with_stop_remove_had_no_chance_to_remove(self):
        self.check(self.kill, HELD, onDeath="hold", stop="remove")

    def test_stopped_keep_hold(self):
        self.check(self.stop, HELD, onDeath="hold", stop="keep")

    def test_stopped_keep_bypass(self):
        self.check(self.stop, BYPASSED, onDeath="bypass", stop="keep")

    def test_stopped_remove(self):
        self.check(self.stop, self.as_if_no_service(), onDeath="hold", stop="remove")

    def test_cleaned_up_after_a_kill(self):
        def end(limpet):
            limpet.kill()
            self.clean()

        self.check(end, self.as_if_no_service(), onDeath="hold", stop="keep")


if __name__ == "__main__":
    lab.main(build)
