#!/usr/bin/python3
"""Kubernetes objects change while limpet runs, and connections with them: no restart, nothing lost.

limpet follows a file of Services and EndpointSlices, which is replaced as `kubectl get … -o json` would write it anew.
From the instant at which limpet says that the services have changed, no new connection goes to an endpoint outside of
its set; connections that stand go on. The time from the new file to that instant is printed.

A source port that has asked is not asked with again: each connection is a new flow.
"""

import datetime
import itertools
import json
import os
import pathlib
import re
import signal
import socket
import tempfile
import threading
import time
import unittest

import lab
import programs
from netns import wait_until

ENDPOINT = {"conditions": {"ready": True, "serving": True, "terminating": False}, "nodeName": "node"}


def build(network):
    network.serve_http()
    network.serve_dns()


class Objects:
    """The file that limpet follows."""

    def __init__(self, network):
        self.plan = network.addresses
        self.type = "IPv6" if network.family == "v6" else "IPv4"
        self.path = pathlib.Path(tempfile.mkdtemp()) / "objects.json"
        os.chmod(self.path.parent, 0o755)
        self.items = {}

    def service(self, name, address, port=80, target=lab.HTTP_PORT, protocol="TCP", pods=None, affinity=False):
        """`pods`: {pod, or another address: changes of its conditions}; None: no Service at all."""
        self.items.pop(name, None)
        if pods is None:
            return
        ports = [{"name": "p", "port": port, "protocol": protocol}]
        spec = {"clusterIP": address, "clusterIPs": [address], "ports": ports}
        if affinity:
            spec["sessionAffinity"] = "ClientIP"
        endpoints = [{**ENDPOINT, "addresses": [self.plan.pods.get(pod, pod)],
                      "conditions": {**ENDPOINT["conditions"], **conditions}} for pod, conditions in pods.items()]
        self.items[name] = [
            {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "test", "name": name}, "spec": spec},
            {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": self.type,
             "metadata": {"namespace": "test", "name": name + "-1",
                          "labels": {"kubernetes.io/service-name": name}},
             "ports": [{"name": "p", "port": target, "protocol": protocol}], "endpoints": endpoints}]

    def text(self):
        return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(itertools.chain(*self.items.values()))})

    def write(self, text=None):
        """Replaces the file; returns when."""
        new = self.path.with_suffix(".new")
        new.write_text(self.text() if text is None else text)
        new.chmod(0o644)
        at = time.time()
        new.rename(self.path)
        return at


class Stream(threading.Thread):
    """New connections of one client, one after another, each from the next port: (begun, pod or error).

    All the ports stand below those that the client's other sockets are given.
    """

    def __init__(self, host, family, server, source):
        super().__init__()
        self.host, self.family, self.server, self.source = host, family, server, source
        self.visits = []
        self.ended = threading.Event()

    def run(self):
        for port in itertools.cycle(range(2000, 32768)):
            if self.ended.is_set():
                return
            begun = time.time()
            try:
                self.visits.append((begun, self._visit(port)))
            except OSError as error:
                self.visits.append((begun, f"!{error}"))

    def _visit(self, port):
        with self.host.socket(self.family, socket.SOCK_STREAM) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.settimeout(5)
            sock.bind((self.source, port))
            sock.connect(self.server)
            return ask(sock)

    def finish(self):
        self.ended.set()
        self.join(20)
        return self.visits


def ask(sock):
    """One request on a connection that may go on; the pod's name."""
    sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = b""
    while b"\r\n\r\n" not in answer or not re.search(rb"pod-.", answer):
        piece = sock.recv(4096)
        if not piece:
            raise ConnectionError("closed")
        answer += piece
    return re.search(rb"pod-.", answer).group().decode()


class WithObjects(unittest.TestCase):
    def setUp(self):
        self.net = lab.current
        self.plan = self.net.addresses
        self.objects = Objects(self.net)
        self.objects.service("web", self.plan.vip, pods={"pod-a": {}, "pod-b": {}})
        self.more_objects()
        self.objects.write()
        self.limpet = self.net.limpet("--ephemeral", services=[], kubernetes={"files": [str(self.files())]},
                                      **self.limpet_changes()).wait_ready()
        self.addCleanup(self._stop)

    def more_objects(self):
        """That there are from the start."""

    def files(self):
        return self.objects.path

    def limpet_changes(self):
        return {}

    def _stop(self):
        self.assertEqual(self.limpet.stop(), 0, self.limpet.text())

    def said(self, words, count):
        return [line for line in self.limpet.log if words in line][count:]

    def change(self, **what):
        """Writes, waits until limpet has published; returns when that was, and how long it took."""
        seen = len(self.said("services changed", 0))
        written = self.objects.write(**what)
        line = wait_until(lambda: next(iter(self.said("services changed", seen)), None), 10,
                          f"limpet takes up the change; it says:\n{self.limpet.text()}")
        published = datetime.datetime.fromisoformat(line.split()[0]).timestamp() + 0.001  # it is cut to milliseconds
        return published, published - written


