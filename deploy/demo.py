#!/usr/bin/python3
"""demo.py: five statements about a Service with ClientIP affinity, each shown with real connections.

       outside              gke-asuka-default-pool-3d65e6a8-kbb1 (limpet runs here)      the other two nodes
    198.18.0.0/16 ────────── 10.128.0.5 ─┬─ pod 10.28.8.5   php-…-8rdlz        ┌── …-sw18 ── pod 10.28.6.5  php-…-jwxqs
    (many clients)                       ├─ pod 10.28.8.6   php-…-ph7vs    ────┤
                                         └─ pods 10.28.16.0/20 (many clients)  └── …-2wmb ── pod 10.28.7.6  php-…-vp4hj

    Service default/php-apache-svc   clusterIP 10.31.240.99:80 → all four pods
                                     nodePort 31332 → this node's pods only (externalTrafficPolicy: Local)
                                     sessionAffinity: ClientIP, 10800 s
                                     the same once more with port 443 and nodePort 30558

limpet takes its configuration from deploy/seed.yaml; the kernel, for comparison, kube-proxy's rules from
deploy/seed.rules. Everything is in namespaces that end with this script.
"""

import collections
import math
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "support"))

import netns  # noqa: E402
import programs  # noqa: E402

BUILD = HERE.parent / "build" / "release"
NODE_PORT, SECOND_NODE_PORT = "10.128.0.5:31332", "10.128.0.5:30558"
VIP, SECOND_VIP = "10.31.240.99:80", "10.31.240.99:443"
OUTSIDE, INSIDE = "198.18.0.0/16", "10.28.16.0/20"
CLIENTS_PER_ENDPOINT = 300
CLIENTS_OF_SECOND_PORT = 100
SIGMAS = 5  # a correct balancer leaves such a bound once in 1.7 million

Pod = collections.namedtuple("Pod", "name address node local")
PODS = [Pod("php-apache-dep-58bc5f5b77-8rdlz", "10.28.8.5", "gke-asuka-default-pool-3d65e6a8-kbb1", True),
        Pod("php-apache-dep-58bc5f5b77-ph7vs", "10.28.8.6", "gke-asuka-default-pool-3d65e6a8-kbb1", True),
        Pod("php-apache-dep-58bc5f5b77-jwxqs", "10.28.6.5", "gke-asuka-default-pool-731ddb85-sw18", False),
        Pod("php-apache-dep-58bc5f5b77-vp4hj", "10.28.7.6", "gke-asuka-default-pool-6bb7cbe5-2wmb", False)]
LOCAL_PODS = [pod for pod in PODS if pod.local]


# ------------------------------------------------------------------------------------------------------------- topology


class Cluster:
    """The seed's cluster. The node is the router between the outside, its pods and the other nodes."""

    def __init__(self):
        self.node = netns.Host("kbb1", forward=True)
        self.outside = self._clients("outside", OUTSIDE, "10.128.1")
        self.inside = self._clients("inside", INSIDE, "10.28.9")
        for pod in LOCAL_PODS:
            self._pod(pod, self.node)
        for index, pod in enumerate(pod for pod in PODS if not pod.local):
            self._pod(pod, self._other_node(f"node-{index + 2}", f"10.128.0.{index + 6}", pod))
        self.node.ip("addr add 10.128.0.5/32 dev lo")

    def _clients(self, name, prefix, link):
        """A host that owns a whole prefix: as many clients as there are addresses."""
        host = netns.Host(name)
        netns.link(host, self.node, [f"{link}.2/24"], [f"{link}.1/24"])
        host.ip(f"route add default via {link}.1")
        host.own_prefix(prefix)
        self.node.ip(f"route add {prefix} via {link}.2")
        return programs.Clients(host, BUILD / "tests" / "support" / "limpet-clients")

    def _other_node(self, name, address, pod):
        host = netns.Host(name, forward=True)
        netns.link(host, self.node)
        host.ip(f"addr add {address}/32 dev kbb1")
        host.ip("route add 10.128.0.5 dev kbb1")
        host.ip("route add default via 10.128.0.5 dev kbb1")
        self.node.ip(f"route add {address} dev {name}")
        self.node.ip(f"route add {pod.address} via {address} dev {name}")
        return host

    def _pod(self, pod, node):
        """As most pod networks do it: a /32 address, and a gateway that is not in any subnet."""
        host = netns.Host(pod.name[-5:])
        netns.link(host, node, [f"{pod.address}/32"])
        host.ip(f"route add 169.254.1.1 dev {node.name}")
        host.ip(f"route add default via 169.254.1.1 dev {node.name}")
        node.ip(f"addr add 169.254.1.1/32 dev {host.name}")
        node.ip(f"route add {pod.address} dev {host.name}")
        programs.http_server(host, pod.name, ports=(80, 443))


