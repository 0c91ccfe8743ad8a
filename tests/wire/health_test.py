#!/usr/bin/python3
"""Health checks from outside: a Service's healthCheckNodePort, as a load balancer asks it, /healthz and /livez."""

import json
import pathlib
import tempfile

import lab

CURL_NO_CONNECTION = 7
HERE, AWAY = 32100, 32101  # healthCheckNodePorts: of a Service with endpoints on this node, and of one without
HEALTHZ = 10256

objects = None  # the file's path


def load_balancer(name, address, port, node_ports, pods, node):
    """A Service, and its slice: one endpoint for each pod, on that node."""
    family = "IPv6" if ":" in address else "IPv4"
    ports = [{"name": word, "port": 80 + number, "nodePort": node_port}
             for number, (word, node_port) in enumerate(node_ports.items())]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "test", "name": name},
               "spec": {"type": "LoadBalancer", "clusterIP": address, "clusterIPs": [address], "ports": ports,
                        "externalTrafficPolicy": "Local", "healthCheckNodePort": port}}
    endpoints = [{"addresses": [pod], "nodeName": node} for pod in pods]
    endpoints.append({"addresses": [pods[0][:-1] + "8"], "nodeName": node, "conditions": {"ready": False}})
    slices = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
              "metadata": {"namespace": "test", "name": name + "-1", "labels": {"kubernetes.io/service-name": name}},
              "ports": [{"name": word, "port": lab.HTTP_PORT} for word in node_ports], "endpoints": endpoints}
    return [service, slices]


def build(network):
    global objects
    plan = network.addresses
    pods = list(plan.pods.values())
    items = [*load_balancer("here", plan.virtual(40), HERE, {"http": 30140, "more": 30141}, pods[:2], "node"),
             *load_balancer("away", plan.virtual(41), AWAY, {"http": 30142}, pods[2:], "another")]
    objects = pathlib.Path(tempfile.mkdtemp(dir="/run")) / "objects.json"
    objects.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    HealthChecks.changes = {"kubernetes": {"files": [str(objects)]}, "healthz": f"[::]:{HEALTHZ}"}
    node = {**network.config()["node"], "nodePortAddresses": [network.addresses.client_network]}
    OfSomeAddresses.changes = {"kubernetes": {"files": [str(objects)]}, "node": node}


class Asking(lab.WithLimpet):
    def ask(self, address, port, path="/"):
        """(status, headers, body)."""
        done = self.net.client.run("curl", "-s", "-i", "-g", "--noproxy", "*", "--max-time", 5,
                                   lab.url(address, port, path))
        head, body = done.stdout.replace("\r\n", "\n").split("\n\n", 1)
        status, *headers = head.splitlines()
        return int(status.split()[1]), dict(line.split(": ", 1) for line in headers), json.loads(body)

    def curl_code(self, address, port):
        done = self.net.client.run("curl", "-s", "-g", "--noproxy", "*", "--max-time", 5, lab.url(address, port),
                                   check=False)
        return done.returncode


class HealthChecks(Asking):
    def test_counts_ready_endpoints_of_this_node(self):
        status, headers, body = self.ask(self.plan.node, HERE, "/healthz")
        self.assertEqual(status, 200)
        self.assertEqual(headers["X-Load-Balancing-Endpoint-Weight"], "2")
        self.assertEqual(body, {"service": {"namespace": "test", "name": "here"}, "localEndpoints": 2,
                                "serviceProxyHealthy": True})

    def test_a_node_without_endpoints_is_to_be_avoided(self):
        status, headers, body = self.ask(self.plan.node, AWAY)
        self.assertEqual((status, headers["X-Load-Balancing-Endpoint-Weight"], body["localEndpoints"]), (503, "0", 0))

    def test_every_address_of_the_node_answers(self):
        for address in self.plan.gateways.values():
            self.assertEqual(self.ask(address, HERE)[0], 200)

    def test_healthz_and_livez(self):
        for path in ("/healthz", "/livez"):
            status, _, body = self.ask(self.plan.node, HEALTHZ, path)
            self.assertEqual((status, set(body)), (200, {"lastUpdated", "currentTime"}))
            self.assertLessEqual(body["lastUpdated"], body["currentTime"])


class OfSomeAddresses(Asking):
    """nodePortAddresses is the client's network."""

    def test_only_they_answer(self):
        self.assertEqual(self.ask(self.plan.node, HERE)[0], 200)
        self.assertEqual(self.curl_code(self.plan.gateways["pod-a"], HERE), CURL_NO_CONNECTION)

    def test_an_address_that_comes_answers_too(self):
        network = lab.ipaddress.ip_network(self.plan.client_network)
        address = str(network[77])
        self.net.node.ip(f"addr add {address}/{network.prefixlen} dev {self.net.client.name}"
                         + (" nodad" if ":" in address else ""))
        lab.netns.wait_until(lambda: self.curl_code(address, HERE) == 0, 10, f"{address} answers")


if __name__ == "__main__":
    lab.main(build)
