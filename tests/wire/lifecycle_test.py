#!/usr/bin/python3
"""Starting, ending, being killed, being started twice: exit codes, rules that stay or go, packets that wait."""

import pathlib
import re
import signal
import socket
import subprocess
import time
import unittest

import lab
import netns

BURST = 100  # small datagrams that a socket's default buffer holds


def build(network):
    network.serve_http()


def rules(host):
    """What stands in raw and mangle, where limpet's rules are, whichever iptables wrote them."""
    tables = ""
    for command in ("iptables-nft-save", "ip6tables-nft-save", "iptables-legacy-save", "ip6tables-legacy-save"):
        for table in ("raw", "mangle"):
            tables += host.run(command, "-t", table, check=False).stdout
    return re.sub(r"^[#:].*\n|\[\d+:\d+\]", "", tables, flags=re.MULTILINE)


class Lifecycle(unittest.TestCase):
    def setUp(self):
        self.net = lab.current
        self.plan = self.net.addresses

    def start(self, *options, **changes):
        limpet = self.net.limpet(*options, **changes)
        self.addCleanup(lambda: limpet.process.poll() is None and limpet.kill())
        return limpet

    def serving(self):
        return self.net.client.http_get(lab.url(self.plan.vip)).split()[0] in lab.PODS

    def reachable(self, address, port):
        done = self.net.client.run("curl", "-s", "-g", "--max-time", 1, lab.url(address, port), check=False)
        return done.returncode == 0

    def remove_what_is_left(self):
        """A clean end of the last one takes along what a killed one left."""
        self.assertEqual(self.start("--ephemeral").wait_ready().stop(), 0)
        self.assertNotIn("NFQUEUE", rules(self.net.node))

    def test_signals_end_it_and_remove_its_rules(self):
        for how in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(how.name):
                before = rules(self.net.node)
                limpet = self.start(stop="remove").wait_ready()
                self.assertTrue(self.serving())
                self.assertIn("NFQUEUE", rules(self.net.node))
                self.assertEqual(limpet.stop(how), 0)
                self.assertEqual(rules(self.net.node), before)

    def test_stop_keep_leaves_the_rules_for_the_next_one(self):
        limpet = self.start(stop="keep").wait_ready()
        during = rules(self.net.node)
        self.assertEqual(limpet.stop(), 0)
        self.assertEqual(rules(self.net.node), during)
        self.assertFalse(self.reachable(self.plan.vip, 80), "a packet to the VIP waits while nobody is there")
        self.start(stop="keep").wait_ready()
        self.assertTrue(self.serving())
        self.assertEqual(rules(self.net.node), during, "a second start must not double the rules")
        self.doCleanups()
        self.remove_what_is_left()

    def test_killed_with_hold_nothing_untranslated_leaves(self):
        limpet = self.start(onDeath="hold").wait_ready()
        self.assertTrue(self.serving())
        during = rules(self.net.node)
        limpet.kill()
        self.assertEqual(rules(self.net.node), during, "rules stay")
        self.assertFalse(self.reachable(self.plan.vip, 80))
        self.assertFalse(self.reachable(self.plan.pods["pod-a"], lab.HTTP_PORT), "hold: replies of endpoints wait")
        self.start(onDeath="hold").wait_ready()
        self.assertTrue(self.serving())
        self.doCleanups()
        self.remove_what_is_left()

    def test_killed_with_bypass_direct_traffic_goes_on(self):
        limpet = self.start(onDeath="bypass").wait_ready()
        self.assertTrue(self.serving())
        limpet.kill()
        self.assertFalse(self.reachable(self.plan.vip, 80), "requests stay closed")
        self.assertTrue(self.reachable(self.plan.pods["pod-a"], lab.HTTP_PORT), "bypass: replies of endpoints pass")
        self.remove_what_is_left()

    def test_a_second_one_refuses(self):
        kept = {"state": {"path": "auto"}}
        self.start(**kept).wait_ready()
        during = rules(self.net.node)
        for shares, changes, complaint in (("the state", kept, r"\.state is in use by process \d+ \(limpet\)"),
                                           ("the queues", {"state": {"path": "none"}}, r"(?i)queue 0\b")):
            with self.subTest(shares):
                began = time.monotonic()
                second = self.start(**changes)
                self.assertEqual(second.wait(), 4)
                took = time.monotonic() - began
                self.assertGreaterEqual(took, 0.9, "it retries for one second")
                self.assertLess(took, 3, "it retries for one second only")
                self.assertRegex(second.text(), complaint)
                self.assertTrue(self.serving(), "the first one goes on")
                self.assertEqual(rules(self.net.node), during)

    def test_without_privilege_it_says_so(self):
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", self.net.options.limpet]
        limpet = lab.programs.Limpet(self.net.node, command, self.net.config())
        self.assertEqual(limpet.wait(), 5)
        self.assertRegex(limpet.text(), r"(?i)CAP_NET_ADMIN|permission|privilege")

    def test_what_was_queued_at_the_signal_is_answered(self):
        """Stopped, so that a burst waits in the kernel's queue; told to end; let go: the burst still arrives."""
        limpet = self.start(stop="remove").wait_ready()
        burst = [number.to_bytes(2, "big") for number in range(BURST)]
        limpet.process.send_signal(signal.SIGSTOP)
        netns.wait_until(lambda: self.stopped(limpet.process.pid), 5, "every thread stands still")
        # From a pod: not masqueraded, therefore one crossing of the queues.
        pod = self.net.pods["pod-b"]
        family = self.net.socket_family
        with self.net.sink(socket.SOCK_DGRAM) as server, pod.socket(family, socket.SOCK_DGRAM) as client:
            for datagram in burst:
                client.sendto(datagram, (self.plan.sink, 9))
            netns.wait_until(lambda: self.waiting() >= BURST, 5, "the burst waits in the queues")
            limpet.process.send_signal(signal.SIGTERM)
            limpet.process.send_signal(signal.SIGCONT)
            self.assertEqual(limpet.wait(), 0)
            self.assertEqual(sorted(server.recv(2) for _ in burst), burst)

    def stopped(self, process):
        """A signal to stop takes its time; a thread that still runs would answer the first of the burst."""
        tasks = pathlib.Path(f"/proc/{process}/task").glob("*/stat")
        return {task.read_text().rpartition(")")[2].split()[0] for task in tasks} == {"T"}

    def waiting(self):
        """Packets that the kernel holds for userspace (nfnetlink_queue: queue_total is the third column)."""
        text = self.net.node.run("cat", "/proc/net/netfilter/nfnetlink_queue").stdout
        return sum(int(line.split()[2]) for line in text.splitlines())

    def test_it_ends_in_time_under_load(self):
        limpet = self.start(stop="remove").wait_ready()
        load = self.net.client.popen(
            self.net.options.clients, "--to", lab.at(self.plan.plain, 80), "--from", self.plan.many,
            "--count", "2000", "--rounds", "100", "--timeout-ms", "300", stdout=subprocess.DEVNULL)
        netns.wait_until(lambda: sum(lab.programs.queued_packets(self.net.node).values()) > 500, 5, "load is on")
        began = time.monotonic()
        self.assertEqual(limpet.stop(), 0)
        self.assertLess(time.monotonic() - began, 3, "at most one second for what was queued, and the rules")
        load.kill()
        load.wait()


if __name__ == "__main__":
    lab.main(build)
