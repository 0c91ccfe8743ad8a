#!/usr/bin/python3
"""backend_test.py: `divert.backend` and `--backend`, from the command line to the kernel's tables.

    usage   backend_test.py --limpet PROGRAM [--mode root|rootless]

Where a back-end is to fail, or where this kernel's nf_tables lacks `queue`, programs that refuse or that write `counter`
in its place stand first in PATH. Everything else is the kernel's own.
"""

import argparse
import os
import pathlib
import re
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import netns  # noqa: E402
from netns import run  # noqa: E402

FOLDER = pathlib.Path("/run/backend-test")  # on the tmpfs of these namespaces
REAL = "PATH=/usr/sbin:/sbin:/usr/bin:/bin\n"
COUNTING = REAL + """case " $* " in *' -f - '*) sed 's/queue num.*/counter/' | nft "$@" ;; *) exec nft "$@" ;; esac\n"""
VERSIONS = 'case "$0 $1" in *legacy*--version) echo legacy; exit;; *--version) echo nf_tables; exit;; esac\n'
REFUSING = VERSIONS + "cat >/dev/null; echo out of luck >&2; exit 4\n"
NFT = [f"ip{six}tables{suffix}-restore" for six in ("", "6") for suffix in ("", "-nft")]
LEGACY = [f"ip{six}tables-legacy-restore" for six in ("", "6")]
TABLES = {"table ip limpet", "table ip6 limpet"}
CONFIG = """\
node: {{name: node, addresses: []}}
divert: {{backend: {backend}}}
stop: {stop}
icmpEcho: reply
tables: {{flows: 1000, affinity: 1000}}
services:
  - name: default/web:http
    clusterIP: 10.96.0.10
    port: 80
    nodePort: 30080
    endpoints: [{{address: 10.2.0.2, port: 8080}}]
  - name: default/six:lite
    clusterIP: fd00:96::10
    port: 80
    protocol: UDPLite
    endpoints: [{{address: "fd00:2::2", port: 8080}}]
  - name: default/six:sctp
    clusterIP: fd00:96::11
    port: 80
    protocol: SCTP
    endpoints: [{{address: "fd00:2::3", port: 8080}}]
"""

program = None


def tables():
    return set(run("nft", "list", "tables").stdout.splitlines())


def rules():
    """Every rule of nf_tables' with its handle, without counts and sets."""
    return re.sub(r"packets \d+ bytes \d+", "", run("nft", "-t", "-a", "list", "ruleset").stdout)


def nft_queues():
    text = "table {0} t {{ chain c {{ queue num 0 bypass; }}; }}\n"
    return all(run("nft", "-c", "-f", "-", stdin=text.format(family), check=False).returncode == 0
               for family in ("ip", "ip6"))


