#!/usr/bin/python3
"""cli_test.py: the program as a person at a terminal meets it: exit codes, messages, what `explain`, `replay`
and `trace` print.

    usage   cli_test.py PROGRAM [TEST ...]

A message must name what is wrong and say what to do. Exit codes: 0 ok, 2 usage, 3 configuration. Nothing here needs a
network or a privilege. Runs with the system's Python, standard library only.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest

SEED = pathlib.Path(__file__).resolve().parents[1] / "deploy" / "seed.yaml"
DATA = pathlib.Path(__file__).resolve().parent / "data"
CONNECTION = ("--from", "203.0.113.7", "--to", "10.31.240.99:80")
SUBCOMMANDS = ("run", "check", "explain", "replay", "trace", "show", "affinity", "rules", "divert", "doctor")
POINTER = r"--help"  # what to do about a command line that cannot be understood

program = None  # the path of limpet, once main() knows it


def limpet(*words):
    return subprocess.run([program, *map(str, words)], capture_output=True, text=True, timeout=30,
                          stdin=subprocess.DEVNULL)


class Case(unittest.TestCase):
    def check_refused(self, exit_code, words, *patterns):
        """Nothing on stdout, this exit code, and every pattern in the message."""
        done = limpet(*words)
        self.assertEqual((done.returncode, done.stdout), (exit_code, ""), done.stderr)
        for pattern in patterns:
            self.assertRegex(done.stderr, pattern)
        return done.stderr


class Usage(Case):
    def test_what_cannot_be_understood_is_named(self):
        explain = ("explain", "-c", SEED)
        table = [
            ("no arguments", (), "subcommand", POINTER),
            ("unknown subcommand", ("frobnicate",), "frobnicate", POINTER),
            ("unknown option", ("check", "-c", SEED, "--frobnicate"), "--frobnicate", POINTER),
            ("one word too many", ("check", "-c", SEED, "extra"), "extra", POINTER),
            ("run without -c", ("run",), "--config", POINTER),
            ("check without -c", ("check",), "--config", POINTER),
            ("explain without -c", ("explain", *CONNECTION), "--config", POINTER),
            ("divert without a verb", ("divert",), "subcommand", POINTER),
            ("divert print without -c", ("divert", "print"), "--config", POINTER),
            ("doctor with a word too many", ("doctor", "extra"), "extra", POINTER),
            ("-c without a file", ("check", "-c"), "--config", POINTER),
            ("explain without --from", (*explain, "--to", "10.31.240.99:80"), "--from", POINTER),
            ("explain without --to", (*explain, "--from", "203.0.113.7"), "--to", POINTER),
            ("--seed that is no number", (*explain, *CONNECTION, "--seed", "many"), "--seed", "many"),
            ("unknown protocol", (*explain, *CONNECTION, "--protocol", "gre"), "'gre'", "tcp, udp, sctp or udplite"),
            ("protocol without ports", (*explain, *CONNECTION, "--protocol", "icmp"), "'icmp'", "tcp, udp, sctp or udplite"),
            ("--seed below 0", (*explain, *CONNECTION, "--seed", "-1"), "--seed", "-1"),
            ("--to port 0", (*explain, "--from", "203.0.113.7", "--to", "10.31.240.99:0"),
             "--to '10.31.240.99:0'", "IP:PORT"),
            ("trace: two daemons", ("trace", "-c", SEED, "--socket", "/x", "--from", "10.0.0.1"), "excludes --socket",
             POINTER),
            ("trace of a capture without -c", ("trace", "--pcap", DATA / "any.pcap", "--from", "10.0.0.1"), "--config",
             POINTER),
            ("live trace: bad --from", ("trace", "--from", "10.0.0.256"), "--from '10.0.0.256'", "as in 203.0.113.7"),
            ("show without a list", ("show",), "subcommand", POINTER),
            ("show of what is no list", ("show", "pods"), "'pods'", POINTER),
            ("show: a filter of other lists", ("show", "queues", "--client", "10.0.0.1"), "--client", POINTER),
            ("affinity without a verb", ("affinity",), "subcommand", POINTER),
            ("affinity delete without --client", ("affinity", "delete", "--service", "t/web:http"), "--client", POINTER),
            ("affinity flush of nobody's", ("affinity", "flush"), "--service", "--all"),
            ("affinity flush of all and one", ("affinity", "flush", "--all", "--service", "t/web:http"), "--service",
             POINTER),
            ("rules without a verb", ("rules",), "subcommand", POINTER),
            ("rules explain without a file", ("rules", "explain"), "FILE", POINTER),
            ("rules explain: no such table", ("rules", "explain", "-", "--table", "security"), "--table", "security"),
            ("trace without --from", ("trace", "-c", SEED, "--pcap", DATA / "any.pcap"), "--from", POINTER),
            ("trace: bad --from", ("trace", "-c", SEED, "--pcap", DATA / "any.pcap", "--from", "10.0.0.256"),
             "--from '10.0.0.256'", "as in 203.0.113.7"),
            ("bad --from", (*explain, "--from", "203.0.113.700", "--to", "10.31.240.99:80"),
             "--from '203.0.113.700'", "as in 203.0.113.7"),
            ("bad --to", (*explain, "--from", "203.0.113.7", "--to", "10.31.240.999:80"),
             "--to '10.31.240.999:80'", "as in 10.96.0.10:80"),
            ("--to without a port", (*explain, "--from", "203.0.113.7", "--to", "10.31.240.99"),
             "--to '10.31.240.99'", "IP:PORT"),
            ("two families", (*explain, "--from", "fd00::1", "--to", "10.31.240.99:80"), "--from and --to", "families"),
        ]
        for name, words, *patterns in table:
            with self.subTest(name):
                self.check_refused(2, words, *patterns)

    def test_every_bad_word_of_a_connection_is_named_at_once(self):
        words = ("explain", "-c", SEED, "--from", "nobody", "--to", "nowhere", "--protocol", "gre")
        self.check_refused(2, words, "'nobody'", "'nowhere'", "'gre'")

    def test_help_and_version_are_no_errors(self):
        done = limpet("--help")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for word in ("--version", "Exit codes", *SUBCOMMANDS):
            self.assertIn(word, done.stdout)
        for subcommand in SUBCOMMANDS:
            with self.subTest(subcommand):
                done = limpet(subcommand, "--help")
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertIn(subcommand, done.stdout)
        done = limpet("--version")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"\Alimpet \d+\.\d+\.\d+\n\Z")


class Configuration(Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="limpet-cli-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, text):
        path = self.folder / "limpet.yaml"
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
        return path

    def everywhere(self, config):
        """Every subcommand that reads a configuration, and needs nothing else before that."""
        return (("check", "-c", config), ("run", "-c", config), ("divert", "print", "-c", config),
                ("explain", "-c", config, *CONNECTION), ("doctor", "-c", config),
                ("replay", "-c", config, "--packets", DATA / "any.pcap"),
                ("trace", "-c", config, "--pcap", DATA / "any.pcap", "--from", "203.0.113.7"))

    def test_a_file_that_cannot_be_read_is_named(self):
        for path, reason in ((self.folder / "missing.yaml", "No such file or directory"),
                             (self.folder, "Is a directory"),
                             (self.write("services: []\n") / "below", "Not a directory")):
            for words in self.everywhere(path):
                with self.subTest(words=words):
                    self.check_refused(3, words, re.escape(str(path)), reason, "name a readable file")

    def check_errors(self, text, expected):
        """`check` says exactly these: (line, column, what is named, what to do), and `explain` and `run` refuse too."""
        path = self.write(text)
        for words in self.everywhere(path):
            message = self.check_refused(3, words)
            errors = [line for line in message.splitlines() if "error: " in line]
            self.assertEqual(len(errors), len(expected), message)
            for error, (line, column, named, advice) in zip(errors, expected):
                self.assertTrue(error.startswith(f"{path}:{line}:{column}: error: "), error)
                self.assertIn(named, error)
                self.assertRegex(error, advice)

    def test_what_is_not_yaml_has_a_place(self):
        # Where a person must look: the entry behind a tab that indents; the end, where a list is still open.
        self.check_errors("services:\n\t- {}\n", [(2, 2, "not YAML", "indentation")])
        self.check_errors("services: [\n", [(2, 1, "not YAML", "brackets")])
        self.check_errors(b"", [(1, 1, "empty", "a minimal one is")])

    def test_every_error_is_told_at_once_with_its_place(self):
        # Counted by hand: line, and the column of the value, or of the key when the key is what is wrong.
        self.check_errors(
            """\
            stop: never
            onDeath: hode
            colour: red
            stop: keep
            services:
              - name: web
                clusterIP: 10.0.0.300
                port: 99999
              - name: a/b:c
                clusterIP: 10.0.0.1
                port: 80
                protocol: GRE
                endpoints:
                  - {address: nowhere}
            """,
            [(1, 7, "'never'", "write keep or remove"),
             (2, 10, "'hode'", "write hold or bypass"),
             (3, 1, "'colour'", "known are .*services"),
             (4, 1, "'stop'", "first on line 1; keep one"),
             (6, 11, "'web'", "write namespace/name:port"),
             (7, 16, "'10.0.0.300'", "write a unicast IP address"),
             (8, 11, "'99999'", "write a number from 1 to 65535"),
             (12, 15, "'GRE'", "write TCP, UDP, SCTP or UDPLite"),
             (14, 19, "'nowhere'", "write a unicast IP address")])

    def test_warnings_do_not_refuse(self):
        path = self.write("services: []\n")
        done = limpet("check", "-c", path)
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stderr, f"\\A{re.escape(str(path))}:1:11: warning: .*\n\\Z")

    def test_the_sample_configuration_is_good(self):
        done = limpet("check", "-c", SEED)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, "2 services, 8 endpoints")


class Explain(Case):
    def test_the_object_for_the_sample_configuration(self):
        # By hand from the seed: a VIP, four pods; from outside the podCIDRs, therefore masqueraded; never seen before.
        pods = ["10.28.6.5:80", "10.28.7.6:80", "10.28.8.5:80", "10.28.8.6:80"]
        done = limpet("explain", "-c", SEED, *CONNECTION, "--protocol", "tcp", "-j")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout.count("\n"), 1, "one line")
        found = json.loads(done.stdout, object_pairs_hook=list)
        self.assertEqual([key for key, _ in found],
                         ["action", "endpoints", "endpoint", "masquerade", "service", "affinity", "reason", "why"])
        found = dict(found)
        endpoint, reason, why = found.pop("endpoint"), found.pop("reason"), found.pop("why")
        self.assertEqual(found, {"action": "dnat", "endpoints": pods, "masquerade": True, "affinity": "miss",
                                 "service": "default/php-apache-svc:http"})
        self.assertIn(endpoint, pods)
        self.assertRegex(reason, "chosen at random")
        self.assertTrue(why and all(isinstance(words, str) and words for words in why), why)

    def test_the_object_of_an_unknown_destination(self):
        done = limpet("explain", "-c", SEED, "--from", "203.0.113.7", "--to", "10.31.240.99:81", "-j")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        found = json.loads(done.stdout)
        self.assertTrue(found.pop("reason") and found.pop("why"))
        self.assertEqual(found, {"action": "none", "endpoints": [], "endpoint": None, "masquerade": False,
                                 "service": None, "affinity": "none"})

    def test_a_table_for_people_says_the_same(self):
        words = ("explain", "-c", SEED, *CONNECTION, "--seed", "7")
        chosen = json.loads(limpet(*words, "-j").stdout)["endpoint"]
        done = limpet(*words)
        self.assertEqual(done.returncode, 0)
        rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if not line.startswith(" "))
        self.assertEqual((rows["action"], rows["endpoint"], rows["masquerade"]), ("dnat", chosen, "yes"))


class Replay(Case):
    """A timeline of connections to the sample configuration's service: 10800 s of affinity, inclusive."""

    PODS = ["10.28.6.5:80", "10.28.7.6:80", "10.28.8.5:80", "10.28.8.6:80"]

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="limpet-cli-test-")
        self.addCleanup(folder.cleanup)
        self.events = pathlib.Path(folder.name) / "events.jsonl"

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


