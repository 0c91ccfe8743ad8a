#!/usr/bin/python3
"""The running daemon's face: what `limpet show` says of real connections, and a live trace of one."""

import json
import pathlib
import socket
import stat
import subprocess
import threading

import lab
import netns

SOCKETS = pathlib.Path("/run/limpet")  # of this test's own /run


def build(network):
    network.serve_http()


def limpet(*words, exit_code=0):
    """The program on the node: (what it prints, what it complains)."""
    done = lab.current.node.run(lab.current.options.limpet, *words, check=False)
    if done.returncode != exit_code:
        raise AssertionError(f"limpet {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout, done.stderr


def show(what, *filters):
    """The objects of a list."""
    return [json.loads(line) for line in limpet("show", what, "-j", *filters)[0].splitlines()]


class Show(lab.WithLimpet):
    def ask(self, address, port=80):
        return self.net.client.http_get(lab.url(address, port)).split()[0]

    def test_services_are_those_of_the_configuration(self):
        services = {service["service"] + "/" + service["protocol"]: service for service in show("services")}
        self.assertEqual(set(services), {f"{one['name']}/{one['protocol'].lower()}" for one in self.net.services})
        vip = services["test/vip:http/tcp"]
        self.assertEqual((vip["clusterIP"], vip["port"], vip["nodePort"], vip["affinity"], vip["endpoints"]),
                         (self.plan.vip, 80, lab.NODE_PORT, 10800, len(lab.PODS)))
        self.assertIsNone(services["test/plain:http/tcp"]["affinity"])
        table, _ = limpet("show", "services", "--service", "test/vip:http")
        head, row = table.splitlines()
        self.assertEqual(head.split()[:3], ["SERVICE", "PROTOCOL", "ADDRESS"])
        self.assertEqual(row.split()[:5], ["test/vip:http", "tcp", lab.at(self.plan.vip, 80), str(lab.NODE_PORT),
                                           "3h00m"])

    def test_endpoints_count_their_connections(self):
        def opened():
            found = show("endpoints", "--service", "test/plain:http")
            self.assertEqual({one["endpoint"] for one in found},
                             {lab.at(self.plan.pods[pod], lab.HTTP_PORT) for pod in lab.PODS})
            self.assertEqual({one["state"] for one in found}, {"ready"})
            return {one["endpoint"]: one["opened"] for one in found}

        before = opened()
        answers = [self.ask(self.plan.plain) for _ in range(12)]
        after = opened()
        for pod in lab.PODS:
            at = lab.at(self.plan.pods[pod], lab.HTTP_PORT)
            self.assertEqual(after[at] - before[at], answers.count(pod), pod)

    def test_stats_and_queues_agree_with_the_log(self):
        self.ask(self.plan.vip)
        stats = json.loads(limpet("show", "stats", "-j")[0])
        logged = self.limpet.counters()
        self.assertGreater(stats["new_flows"], 0)
        self.assertLessEqual(stats["packets"], logged["packets"])
        self.assertEqual([queue["queue"] for queue in show("queues")], [0, 1])
        self.assertEqual(set(stats) - {"queues", "endpoints"},
                         {name for name in logged if not name.startswith(("queues.", "endpoints."))})
        self.assertRegex(limpet("show", "stats")[0], r"(?m)^new_flows +[1-9]")
        self.assertGreater(sum(queue["packets"] for queue in show("queues")), 0)
        self.assertRegex(limpet("show", "queues")[0], r"\AQUEUE +PACKETS .*\n0 .*\n1 .*\n\Z")

    def test_a_flow_is_shown_while_it_stands(self):
        with self.net.sink(socket.SOCK_STREAM) as server, \
                self.net.client.socket(self.net.socket_family, socket.SOCK_STREAM) as client:
            server.listen()
            client.connect((self.plan.sink, 9))
            peer, _ = server.accept()
            peer.sendall(b"!")
            client.recv(1)
            (flow,) = show("flows", "--service", "test/sink:tcp", "--state", "established")
            self.assertEqual(flow["client"], lab.at(self.plan.client, client.getsockname()[1]))
            self.assertEqual((flow["service_address"], flow["endpoint"], flow["confirmed"]),
                             (lab.at(self.plan.sink, 9), lab.at(self.plan.pods["pod-a"], 9), True))
            self.assertEqual(flow["egress"], lab.at(*peer.getpeername()[:2]))
            self.assertAlmostEqual(flow["expires_in"], 432000, delta=60)
            for other in (("--state", "SYN_SENT"), ("--protocol", "udp"), ("--client", self.plan.many),
                          ("--endpoint", lab.at(self.plan.pods["pod-b"], 9))):
                self.assertEqual(show("flows", "--service", "test/sink:tcp", *other), [], other)
            peer.close()

    def test_clients_are_remembered_until_they_are_forgotten(self):
        def remembered():
            return {one["client"]: one["endpoint"] for one in show("affinity", "--service", "test/vip:http")}

        pod = self.ask(self.plan.vip)
        answers = self.net.clients.visit(lab.at(self.plan.vip, 80), self.plan.many, count=700)
        self.assertEqual(lab.programs.failures(answers), [])
        expected = {one.source: lab.at(self.plan.pods[lab.programs.pod_of(one)], lab.HTTP_PORT) for one in answers}
        expected[self.plan.client] = lab.at(self.plan.pods[pod], lab.HTTP_PORT)
        self.assertEqual(remembered(), expected, "more than a page of them")
        (entry,) = show("affinity", "--client", self.plan.client, "--service", "test/vip:http")
        self.assertTrue(entry["confirmed"])
        self.assertAlmostEqual(entry["age"] + entry["expires_in"], 10800, places=2)

        out, _ = limpet("affinity", "delete", "--client", self.plan.client, "--service", "test/vip:http")
        self.assertEqual(out, "1 entry forgotten\n")
        del expected[self.plan.client]
        self.assertEqual(remembered(), expected)
        out, _ = limpet("affinity", "flush", "--service", "test/vip:http")
        self.assertEqual(out, f"{len(expected)} entries forgotten\n")
        self.assertEqual(remembered(), {})

    def test_the_socket_is_for_its_user_and_group(self):
        (path,) = SOCKETS.glob("*.sock")
        self.assertTrue(stat.S_ISSOCK(path.stat().st_mode))
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o660)

    def test_what_is_refused_is_explained(self):
        _, words = limpet("show", "flows", "--client", "nobody", exit_code=2)
        self.assertRegex(words, r"limpet show flows: .*'client' is 'nobody'; write an IP address")
        _, words = limpet("show", "endpoints", "--service", "test/none:http", exit_code=1)
        self.assertRegex(words, r"no service 'test/none:http'; .*namespace/name:port")

    def test_curl_speaks_to_it(self):
        (path,) = SOCKETS.glob("*.sock")
        done = self.net.node.run("curl", "-sS", "--unix-socket", path, "http://limpet/v1/services?limit=1")
        page = json.loads(done.stdout)
        self.assertEqual([service["service"] for service in page["items"]], ["test/vip:http"])
        self.assertEqual(page["next"], "1")


