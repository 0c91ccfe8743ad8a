#!/usr/bin/python3
"""SYNs from nobody's addresses, ten times what both tables hold, answered by the endpoints: who was there is not hurt.

The flood is made before it is sent, on a link of the client's, and bounded: every SYN from another address and port, in
prefixes whose traffic ends nowhere, so that no RST takes the half-open connections back. Under it

    100 established connections transfer, compared by MD5            none is lost
    clients whose affinity was confirmed before return               none is moved
    new clients come                                                 they are answered; how many, how fast is printed

What had to go for the flood is read from limpet's counters: flows and affinities that were begun, none that was
confirmed. Clients: 10,000 with LIMPET_FULL_SIZE=1 in the environment, a fifth of them without it.
"""

import collections
import ipaddress
import itertools
import os
import threading
import time

import lab
import prepared_frames
import programs
import streams

CAPACITY = 20_000
FLOOD = 10 * CAPACITY
SECONDS = 10  # that the flood lasts, unless the machine is slower
CLIENTS = 10_000 if os.environ.get("LIMPET_FULL_SIZE") else 2_000
NEW, NEWCOMERS = 50_000, 2_000  # the first of them in the many's prefix; how many at most
PART = 250  # that come at a time
MOST_FAILURES = 0.01  # of the connections that begin under the flood
STREAMS = 100
STREAM_PORT = 8081
PREFIXES = {"v4": "172.16.0.0/12", "v6": "fd99::/64"}


def build(network):
    plan = network.addresses
    network.serve_http()
    endpoints = [(plan.pods[pod], STREAM_PORT) for pod in lab.PODS]
    network.services.append(network.service(
        "test/streams:tcp", plan.virtual(40), endpoints, port=STREAM_PORT,
        sessionAffinity={"clientIP": {"timeoutSeconds": 10800}}))


class Flood(lab.WithLimpet):
    changes = {"tables": {"flows": CAPACITY, "affinity": CAPACITY}}

    def addresses(self, first, count):
        network = ipaddress.ip_network(self.plan.many)
        return [str(network[first + number]) for number in range(count)]

    def prepare(self):
        """The flood, half of it at the VIP, half at the Local nodePort, in turn."""
        link = prepared_frames.Link(self.net.client, "node", self.net.node, "client")
        sources = list(prepared_frames.sources(PREFIXES[self.net.family], FLOOD))
        halves = [prepared_frames.syn_frames(link, sources[: FLOOD // 2], (self.plan.vip, 80)),
                  prepared_frames.syn_frames(link, sources[FLOOD // 2:], (self.plan.node, lab.LOCAL_NODE_PORT))]
        return list(itertools.chain(*zip(*halves)))

    def visit(self, prefix, count):
        return self.net.clients.visit(
            lab.at(self.plan.node, lab.LOCAL_NODE_PORT), prefix, count=count, timeout_ms=20_000)

    def visit_in_peace(self):
        answers = self.visit(self.plan.many, CLIENTS)
        self.assertEqual(programs.failures(answers), [])
        return programs.pods_by_client(answers)

    def test_who_was_there_is_not_hurt(self):
        servers = [streams.StreamServer(host, self.net.socket_family, self.plan.pods[pod], STREAM_PORT, pod)
                   for pod, host in self.net.pods.items()]
        known = self.visit_in_peace()
        downloads = streams.Downloads(
            self.net.client, self.net.socket_family, [(self.plan.virtual(40), STREAM_PORT)],
            self.addresses(40_000, STREAMS), servers)
        flood = self.prepare()
        before = self.limpet.counters()
        sender = prepared_frames.Sender(self.net.client, "node")
        took = []
        sending = threading.Thread(target=lambda: took.append(sender.send(flood, rate=FLOOD / SECONDS)), daemon=True)
        sending.start()
        during = self.come_under_flood(sending)
        sending.join()
        after = self.limpet.counters()
        again = self.visit_in_peace()
        print(f"{FLOOD} SYNs in {took[0]:.1f} s ({FLOOD / took[0]:.0f}/s), of {CLIENTS} clients {len(during)} returned "
              "under it", flush=True)
        self.print_evictions(before, after)
        for what, pods in (("under the flood", during), ("after it", again)):
            moved = {client: (known[client], now) for client, now in pods.items()
                     if set(now) != set(known[client])}
            self.assertEqual(moved, {}, f"{what}: of {len(pods)} clients")
        self.assertEqual(downloads.finish(), {})
        for server in servers:
            server.close()

    def come_under_flood(self, sending):
        """New clients and known ones in turn, while it lasts; {known client: its pods}."""
        new, returned = [], []
        took = 0
        for part in itertools.count():
            if not sending.is_alive():
                break
            begun = time.monotonic()
            if len(new) < NEWCOMERS:
                new += self.visit(self.part(NEW + len(new)), PART)
                took += time.monotonic() - begun
            returned += self.visit(self.part(part * PART % CLIENTS), PART)
        failed = programs.failures(new + returned)
        print(f"under the flood: {len(new)} new clients, {len(new) / took:.0f}/s; {len(returned)} returns; of all of "
              f"these {len(failed)} failed: {collections.Counter(one.words for one in failed)}", flush=True)
        # A connection that is half open is the flood's equal: of two SYNs nobody can tell which will be followed by an
        # ACK.
        self.assertLessEqual(len(failed), (len(new) + len(returned)) * MOST_FAILURES)
        return programs.pods_by_client([one for one in returned if one not in failed])

    def part(self, first):
        """limpet-clients begins with the address after this one."""
        network = ipaddress.ip_network(self.plan.many)
        return f"{network[first]}/{network.prefixlen}"

    def print_evictions(self, before, after):
        changes = {name: after[name] - before.get(name, 0) for name in after if "evict" in name or "refused" in name}
        print(", ".join(f"{name} {count}" for name, count in changes.items() if count), flush=True)
        self.assertGreater(sum(count for name, count in changes.items() if "evict" in name), 0, "something had to go")
        self.assertEqual(changes["affinities_evicted_confirmed"], 0)


if __name__ == "__main__":
    lab.main(build)
