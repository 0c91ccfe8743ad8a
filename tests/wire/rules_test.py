#!/usr/bin/python3
"""The write-up's dump, run by limpet: its five statements hold from the dump alone.

tests/data/session-affinity-seed.md is given to limpet as it is. (Of IPv6: with its addresses replaced, one by one.)

    client ── node ─┬─ pods of this node        10.28.8.5, 10.28.8.6   fd28:8::5, fd28:8::6     HTTP :80
                    ├─ pods of other nodes      10.28.6.5, 10.28.7.6   fd28:6::5, fd28:7::6
                    └─ inside, many pods that are clients              10.28.16.0/20, fd28:16::/64

    nodePort 31332 on every address of the node → the pods of this node; clients keep their addresses
    VIP 10.31.240.99, fd31::63, port 80         → all four; who is no pod is hidden behind the node's address

A list of `recent` holds 100 clients, as the kernel's: tests that have more come to see what is forgotten.

Bounds: of n clients that choose evenly among k pods, each pod has n/k; sigma = sqrt(n (1/k) (1 - 1/k)). A correct program
leaves a bound of 5 sigma once in 1.7 million.
"""

import collections
import ipaddress
import json
import math
import pathlib
import re
import signal
import time

import lab
import netns
import programs

DUMP = pathlib.Path(__file__).resolve().parents[1] / "data" / "session-affinity-seed.md"
NODE_PORT = 31332
SIGMAS = 5
LIST = 100  # clients that a list of `recent` holds

LOCAL_PODS = ("pod-8-5", "pod-8-6")
PODS = {  # name: address by family
    "pod-8-5": {"v4": "10.28.8.5", "v6": "fd28:8::5"},
    "pod-8-6": {"v4": "10.28.8.6", "v6": "fd28:8::6"},
    "pod-6-5": {"v4": "10.28.6.5", "v6": "fd28:6::5"},
    "pod-7-6": {"v4": "10.28.7.6", "v6": "fd28:7::6"},
}
VIP = {"v4": "10.31.240.99", "v6": "fd31::63"}
POD_NETWORK = {"v4": "10.28.0.0/14", "v6": "fd28::/16"}
INSIDE = {"v4": "10.28.16.0/20", "v6": "fd28:16::/64"}
GATEWAY = {"v4": "169.254.1.1", "v6": "fd69::1"}  # of every pod, on the node
ANOTHER = {"v4": "10.1.0.77", "v6": "fd01::77"}  # that the node gets


def dump(family, seconds=10800):
    """The write-up, or the same for IPv6 or with another timeout."""
    text = DUMP.read_text().replace("--seconds 10800", f"--seconds {seconds}")
    if family == "v4":
        return text
    for addresses in PODS.values():
        text = text.replace(f"{addresses['v4']}:80", f"[{addresses['v6']}]:80")
        text = text.replace(f"{addresses['v4']}/32", f"{addresses['v6']}/128")
    text = text.replace(f"{VIP['v4']}/32", f"{VIP['v6']}/128").replace(POD_NETWORK["v4"], POD_NETWORK["v6"])
    return text.replace("--mask 255.255.255.255", "--mask ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")


def build(network):
    family = network.family
    network.seed_pods = {}
    for name, addresses in PODS.items():
        host = network.seed_pods[name] = netns.Host(name)
        attach(network, host, addresses[family])
        programs.http_server(host, name, ports=(80,))
    inside = netns.Host("inside")
    attach(network, inside, INSIDE[family])
    inside.own_prefix(INSIDE[family])
    network.inside = programs.Clients(inside, network.options.clients)
    if network.options.conntrack == "on":
        for side in ("-s", "-d"):
            iptables = "iptables" if family == "v4" else "ip6tables"
            network.node.run(iptables, "-w", "-A", "FORWARD", side, POD_NETWORK[family], "-j", "ACCEPT")


def attach(network, host, prefix):
    """As most pod networks do it: an address of its own, a gateway that is in no subnet."""
    family, node = network.family, network.node
    length, gateway = {"v4": 32, "v6": 128}[family], GATEWAY[family]
    netns.link(host, node)
    node.ip(f"addr add {gateway}/{length} dev {host.name}" + (" nodad" if family == "v6" else ""))
    host.ip(f"route add {gateway}/{length} dev {node.name}")
    if "/" not in prefix:
        host.ip(f"addr add {prefix}/{length} dev {node.name}" + (" nodad" if family == "v6" else ""))
        host.ip(f"route add {'default' if family == 'v4' else '::/0'} via {gateway} dev {node.name}")
        node.ip(f"route add {prefix}/{length} dev {host.name}")
        return
    # Many addresses, none of them configured: the node is told where they are by a gateway, too.
    near = {"v4": "10.28.9.2", "v6": "fd28:9::2"}[family]
    host.ip(f"addr add {near}/{length} dev {node.name}" + (" nodad" if family == "v6" else ""))
    host.ip(f"route add {'default' if family == 'v4' else '::/0'} via {gateway} dev {node.name}")
    node.ip(f"route add {near}/{length} dev {host.name}")
    node.ip(f"route add {prefix} via {near} dev {host.name}")


