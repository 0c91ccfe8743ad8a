#!/usr/bin/python3
"""HTTP over VIP and nodePort: who answers, and whom the pod believes it talks to.

Every answer is "POD client-address" by nginx in the pod, so each test sees both ends: TCP completes at the client only
if the reply's source was restored, and the address that the pod saw shows whether the client was hidden.
"""

import collections

import lab

CURL_NO_CONNECTION, CURL_TIMED_OUT = 7, 28


def build(network):
    network.serve_http()
    network.local_clients()


def ask_in_vain(host, address):
    """curl's exit code for a port that nobody serves."""
    done = host.run("curl", "-s", "-g", "--noproxy", "*", "--max-time", 1, lab.url(address, 81), check=False)
    return done.returncode


class Http(lab.WithLimpet):
    def ask(self, host, address, port=80, *options):
        pod, seen = host.http_get(lab.url(address, port), *options).split()
        self.assertIn(pod, lab.PODS)
        return pod, seen

    def test_vip_hides_a_client_from_outside(self):
        pod, seen = self.ask(self.net.client, self.plan.vip)
        self.assertEqual(seen, self.plan.gateways[pod])

    def test_cluster_node_port_hides_a_client_from_outside(self):
        pod, seen = self.ask(self.net.client, self.plan.node, lab.NODE_PORT)
        self.assertEqual(seen, self.plan.gateways[pod])

    def test_node_port_on_every_address_of_the_node(self):
        for pod, address in self.plan.gateways.items():
            with self.subTest(pod=pod):
                self.ask(self.net.client, address, lab.NODE_PORT)

    def test_local_node_port_shows_the_client(self):
        _, seen = self.ask(self.net.client, self.plan.node, lab.LOCAL_NODE_PORT)
        self.assertEqual(seen, self.plan.client)

    def test_vip_shows_a_pod_to_other_pods(self):
        _, seen = self.ask(self.net.pods["pod-b"], self.plan.self)
        self.assertEqual(seen, self.plan.pods["pod-b"])

    def test_hairpin_a_pod_reaches_itself_through_the_vip(self):
        pod, seen = self.ask(self.net.pods["pod-a"], self.plan.self)
        self.assertEqual((pod, seen), ("pod-a", self.plan.gateways["pod-a"]))

    def test_a_process_on_the_node_reaches_the_vip(self):
        _, seen = self.ask(self.net.node, self.plan.vip)
        self.assertIn(seen, [self.plan.node, *self.plan.gateways.values()])

    def test_without_affinity_every_pod_is_reached(self):
        # 60 independent choices among 3 pods miss one of them with probability < 3 (2/3)^60 = 8e-11.
        answers = self.net.clients.visit(lab.at(self.plan.plain, 80), self.plan.client, rounds=60)
        self.assertEqual(lab.programs.failures(answers), [])
        self.assertEqual({lab.programs.pod_of(answer) for answer in answers}, set(lab.PODS))

    def test_one_connection_carries_many_requests(self):
        urls = [lab.url(self.plan.vip)] * 20
        done = self.net.client.run("curl", "-sS", "-g", "--max-time", 10, *urls, "-w", "%{num_connects}\n")
        lines = done.stdout.splitlines()
        self.assertEqual(len({line.split()[0] for line in lines[0::2]}), 1)
        self.assertEqual(sum(int(line) for line in lines[1::2]), 1)

    def test_a_silent_port_of_the_vip_is_not_ours(self):
        """No service: nobody answers but a router, by an ICMP error. A client heeds it, or not: one that comes while
        connect() still holds the socket, as it does over these wires if no queue delays it, is passed over."""
        before = self.limpet.settled_counters()
        in_vain = ask_in_vain(self.net.client, self.plan.vip)
        self.assertIn(in_vain, (CURL_NO_CONNECTION, CURL_TIMED_OUT))
        after = self.limpet.settled_counters()
        moved = collections.Counter({name: after[name] - before[name] for name in before})
        # Late packets of earlier connections may be rewritten meanwhile.
        # The node may answer with ICMP errors, which are about no flow: accepted_miss.
        accepted = moved["accepted_not_a_service"] + moved["accepted_miss"]
        self.assertEqual(moved["packets"], accepted + moved["rewritten"], moved)
        self.assertEqual([name for name in moved if name.startswith(("new_", "dropped_")) and moved[name]], [])


if __name__ == "__main__":
    lab.main(build)
