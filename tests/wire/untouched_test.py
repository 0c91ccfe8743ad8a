#!/usr/bin/python3
"""What limpet must leave alone: the node's own settings, and every packet that belongs to no service."""

import re
import unittest

import lab
import programs

EMPTY_TABLE = re.compile(r"^\*\w+\n(:[A-Z]+ ACCEPT .*\n)*COMMIT\n", re.MULTILINE)
# Change by themselves: counters, random numbers, what the kernel learns.
RESTLESS = re.compile(r"nf_conntrack_count|\.random|\.fib_multipath_hash_seed|nf_conntrack_buckets"
                      r"|stable_secret|base_reachable")


def build(network):
    network.serve_http()
    network.node_server = programs.http_server(network.node, "node", ports=(8000,))
    network.local_clients()


def saved_rules(host, command):
    """iptables-save without comments, counters and tables in which nothing stands."""
    text = host.run(command).stdout
    lines = [re.sub(r" \[\d+:\d+\]", " []", line) for line in text.splitlines() if not line.startswith("#")]
    return EMPTY_TABLE.sub("", "\n".join(lines) + "\n").strip()


def nft_rules(host):
    """nft list ruleset without counters; base chains that hold nothing and accept everything are as good as none."""
    text = re.sub(r"counter packets \d+ bytes \d+", "counter", host.run("nft", "list", "ruleset").stdout)
    empty_chain = re.compile(r"\tchain \w+ \{\n\t\ttype [^\n]*policy accept;\n\t\}\n\n?")
    return re.sub(r"table \w+ \w+ \{\n\}\n", "", empty_chain.sub("", text)).strip()


def settings(host):
    """Everything on a node that a program can leave behind, by name."""
    found = {f"{command}-save": saved_rules(host, f"{command}-save")
             for command in ("iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy")}
    found["nft"] = nft_rules(host)
    found["ipset"] = host.run("ipset", "save").stdout
    for words in ("route show table all", "-6 route show table all", "rule", "-6 rule", "addr", "link"):
        # Lifetimes and caches of IPv6 routes count down.
        found[f"ip {words}"] = re.sub(r" expires \d+sec| \d+sec", "", host.run("ip", *words.split()).stdout)
    sysctls = host.run("sysctl", "-a", "-r", r"^net\.", check=False).stdout.splitlines()
    found["sysctl"] = "\n".join(line for line in sysctls if not RESTLESS.search(line))
    return found


class Settings(unittest.TestCase):
    maxDiff = None

    def test_after_it_the_node_is_as_before(self):
        node = lab.current.node
        before = settings(node)
        limpet = lab.current.limpet("--ephemeral").wait_ready()
        during = settings(node)
        self.assertEqual(limpet.stop(), 0, limpet.text())
        after = settings(node)
        self.assertNotEqual(before, during, "the comparison sees nothing")
        for name in before:
            self.assertEqual(before[name], after[name], name)


class Traffic(lab.WithLimpet):
    def iptables(self, host, *words):
        return host.run("ip6tables" if self.net.family == "v6" else "iptables", "-w", *words)

    def test_direct_connections_are_not_rewritten(self):
        """To the endpoints' own addresses, and to the node's own server: each side sees the other's own address."""
        paths = [(self.net.client, self.plan.client, address, lab.HTTP_PORT, pod)
                 for pod, address in self.plan.pods.items()]
        paths += [(self.net.pods["pod-b"], self.plan.pods["pod-b"], self.plan.pods["pod-a"], lab.HTTP_PORT, "pod-a"),
                  (self.net.node, self.plan.gateways["pod-a"], self.plan.pods["pod-a"], lab.HTTP_PORT, "pod-a"),
                  (self.net.client, self.plan.client, self.plan.node, 8000, "node"),
                  (self.net.pods["pod-a"], self.plan.pods["pod-a"], self.plan.node, 8000, "node")]
        for host, source, target, port, words in paths:
            with self.subTest(source=source, target=target, port=port):
                self.assertEqual(host.http_get(lab.url(target, port)).split(), [words, source])

    def test_not_one_direct_packet_carries_a_vip(self):
        """The client counts what arrives from addresses that it never asked."""
        vips = ("INPUT", "-s", self.plan.vips)
        self.iptables(self.net.client, "-I", *vips)
        answers = []
        for address in self.plan.pods.values():
            answers += self.net.clients.visit(lab.at(address, lab.HTTP_PORT), self.plan.many, count=200)
        self.assertEqual(programs.failures(answers), [])
        self.assertEqual(self.counted(self.net.client, "INPUT"), 0)
        # The same counter does see the packets of a VIP.
        self.net.client.http_get(lab.url(self.plan.vip))
        self.assertGreater(self.counted(self.net.client, "INPUT"), 0)
        self.iptables(self.net.client, "-D", *vips)

    def counted(self, host, chain):
        """Packets that the chain's first rule has counted."""
        listing = self.iptables(host, "-L", chain, "1", "-n", "-v", "-x").stdout
        return int(listing.split()[0])

    def test_direct_and_vip_connections_side_by_side(self):
        """The same client, the same endpoint, both ways at once: neither disturbs the other."""
        direct, through = [], []
        for _ in range(30):
            direct += self.net.clients.visit(lab.at(self.plan.pods["pod-a"], lab.HTTP_PORT), self.plan.client)
            through += self.net.clients.visit(lab.at(self.plan.self, 80), self.plan.client)
        self.assertEqual({answer.words for answer in direct}, {f"pod-a {self.plan.client}"})
        self.assertEqual({answer.words for answer in through}, {f"pod-a {self.plan.gateways['pod-a']}"})

    def test_the_node_and_the_pods_reach_the_world(self):
        """Connections that the pods and the node open themselves, to a server at the client's."""
        programs.http_server(self.net.client, "world", ports=(8080,))
        for host, source in ((self.net.node, self.plan.node), (self.net.pods["pod-c"], self.plan.pods["pod-c"])):
            self.assertEqual(host.http_get(lab.url(self.plan.client, 8080)).split(), ["world", source])


if __name__ == "__main__":
    lab.main(build)