class Program(lab.WithLimpet):
    """Beside a limpet that runs the dump, and helpers for those who are no such test themselves."""

    rules = {}  # keys of its configuration

    @classmethod
    def setUpClass(cls):
        cls.changes = configuration(**cls.rules)
        super().setUpClass()
        cls.family = cls.net.family

    def visit(self, clients, address, port, prefix, count, **how):
        answers = clients.visit(lab.at(address, port), prefix, count=count, **how)
        self.assertEqual(programs.failures(answers), [])
        self.assertEqual(len({answer.source for answer in answers}), count)
        return answers

    def from_outside(self, count, address=None, **how):
        """Clients of the nodePort."""
        return self.visit(self.net.clients, address or self.plan.node, NODE_PORT, self.plan.many, count, **how)

    def from_inside(self, count, **how):
        """Pods on the VIP."""
        return self.visit(self.net.inside, VIP[self.family], 80, INSIDE[self.family], count, **how)

    def check_spread(self, answers, pods):
        """Of clients that came once."""
        counts = collections.Counter(programs.pod_of(answer) for answer in answers)
        self.assertEqual(set(counts), set(pods))
        sigma = math.sqrt(len(answers) * (1 / len(pods)) * (1 - 1 / len(pods)))
        for pod, count in counts.items():
            self.assertLessEqual(abs(count - len(answers) / len(pods)), SIGMAS * sigma, f"{pod}: {dict(counts)}")

    def check_none_moved(self, answers):
        moved = {client: pods for client, pods in programs.pods_by_client(answers).items() if len(set(pods)) > 1}
        self.assertEqual(moved, {})


def configuration(seconds=10800, services=(), **rules):
    """Changes to limpet's configuration: the dump is all that it balances by."""
    path = programs.RUN / f"dump-{seconds}.md"
    path.write_text(dump(lab.current.family, seconds))
    return {"services": list(services), "rules": {"file": str(path), **rules}}


class Statements:
    """What the write-up says of the dump."""

    def test_1_and_2_an_outside_client_on_the_nodeport_reaches_a_pod_of_this_node_at_random(self):
        self.check_spread(self.from_outside(LIST), LOCAL_PODS)

    def test_3_every_subsequent_connection_of_a_client_goes_to_its_pod(self):
        answers = self.from_outside(LIST, rounds=5)
        self.assertEqual(len(answers), 5 * LIST)
        self.check_none_moved(answers)

    def test_4_a_pod_on_the_vip_reaches_any_of_the_four_at_random(self):
        self.check_spread(self.from_inside(LIST), PODS)

    def test_5_decisions_for_internal_clients_are_remembered_too(self):
        self.check_none_moved(self.from_inside(LIST, rounds=5))


class Compiled(Statements, Program):
    rules = {"recent": {"ipListTotal": 1000}}  # so that nobody is forgotten, in whatever order tests are run

    def test_who_is_no_pod_is_masqueraded_on_the_vip_and_nobody_on_the_nodeport(self):
        # KUBE-SERVICES marks who is not in 10.28.0.0/14; KUBE-XLB marks nobody.
        for answers, own in (
                (self.visit(self.net.clients, VIP[self.family], 80, self.plan.many, 20), False),
                (self.from_inside(20), True), (self.from_outside(20), True)):
            for answer in answers:
                seen = answer.words.split()[1]
                self.assertEqual(seen, answer.source if own else GATEWAY[self.family], answer)

    def test_a_pod_that_is_sent_to_itself_is_masqueraded(self):
        # KUBE-SEP-… -s POD -j KUBE-MARK-MASQ. By chance a pod is sent to itself or to another; both are as they must be.
        for name, pod in self.net.seed_pods.items():
            answers = {pod.http_get(lab.url(VIP[self.family])) for _ in range(5)}
            self.assertEqual(len(answers), 1, "it is remembered")
            who, seen = answers.pop().split()
            self.assertEqual(seen, GATEWAY[self.family] if who == name else PODS[name][self.family])

    def test_a_process_of_the_node_reaches_the_nodeport(self):
        answer = self.net.node.http_get(lab.url(self.plan.node, NODE_PORT)).split()
        self.assertIn(answer[0], LOCAL_PODS)

    def test_an_address_that_the_node_gets_has_the_nodeport(self):
        address = ANOTHER[self.family]
        length = f"{address}/64 dev client nodad" if self.family == "v6" else f"{address}/24 dev client"
        self.net.node.ip(f"addr add {length}")
        self.addCleanup(self.net.node.ip, f"addr del {length.removesuffix(' nodad')}")

        def answered():
            answers = self.net.clients.visit(lab.at(address, NODE_PORT), self.plan.client, timeout_ms=500)
            return not programs.failures(answers)

        netns.wait_until(answered, 20, f"the nodePort is served on {address}")

    def test_other_destinations_are_left_alone(self):
        # Of the pod itself, and of the VIP on another port: nobody translates, nobody listens.
        pod = next(iter(PODS.values()))[self.family]
        self.assertIn("pod-8-5", self.net.client.http_get(lab.url(pod)))
        before = self.limpet.settled_counters()
        self.net.client.run("curl", "-sS", "-g", "--max-time", "1", lab.url(VIP[self.family], 81), check=False)
        self.assertEqual(self.limpet.settled_counters()["new_flows"], before["new_flows"])

    def test_decisions_by_rules_are_counted(self):
        before = self.limpet.settled_counters()
        self.from_outside(10)
        after = self.limpet.settled_counters()
        self.assertEqual(after["ruled_flows"] - before["ruled_flows"], 10)
        self.assertEqual(after["new_flows"] - before["new_flows"], 10)
        self.assertEqual(after["recent_lists"], len(PODS))
        self.assertGreaterEqual(after["recent_clients"], 10)
        self.assertEqual(after["recent_evicted"], 0)


