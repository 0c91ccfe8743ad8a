#!/usr/bin/python3
"""cli_test.py: the program as a person at a terminal meets it: command lines, configurations, `explain`.

    usage   cli_test.py PROGRAM [TEST ...]

Nothing here needs a network or a privilege.
"""

import json
import re
import textwrap

import cli_case
from cli_case import CONNECTION, DATA, POINTER, SEED, limpet

SUBCOMMANDS = ("run", "check", "explain", "replay", "trace", "show", "affinity", "rules", "divert", "doctor")


class Usage(cli_case.Case):
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


class Configuration(cli_case.Case):
    def setUp(self):
        self.folder = self.make_folder()

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


class Explain(cli_case.Case):
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


if __name__ == "__main__":
    cli_case.main()
