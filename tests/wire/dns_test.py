#!/usr/bin/python3
"""DNS over UDP: dig in the client, unbound in the pods."""

import lab


def build(network):
    network.serve_dns()
    network.local_clients()


class Dns(lab.WithLimpet):
    def dig(self, host, *words):
        done = host.run("dig", f"@{self.plan.vip}", "+short", "+tries=1", "+time=3", *words)
        return [line.strip('"') for line in done.stdout.splitlines()]

    def test_an_answer_comes_back_from_the_vip(self):
        # dig refuses answers from any other address than the one that it asked.
        self.assertIn(self.dig(self.net.client, "TXT", "who.test")[0], lab.PODS)

    def test_every_query_of_many_is_answered_and_every_pod_asked(self):
        # One dig, 90 sockets one after another: 90 independent choices miss one pod of 3 with probability
        # 3 (2/3)^90 = 4e-16.
        names = ["TXT", "who.test"] * 90
        answers = self.dig(self.net.client, *names)
        self.assertEqual(len(answers), 90)
        self.assertEqual(set(answers), set(lab.PODS))

    def test_one_socket_stays_with_one_pod(self):
        # A fixed source port is one flow: its 20 queries belong to one pod.
        answers = [self.dig(self.net.client, "-b", f"{self.plan.client}#5353", "TXT", "who.test")[0] for _ in range(20)]
        self.assertEqual(len(set(answers)), 1, answers)

    def test_a_process_on_the_node_is_answered(self):
        self.assertIn(self.dig(self.net.node, "TXT", "who.test")[0], lab.PODS)

    def test_a_pod_is_answered(self):
        self.assertIn(self.dig(self.net.pods["pod-b"], "TXT", "who.test")[0], lab.PODS)


if __name__ == "__main__":
    lab.main(build)
