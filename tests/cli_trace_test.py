#!/usr/bin/python3
"""cli_trace_test.py: `limpet trace` of a capture as a person at a terminal meets it.

    usage   cli_trace_test.py PROGRAM [TEST ...]
"""

import json
import re
import textwrap

import cli_case
from cli_case import DATA, SEED, limpet


class Trace(cli_case.Case):
    """The captures are those of data/make_captures.py; what should happen to them follows from its text and from the one
    configuration here: a masquerade port that is the only one, and one endpoint for the IPv6 service."""

    CLIENT = "203.0.113.7"
    CONFIG = """\
        node: {name: here, nodeIP: 10.128.0.5, addresses: ["fd00::5"], podCIDRs: [10.2.0.0/16, "fd02::/16"]}
        masqueradePorts: [2000]
        services:
          - name: t/web:http
            clusterIP: 10.96.0.10
            port: 80
            sessionAffinity: ClientIP
            endpoints:
              - {address: 10.2.0.1, port: 8080, nodeName: here, weight: %d}
              - {address: 10.2.0.2, port: 8080, nodeName: here, weight: %d}
          - {name: t/dns:dns, clusterIP: 10.96.0.20, port: 53, protocol: UDP}
          - {name: t/six:http, clusterIP: "fd96::10", port: 80, endpoints: [{address: "fd02::1", port: 8080}]}
        """

    def setUp(self):
        self.folder = self.make_folder()

    def words(self, capture, client=CLIENT, endpoint=1):
        """Of a trace where only the endpoint 10.2.0.`endpoint` may be chosen."""
        config = self.folder / "limpet.yaml"
        config.write_text(textwrap.dedent(self.CONFIG) % (endpoint == 1, endpoint == 2))
        return ("trace", "-c", config, "--pcap", capture, "--from", client)

    def objects(self, capture, *args, **kwargs):
        done = limpet(*self.words(DATA / capture, *args, **kwargs), "-j")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return [json.loads(line) for line in done.stdout.splitlines()]

    @staticmethod
    def brief(crossing):
        """(packet, hook, key, as it came, as it left)."""
        to = crossing.get("to", crossing)
        return (crossing["packet"], crossing["hook"], crossing["key"], f"{crossing['source']} > {crossing['destination']}",
                f"{to['source']} > {to['destination']}" if crossing["verdict"] == "accept" else "drop")

    client, vip, pod, node = f"{CLIENT}:40000", "10.96.0.10:80", "10.2.0.1:8080", "10.128.0.5:2000"

    def request(self, number, key="outer"):
        return [(number, "PREROUTING", key, f"{self.client} > {self.vip}", f"{self.client} > {self.pod}"),
                (number, "POSTROUTING", "middle", f"{self.client} > {self.pod}", f"{self.node} > {self.pod}")]

    def reply(self, number):
        return [(number, "PREROUTING", "inner", f"{self.pod} > {self.node}", f"{self.pod} > {self.client}"),
                (number, "POSTROUTING", "middle", f"{self.pod} > {self.client}", f"{self.vip} > {self.client}")]

    def test_a_capture_from_the_clients_side(self):
        found = self.objects("client_side.pcap")
        expected = [*self.request(1, "new"), *self.reply(2), *self.request(3), *self.request(4), *self.reply(5),
                    *self.request(8), *self.reply(9), *self.request(10)]  # 6 is ARP, 7 somebody else's
        self.assertEqual([self.brief(crossing) for crossing in found[:len(expected)]], expected)
        refused, *error = found[len(expected):]
        self.assertEqual((refused["packet"], refused["outcome"], refused["answer"]), (11, "dropped_rejected",
                                                                                    "port_unreachable"))
        self.assertEqual([(one["packet"], one["hook"], one["verdict"], one["outcome"]) for one in error],
                         [(12, hook, "accept", "accepted_miss") for hook in ("PREROUTING", "POSTROUTING")])

    def test_the_object_of_a_new_connection(self):
        first = self.objects("client_side.pcap")[0]
        self.assertEqual(first, {
            "t": 1700000000.0, "packet": 1, "hook": "PREROUTING", "protocol": "tcp", "source": self.client,
            "destination": self.vip, "detail": "S", "key": "new",
            "decision": {"action": "dnat", "service": "t/web:http", "endpoint": self.pod, "masquerade": True,
                         "affinity": "miss", "reason": "picked"},
            "outcome": "rewritten", "to": {"source": self.client, "destination": self.pod}, "mark": True,
            "verdict": "accept"})

    def test_a_capture_of_all_interfaces_runs_each_packet_once(self):
        # Packets 1 to 6: request, its translation, reply, its translation; request, its translation. The balancer that was
        # captured chose 10.2.0.2 and kept the client's port.
        for endpoint in (1, 2):
            with self.subTest(endpoint=endpoint):
                found = self.objects("any.pcap", endpoint=endpoint)
                self.pod = f"10.2.0.{endpoint}:8080"
                expected = [*self.request(1, "new"), *self.reply(3), *self.request(5)]
                self.assertEqual([self.brief(crossing) for crossing in found[:6]], expected)
                self.assertEqual(found[2]["captured"], {"source": "10.2.0.2:8080", "destination": "10.128.0.5:40000"})
                # The datagram to somebody else and what a router said of it: each once, nothing done to either.
                self.assertEqual([(one["packet"], one["hook"], one["outcome"]) for one in found[6:]],
                                 [(7, None, "not_diverted"), (9, "PREROUTING", "accepted_miss"),
                                  (9, "POSTROUTING", "accepted_miss")])

    def test_ipv6(self):
        client, vip, pod = "[2001:db8::7]:40000", "[fd96::10]:80", "[fd02::1]:8080"
        found = [self.brief(crossing) for crossing in self.objects("six.pcap", "2001:db8::7")]
        for number, key in ((1, "new"), (2, "outer")):  # the second is a retransmission
            self.assertEqual(found[2 * number - 2:2 * number],
                             [(number, "PREROUTING", key, f"{client} > {vip}", f"{client} > {pod}"),
                              (number, "POSTROUTING", "middle", f"{client} > {pod}", f"[fd00::5]:2000 > {pod}")])

    def test_a_table_for_people(self):
        done = limpet(*self.words(DATA / "client_side.pcap"))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        lines = done.stdout.splitlines()
        self.assertLessEqual(max(map(len, lines)), 120)
        self.assertEqual([line.split() for line in lines[:3]],
                         [["time", "hook", "packet", "key", "what", "becomes", "of", "it"],
                          ["0.000000", "PREROUTING", "tcp", self.client, ">", self.vip, "S", "new", "dst", ":=",
                           f"{self.pod},", "picked", "(miss),", "+mark"],
                          ["POSTROUTING", "tcp", self.client, ">", self.pod, "S", "middle", "src", ":=", f"{self.node},",
                           "-mark"]])
        self.assertEqual({line.index("new" if "new" in line else "middle") for line in lines[1:3]}, {lines[0].index("key")})
        self.assertRegex(done.stdout, r"drop: no endpoint, port unreachable sent")
        self.assertRegex(done.stdout, r"\n10 packets of 203\.0\.113\.7 among 12, the first at 2023-11-14T22:13:20\.000000Z\n")

    def test_the_same_seed_prints_the_same(self):
        words = self.words(DATA / "any.pcap")
        self.assertEqual(limpet(*words, "--seed", 7).stdout, limpet(*words, "--seed", 7).stdout)

    def test_what_cannot_be_traced_is_named(self):
        cut = self.folder / "cut.pcap"
        cut.write_bytes((DATA / "client_side.pcap").read_bytes()[:-1])
        table = [
            ("no file", self.folder / "none.pcap", self.CLIENT, "none.pcap", "No such file"),
            ("no capture", SEED, self.CLIENT, "seed.yaml cannot be read as a capture", "name a pcap"),
            ("no packet of the client", DATA / "client_side.pcap", "192.0.2.1", "no packet of 192.0.2.1 among the 12"),
            ("cut short", cut, self.CLIENT, "cannot be read beyond packet 11", "truncated"),
        ]
        for name, capture, client, *patterns in table:
            with self.subTest(name):
                done = limpet(*self.words(capture, client))
                self.assertEqual(done.returncode, 1)
                for pattern in patterns:
                    self.assertRegex(done.stderr, re.escape(pattern))
        self.assertRegex(done.stdout, "PREROUTING.*new", "what is before the cut is traced")


if __name__ == "__main__":
    cli_case.main()
