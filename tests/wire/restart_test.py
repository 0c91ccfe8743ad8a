#!/usr/bin/python3
"""Killed and started again, twenty times, under load: no connection breaks, no client moves.

200 slow downloads are open all the time, half to a VIP (masqueraded) and half to a Local nodePort (not). Beside them a
known client connects anew every 20 ms, to either in turn. The time without service is that from the kill to the first
answer to a connection that began after it; connections that began in between are sent again by TCP, and must be
answered too.
"""

import copy
import ipaddress
import signal
import statistics
import time
import unittest

import lab
import streams

PORT = 8081
VIP, LOCAL = 40, 41  # of lab.py's VIPs
LOCAL_NODE_PORT = 30091
DOWNLOADS = 100  # to each target
KNOWN = 40
KEEP = {"stop": "keep", "state": {"path": "auto"}}
TIMEOUT = {"sessionAffinity": {"clientIP": {"timeoutSeconds": 10800}}}


def build(network):
    plan = network.addresses
    endpoints = [(plan.pods[pod], PORT) for pod in lab.PODS]
    network.services = [
        network.service("test/kept:tcp", plan.virtual(VIP), endpoints, port=PORT, **TIMEOUT),
        network.service("test/kept-local:tcp", plan.virtual(LOCAL), endpoints, port=PORT, nodePort=LOCAL_NODE_PORT,
                        externalTrafficPolicy="Local", **TIMEOUT),
    ]


class Restart(unittest.TestCase):
    def setUp(self):
        self.net = lab.current
        self.plan = self.net.addresses
        self.targets = [(self.plan.virtual(VIP), PORT), (self.plan.node, LOCAL_NODE_PORT)]
        self.servers = [streams.StreamServer(self.net.pods[pod], self.net.socket_family, self.plan.pods[pod], PORT, pod)
                        for pod in lab.PODS]
        self.addCleanup(lambda: [server.close() for server in self.servers])
        self.limpet = None
        self.start()
        self.addCleanup(self.leave_nothing)

    def start(self, **changes):
        self.limpet = self.net.limpet(**{**KEEP, **changes})

    def leave_nothing(self):
        """The next test begins without rules and without a state."""
        if self.limpet.process.poll() is None:
            self.limpet.kill()
        self.assertEqual(self.net.limpet("--ephemeral", stop="remove").wait_ready().stop(), 0)
        self.net.node.run("sh", "-c", "rm -f /run/limpet/*.state")

    def restart(self, how=signal.SIGKILL, **changes):
        """When it was told to end."""
        instant = time.monotonic()
        code = self.limpet.stop(how)
        self.assertEqual(code, -signal.SIGKILL if how == signal.SIGKILL else 0, self.limpet.text())
        self.start(**changes)
        return instant

    def sources(self, first, count):
        network = ipaddress.ip_network(self.plan.many)
        return [str(network[first + number]) for number in range(count)]

    def who(self, target, sources):
        """{source: the pod that answers a new connection of it}"""
        return {source: streams.ask_who(self.net.client, self.net.socket_family, target, source) for source in sources}

    def under_load(self, interrupt):
        """Call interrupt(arrivals) while everything is under way; then see that nothing was broken, nobody moved."""
        self.limpet.wait_ready()
        family, client = self.net.socket_family, self.net.client
        known = self.sources(1, KNOWN)
        homes = [self.who(target, known) for target in self.targets]
        downloads = streams.Downloads(client, family, self.targets, self.sources(1000, DOWNLOADS), self.servers)
        visits = [streams.Arrivals(client, family, target, known, gap=0.04) for target in self.targets]
        interrupt(visits)
        self.assertEqual(len(downloads.open), 2 * DOWNLOADS, f"open to the end; {downloads.failures}")
        self.assertEqual(downloads.finish(), {})
        for target, home, visit in zip(self.targets, homes, visits):
            arrivals = visit.finish()
            failed = [one for one in arrivals if one.words.startswith("!")]
            self.assertEqual(failed, [], f"{target}: all are answered in the end")
            moved = [one for one in arrivals if one.words != home[one.source]]
            self.assertEqual(moved, [], f"{target}: of {len(arrivals)} connections")
            print(f"{target[0]} {target[1]}: {len(arrivals)} new connections, none moved", flush=True)

    def interrupt(self, visits, times, how):
        """Seconds without service, for each time."""
        without = []
        for _ in range(times):
            instant = self.restart(how)
            without.append(max(visit.first_answer_after(instant) for visit in visits) - instant)
            self.limpet.wait_ready()
            time.sleep(0.5)  # the load goes on for a while
        print(f"{times} times {how.name}: without service (ms): {', '.join(f'{1000 * one:.0f}' for one in without)}; "
              f"median {1000 * statistics.median(without):.0f}, worst {1000 * max(without):.0f}", flush=True)

    def test_killed_20_times(self):
        self.under_load(lambda visits: self.interrupt(visits, 20, signal.SIGKILL))

    def test_a_clean_stop_differs_in_nothing(self):
        self.under_load(lambda visits: self.interrupt(visits, 3, signal.SIGTERM))

    # ------------------------------------------------------------------------------------------- another configuration

    def changed_services(self, change):
        services = copy.deepcopy(self.net.services)
        for service in services:
            change(service)
        return services

    def test_clients_of_an_endpoint_that_was_away_choose_afresh(self):
        self.limpet.wait_ready()
        clients = self.sources(1, 60)
        before = self.who(self.targets[1], clients)

        def take_away(service):
            service["endpoints"] = [one for one in service["endpoints"] if one["address"] != self.plan.pods["pod-a"]]

        self.restart(services=self.changed_services(take_away))
        self.limpet.wait_ready()
        self.restart()
        self.limpet.wait_ready()
        after = self.who(self.targets[1], clients)
        others = [client for client in clients if before[client] != "pod-a"]
        self.assertEqual({client: after[client] for client in others}, {client: before[client] for client in others})
        # n clients of 60 chose pod-a, n is near 20: that all of them do so again has a chance of 3^-n.
        afresh = [client for client in clients if before[client] == "pod-a"]
        self.assertNotEqual({after[client] for client in afresh}, {"pod-a"})

    def test_another_number_of_queues_forgets_nobody(self):
        self.limpet.wait_ready()
        clients = self.sources(1, 60)
        before = self.who(self.targets[1], clients)
        self.restart(signal.SIGTERM, queues={"count": 3})
        self.limpet.wait_ready()
        # That all choose again what they had before has a chance of 3^-60.
        self.assertEqual(self.who(self.targets[1], clients), before)

    def test_another_timeout_holds_for_those_who_are_remembered(self):
        self.limpet.wait_ready()
        clients = self.sources(1, 60)
        before = self.who(self.targets[1], clients)

        def shorten(service):
            service["sessionAffinity"] = {"clientIP": {"timeoutSeconds": 1}}

        time.sleep(1.1)  # longer than the timeout that they will be judged by
        self.restart(services=self.changed_services(shorten))
        self.limpet.wait_ready()
        # All are too old now. That all choose what they had before has a chance of 3^-60.
        after = self.who(self.targets[1], clients)
        self.assertNotEqual(after, before)
        time.sleep(1.1)
        self.restart()
        self.limpet.wait_ready()
        self.assertEqual(self.who(self.targets[1], clients), after, "old for one second, young for three hours")


if __name__ == "__main__":
    lab.main(build)
