#!/usr/bin/python3
"""doctor_test.py: what `limpet doctor` says of this kernel is so, and it leaves nothing behind.

    usage   doctor_test.py --limpet PROGRAM [--mode root|rootless] [--part kernel|hang]

What the kernel has is asked of it once more, by this test and the tools themselves. Where limpet should find nothing,
tools that lie or hang stand first in PATH.
"""

import argparse
import json
import os
import pathlib
import pty
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import netns  # noqa: E402
from netns import run  # noqa: E402

FOLDER = pathlib.Path("/run/doctor-test")  # on the tmpfs of these namespaces
VARIANTS = ("nft", "legacy")
RESTORERS = tuple(f"{tool}{suffix}-restore" for tool in ("iptables", "ip6tables") for suffix in ("", "-nft", "-legacy"))
VERSIONS = 'case "$0 $1" in *legacy*--version) echo legacy; exit;; *--version) echo nf_tables; exit;; esac\n'
LIMIT = 100  # seconds; limpet promises half a minute, a loaded machine may take longer to keep a promise
CONFIG = """\
divert: {backend: iptables-legacy}
onDeath: bypass
services:
  - name: default/web:http
    clusterIP: 10.96.0.10
    port: 80
    endpoints: [{address: 10.28.6.5, port: 80}]
"""

limpet = None


def doctor(*words, prefix=(), path=None):
    environment = dict(os.environ)
    if path:
        environment["PATH"] = f"{path}:{environment['PATH']}"
    return subprocess.run([*prefix, limpet, "doctor", *map(str, words)], capture_output=True, text=True, timeout=LIMIT,
                          stdin=subprocess.DEVNULL, env=environment)


def accepts(*words, stdin=None):
    """Does this command succeed here? The test is in a namespace of its own."""
    return run(*words, stdin=stdin, check=False).returncode == 0


def stand_ins(names, script):
    """A folder with a program of each name."""
    FOLDER.mkdir(exist_ok=True)
    folder = FOLDER / f"bin{len(list(FOLDER.iterdir()))}"
    folder.mkdir()
    for name in names:
        program = folder / name
        program.write_text("#!/bin/sh\n" + script)
        program.chmod(0o755)
    return folder


def everything():
    """What of this namespace a probe could have changed."""
    commands = [("iptables-nft-save",), ("ip6tables-nft-save",), ("iptables-legacy-save",), ("ip6tables-legacy-save",),
                ("nft", "list", "ruleset"), ("ipset", "list", "-n"), ("ip", "rule"), ("ip", "-6", "rule"),
                ("ip", "link"), ("ip", "addr"), ("ip", "route"), ("ip", "netns")]
    texts = {}
    for words in commands:
        lines = run(*words, check=False).stdout.splitlines()  # an ordinary user may not list the legacy tables
        texts[words] = "\n".join(line for line in lines if not line.startswith("#"))
    for folder in ("/proc/sys/net/ipv4", "/proc/sys/net/ipv6", "/proc/sys/net/bridge"):
        for path in pathlib.Path(folder).rglob("*"):
            if path.is_file() and os.access(path, os.R_OK) and path.name not in CHANGING:
                try:
                    texts[str(path)] = path.read_text()
                except OSError:
                    continue
    return texts


CHANGING = {"flush", "stable_secret", "fib_sync_mem"}  # written to only, unreadable