class UnderLoad(WithObjects):
    STEPS = (
        ("pod-c is added", {"pod-a": {}, "pod-b": {}, "pod-c": {}}, {"pod-a", "pod-b", "pod-c"}),
        ("pod-a is removed", {"pod-b": {}, "pod-c": {}}, {"pod-b", "pod-c"}),
        ("pod-b is not ready", {"pod-b": {"ready": False, "serving": False}, "pod-c": {}}, {"pod-c"}),
        ("pod-c terminates, nobody else is ready",
         {"pod-b": {"ready": False, "serving": False}, "pod-c": {"ready": False, "terminating": True}}, {"pod-c"}),
        ("pod-b is ready again", {"pod-b": {}, "pod-c": {"ready": False, "terminating": True}}, {"pod-b"}),
        ("all are back", {"pod-a": {}, "pod-b": {}, "pod-c": {}}, {"pod-a", "pod-b", "pod-c"}),
    )

    def test_no_new_connection_outside_of_its_set(self):
        sources = [self.plan.client]
        streams = [Stream(self.net.client, self.net.socket_family, (self.plan.vip, 80), source) for source in sources]
        for stream in streams:
            stream.start()
        instants, took = [], []
        time.sleep(0.5)
        for name, pods, allowed in self.STEPS:
            self.objects.service("web", self.plan.vip, pods=pods)
            published, seconds = self.change()
            instants.append((published - seconds, published, name, allowed))
            took.append(seconds)
            time.sleep(0.7)
        visits = [visit for stream in streams for visit in stream.finish()]
        self.assertEqual([pod for _, pod in visits if pod.startswith("!")], [])
        ends = [written for written, _, _, _ in instants[1:]] + [float("inf")]
        for (_, published, name, allowed), written in zip(instants, ends):
            # A connection that has begun before the next file was written may be decided by that already, if it was slow.
            within = [pod for begun, pod in visits if published <= begun < written - 0.05]
            with self.subTest(name):
                self.assertGreater(len(within), 20, "too few connections to show anything")
                self.assertEqual(set(within), allowed)
        milliseconds = sorted(1000 * seconds for seconds in took)
        print(f"{len(visits)} connections; from the new file to its effect: {milliseconds[0]:.0f} to "
              f"{milliseconds[-1]:.0f} ms (50 ms of it waiting for the file to settle)")

    def test_a_connection_outlives_its_endpoint_and_its_service(self):
        self.objects.service("web", self.plan.vip, pods={"pod-a": {}})
        self.change()
        with self.net.client.socket(self.net.socket_family, socket.SOCK_STREAM) as sock:
            sock.settimeout(5)
            sock.connect((self.plan.vip, 80))
            self.assertEqual(ask(sock), "pod-a")
            self.objects.service("web", self.plan.vip, pods={"pod-b": {}})
            self.change()
            self.assertEqual(ask(sock), "pod-a")
            self.objects.service("web", self.plan.vip)
            self.change()
            time.sleep(2.5)  # limpet has looked twice for whom the diversion is still needed
            self.assertEqual(ask(sock), "pod-a")
            self.assertGreater(self.limpet.counter("diversions_lingering"), 0)

    def test_a_service_comes_and_goes(self):
        for _ in range(3):
            self.objects.service("more", self.plan.plain, pods={"pod-b": {}})
            self.change()
            self.assertEqual(programs.pod_of(self.visit(self.plan.plain)), "pod-b")
            self.objects.service("more", self.plan.plain, pods={})
            self.change()
            self.assertIn("refused", self.visit(self.plan.plain).words.lower())
            self.objects.service("more", self.plan.plain)
            self.change()

    def visit(self, address):
        return self.net.clients.visit(lab.at(address, 80), self.plan.client, timeout_ms=2000)[0]


