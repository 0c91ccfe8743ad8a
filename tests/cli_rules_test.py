#!/usr/bin/python3
"""cli_rules_test.py: `limpet rules` as a person at a terminal meets it.

    usage   cli_rules_test.py PROGRAM [TEST ...]
"""

import json

import cli_case
from cli_case import DATA, SEED, limpet


class Rules(cli_case.Case):
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
        self.assertEqual((found["apart"], len(found["completed"])), ([], 6))
        self.assertEqual(len(found["compiled"]) + len(found["literal"]), found["rules"])

    def test_explain_reads_the_standard_input(self):
        done = limpet("rules", "explain", "-", stdin=self.DUMP.read_text())
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(done.stdout, limpet("rules", "explain", self.DUMP).stdout)

    def test_import_gives_what_check_takes(self):
        done = limpet("rules", "import", self.DUMP, "--node", "here")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stderr, r"\Adefault/php-apache-svc:http: nodePort 31332: .*2 local endpoints.* all 4 \(short "
                         r"circuit\).*\n\Z")
        path = self.make_folder() / "imported.yaml"
        path.write_text(done.stdout)
        check = limpet("check", "-c", path)
        self.assertEqual((check.returncode, check.stderr), (0, ""))
        self.assertRegex(check.stdout, "1 service, 4 endpoints")
        asked = limpet("explain", "-c", path, "--from", "203.0.113.7", "--to", "10.31.240.99:80", "-j")
        self.assertEqual(json.loads(asked.stdout)["endpoints"],
                         ["10.28.6.5:80", "10.28.7.6:80", "10.28.8.5:80", "10.28.8.6:80"])

    def test_what_is_exported_is_what_was_imported(self):
        here = self.make_folder()
        first, rules = here / "first.yaml", here / "exported.rules"
        first.write_text(limpet("rules", "import", self.DUMP, "--node", "here").stdout)
        done = limpet("rules", "export", "-c", first)
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stderr, r"\A1 service has sessionAffinity: .*100 clients.*ip_list_tot=N.*\n\Z")
        dumped = {word for word in self.DUMP.read_text().split() if word.startswith(("KUBE-SVC-", "KUBE-SEP-"))}
        self.assertEqual({word for word in dumped if word not in done.stdout}, set())
        rules.write_text(done.stdout)
        again = limpet("rules", "import", rules, "--node", "here")
        self.assertEqual((again.returncode, again.stdout), (0, first.read_text()))
        self.assertRegex(again.stderr, r"\A\d+ rules take no part in a service: .*\n\Z", "the frame in filter")

    def test_export_is_of_one_family(self):
        done = limpet("rules", "export", "-c", SEED, "--family", "6")
        self.assertEqual(done.returncode, 0)
        self.assertIn("2 services are of IPv4: export them with --family 4\n", done.stderr)
        self.assertIn("icmp6" if "REJECT" in done.stdout else "! -d ::1/128", done.stdout)
        self.assertNotIn("KUBE-SVC-", done.stdout)
        self.check_refused(3, ("rules", "export", "-c", DATA / "none"), "none: .*cannot")

    def test_what_cannot_be_read_or_honoured_is_named(self):
        self.check_refused(2, ("rules", "import", self.DUMP, "--node", "a: b"), "--node 'a: b'", "write letters")
        self.check_refused(3, ("rules", "explain", DATA / "none"), "none: cannot be read", "name a readable file")
        self.check_refused(3, ("rules", "explain", DATA / "README.md"), "README.md: holds no iptables rules",
                           "iptables-save")


if __name__ == "__main__":
    cli_case.main()