class Backend(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        FOLDER.mkdir(exist_ok=True)
        self.path = ""
        self.assertEqual(tables() & TABLES, set())
        run("nft", "add", "table", "ip", "others")  # iptables-nft's own tables may be there, too
        self.addCleanup(run, "nft", "delete", "table", "ip", "others")
        self.addCleanup(run, program, "divert", "cleanup")

    def stand_ins(self, names, script):
        """Programs of these names come first in PATH from now on."""
        folder = FOLDER / f"bin{len(list(FOLDER.iterdir()))}"
        folder.mkdir()
        for name in names:
            (folder / name).write_text("#!/bin/sh\n" + script)
            (folder / name).chmod(0o755)
        self.path = f"{folder}:{self.path}"

    def environment(self):
        return {**os.environ, "PATH": self.path + os.environ["PATH"]}

    def config(self, backend, stop="remove"):
        path = FOLDER / f"{backend}-{stop}.yaml"
        path.write_text(CONFIG.format(backend=backend, stop=stop))
        return path

    def limpet(self, *words):
        return subprocess.run([program, *map(str, words)], capture_output=True, text=True, timeout=60,
                              stdin=subprocess.DEVNULL, env=self.environment())

    def start(self, path):
        """`limpet run`, ready; and its words so far."""
        log = (FOLDER / "log").open("w+")
        self.addCleanup(log.close)
        daemon = subprocess.Popen([program, "run", "-c", path], stdin=subprocess.DEVNULL, stderr=log,
                                  env=self.environment())
        self.addCleanup(daemon.kill)
        self.daemon = daemon
        netns.wait_until(lambda: "ready:" in self.log() or daemon.poll() is not None, 20, "ready")
        self.assertIsNone(daemon.poll(), self.log())

    def log(self):
        return (FOLDER / "log").read_text()

    def stop(self):
        self.daemon.send_signal(signal.SIGTERM)
        self.assertEqual(self.daemon.wait(20), 0, self.log())


class AsItIs(Backend):
    """This kernel, whatever it has."""

    def test_nft_that_cannot_queue_is_refused_and_says_what_to_do(self):
        if nft_queues():
            self.skipTest("this kernel's nf_tables has `queue`")
        before = rules()
        for words in (("run", "-c", self.config("nft")), ("divert", "apply", "-c", self.config("nft")),
                      ("divert", "apply", "-c", self.config("iptables"), "--backend", "nft")):
            with self.subTest(words):
                done = self.limpet(*words)
                self.assertEqual(done.returncode, 4, done.stderr)
                self.assertIn("no queue expression (CONFIG_NFT_QUEUE)", done.stderr)
                self.assertIn("divert.backend: auto or iptables", done.stderr)
                self.assertEqual(rules(), before)

    def test_what_is_printed_is_what_the_kernel_takes(self):
        """All of it where it has `queue`, all but that where it has not."""
        for words in (("-c", self.config("nft")), ("-c", self.config("auto"), "--backend", "nft")):
            done = self.limpet("divert", "print", *words)
            self.assertEqual(done.returncode, 0, done.stderr)
            text = done.stdout if nft_queues() else re.sub("queue num.*", "counter", done.stdout)
            self.assertIn("table ip limpet {", text)
            self.assertIn("table ip6 limpet {", text)
            run("nft", "-c", "-f", "-", stdin=text)

    def test_auto_is_an_iptables_where_one_works(self):
        done = self.limpet("divert", "apply", "-c", self.config("auto"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, "with iptables-(nft|legacy)$")
        self.assertNotIn("instead", done.stderr)

    def test_auto_says_which_one_it_passed_over(self):
        self.stand_ins(NFT, REFUSING)
        done = self.limpet("divert", "apply", "-c", self.config("auto"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, "with iptables-legacy$")
        self.assertRegex(done.stderr, "warning: iptables.*-restore: out of luck: diverting with iptables-legacy instead")

    def test_every_refusal_is_told(self):
        self.stand_ins(NFT + LEGACY, REFUSING)
        self.stand_ins(["nft"], REAL + "cat >/dev/null; echo 'Error: no luck either' >&2; exit 1\n")
        done = self.limpet("divert", "apply", "-c", self.config("auto"))
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, "cannot divert IPv4: .*out of luck.*; .*out of luck.*; nft: no luck either")

    def test_without_the_right_only_that_is_told(self):
        done = subprocess.run(["setpriv", "--bounding-set", "-net_admin", program, "divert", "apply", "-c",
                               self.config("auto")], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertEqual(done.stderr.count("needs root, or CAP_NET_ADMIN"), 1, done.stderr)


class Nft(Backend):
    """By nft, `queue` or what stands for it."""

    def setUp(self):
        super().setUp()
        if not nft_queues():
            self.stand_ins(["nft"], COUNTING)

    def test_by_auto_where_no_iptables_works(self):
        self.stand_ins(NFT + LEGACY, REFUSING)
        self.start(self.config("auto"))
        self.assertRegex(self.log(), "warning .*out of luck.*: diverting with nft instead")
        self.assertRegex(self.log(), "ready: .* nft\n")
        self.stop()

    def test_a_life(self):
        before = tables()
        self.start(self.config("nft"))
        self.assertRegex(self.log(), "ready: .* nft\n")
        self.assertEqual(tables() - before, TABLES)
        here = rules()
        run("ip", "addr", "add", "10.9.0.1/32", "dev", "lo")
        self.addCleanup(run, "ip", "addr", "del", "10.9.0.1/32", "dev", "lo")
        elements = "10.9.0.1 . tcp . 30080"
        netns.wait_until(lambda: elements in run("nft", "list", "set", "ip", "limpet", "services").stdout, 10, elements)
        self.assertIn("10.9.0.1", run("nft", "list", "set", "ip", "limpet", "locals").stdout)
        self.assertEqual(rules(), here, "elements came, rules stayed")
        self.stop()
        self.assertEqual(tables(), before)

    def test_rules_that_stay_are_cleaned_up_and_no_others(self):
        before = tables()
        self.start(self.config("nft", stop="keep"))
        self.stop()
        self.assertEqual(tables() - before, TABLES)
        done = self.limpet("divert", "cleanup")
        self.assertEqual((done.returncode, done.stdout), (0, "nothing is diverted\n"), done.stderr)
        self.assertEqual(tables(), before)

    def test_from_one_back_end_to_the_other(self):
        self.assertEqual(self.limpet("divert", "apply", "-c", self.config("iptables-nft")).returncode, 0)
        self.assertIn("LIMPET-", run("iptables-nft-save").stdout)
        done = self.limpet("divert", "apply", "-c", self.config("auto"), "--backend", "nft")
        self.assertRegex(done.stdout, "with nft$", done.stderr)
        self.assertNotIn("LIMPET-", run("iptables-nft-save").stdout)
        self.assertEqual(run("ipset", "list", "-n").stdout, "")
        self.assertEqual(self.limpet("divert", "apply", "-c", self.config("iptables-legacy")).returncode, 0)
        self.assertEqual(tables() & TABLES, set())

    def test_on_a_machine_without_etc_protocols(self):
        """Minimal images have neither: nft must find every word in its own grammar."""
        for name in ("/etc/protocols", "/etc/services"):
            if pathlib.Path(name).exists():
                run("mount", "--bind", "/dev/null", name)
                self.addCleanup(run, "umount", name)
        done = self.limpet("divert", "apply", "-c", self.config("nft"))
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, "with nft$")


def main():
    global program
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limpet", required=True)
    parser.add_argument("--mode", default="auto", choices=("auto", "root", "rootless"))
    parser.add_argument("tests", nargs="*", help="names of tests, e.g. Nft.test_a_life (default: all)")
    options = parser.parse_args()
    netns.enter(options.mode)
    program = options.limpet
    unittest.main(module="__main__", argv=[sys.argv[0], "-v", *options.tests], warnings="ignore")


if __name__ == "__main__":
    main()