class Tracer:
    """A live trace in the background; `lines` as they come."""

    def __init__(self, *options):
        node = lab.current.node
        self.process = node.popen(lab.current.options.limpet, "trace", "--from", *options, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True)
        self.lines = []
        assert "watching" in self.process.stderr.readline()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def wait_for(self, condition, what):
        netns.wait_until(lambda: condition(list(self.lines)), 5, what)
        return list(self.lines)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.reader.join(5)
        self.process.stdout.close()
        self.process.stderr.close()


class Trace(lab.WithLimpet):
    def crossings(self, tracer, hooks):
        """The objects of the first connection that begins, once both FINs have crossed so many hooks in all. Before it may
        come the last packets of an earlier one."""
        def connection(lines):
            found = [json.loads(line) for line in lines]
            began = next((n for n, one in enumerate(found) if one["key"] == "new"), len(found))
            return found[began:]

        def closed(lines):
            return sum("F" in one.get("detail", "") for one in connection(lines)) >= hooks

        return connection(tracer.wait_for(closed, "both FINs are traced"))

    @staticmethod
    def brief(crossing):
        to = crossing.get("to", crossing)
        return (crossing["hook"], crossing["key"], crossing["source"], crossing["destination"], to["source"],
                to["destination"])

    def check_all_hooks(self, found, expected):
        """Each way of a packet through a hook is there, and nothing else."""
        self.assertEqual({self.brief(crossing) for crossing in found}, set(expected))
        self.assertEqual({crossing["outcome"] for crossing in found}, {"rewritten"})

    def test_a_masqueraded_connection_at_every_hook(self):
        plan = self.plan
        with Tracer(plan.client, "-j") as tracer:
            pod, seen = self.net.client.http_get(lab.url(plan.vip)).split()
            found = self.crossings(tracer, hooks=4)
        begun = found[0]
        self.assertEqual((begun["detail"], begun["key"]), ("S", "new"))
        self.assertEqual(begun["decision"]["service"], "test/vip:http")
        self.assertEqual(begun["decision"]["endpoint"], lab.at(plan.pods[pod], lab.HTTP_PORT))
        client, vip, endpoint = begun["source"], lab.at(plan.vip, 80), begun["decision"]["endpoint"]
        egress = next(one["to"]["source"] for one in found if one["hook"] == "POSTROUTING")
        self.assertEqual(egress.rpartition(":")[0].strip("[]"), seen)
        self.check_all_hooks(found, [
            ("PREROUTING", "new", client, vip, client, endpoint),
            ("PREROUTING", "outer", client, vip, client, endpoint),
            ("POSTROUTING", "middle", client, endpoint, egress, endpoint),
            ("PREROUTING", "inner", endpoint, egress, endpoint, client),
            ("POSTROUTING", "middle", endpoint, client, vip, client)])
        # A packet's two hooks, in order; the SYN before all else.
        crossed = [(one["packet"], one["detail"], one["hook"]) for one in found]
        self.assertEqual([detail for _, detail, _ in crossed[:2]], ["S", "S"], crossed)
        for kind in {detail for _, detail, _ in crossed}:
            hooks = [hook for _, detail, hook in crossed if detail == kind]
            self.assertEqual(hooks[:2], ["PREROUTING", "POSTROUTING"], crossed)
        self.assertEqual(crossed, sorted(crossed), "numbered as they come")

    def test_a_connection_that_shows_its_client(self):
        plan = self.plan
        with Tracer(plan.client, "-j") as tracer:
            pod, _ = self.net.client.http_get(lab.url(plan.node, lab.LOCAL_NODE_PORT)).split()
            found = self.crossings(tracer, hooks=2)
        client, door = found[0]["source"], lab.at(plan.node, lab.LOCAL_NODE_PORT)
        endpoint = lab.at(plan.pods[pod], lab.HTTP_PORT)
        self.check_all_hooks(found, [("PREROUTING", "new", client, door, client, endpoint),
                                     ("PREROUTING", "outer", client, door, client, endpoint),
                                     ("POSTROUTING", "middle", endpoint, client, door, client)])

    def test_a_refusal_is_traced_with_its_answer(self):
        with Tracer(self.plan.client, "-j") as tracer:
            self.net.client.run("curl", "-s", "-g", "--max-time", 2, lab.url(self.plan.empty), check=False)
            first = json.loads(tracer.wait_for(bool, "the SYN is traced")[0])
        self.assertEqual((first["decision"]["action"], first["decision"]["service"], first["verdict"], first["answer"]),
                         ("reject", "test/empty:http", "drop", "port_unreachable"))

    def test_other_clients_are_not_traced(self):
        with Tracer(self.plan.client) as tracer:
            self.net.pods["pod-b"].http_get(lab.url(self.plan.self))
            self.net.client.http_get(lab.url(self.plan.vip))
            lines = tracer.wait_for(lambda lines: len(lines) > 4, "the client's packets are traced")
        self.assertRegex(lines[0], r"\A +time hook +packet +key +what becomes of it\Z")
        self.assertRegex(lines[1], r"\A +0\.000000 PREROUTING +tcp \S+ > \S+ S +new")
        self.assertNotIn(self.plan.self, "\n".join(lines), "the VIP that pod-b spoke to")

    def test_two_traces_at_once(self):
        with Tracer(self.plan.client, "-j") as one, Tracer(self.plan.vip, "-j") as other:
            self.net.client.http_get(lab.url(self.plan.vip))
            ones = self.crossings(one, hooks=4)
            others = self.crossings(other, hooks=2)
        self.assertEqual(ones[0]["source"], others[0]["source"])
        self.assertLess(len(others), len(ones), "the VIP does not stand in packets behind the translation")

    def test_a_trace_ends_with_the_daemon(self):
        with Tracer(self.plan.client, "-j") as tracer:
            self.assertEqual(self.limpet.stop(), 0)
            type(self).limpet = self.net.limpet("--ephemeral").wait_ready()
            self.assertEqual(tracer.process.wait(5), 4)
            self.assertRegex(tracer.process.stderr.read(), "has gone")


