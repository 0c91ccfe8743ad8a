#!/usr/bin/python3
"""Every door of a Kubernetes Service, with real packets: who may come in, who answers, and whom the pod sees.

kube-proxy's table (masquerade: the pod sees the node's address on its own network instead of the client's):

    door                        client             pod
    clusterIP                   node               node
                                pod of the cluster itself
                                outside            node
    nodePort, externalIP,
    load balancer   Cluster     outside            node
                    Local       outside            itself, endpoints of this node only
                                pod                itself, every endpoint
    load balancer               not in its ranges  nobody: dropped
    any                         no endpoint        refused

Of this service pod-a and pod-b are endpoints of this node, pod-c is another's (as its nodeName says).
"""

import json
import pathlib
import socket
import tempfile

import lab
import programs

CLUSTER_PORT, LOCAL_PORT = 31001, 31002
THIS_NODE = {"pod-a", "pod-b"}
EVERY = {"pod-a", "pod-b", "pod-c"}


def build(network):
    network.serve_http()
    network.local_clients()
    plan = network.addresses
    for number in (1, 2, 3, 4):  # the external addresses lead to the node
        network.client.ip(f"route add {external(plan, number)} via {plan.node}")


def external(plan, number):
    return f"fd97::{number}" if ":" in plan.vip else f"192.0.2.{number}"


