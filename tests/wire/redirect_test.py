#!/usr/bin/python3
"""redirect_test.py: a client and an endpoint on one link. A router tells hosts there to speak to each other; about a translated
flow that would lead past the translation. IPv4 only: ICMPv6 redirects are neighbour discovery, which is never diverted.

    usage   redirect_test.py --limpet PROGRAM --clients PROGRAM [--conntrack on|off]
"""


import lab
import packets
from packets import UDP

VIP = 120
ENDPOINT_PORT = 5000


def build(network):
    plan = network.addresses
    neighbour = plan.ghost[:-1] + "8"
    network.services += [network.service("test/neighbour:p", plan.virtual(VIP), [(neighbour, ENDPOINT_PORT)], port=53,
                                         protocol="UDP", masquerade="never")]
    network.node.run("iptables", "-F", "FORWARD")
    network.node.run("iptables", "-P", "FORWARD", "ACCEPT")
    network.asker = packets.Ghost(network.client, network.node, plan.ghost)
    network.neighbour = packets.Ghost(network.client, network.node, neighbour)
    for interface in ("all", "client"):
        network.node.sysctl(f"net.ipv4.conf.{interface}.send_redirects", 1)


def is_redirect(packet):
    return packet.proto == 1 and packets.upper_layer(packet)[1][0] == 5


class Redirects:
    port = 3000

    def test_nobody_is_told_of_the_other(self):
        net, plan = self.net, self.plan
        Redirects.port += 1
        net.asker.clear()
        net.neighbour.clear()
        net.asker.send(packets.ip(plan.ghost, plan.virtual(VIP)) / UDP(sport=Redirects.port, dport=53) / b"question")
        question = net.neighbour.receive(lambda packet: packets.payload_of(packet) == b"question")
        self.assertIsNotNone(question)
        self.assertIsNone(net.asker.receive(is_redirect, 0.5))
        net.neighbour.send(packets.ip(question.dst, question.src) /
                           UDP(sport=ENDPOINT_PORT, dport=Redirects.port) / b"answer")
        answer = net.asker.receive(lambda packet: packets.payload_of(packet) == b"answer")
        self.assertIsNotNone(answer)
        self.assertEqual(answer.src, plan.virtual(VIP))
        self.assertIsNone(net.neighbour.receive(is_redirect, 0.5))


class KernelRedirects(Redirects, lab.WithKernelNat):
    pass


class LimpetRedirects(Redirects, lab.WithLimpet):
    def test_nobody_is_told_of_the_other(self):
        before = self.limpet.counter("dropped_redirect")
        super().test_nobody_is_told_of_the_other()
        self.assertGreater(self.limpet.counter("dropped_redirect"), before, "the kernel had something to say")


if __name__ == "__main__":
    lab.main(build)