class Socket(lab.unittest.TestCase):
    def setUp(self):
        self.net = lab.current

    def test_it_goes_with_the_daemon(self):
        with self.net.limpet("--ephemeral") as running:
            self.assertEqual(len(list(SOCKETS.glob("*.sock"))), 1)
            self.assertEqual(running.stop(), 0)
        self.assertEqual(list(SOCKETS.glob("*.sock")), [])
        for words in (("show", "services"), ("affinity", "list"), ("trace", "--from", "10.1.0.2")):
            _, complaint = limpet(*words, exit_code=4)
            self.assertRegex(complaint, r"no limpet answers at /run/limpet/\S+\.sock .*`limpet run`")

    def test_what_a_killed_one_left_is_replaced(self):
        first = self.net.limpet("--ephemeral").wait_ready()
        first.kill()
        self.assertEqual(len(list(SOCKETS.glob("*.sock"))), 1, "a kill leaves it")
        limpet("show", "services", exit_code=4)
        with self.net.limpet("--ephemeral") as second:
            self.assertTrue(show("services"))
            self.assertEqual(second.stop(), 0)

    def test_without_it_packets_are_served_all_the_same(self):
        for path in SOCKETS.glob("*"):
            path.unlink()
        SOCKETS.rmdir()
        SOCKETS.write_text("in the way")
        self.addCleanup(SOCKETS.unlink)
        with self.net.limpet("--ephemeral") as running:
            self.assertRegex(running.text(), r"warning.*no API.*/run/limpet")
            self.assertIn(self.net.client.http_get(lab.url(self.net.addresses.vip)).split()[0], lab.PODS)
            self.assertEqual(running.stop(), 0)


if __name__ == "__main__":
    lab.main(build)
