"""Tests of the driver's pure parts: the rules that it generates and the ratios that it computes."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import kube_rules  # noqa: E402
import report  # noqa: E402
import rig  # noqa: E402
from modes import Mode, Sample, all_modes  # noqa: E402


def sample(rate: float, cpu_ns: float = 1000, lost: int = 0) -> Sample:
    return Sample(rate, cpu_ns, sent=100, arrived=100 - lost, lost=lost, seconds=1)


class KubeRules(unittest.TestCase):
    SERVICE = kube_rules.ServicePort("default/web:http", "10.96.0.1", 80, "tcp",
                                     tuple((f"10.2.0.{i}", 80) for i in (1, 2, 3, 4)))

    def test_known_clients_come_before_random_choice(self):
        rules = kube_rules.service_rules(self.SERVICE)
        self.assertEqual(["recent"] * 4 + ["statistic"] * 3 + ["KUBE-SEP"],
                         [next(word for word in ("recent", "statistic", "KUBE-SEP") if word in rule) for rule in rules])

    def test_probabilities_share_what_is_left(self):
        # 1/4 of all, 1/3 of the rest, 1/2 of that, then the last without a condition: the seed's dump has 0.25, 0.3333…, 0.5.
        rules = kube_rules.service_rules(self.SERVICE)[4:]
        shown = [rule.split("--probability ")[1].split()[0] for rule in rules if "--probability" in rule]
        self.assertEqual(["0.2500000000", "0.3333333333", "0.5000000000"], shown)
        self.assertNotIn("statistic", rules[-1])

    def test_rule_reads_like_kube_proxys(self):
        chain = kube_rules.endpoint_chain(self.SERVICE, ("10.2.0.1", 80))
        self.assertRegex(chain, r"^KUBE-SEP-[A-Z2-7]{16}$")
        self.assertEqual(
            f'-A {chain} -p tcp -m comment --comment "default/web:http" -m recent --set --name {chain} '
            "--mask 255.255.255.255 --rsource -m tcp -j DNAT --to-destination 10.2.0.1:80",
            kube_rules.endpoint_rules(self.SERVICE, ("10.2.0.1", 80))[1])

    def test_every_jump_leads_to_a_declared_chain(self):
        lines = kube_rules.nat_table(self.SERVICE).splitlines()
        declared = {line[1:].split()[0] for line in lines if line.startswith(":")} | {"MARK", "DNAT"}
        self.assertLessEqual({line.rsplit("-j ", 1)[1].split()[0] for line in lines if "-j " in line}, declared)


class Report(unittest.TestCase):
    def test_ratio_is_of_the_medians(self):
        # medians 20 and 10, although one round was disturbed
        results = {"a": [sample(20), sample(1), sample(22)], "b": [sample(10), sample(10), sample(11)]}
        self.assertEqual(2, report.ratio(results, "a", "b"))
        self.assertEqual([2, 0.1, 2], report.round_ratios(results, "a", "b"))

    def test_bar_is_inclusive_and_a_miss_is_counted(self):
        met, missed = report.ratios_table({"echo": [sample(14)], "one-by-one": [sample(10)]})
        self.assertIn("| echo / one-by-one | 1.4 | 1.40 | 1.40 – 1.40 | 1.00 | met |", met)
        self.assertEqual(0, missed)
        not_met, missed = report.ratios_table({"echo": [sample(13.9)], "one-by-one": [sample(10)]})
        self.assertIn("NOT MET", not_met)
        self.assertEqual(1, missed)

    def test_missing_mode_is_not_measured_rather_than_met(self):
        table, missed = report.ratios_table({"echo": [sample(1)]})
        self.assertEqual(len(report.RATIOS), table.count("not measured"))
        self.assertEqual(0, missed)

    def test_losses_of_all_rounds_are_shown(self):
        table = report.results_table([Mode("a", lambda *_: None)], {"a": [sample(10, lost=2), sample(10, lost=3)]})
        self.assertIn("| a | 10 pps | 10 pps – 10 pps | 1,000 | 100 | 5 | 0 | 0 |", table)

    def test_every_ratio_names_modes_that_exist(self):
        names = {mode.name for mode in all_modes()}
        self.assertLessEqual({name for entry in report.RATIOS for name in (entry.above, entry.below)}, names)

    def test_csv_has_a_row_a_sample(self):
        with tempfile.TemporaryDirectory() as folder:
            report.write_csv(Path(folder) / "x.csv", {"a": [sample(1.5), sample(2.5)]})
            rows = (Path(folder) / "x.csv").read_text().splitlines()
        self.assertEqual("mode,round,rate,cpu_ns,sent,arrived,lost,seconds,queue_drops,conntrack_failures", rows[0])
        self.assertEqual("a,2,2.5,1000,100,100,0,1,0,0", rows[2])


class Addresses(unittest.TestCase):
    def test_endpoints_cross_the_last_byte(self):
        # 10.2.0.1 + 511 = 10.2.2.0
        self.assertEqual(("10.2.2.0", 80), rig.sink_endpoints(512)[-1])

    def test_clients_end_before_the_vip(self):
        self.assertEqual("10.95.255.255", rig.dotted(rig.LAST_CLIENT))


if __name__ == "__main__":
    unittest.main()
