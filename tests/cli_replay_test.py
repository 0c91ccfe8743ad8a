#!/usr/bin/python3
"""cli_replay_test.py: `limpet replay` as a person at a terminal meets it.

    usage   cli_replay_test.py PROGRAM [TEST ...]
"""

import json
import shutil

import cli_case
from cli_case import CONNECTION, DATA, POINTER, SEED, limpet


class Replay(cli_case.Case):
    """A timeline of connections to the sample configuration's service: 10800 s of affinity, inclusive."""

    PODS = ["10.28.6.5:80", "10.28.7.6:80", "10.28.8.5:80", "10.28.8.6:80"]

    def setUp(self):
        self.events = self.make_folder() / "events.jsonl"

    def write(self, *events):
        lines = [event if isinstance(event, str) else json.dumps(event) for event in events]
        self.events.write_text("".join(line + "\n" for line in lines))
        return self.events

    @staticmethod
    def event(t, client="203.0.113.7", to="10.31.240.99:80", **more):
        return {"t": t, "from": f"{client}:40000", "to": to, "protocol": "tcp", **more}

    def objects(self, *words):
        done = limpet("replay", "-c", SEED, "--packets", self.events, "-j", *words)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return [json.loads(line) for line in done.stdout.splitlines()]

    def test_the_object_is_that_of_explain_with_its_time(self):
        self.write(self.event(0.25))
        explained = json.loads(limpet("explain", "-c", SEED, *CONNECTION, "-j").stdout, object_pairs_hook=list)
        done = limpet("replay", "-c", SEED, "--packets", self.events, "-j")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(json.loads(done.stdout, object_pairs_hook=list), [("t", 0.25), *explained])

    def test_affinity_goes_by_the_timelines_clock(self):
        self.write(self.event(1.5), self.event(10801.5), self.event(21601.501), self.event(21602, "203.0.113.8"),
                   self.event(21603, to="10.31.240.99:81"))
        found = self.objects()
        self.assertEqual([(one["t"], one["action"], one["affinity"]) for one in found],
                         [(1.5, "dnat", "miss"), (10801.5, "dnat", "hit"), (21601.501, "dnat", "expired"),
                          (21602, "dnat", "miss"), (21603, "none", "none")])
        self.assertEqual(found[0]["endpoint"], found[1]["endpoint"])
        self.assertIsNone(found[4]["endpoint"])

    def test_the_seed_alone_decides(self):
        self.write(*(self.event(n, f"198.18.0.{n}") for n in range(100)))
        first = self.objects("--seed", "7")
        self.assertEqual(first, self.objects("--seed", "7"))
        self.assertNotEqual(first, self.objects("--seed", "8"))
        self.assertEqual(sorted({one["endpoint"] for one in first}), self.PODS)  # one missing: 4 * 0.75^100

    def test_an_iptables_program_is_replayed_too(self):
        # The write-up's dump: from outside, the nodePort's two pods on this node, known for 10800 s (tick: 4 ms).
        config = self.events.parent / "limpet.yaml"
        shutil.copy(DATA / "session-affinity-seed.md", self.events.parent / "dump.md")
        config.write_text("node: {nodeIP: 10.128.0.5}\nservices: []\nrules: {file: dump.md}\n")
        door = "10.128.0.5:31332"
        self.write(self.event(0, to=door), self.event(10800, to=door), self.event(21600.004, to=door),
                   self.event(21601, to="10.128.0.5:80"))
        done = limpet("replay", "-c", config, "--packets", self.events, "-j")
        self.assertEqual(done.returncode, 0, done.stderr)
        _, added = done.stderr.split("rules: completed by what kube-proxy always writes:\n")
        self.assertIn("  -t nat -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n", added)
        self.assertEqual(added.count("\n"), 6)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([(one["action"], one["affinity"], one["service"]) for one in found],
                         [("dnat", affinity, "default/php-apache-svc:http") for affinity in ("miss", "hit", "expired")]
                         + [("none", "none", None)])
        self.assertEqual(found[0]["endpoints"], ["10.28.8.5:80", "10.28.8.6:80"])
        self.assertEqual(found[0]["endpoint"], found[1]["endpoint"])
        self.assertTrue(any(rule.endswith("-j DNAT --to-destination " + found[0]["endpoint"]) for rule in found[0]["why"]))
        (self.events.parent / "dump.md").write_text("-A PREROUTING -j NOWHERE\n")
        for words in (("replay", "-c", config, "--packets", self.events), ("explain", "-c", config, *CONNECTION)):
            with self.subTest(words=words):
                self.check_refused(3, words, "dump.md:1: ")

    def test_a_capture_is_a_timeline_too(self):
        # Of client_side.pcap: two TCP connections begin, and one datagram; none is for the sample's services.
        done = limpet("replay", "-c", SEED, "--packets", DATA / "client_side.pcap", "-j")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        found = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([(one["t"], one["action"]) for one in found],
                         [(1700000000, "none"), (1700000000.005, "none"), (1700000001, "none")])

    def test_a_table_for_people(self):
        self.write(self.event(0), self.event(1), self.event(2.5, "203.0.113.8", to="10.31.240.99:81"))
        done = limpet("replay", "-c", SEED, "--packets", self.events)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        head, first, second, other, empty, *summary = done.stdout.splitlines()
        self.assertEqual(head.split(), ["t", "from", "to", "proto", "action", "endpoint", "affinity"])
        chosen = first.split()[5]
        self.assertIn(chosen, self.PODS)
        self.assertEqual(first.split(), ["0", "203.0.113.7:40000", "10.31.240.99:80", "tcp", "dnat", chosen, "miss"])
        self.assertEqual(second.split(), ["1", "203.0.113.7:40000", "10.31.240.99:80", "tcp", "dnat", chosen, "hit"])
        self.assertEqual(other.split(), ["2.5", "203.0.113.8:40000", "10.31.240.99:81", "tcp", "none", "-", "none"])
        self.assertEqual({line.index("dnat") for line in (first, second)}, {head.index("action")})
        self.assertEqual((empty, summary[0]), ("", "3 connections"))
        self.assertEqual([line.split() for line in summary[1:]],
                         [["action", "dnat", "2", "66.67", "%"], ["none", "1", "33.33", "%"],
                          ["affinity", "hit", "1", "50.00", "%"], ["miss", "1", "50.00", "%"],
                          ["endpoint", chosen, "2", "100.00", "%"]])

    def test_what_is_wrong_is_named_with_its_line(self):
        good = self.event(5)
        table = [
            ("no JSON", "t=1", ":2: is no JSON", "write one object a line"),
            ("no address", self.event(6, "nobody"), ":2: 'from': 'nobody:40000' is not IP:PORT", "203.0.113.7:40000"),
            ("another key", self.event(6, mark=1), ":2: 'mark' is not known", "known are t, from, to"),
            ("back in time", self.event(4), ":2: 't' is less than in the line before", "sort"),
        ]
        for name, event, *patterns in table:
            with self.subTest(name):
                self.write(good, event, good)
                done = limpet("replay", "-c", SEED, "--packets", self.events, "-j")
                self.assertEqual(done.returncode, 3)
                self.assertEqual(done.stdout.count("\n"), 1, "what is before it is played")
                for pattern in patterns:
                    self.assertIn(pattern, done.stderr)
                self.assertIn(str(self.events), done.stderr)

    def test_what_cannot_be_replayed_is_named(self):
        self.check_refused(1, ("replay", "-c", SEED, "--packets", self.events.parent / "none"), "none cannot be read")
        self.check_refused(2, ("replay", "-c", SEED), "--packets", POINTER)
        self.check_refused(2, ("replay", "--packets", self.write(self.event(0))), "--config", POINTER)


if __name__ == "__main__":
    cli_case.main()
