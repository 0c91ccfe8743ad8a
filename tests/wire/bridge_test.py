#!/usr/bin/python3
"""Pods on one bridge, and pods that reach themselves: frames that never leave the bridge still meet the hooks.

br0 on the node with two pods; net.bridge.bridge-nf-call-iptables (its ip6tables twin for IPv6) lets bridged packets cross
the IP hooks, without which no translation of this kind works, the kernel's neither: it is shown first (KernelBridge).
"""

import lab

import conversations  # of tests/support, which lab has put on the path
import netns

LEFT, RIGHT, CABLE = 90, 91, 92  # VIPs: the endpoint is the pod on the left, the one on the right, pod-a
SERVER = 7900
BRIDGE = {"v4": ("10.2.200.1", 24), "v6": ("fd02:c8::1", 64)}


def build(network):
    node = network.node
    node.ip("link add br0 type bridge")
    node.ip("link set br0 up")
    for sysctl in ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"):
        node.sysctl(sysctl, 1)
    if network.options.conntrack == "on":
        for kind in ("neighbour-solicitation", "neighbour-advertisement"):  # bridged too, and so seen by the firewall
            node.run("ip6tables", "-w", "-I", "FORWARD", "-p", "ipv6-icmp", "--icmpv6-type", kind, "-j", "ACCEPT")
    gateway, length = BRIDGE[network.family]
    node.run("ip", "addr", "add", f"{gateway}/{length}", "dev", "br0", *(["nodad"] if ":" in gateway else []))
    network.bridged = {}
    for name, number in (("left", 2), ("right", 3)):
        pod = netns.Host(name)
        address = gateway[:-1] + str(number)
        netns.link(pod, node, a_addresses=[f"{address}/{length}"])
        pod.run("ip", "route", "add", "default", "via", gateway)
        node.ip(f"link set {name} master br0")
        node.run("bridge", "link", "set", "dev", name, "hairpin", "on")
        network.bridged[name] = (pod, address)
    for vip, pod in ((LEFT, "left"), (RIGHT, "right")):
        endpoints = [(network.bridged[pod][1], SERVER)]
        for protocol in ("TCP", "UDP"):
            network.services.append(network.service(f"test/{protocol.lower()}-{vip}:p", network.addresses.virtual(vip),
                                                    endpoints, protocol=protocol))
    network.services += [network.service("test/loop:p", network.addresses.virtual(CABLE),
                                         [(network.addresses.pods["pod-a"], SERVER)], protocol="UDP")]


class Common:
    def setUp(self):
        self.left, self.left_address = self.net.bridged["left"]
        self.right, self.right_address = self.net.bridged["right"]

    def talk(self, client, vip, server, address):
        """By TCP and by UDP; the addresses that the server saw."""
        target, listen = (self.plan.virtual(vip), 80), (address, SERVER)
        return {talk(client, target, server, listen)[0] for talk in (conversations.tcp, conversations.udp)}

    def test_a_neighbour_on_the_bridge(self):
        """The endpoint answers its neighbour by the shortest way: over the bridge, past the node's routing."""
        self.assertEqual(self.talk(self.left, RIGHT, self.right, self.right_address), {self.left_address})
        self.assertEqual(self.talk(self.right, LEFT, self.left, self.left_address), {self.right_address})

    def test_a_pod_on_the_bridge_reaches_itself(self):
        """Hidden, as kube-proxy hides it: it would otherwise answer itself and not the service."""
        self.assertEqual(self.talk(self.left, LEFT, self.left, self.left_address), {BRIDGE[self.net.family][0]})

    def test_a_pod_behind_a_cable_reaches_itself(self):
        pod, address = self.net.pods["pod-a"], self.plan.pods["pod-a"]
        seen = conversations.udp(pod, (self.plan.virtual(CABLE), 80), pod, (address, SERVER))
        self.assertEqual(seen[0], self.plan.gateways["pod-a"])

    def test_between_bridge_and_cable(self):
        self.assertEqual(self.talk(self.net.pods["pod-b"], LEFT, self.left, self.left_address),
                         {self.plan.pods["pod-b"]})

    def test_from_outside(self):
        self.assertEqual(self.talk(self.net.client, RIGHT, self.right, self.right_address), {BRIDGE[self.net.family][0]})

    def test_neighbours_talk_without_a_service(self):
        for talk in (conversations.tcp, conversations.udp):
            target = (self.right_address, SERVER)
            self.assertEqual(talk(self.left, target, self.right, target)[0], self.left_address)


class KernelBridge(Common, lab.WithKernelNat):
    pass


class LimpetBridge(Common, lab.WithLimpet):
    pass


if __name__ == "__main__":
    lab.main(build)