class Rules(Case):
    """The dump that limpet began with, as it stands in its document; expected values are the document's."""

    DUMP = DATA / "session-affinity-seed.md"

    def test_explain_says_what_the_document_says(self):
        done = limpet("rules", "explain", self.DUMP, "-j")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout.count("\n"), 1, "one line")
        found = json.loads(done.stdout)
        (service,) = found["services"]
        views = {view["name"]: view for view in service["views"]}
        reached = {frontend["kind"]: views[frontend["routes"][0]["view"]] for frontend in service["frontends"]}
        shares = {kind: {one["endpoint"]: round(one["share"], 5) for one in view["endpoints"]}
                  for kind, view in reached.items()}
        self.assertEqual(shares, {
            "clusterIP": {"10.28.6.5:80": .25, "10.28.7.6:80": .25, "10.28.8.5:80": .25, "10.28.8.6:80": .25},
            "nodePort": {"10.28.8.5:80": .5, "10.28.8.6:80": .5}})
        self.assertEqual({view["affinity"]["seconds"] for view in views.values()}, {10800})
        self.assertEqual((found["literal"], len(found["completed"])), ([], 6))

    def test_explain_reads_the_standard_input(self):
        done = subprocess.run([program, "rules", "explain", "-"], input=self.DUMP.read_text(), capture_output=True,
                              text=True, timeout=30)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout, limpet("rules", "explain", self.DUMP).stdout)

    def test_import_gives_what_check_takes(self):
        done = limpet("rules", "import", self.DUMP, "--node", "here")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stderr, r"\Adefault/php-apache-svc:http: nodePort 31332: .*2 local endpoints.* all 4 \(short "
                         r"circuit\).*\n\Z")
        with tempfile.TemporaryDirectory(prefix="limpet-cli-test-") as folder:
            path = pathlib.Path(folder) / "imported.yaml"
            path.write_text(done.stdout)
            check = limpet("check", "-c", path)
            self.assertEqual((check.returncode, check.stderr), (0, ""))
            self.assertRegex(check.stdout, "1 service, 4 endpoints")
            asked = limpet("explain", "-c", path, "--from", "203.0.113.7", "--to", "10.31.240.99:80", "-j")
            self.assertEqual(json.loads(asked.stdout)["endpoints"],
                             ["10.28.6.5:80", "10.28.7.6:80", "10.28.8.5:80", "10.28.8.6:80"])

    def test_what_cannot_be_read_or_honoured_is_named(self):
        self.check_refused(2, ("rules", "import", self.DUMP, "--node", "a: b"), "--node 'a: b'", "write letters")
        self.check_refused(3, ("rules", "explain", DATA / "none"), "none: cannot be read", "name a readable file")
        self.check_refused(3, ("rules", "explain", DATA / "README.md"), "README.md: holds no iptables rules",
                           "iptables-save")


class Trace(Case):
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
        folder = tempfile.TemporaryDirectory(prefix="limpet-cli-test-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

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


def main():
    global program
    if len(sys.argv) < 2 or not pathlib.Path(sys.argv[1]).is_file():
        sys.exit(f"{' '.join(sys.argv[1:2]) or 'no program'}: not built; usage: {pathlib.Path(sys.argv[0]).name} PROGRAM [TEST ...]")
    program = str(pathlib.Path(sys.argv[1]).resolve())
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[2:]])


if __name__ == "__main__":
    main()