class Kernel(unittest.TestCase):
    maxDiff = None

    def diagnose(self, *words, exit_code=0, **options):
        done = doctor("-j", *words, **options)
        self.assertEqual(done.returncode, exit_code, done.stdout + done.stderr)
        self.assertEqual(done.stdout.count("\n"), 1, "one object on one line")
        found = json.loads(done.stdout)
        self.assertEqual(list(found), ["kernel", "checks", "datapaths"])
        self.assertEqual(list(found["datapaths"]), ["rewrite", "offload", "route"])
        self.assertEqual(found["kernel"], os.uname().release)
        for check in found["checks"]:
            self.assertEqual(list(check), ["name", "group", "status", "detail", "consequence", "remedy"])
            self.assertIn(check["status"], ("found", "missing", "unknown", "ok", "attention"))
            self.assertTrue(check["detail"], check)
        return found

    def checks(self, *words, **options):
        return {check["name"]: check for check in self.diagnose(*words, **options)["checks"]}

    def test_a_kernel_that_limpet_works_on(self):
        """The other tests of this folder need this kernel to have NFQUEUE; so it must be found."""
        found = self.diagnose()
        self.assertTrue(found["datapaths"]["rewrite"]["works"], found)
        self.assertFalse(found["datapaths"]["offload"]["works"])
        self.assertFalse(found["datapaths"]["route"]["works"])
        checks = {check["name"]: check["status"] for check in found["checks"]}
        for name in ("NFQUEUE", "super-packets (F_GSO)", "a packet, IPv4", "a packet, IPv6", "raw sockets",
                     "fragments, IPv4", "fragments, IPv6"):
            self.assertEqual(checks[name], "found", name)

    def test_each_feature_is_what_the_tools_make_of_it_here(self):
        rule = "*{}\n:P - [0:0]\n-A P {}\nCOMMIT\n"
        checks = {name: check["status"] == "found" for name, check in self.checks().items()}

        def xtables(variant, family, table, words):
            tool = ("iptables" if family == 4 else "ip6tables") + f"-{variant}-restore"
            return accepts(tool, "--noflush", stdin=rule.format(table, words))

        def anywhere(table, words):
            return any(all(xtables(variant, family, table, words) for family in (4, 6)) for variant in VARIANTS)

        queue = "-j NFQUEUE --queue-num 0"
        for variant in VARIANTS:
            for family in (4, 6):
                able = all(xtables(variant, family, table, queue) for table in ("raw", "mangle"))
                self.assertEqual(checks[f"iptables-{variant} IPv{family}"], able)
        nft_queue = [accepts("nft", "-f", "-", stdin=f"table {family} t {{ chain c {{ queue num 0 bypass; }}; }}\n")
                     for family in ("ip", "ip6")]
        self.assertEqual(checks["nft queue"], all(nft_queue))
        for name, words in (("nft tproxy", "meta l4proto tcp tproxy to :1"), ("nft notrack", "notrack")):
            chain = "chain c {{ type filter hook prerouting priority 0; {}; }}".format(words)
            able = [accepts("nft", "-c", "-f", "-", stdin=f"table {family} t {{ {chain}; }}\n") for family in ("ip", "ip6")]
            self.assertEqual(checks[name], all(able), name)
        self.assertEqual(checks["socket match"], anywhere("mangle", "-p tcp -m socket"))
        self.assertEqual(checks["CT target"], anywhere("raw", "-j CT --notrack"))
        self.assertEqual(checks["recent match"], anywhere("mangle", "-m recent --name P --rcheck"))
        self.assertEqual(checks["statistic match"], anywhere("mangle", "-m statistic --mode nth --every 2 --packet 0"))
        self.assertEqual(checks["sctp match"], anywhere("raw", "-p sctp --dport 1"))
        self.assertEqual(checks["multiport match"], anywhere("raw", "-p udplite -m multiport --dports 1"))
        self.assertEqual(checks["comment match"], anywhere("mangle", "-m comment --comment words"))
        self.assertEqual(checks["address sets"], accepts("ipset", "create", "p", "hash:ip,port"))

    def test_nothing_is_left_behind(self):
        run("iptables-nft", "-t", "raw", "-A", "PREROUTING", "-p", "udp", "--dport", "1", "-j", "DROP")
        run("ipset", "-exist", "create", "mine", "hash:ip")
        before = everything()
        self.assertGreater(len(before), 200, "the test looks at too little")
        self.checks()
        doctor()
        after = everything()
        self.assertEqual({name: text for name, text in after.items() if before.get(name) != text}, {})
        self.assertEqual(set(before), set(after))

    def test_tools_that_lie_are_found_out(self):
        """They say that every rule is in place, and none is."""
        lying = stand_ins((*RESTORERS, "nft"), VERSIONS + "cat >/dev/null\n")
        found = self.diagnose(exit_code=4, path=lying)
        self.assertFalse(found["datapaths"]["rewrite"]["works"])
        self.assertIn("the packet was not queued at OUTPUT", found["datapaths"]["rewrite"]["reason"])

    def test_fragments_that_stay_apart_are_found_out(self):
        """The tools leave out the socket rule, and say that all is well."""
        script = 'case " $* " in *--version*) exec /usr/sbin/$(basename "$0") "$@";; esac\n' \
                 'grep -v -e "-m socket" | /usr/sbin/$(basename "$0") "$@"\n'
        checks = self.checks(path=stand_ins(RESTORERS, script))
        self.assertEqual(checks["socket match"]["status"], "found", "the stand-in said so")
        # lo's MTU is 1500: 20 + 1480 bytes, 3000 + 8 + 20 in all; IPv6 40 + 8 + 1448 (a multiple of 8), 3000 + 8 + 40.
        for family, words in ((4, "only 1500 of 3028 bytes"), (6, "only 1496 of 3048 bytes")):
            check = checks[f"fragments, IPv{family}"]
            self.assertEqual(check["status"], "missing")
            self.assertIn(words, check["detail"])

    def test_without_tools_nothing_works_and_the_package_is_named(self):
        absent = stand_ins((*RESTORERS, "nft", "ipset"), "exit 127\n")
        found = self.diagnose(exit_code=4, path=absent)
        checks = {check["name"]: check for check in found["checks"]}
        self.assertEqual(checks["NFQUEUE"]["status"], "found", "the kernel has it all the same")
        self.assertEqual(checks["iptables-nft IPv4"]["status"], "missing")
        self.assertIn("package iptables", checks["iptables-nft IPv4"]["remedy"])

    def test_without_the_right_to_make_a_namespace(self):
        # A user that its user namespace does not map may make none (linux user_namespaces(7)).
        done = doctor(prefix=("unshare", "--user"))
        self.assertEqual(done.returncode, 5, done.stdout + done.stderr)
        self.assertIn("no private network namespace", done.stderr)
        self.assertIn("run as root", done.stderr)
        self.assertRegex(done.stdout, "unknown +NFQUEUE")
        self.assertRegex(done.stdout, "no +rewrite")

    def test_an_ordinary_user_is_told_what_lacks(self):
        # root without CAP_SYS_ADMIN must take the way over a user namespace, and has no right over this network.
        # CAP_SETFCAP is what Linux 5.12 and later want of somebody who maps user 0.
        checks = self.checks(prefix=("setpriv", "--bounding-set", "-all,+setfcap"))
        self.assertEqual(checks["a packet, IPv4"]["status"], "found")
        self.assertEqual(checks["privileges"]["status"], "attention")
        self.assertIn("CAP_NET_ADMIN", checks["privileges"]["detail"])

    def test_a_configuration_is_checked_too(self):
        FOLDER.mkdir(exist_ok=True)
        path = FOLDER / "limpet.yaml"
        path.write_text(CONFIG)
        for forward, status in ((0, "attention"), (1, "ok")):
            run("sysctl", "-qw", f"net.ipv4.ip_forward={forward}")
            checks = self.checks("-c", path)
            self.assertEqual(checks["net.ipv4.ip_forward"]["status"], status)
            self.assertEqual(checks["preflight"]["status"], status)
            self.assertRegex(checks["a packet, IPv4"]["detail"], "^iptables-legacy: ")
        text = doctor("-c", path).stdout
        self.assertRegex(text, r"\* killed, onDeath: bypass")
        self.assertRegex(text, r"\* stopped, stop: keep")

    def test_devices_whose_packets_are_too_long_for_a_queue(self):
        """The kernel's own word on them is `ip`'s; the command that doctor names mends it."""
        FOLDER.mkdir(exist_ok=True)
        path = FOLDER / "limpet.yaml"
        path.write_text(CONFIG)
        run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        run("ip", "link", "add", "v", "type", "veth", "peer", "name", "w")
        self.addCleanup(run, "ip", "link", "del", "v")
        self.assertEqual(self.checks("-c", path)["BIG TCP"]["status"], "ok")
        if not accepts("ip", "link", "set", "v", "gso_max_size", "131072", "gro_max_size", "131072"):
            self.skipTest("no BIG TCP here")
        checks = self.checks("-c", path)
        self.assertEqual(checks["BIG TCP"]["status"], "attention")
        self.assertEqual(checks["BIG TCP"]["detail"], "v has gso_max_size 131072, gro_max_size 131072")
        mend, _, rest = checks["BIG TCP"]["remedy"].partition("; ")
        self.assertEqual(mend, "ip link set dev v gso_max_size 65536 gro_max_size 65536")
        self.assertEqual(rest, "and the far ends of veth pairs likewise")
        self.assertEqual(checks["preflight"]["status"], "attention")
        self.assertIn(mend, checks["preflight"]["detail"])
        text = doctor("-c", path).stdout
        self.assertRegex(text, r"attention +BIG TCP +v has gso_max_size 131072")
        self.assertIn(f"to do: {mend}", text)
        run(*mend.split())
        self.assertEqual(self.checks("-c", path)["BIG TCP"]["status"], "ok")

    def test_colour_is_for_terminals(self):
        self.assertNotIn("\033[", doctor().stdout)
        self.assertIn("\033[", self.on_terminal())
        self.assertNotIn("\033[", self.on_terminal(NO_COLOR="1"))

    def on_terminal(self, **more):
        """What a terminal is shown."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(limpet, [limpet, "doctor"], {**os.environ, **more})
        shown = b""
        try:
            while chunk := os.read(terminal, 65536):
                shown += chunk
        except OSError:  # the other end was closed: Linux says EIO
            pass
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 0)
        os.close(terminal)
        return shown.decode()


class Hang(unittest.TestCase):
    def test_tools_that_hang_are_not_waited_for(self):
        hanging = stand_ins((*RESTORERS, "nft", "ipset", "ip"), VERSIONS + "sleep 3456\n")
        begin = time.monotonic()
        done = doctor("-j", path=hanging)
        took = time.monotonic() - begin
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertLess(took, 60)
        checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
        self.assertEqual(checks["NFQUEUE"]["status"], "found")
        self.assertEqual(checks["iptables-nft IPv4"]["status"], "unknown")
        self.assertRegex(checks["iptables-nft IPv4"]["detail"], "did not end within 5000 ms")
        self.assertRegex(checks["statistic match"]["detail"], "took too long")
        netns.wait_until(lambda: not accepts("pgrep", "-f", "sleep 3456"), 10, "what a probe had started lives on")


def main():
    global limpet
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limpet", required=True)
    parser.add_argument("--mode", default="auto", choices=("auto", "root", "rootless"))
    parser.add_argument("--part", default="kernel", choices=("kernel", "hang"))
    options = parser.parse_args()
    netns.enter(options.mode)
    limpet = options.limpet
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Kernel if options.part == "kernel" else Hang)
    sys.exit(not unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful())


if __name__ == "__main__":
    main()