class Literal(Statements, Program):
    rules = {"compiled": False, "recent": {"ipListTotal": 1000}}


class Forgetful(Program):
    rules = {"recent": {"ipListTotal": 10}}

    def test_the_client_that_came_last_pushes_out_the_first(self):
        # Each list keeps its last ten clients: what the others come to is known from the answers.
        answers = self.from_outside(60, parallel=1)
        clients = collections.Counter(programs.pod_of(answer) for answer in answers)
        counters = self.limpet.settled_counters()
        self.assertEqual(counters["recent_clients"], sum(min(10, n) for n in clients.values()))
        self.assertEqual(counters["recent_evicted"], sum(max(0, n - 10) for n in clients.values()))
        self.assertEqual(counters["affinity_miss"], 60)


class Lists(Program):
    """`limpet show recent` and `limpet recent`: what /proc/net/xt_recent is for the kernel's rules."""

    # net/netfilter/xt_recent.c, recent_seq_show
    LINE = re.compile(r"src=(\S+) ttl: (\d+) last_seen: (\d+) oldest_pkt: (\d+) (\d+(?:, \d+)*)")

    def setUp(self):
        for name in self.lists():
            self.ask("recent", "flush", name)

    def ask(self, *words):
        return self.net.ask_limpet(*words)

    def lists(self):
        """Of the dump's pods: {name: address}."""
        return {name: to.removesuffix(":80").strip("[]") for name, to in
                re.findall(r"-A (KUBE-SEP-\w+) .*--to-destination (\S+)", dump(self.family))}

    def entries(self, name):
        """{client: (TTL, last seen, next slot, stamps)}"""
        found = {}
        for line in self.ask("show", "recent", name).splitlines():
            match = self.LINE.fullmatch(line)
            self.assertIsNotNone(match, line)
            ttl, seen, slot = (int(match[group]) for group in (2, 3, 4))
            found[ipaddress.ip_address(match[1])] = ttl, seen, slot, [int(stamp) for stamp in match[5].split(", ")]
        return found

    def list_of(self, pod):
        return next(name for name, address in self.lists().items() if address == PODS[pod][self.family])

    def test_a_client_that_has_just_connected_is_in_the_list_of_its_pod(self):
        answers = self.from_outside(5, rounds=2)
        sizes = {one["list"]: one["entries"] for one in map(json.loads, self.ask("show", "recent", "-j").splitlines())}
        self.assertEqual(set(sizes), set(self.lists()))
        self.assertEqual(sum(sizes.values()), 5)
        for client, pods in programs.pods_by_client(answers).items():
            entries = self.entries(self.list_of(pods[0]))
            ttl, seen, slot, stamps = entries[ipaddress.ip_address(client)]
            self.assertEqual(len(entries), sizes[self.list_of(pods[0])])
            self.assertGreater(ttl, 0)
            # Two connections, so two stamps: the newest last, and within a minute of now.
            self.assertEqual((slot, len(stamps), seen), (2, 2, max(stamps)))
            self.assertLess((self.stamp_of_now() - seen) % 2 ** 64, 60 * 1000)

    def stamp_of_now(self):
        """By an entry that is written by hand."""
        name = self.list_of("pod-8-5")
        address = ipaddress.ip_address({"v4": "192.0.2.1", "v6": "2001:db8::1"}[self.family])
        self.ask("recent", "add", name, str(address))
        ttl, seen, slot, stamps = self.entries(name)[address]
        self.assertEqual((ttl, slot, stamps), (0, 1, [seen]))
        self.ask("recent", "remove", name, str(address))
        self.assertNotIn(address, self.entries(name))
        return seen

    def test_who_is_written_into_a_list_is_sent_to_its_pod(self):
        # Six clients, by turns to either pod: by chance that happens once in 64.
        answers = self.from_outside(6)
        for name in self.lists():
            self.ask("recent", "flush", name)
            self.assertEqual(self.ask("show", "recent", name), "")
        wanted = {}
        for turn, answer in enumerate(answers):
            wanted[answer.source] = LOCAL_PODS[turn % 2]
            self.ask("recent", "add", self.list_of(wanted[answer.source]), answer.source)
        before = self.limpet.settled_counters()["affinity_hit"]
        found = {answer.source: programs.pod_of(answer) for answer in self.from_outside(6)}
        self.assertEqual(found, wanted)
        self.assertEqual(self.limpet.settled_counters()["affinity_hit"] - before, 6)

    def test_refusals_are_told(self):
        for words, message in ((("show", "recent", "none"), "there is no list 'none'"),
                               (("recent", "add", self.list_of("pod-8-5"), "10.0.0.0/8"), "is no command")):
            done = self.net.node.run(self.net.options.limpet, *words, check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(message, done.stderr)


class ShortLived(Program):
    rules = {"seconds": 1}

    def test_a_client_that_stays_away_for_longer_chooses_afresh(self):
        first = programs.pods_by_client(self.from_outside(60))
        time.sleep(1.1)  # the window is what this is about
        before = self.limpet.settled_counters()
        # Each is asked for its endpoint once, so none is known by what happens here.
        second = programs.pods_by_client(self.from_outside(60))
        after = self.limpet.settled_counters()
        self.assertEqual(after["affinity_hit"], before["affinity_hit"])
        self.assertEqual(after["new_flows"] - before["new_flows"], 60)
        self.assertNotEqual(first, second)  # equal by chance: 2^-60


class BesideServices(Program):
    @classmethod
    def setUpClass(cls):
        net = lab.current
        pod = PODS["pod-6-5"][net.family]
        cls.rules = {"services": [
            net.service("test/declared:http", net.addresses.plain, [(pod, 80)]),
            net.service("test/both:http", VIP[net.family], [(pod, 80)])]}
        super().setUpClass()

    def test_each_has_its_destinations(self):
        for answer in self.visit(self.net.clients, self.plan.plain, 80, self.plan.many, 20):
            self.assertEqual(programs.pod_of(answer), "pod-6-5")
        self.assertEqual({programs.pod_of(answer) for answer in self.from_outside(LIST)}, set(LOCAL_PODS))

    def test_what_both_have_is_the_services_and_told(self):
        for answer in self.from_inside(20):
            self.assertEqual(programs.pod_of(answer), "pod-6-5")
        self.assertRegex(self.limpet.text(), r"dump-10800.md:\d+: service test/both:http listens where this rule translates")


class Restarted(Program):
    """A killed limpet's connections go on, under the same endpoints."""

    def test_connections_outlive_a_kill(self):
        keep = {**self.changes, "stop": "keep", "state": {"path": "auto"}}
        self.assertEqual(type(self).limpet.stop(), 0)
        type(self).limpet = self.net.limpet(**keep).wait_ready()
        with self.net.client.socket(self.net.socket_family, lab.socket.SOCK_STREAM) as connection:
            connection.settimeout(20)
            connection.connect((self.plan.node, NODE_PORT))
            pod = self.ask(connection)
            opened = self.active()
            self.assertEqual(opened[PODS[pod][self.family]], 1)
            self.assertEqual(self.limpet.stop(signal.SIGKILL), -signal.SIGKILL)
            type(self).limpet = self.net.limpet("--ephemeral", **keep).wait_ready()
            self.assertEqual(self.active(), opened)
            self.assertEqual(self.ask(connection), pod)

    def ask(self, connection):
        """On a connection that is kept: the pod that answers."""
        connection.sendall(b"GET / HTTP/1.1\r\nHost: pod\r\n\r\n")
        text = b""
        while not re.search(rb"\r\n\r\n.*\n", text):
            piece = connection.recv(4096)
            self.assertNotEqual(piece, b"", text)
            text += piece
        return text.split(b"\r\n\r\n")[1].split()[0].decode()

    def active(self):
        """Connections by endpoint, as the dump's endpoints are counted."""
        stats = json.loads(self.net.ask_limpet("show", "stats", "-j"))
        return {re.sub(r"^\[?(.*?)\]?:80$", r"\1", one["endpoint"]): one["active"]
                for one in stats["endpoints"] if one["service"] == "rules"}


if __name__ == "__main__":
    lab.main(build)