class Udp(WithObjects):
    def ask(self, sock):
        sock.send(QUERY)
        answer = sock.recv(512)
        return re.search(rb"pod-.", answer).group().decode()

    def test_a_flow_moves_with_its_endpoint_and_ends_with_the_last(self):
        dns = dict(address=self.plan.vip, port=53, target=53, protocol="UDP")
        self.objects.service("dns", pods={"pod-a": {}}, **dns)
        self.change()
        with self.net.client.socket(self.net.socket_family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(3)
            sock.connect((self.plan.vip, 53))
            self.assertEqual(self.ask(sock), "pod-a")
            self.objects.service("dns", pods={"pod-a": {}, "pod-b": {}}, **dns)
            self.change()
            self.assertEqual(self.ask(sock), "pod-a", "its endpoint still serves")
            self.objects.service("dns", pods={"pod-b": {}}, **dns)
            self.change()
            self.assertEqual(self.ask(sock), "pod-b")
            self.objects.service("dns", pods={}, **dns)
            self.change()
            with self.assertRaises(ConnectionRefusedError):
                self.ask(sock)
            self.objects.service("dns", pods={"pod-c": {}}, **dns)
            self.change()
            self.assertEqual(self.ask(sock), "pod-c")
            self.objects.service("dns", **dns)
            self.change()
            with self.assertRaises(OSError):  # nobody's: it goes where routes lead
                self.ask(sock)


QUERY = bytes.fromhex("1234 0100 0001 0000 0000 0000 03 77686f 04 74657374 00 0010 0001")  # TXT who.test


class Affinity(WithObjects):
    def pods_of(self, count=60):
        answers = self.net.clients.visit(lab.at(self.plan.vip, 80), self.plan.many, count=count)
        self.assertEqual(programs.failures(answers), [])
        return {answer.source: programs.pod_of(answer) for answer in answers}

    def put(self, *pods, **conditions):
        self.objects.service("web", self.plan.vip, affinity=True,
                             pods={pod: conditions.get(pod.replace("-", "_"), {}) for pod in pods})
        self.change()

    def test_clients_stay_through_changes_but_for_those_whose_endpoint_was_away(self):
        self.put("pod-a", "pod-b")
        before = self.pods_of()
        self.put("pod-a", "pod-b", "pod-c")
        self.assertEqual(self.pods_of(), before, "a third endpoint moves nobody")
        self.put("pod-a", "pod-b", "pod-c", pod_a={"ready": False, "serving": False})
        away = self.pods_of()
        self.assertNotIn("pod-a", away.values())
        stayed = [client for client, pod in before.items() if pod != "pod-a"]
        self.assertEqual({client: away[client] for client in stayed}, {client: before[client] for client in stayed})
        self.put("pod-a", "pod-b", "pod-c")
        self.assertEqual(self.pods_of(), away, "who has moved stays where it is, as behind kube-proxy")


class WithRoomForEight(WithObjects):
    def limpet_changes(self):
        return {"tables": {"flows": 20000, "affinity": 20000, "endpoints": 8}}

    def pod(self, address):
        answers = self.net.clients.visit(lab.at(address, 80), self.plan.client, timeout_ms=2000)
        return programs.pod_of(answers[0])

    def too_many(self):
        network = "fd09::" if self.net.family == "v6" else "10.9.0."
        return {f"{network}{number}": {} for number in range(1, 20)}

    def put_big(self):
        self.objects.service("big", self.plan.self, pods=self.too_many())

    def limpet_tells_of(self, name, consequence):
        told = f"Service test/{name} cannot be taken up and {consequence}"
        wait_until(lambda: self.said(told, 0), 5, "limpet tells of it")
        self.assertIn("raise tables.endpoints", self.said(told, 0)[0])

    def shrink_big(self):
        self.objects.service("big", self.plan.self, pods={"pod-a": {}})
        self.change()
        self.assertEqual(self.pod(self.plan.self), "pod-a")


class Trouble(WithRoomForEight):
    def test_a_broken_file_changes_nothing(self):
        self.objects.write(text='{"kind": "List", ')
        wait_until(lambda: self.said("going on with what it said before", 0), 5, "limpet complains")
        self.assertIn(self.pod(self.plan.vip), ("pod-a", "pod-b"))
        self.objects.service("web", self.plan.vip, pods={"pod-c": {}})
        self.change()
        self.assertEqual(self.pod(self.plan.vip), "pod-c")

    def test_a_service_that_does_not_fit_keeps_no_other_waiting(self):
        self.put_big()
        self.objects.service("more", self.plan.plain, pods={"pod-b": {}})
        self.change()
        self.limpet_tells_of("big", "is left out")
        self.assertEqual(self.pod(self.plan.plain), "pod-b")
        self.shrink_big()

    def test_what_has_left_it_leaves_it(self):
        self.objects.service("web", self.plan.vip, pods={"pod-b": {}, **self.too_many()})
        self.change()
        self.limpet_tells_of("web", "goes on without its new endpoints")
        self.assertEqual({self.pod(self.plan.vip) for _ in range(40)}, {"pod-b"})


class TroubleAtStart(WithRoomForEight):
    def more_objects(self):
        self.put_big()

    def test_a_service_that_does_not_fit_keeps_no_other_waiting(self):
        self.limpet_tells_of("big", "is left out")
        self.assertIn(self.pod(self.plan.vip), ("pod-a", "pod-b"))
        self.shrink_big()


class Unnoticed(WithObjects):
    """A folder is followed, but a file in it is written to by another name of it, elsewhere: inotify says nothing."""

    def files(self):
        return self.objects.path.parent

    def test_sighup_reads_what_nobody_has_told_of(self):
        elsewhere = pathlib.Path(tempfile.mkdtemp()) / "objects.json"
        os.link(self.objects.path, elsewhere)
        self.objects.service("web", self.plan.vip, pods={"pod-c": {}})
        elsewhere.write_text(self.objects.text())
        time.sleep(1)
        self.assertEqual(self.said("services changed", 0), [], "the test does not show its case")
        self.limpet.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.said("services changed", 0), 5, "limpet reads the file")
        answers = self.net.clients.visit(lab.at(self.plan.vip, 80), self.plan.client)
        self.assertEqual(programs.pod_of(answers[0]), "pod-c")


if __name__ == "__main__":
    lab.main(build)