# -------------------------------------------------------------------------------------------------------------- display


class Page:
    """What is printed. Colour only on a terminal, and not where NO_COLOR is set. Remembers whether all was true."""

    def __init__(self):
        self.colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        self.true = True

    def paint(self, code, text):
        return f"\033[{code}m{text}\033[0m" if self.colour else text

    def heading(self, text):
        print(f"\n{self.paint('1', text)}", flush=True)

    def table(self, head, rows):
        """Columns as wide as their widest cell; numbers to the right."""
        cells = [[str(cell) for cell in row] for row in [head, *rows]]
        widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
        for number, row in enumerate(cells):
            line = "  ".join(cell.rjust(width) if re.match(r"[\d±]", cell) else cell.ljust(width)
                             for cell, width in zip(row, widths))
            print("  " + (self.paint("2", line) if number == 0 else line).rstrip())

    def verdict(self, holds, text):
        self.true = self.true and holds
        print(f"  {self.paint('32', 'true') if holds else self.paint('31;1', 'NOT TRUE')}: {text}", flush=True)


# ----------------------------------------------------------------------------------------------------------- experiment


class Visits:
    """Clients that came twice, one round after the other."""

    def __init__(self, clients, server, prefix, count):
        self.asked = count
        answers = clients.visit(server, prefix, count=count, rounds=2)
        self.unanswered = programs.failures(answers)
        answered = [answer for answer in answers if answer not in self.unanswered]
        self.pods = {client: pods for client, pods in programs.pods_by_client(answered).items() if len(pods) == 2}

    def first_choices(self):
        return collections.Counter(pods[0] for pods in self.pods.values())

    def moved(self):
        return sum(1 for first, second in self.pods.values() if first != second)

    def complete(self):
        return not self.unanswered and len(self.pods) == self.asked


def chance(n, probability):
    """(expected number, bound) when each of n independent clients has this probability: binomial."""
    return n * probability, SIGMAS * math.sqrt(n * probability * (1 - probability))


def show_reached(page, visits, allowed, text):
    """Which pods were reached, and how many clients each has, beside its share."""
    counts = visits.first_choices()
    share, bound = chance(visits.asked, 1 / len(allowed))
    expected = {pod: (f"{share:.0f}", f"±{bound:.0f}") if pod in allowed else ("0", "") for pod in PODS}
    rows = [(pod.name, pod.address, pod.node, counts[pod.name], *expected[pod]) for pod in PODS]
    page.table(("pod", "address", "node", "clients", "expected", "bound"), rows)
    within = all(abs(counts[pod.name] - share) <= bound for pod in allowed)
    elsewhere = [pod.name for pod in PODS if pod not in allowed and counts[pod.name]]
    page.verdict(visits.complete() and within and not elsewhere, text)
    show_unanswered(visits)


def show_unanswered(visits):
    if visits.unanswered:
        print(f"  not answered: {len(visits.unanswered)}, the first one: {visits.unanswered[0]}")


def show_returned(page, visits, text):
    page.table(("clients", "came back to the same pod", "to another one"),
               [(visits.asked, len(visits.pods) - visits.moved(), visits.moved())])
    page.verdict(visits.complete() and visits.moved() == 0, text)


def show_second_port(page, first, second):
    """The clients of the second port are the first of the first port's: did they choose once more, and keep to that?"""
    rows, holds = [], True
    for path, allowed, before, visits in zip((f"outside → nodePort {SECOND_NODE_PORT}", f"pods → VIP {SECOND_VIP}"),
                                             (LOCAL_PODS, PODS), first, second):
        elsewhere = sum(1 for client, pods in visits.pods.items() if pods[0] != before.pods.get(client, pods)[0])
        expected, bound = chance(visits.asked, 1 - 1 / len(allowed))
        rows.append((path, visits.asked, visits.moved(), elsewhere, f"{expected:.0f}", f"±{bound:.0f}"))
        reached = set(visits.first_choices()) <= {pod.name for pod in allowed}
        holds = holds and visits.complete() and visits.moved() == 0 and reached and abs(elsewhere - expected) <= bound
    page.table(("clients", "each twice", "moved", "not the pod of the first port", "expected", "bound"), rows)
    page.verdict(holds, "the second port has affinities of its own")
    for visits in second:
        show_unanswered(visits)


def both_kinds(cluster):
    """The same clients in every experiment, 300 per endpoint: from outside on the nodePort, in pods on the VIP."""
    return (Visits(cluster.outside, NODE_PORT, OUTSIDE, CLIENTS_PER_ENDPOINT * len(LOCAL_PODS)),
            Visits(cluster.inside, VIP, INSIDE, CLIENTS_PER_ENDPOINT * len(PODS)))


