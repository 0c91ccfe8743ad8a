#!/usr/bin/python3
"""ClientIP affinity of real clients, with two workers.

Bounds: N clients choose among k pods independently, so a pod's count is binomial with mean N/k and
sigma = sqrt(N (1/k) (1 - 1/k)). A correct program leaves a bound of 5 sigma once in 1.7 million; 3 pods, one run in
600,000.
"""

import collections
import math

import lab
import programs

CLIENTS = 600
SIGMAS = 5


def build(network):
    network.serve_http()


class Affinity(lab.WithLimpet):
    def visit(self, address, port, prefix, **how):
        answers = self.net.clients.visit(lab.at(address, port), prefix, **how)
        self.assertEqual(programs.failures(answers), [])
        return answers

    def check_spread(self, pods):
        expected = CLIENTS / len(lab.PODS)
        sigma = math.sqrt(CLIENTS * (1 / len(lab.PODS)) * (1 - 1 / len(lab.PODS)))
        for pod in lab.PODS:
            self.assertLessEqual(abs(pods[pod] - expected), SIGMAS * sigma, f"{dict(pods)}; sigma {sigma:.1f}")

    def test_a_client_returns_to_its_pod_20_times(self):
        for name, address, port in (("vip", self.plan.vip, 80), ("nodePort", self.plan.node, lab.LOCAL_NODE_PORT)):
            with self.subTest(name):
                answers = self.visit(address, port, self.plan.client, rounds=20)
                self.assertEqual(len({programs.pod_of(answer) for answer in answers}), 1)

    def test_many_clients_spread_evenly_and_return(self):
        answers = self.visit(self.plan.node, lab.LOCAL_NODE_PORT, self.plan.many, count=CLIENTS, rounds=2)
        visits = programs.pods_by_client(answers)
        self.assertEqual(len(visits), CLIENTS)
        self.check_spread(collections.Counter(pods[0] for pods in visits.values()))
        moved = {client: pods for client, pods in visits.items() if len(set(pods)) > 1}
        self.assertEqual(moved, {})

    def test_the_vip_spreads_too(self):
        answers = self.visit(self.plan.vip, 80, self.plan.many, count=CLIENTS)
        self.check_spread(collections.Counter(programs.pod_of(answer) for answer in answers))

    def test_both_workers_are_used(self):
        # Which queue a client's packets go to is a hash of two addresses: 64 clients miss a queue once in 2^63.
        before = programs.queued_packets(self.net.node)
        self.visit(self.plan.vip, 80, self.plan.many, count=64)
        after = programs.queued_packets(self.net.node)
        self.assertEqual(set(after), {0, 1})
        for queue, packets in after.items():
            self.assertGreater(packets, before[queue], f"queue {queue}")


if __name__ == "__main__":
    lab.main(build)
