#!/usr/bin/python3
"""A node is taken over from kube-proxy's rules: its clients keep their endpoints, and their ages.

First the kernel serves, by the rules that kube-proxy writes for ClientIP affinity (support/kernel_nat.py): who is
remembered stands in /proc/net/xt_recent. Then limpet starts, imports it, the kernel's rules go, and the same clients
come again.

Lists hold 100 clients each (ip_list_tot), so there are few enough for none to have been pushed out: 120 among three
pods are binomial, 40 each, sigma 5.2; 100 is more than 11 sigma away.
"""

import copy
import ipaddress
import json
import time
import unittest

import lab
import programs

CLIENTS = 120
SHORT = 15  # seconds of affinity, in the test of ages


def build(network):
    network.serve_http()


class Takeover(unittest.TestCase):
    def setUp(self):
        self.net = lab.current
        self.plan = self.net.addresses
        self.to = lab.at(self.plan.node, lab.LOCAL_NODE_PORT)

    def services(self, seconds):
        services = copy.deepcopy(self.net.services)
        for service in services:
            if "sessionAffinity" in service:
                service["sessionAffinity"] = {"clientIP": {"timeoutSeconds": seconds}}
        return services

    def visit(self, prefix, count=CLIENTS):
        answers = self.net.clients.visit(self.to, prefix, count=count)
        self.assertEqual(programs.failures(answers), [])
        return {client: pods[0] for client, pods in programs.pods_by_client(answers).items()}

    def kernel(self, **changes):
        nat = self.net.kernel_nat(affinity=True, **changes)
        self.addCleanup(nat.stop)
        return nat

    def take_over(self, nat, **changes):
        """Whoever comes while limpet is there and has not imported yet would choose afresh: nobody comes here."""
        limpet = self.net.limpet("--ephemeral", **changes).wait_ready()
        self.addCleanup(lambda: limpet.process.poll() is None and limpet.stop())
        told = json.loads(self.net.ask_limpet("affinity", "import-recent", "-j"))
        nat.stop()
        print(told, flush=True)
        return told

    def test_clients_keep_their_endpoints(self):
        nat = self.kernel()
        before = self.visit(self.plan.many)
        self.assertEqual(self.visit(self.plan.many), before, "the kernel remembers them")
        told = self.take_over(nat)
        self.assertEqual(told["taken"], CLIENTS)
        self.assertEqual(told["unknown_lists"], [])
        self.assertEqual(self.visit(self.plan.many), before)

    def test_lists_of_others_are_told(self):
        """A service that the kernel serves and limpet is not told of."""
        nat = self.kernel()
        self.visit(self.plan.many)
        services = [service for service in self.net.services if service["name"] != "test/local:http"]
        told = self.take_over(nat, services=services)
        self.assertEqual(told["taken"], 0)
        self.assertEqual(told["unknown_entries"], CLIENTS)
        self.assertEqual(len(told["unknown_lists"]), len(lab.PODS))

    def test_ages_are_kept(self):
        """Two groups, one older than the other: when only the older one has expired, only it chooses afresh."""
        older, younger = self.groups()
        services = self.services(SHORT)
        nat = self.kernel(services=services)
        begun = time.monotonic()
        before = {**self.visit(older, 60)}
        old_until = time.monotonic() + SHORT  # the last of them; the first a little earlier
        time.sleep(max(0, begun + SHORT * 2 / 3 - time.monotonic()))
        young_since = time.monotonic()
        young = self.visit(younger, 60)
        told = self.take_over(nat, services=services)
        self.check_listed_ages(young, young_since)
        time.sleep(max(0, old_until + 0.5 - time.monotonic()))
        if time.monotonic() > young_since + SHORT - 0.5:
            self.skipTest("the machine is too slow for these times")
        self.assertEqual(self.visit(younger, 60), young, f"{told}")
        # That 60 clients all choose what they had has a chance of 3^-60.
        self.assertNotEqual(self.visit(older, 60), before)

    def check_listed_ages(self, clients, since):
        """The daemon's ages of these clients are those of their only visit, which was from `since` on."""
        lines = self.net.ask_limpet("affinity", "list", "--service", "test/local:http", "-j").splitlines()
        asked = time.monotonic() - since
        ages = {entry["client"]: entry["age"] for entry in map(json.loads, lines)}
        self.assertEqual(set(clients) - set(ages), set())
        # Where only root may read the tick counter, it is calculated, and ages may be some tenths too long.
        slack = 1.0
        for client in clients:
            self.assertLessEqual(ages[client], asked + slack)
            self.assertGreaterEqual(ages[client], 0)

    def groups(self):
        network = ipaddress.ip_network(self.plan.many)
        return f"{network[0]}/{network.prefixlen}", f"{network[1000]}/{network.prefixlen}"


if __name__ == "__main__":
    lab.main(build)