def objects(plan):
    """Two Services with the same endpoints: `cluster` and `local`, after their externalTrafficPolicy."""
    items = []
    family = "IPv6" if ":" in plan.vip else "IPv4"
    for name, vip, policy, node_port, first in (("cluster", plan.vip, "Cluster", CLUSTER_PORT, 1),
                                                ("local", plan.local, "Local", LOCAL_PORT, 3)):
        items.append({
            "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "test", "name": name},
            "spec": {"type": "LoadBalancer", "clusterIP": vip, "clusterIPs": [vip], "externalTrafficPolicy": policy,
                     "externalIPs": [external(plan, first)], "loadBalancerSourceRanges": [plan.client_network],
                     "ports": [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": node_port}]},
            "status": {"loadBalancer": {"ingress": [{"ip": external(plan, first + 1), "ipMode": "VIP"}]}}})
        items.append({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
            "metadata": {"namespace": "test", "name": name + "-1", "labels": {"kubernetes.io/service-name": name}},
            "ports": [{"name": "http", "port": lab.HTTP_PORT, "protocol": "TCP"}],
            "endpoints": [{"addresses": [plan.pods[pod]], "conditions": {"ready": True},
                           "nodeName": "node" if pod in THIS_NODE else "other"} for pod in lab.PODS]})
    items.append({
        "apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "test", "name": "empty"},
        "spec": {"clusterIP": plan.empty, "ports": [{"port": 80, "protocol": "TCP"}]}})
    return {"apiVersion": "v1", "kind": "List", "items": items}


def write(name, value):
    path = pathlib.Path(tempfile.mkdtemp()) / name
    path.parent.chmod(0o755)
    path.write_text(json.dumps(value))
    return str(path)


class WithObjects(lab.WithLimpet):
    @classmethod
    def setUpClass(cls):
        files = [write("objects.json", objects(lab.current.addresses))]
        cls.changes = {"services": [], "kubernetes": {"files": files}, **cls.changes}
        super().setUpClass()

    # Each pod of k answers none of 60 independent connections with probability (1 - 1/k)^60: of three, 3e-11.
    def check(self, host, door, pods, seen):
        """60 connections from `host`: exactly these pods answer, and see the client as `seen`: {pod: address}."""
        answers = [self.ask(host, door) for _ in range(60)]
        self.assertEqual({pod for pod, _ in answers}, pods)
        for pod, source in answers:
            self.assertEqual(source, seen[pod], f"{door} by {pod}")

    def ask(self, host, door):
        """(pod, client's address as the pod saw it)"""
        with host.socket(self.net.socket_family, socket.SOCK_STREAM) as sock:
            sock.settimeout(5)
            sock.connect(door)
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while piece := sock.recv(4096):
                answer += piece
        return answer.partition(b"\r\n\r\n")[2].decode().split()

    def by_node(self):
        return self.plan.gateways

    def as_itself(self, address):
        return {pod: address for pod in lab.PODS}


class Doors(WithObjects):
    def test_cluster_ip(self):
        for vip in (self.plan.vip, self.plan.local):
            self.check(self.net.client, (vip, 80), EVERY, self.by_node())
            self.check(self.net.node, (vip, 80), EVERY, self.by_node())

    def test_from_outside_by_policy_cluster(self):
        for door in ((self.plan.node, CLUSTER_PORT), (external(self.plan, 1), 80), (external(self.plan, 2), 80)):
            self.check(self.net.client, door, EVERY, self.by_node())

    def test_from_outside_by_policy_local(self):
        for door in ((self.plan.node, LOCAL_PORT), (external(self.plan, 3), 80), (external(self.plan, 4), 80)):
            self.check(self.net.client, door, THIS_NODE, self.as_itself(self.plan.client))

    def test_a_pod_takes_the_short_way(self):
        # pod-c: where it is sent to itself, it is masqueraded, or it would answer itself.
        address = self.plan.pods["pod-c"]
        seen = {**self.as_itself(address), "pod-c": self.plan.gateways["pod-c"]}
        self.check(self.net.pods["pod-c"], (self.plan.vip, 80), EVERY, seen)
        self.check(self.net.pods["pod-c"], (self.plan.node, LOCAL_PORT), EVERY, seen)

    def test_source_ranges_are_the_load_balancers_alone(self):
        before = self.limpet.counter("dropped_source_range")
        answers = self.net.clients.visit(lab.at(external(self.plan, 2), 80), self.plan.many, timeout_ms=700)
        self.assertIn("timed out", answers[0].words)
        self.assertGreater(self.limpet.counter("dropped_source_range"), before)
        for door in ((self.plan.node, CLUSTER_PORT), (external(self.plan, 1), 80)):
            answers = self.net.clients.visit(lab.at(*door), self.plan.many)
            self.assertIn(programs.pod_of(answers[0]), EVERY)

    def test_without_endpoints_it_is_refused(self):
        answers = self.net.clients.visit(lab.at(self.plan.empty, 80), self.plan.client)
        self.assertIn("refused", answers[0].words.lower())


class ByKubeProxysWords(WithObjects):
    """What limpet.yaml says of the node elsewhere comes from a KubeProxyConfiguration and from flags here."""

    changes = {"node": {}}

    @classmethod
    def setUpClass(cls):
        plan = lab.current.addresses
        file = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "iptables",
                "clusterCIDR": plan.pod_networks, "hostnameOverride": "other", "healthzBindAddress": "[::]:10299",
                "nodePortAddresses": [plan.client_network]}
        cls.words = ("--config", write("config.conf", file), "--hostname-override", "node", "--masquerade-all=false",
                     "-v=2")
        super().setUpClass()

    def test_the_flag_names_the_node(self):
        self.check(self.net.client, (self.plan.node, LOCAL_PORT), THIS_NODE, self.as_itself(self.plan.client))

    def test_the_file_tells_pods_from_others(self):
        address = self.plan.pods["pod-c"]
        seen = {**self.as_itself(address), "pod-c": self.plan.gateways["pod-c"]}
        self.check(self.net.pods["pod-c"], (self.plan.vip, 80), EVERY, seen)
        self.check(self.net.client, (self.plan.vip, 80), EVERY, self.by_node())

    def test_the_file_says_where_healthz_is(self):
        answer = self.net.client.run("curl", "-s", "-g", "--noproxy", "*", "--max-time", 5,
                                     lab.url(self.plan.node, 10299, "/healthz")).stdout
        self.assertEqual(set(json.loads(answer)), {"lastUpdated", "currentTime"})


if __name__ == "__main__":
    lab.main(build)