def both_kinds_on_the_second_port(cluster):
    return (Visits(cluster.outside, SECOND_NODE_PORT, OUTSIDE, CLIENTS_OF_SECOND_PORT),
            Visits(cluster.inside, SECOND_VIP, INSIDE, CLIENTS_OF_SECOND_PORT))


# -------------------------------------------------------------------------------------------------------------- through


def through_limpet(cluster, page):
    with programs.Limpet(cluster.node, BUILD / "limpet", (HERE / "seed.yaml").read_text(), "--ephemeral") as limpet:
        outside, inside = both_kinds(cluster)
        second = both_kinds_on_the_second_port(cluster)
        rules = cluster.node.run("iptables-save").stdout + cluster.node.run("iptables-legacy-save").stdout
        ended = limpet.stop()
    page.heading(f"1, 2. {outside.asked} clients from outside, nodePort {NODE_PORT}")
    show_reached(page, outside, LOCAL_PODS,
                 "an outside client on the nodePort reaches a pod of this node, chosen at random")
    page.heading("3. The same clients once more")
    show_returned(page, outside, "every subsequent connection of a client goes to its pod")
    page.heading(f"4. {inside.asked} clients in pods, VIP {VIP}")
    show_reached(page, inside, PODS, "a pod on the VIP reaches any of the four pods, chosen at random")
    page.heading("5. The same pods once more")
    show_returned(page, inside, "decisions for internal clients are remembered too")
    page.heading(f"The second port: {CLIENTS_OF_SECOND_PORT} of each kind on 443")
    show_second_port(page, (outside, inside), second)
    page.heading("What the kernel did meanwhile")
    used = sorted(set(re.findall(r"-j (\S+)", rules)) - set(re.findall(r"^:(\S+)", rules, re.MULTILINE)))
    page.table(("rules", "of these nat", "targets"), [(rules.count("\n-A "), rules.count("*nat"), ", ".join(used))])
    page.verdict("*nat" not in rules and "NFQUEUE" in used and ended == 0,
                 "packets were only handed to userspace: no nat table, no recent, no statistic; limpet ended cleanly")
    return outside, inside


def through_the_kernel(cluster):
    """The same visits through kube-proxy's rules, or None and the reason why this kernel cannot."""
    rules = (HERE / "seed.rules").read_text()
    loaded = cluster.node.run("iptables-restore", "--noflush", stdin=rules, check=False)
    if loaded.returncode != 0:
        return None, loaded.stderr.strip()
    return both_kinds(cluster), None


def recent_limit():
    """How many clients one list of xt_recent holds on this kernel."""
    try:
        return int(pathlib.Path("/sys/module/xt_recent/parameters/ip_list_tot").read_text())
    except OSError:
        return 100  # the module's default


def show_comparison(page, cluster, limpet):
    page.heading(f"Beside it: {CLIENTS_PER_ENDPOINT} clients per endpoint, twice each, through the kernel's `recent`")
    kernel, reason = through_the_kernel(cluster)
    if kernel is None:
        print(f"  not runnable here: kube-proxy's rules are refused: {reason}")
        return
    rows = []
    paths = (f"outside → nodePort {NODE_PORT}", f"pods → VIP {VIP}")
    for path, theirs, ours in zip(paths, kernel, limpet):
        rows.append((path, ours.asked, theirs.moved(), ours.moved(), len(theirs.unanswered), len(ours.unanswered)))
    page.table(("clients", "each twice", "lost their endpoint: kernel", "limpet",
                "connections unanswered: kernel", "limpet"), rows)
    print(f"  A list of xt_recent holds {recent_limit()} clients per endpoint; the next one pushes out the oldest,")
    print("  unannounced.")
    print("  Clients that were forgotten, but by chance sent to the same pod again, are not counted.")
    page.verdict(all(visits.complete() and visits.moved() == 0 for visits in limpet),
                 "limpet lost none, and left none unanswered")


def main():
    for program in (BUILD / "limpet", BUILD / "tests" / "support" / "limpet-clients"):
        if not program.is_file():
            sys.exit(f"{program} is not there: build it first (deploy/demo does)")
    netns.enter("auto")
    page = Page()
    print(__doc__.partition("\n\n")[2].partition("limpet takes")[0].rstrip())
    cluster = Cluster()
    limpet = through_limpet(cluster, page)
    show_comparison(page, cluster, limpet)
    print()
    sys.exit(0 if page.true else 1)


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, TimeoutError, netns.CommandFailed, subprocess.SubprocessError) as error:
        sys.exit(f"demo: {error}")
