"""kernel_nat.py: what the kernel's own NAT makes of the same services: the oracle beside which limpet is tested.

    with KernelNat(host, limpet's configuration): ...

The rules are those that kube-proxy writes in iptables mode, by default without affinity: nat PREROUTING and OUTPUT send
a packet to a service to one of its endpoints by `statistic`, marked for MASQUERADE as kube-proxy's table says; a
service without endpoints is REJECTed in the filter table. Ends without a trace: rules, tables and tracked connections.

With affinity, services that have it remember their clients as kube-proxy's do: in one `recent` list for each endpoint,
named by a hash of service and endpoint (portProtoHash); a new connection asks the lists in the order of "ip:port" as
text.
"""

import base64
import hashlib
import ipaddress

MASQUERADE = "0x4000/0x4000"
MARK = f"-j MARK --set-xmark {MASQUERADE}"
BUILT_IN = ("PREROUTING", "OUTPUT", "POSTROUTING")


class KernelNat:
    def __init__(self, host, config, affinity=False):
        self.host = host
        services = config["services"]
        self._v6 = ipaddress.ip_address(services[0]["clusterIP"]).version == 6
        self._iptables = "ip6tables" if self._v6 else "iptables"
        self._filter = host.run(f"{self._iptables}-save", "-t", "filter").stdout
        pods = config["node"].get("podCIDRs", [None])[0]
        host.run(f"{self._iptables}-restore", "-w", "--noflush", stdin=_nat(services, pods, affinity))
        host.run(f"{self._iptables}-restore", "-w", "--noflush", stdin=_rejects(services, config.get("rejectWith")))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        host = self.host
        if self._filter.strip():
            host.run(f"{self._iptables}-restore", "-w", "-T", "filter", stdin=self._filter)
        else:
            host.run(self._iptables, "-w", "-F")
        for words in (["-F"], ["-X"]):
            host.run(self._iptables, "-w", "-t", "nat", *words)
        # iptables-nft leaves empty base chains, and with them NAT's hooks.
        host.run("nft", "delete", "table", "ip6" if self._v6 else "ip", "nat", check=False)
        host.run("conntrack", "-F", "-f", "ipv6" if self._v6 else "ipv4")
        return 0


def _protocol(service):
    return service.get("protocol", "TCP").lower()


def _to(service, port):
    """Match a destination port; xt_udp's own option knows no UDP-Lite."""
    protocol = _protocol(service)
    if protocol == "udplite":
        return f"-p udplite -m multiport --dports {port}"
    return f"-p {protocol} -m {protocol} --dport {port}"


def _nat(services, pods, affinity):
    rules = [rule for number, service in enumerate(services) if service["endpoints"]
             for rule in _service(number, service, pods, affinity)]
    rules.append("-A SERVICES -m addrtype --dst-type LOCAL -j NODEPORTS")
    rules += ["-A PREROUTING -j SERVICES", "-A OUTPUT -j SERVICES",
              f"-A POSTROUTING -m mark --mark {MASQUERADE} -j MASQUERADE"]
    chains = dict.fromkeys(rule.split()[1] for rule in rules)
    own = [f":{chain} - [0:0]" for chain in ("SERVICES", "NODEPORTS", *chains) if chain not in BUILT_IN]
    return "\n".join(["*nat", *dict.fromkeys(own), *rules, "COMMIT", ""])


def _service(number, service, pods, affinity):
    vip, port, chain = service["clusterIP"], service["port"], f"SVC-{number}"
    masquerade = service.get("masquerade", "auto")
    rules = [f"-A SERVICES -d {vip} {_to(service, port)} -j {chain}"]
    if masquerade == "always":
        rules.append(f"-A {chain} {MARK}")
    elif masquerade == "auto" and pods:
        rules.append(f"-A {chain} -d {vip} ! -s {pods} {MARK}")
    if "nodePort" in service:
        entry = _to(service, service["nodePort"])
        if service.get("externalTrafficPolicy") != "Local" and masquerade == "auto":
            rules.append(f"-A NODEPORTS {entry} {MARK}")
        rules.append(f"-A NODEPORTS {entry} -j {chain}")
    remembers = affinity and "sessionAffinity" in service
    endpoints = sorted(service["endpoints"], key=lambda endpoint: _target(service, endpoint))
    names = [endpoint_chain(service, endpoint) if remembers else f"EP-{number}-{index}"
             for index, endpoint in enumerate(endpoints)]
    if remembers:
        seconds = service["sessionAffinity"]["clientIP"]["timeoutSeconds"]
        rules += [f"-A {chain} -m recent --rcheck --seconds {seconds} --reap --name {name} --rsource -j {name}"
                  for name in names]
    return rules + _endpoints(chain, service, endpoints, names, masquerade, remembers)


def endpoint_chain(service, endpoint):
    """kube-proxy's name for an endpoint's chain and list."""
    words = service["name"] + _protocol(service) + _target(service, endpoint)
    return "KUBE-SEP-" + base64.b32encode(hashlib.sha256(words.encode()).digest()).decode()[:16]


def _endpoints(service_chain, service, endpoints, names, masquerade, remembers):
    rules = []
    for index, (endpoint, chain) in enumerate(zip(endpoints, names)):
        left = len(endpoints) - index
        chance = f"-m statistic --mode random --probability {1 / left:.10f} " if left > 1 else ""
        rules.append(f"-A {service_chain} {chance}-j {chain}")
        if masquerade == "auto":
            rules.append(f"-A {chain} -s {endpoint['address']} {MARK}")  # a hairpin
        remember = f"-m recent --set --name {chain} --rsource " if remembers else ""
        rules.append(
            f"-A {chain} -p {_protocol(service)} {remember}-j DNAT --to-destination {_target(service, endpoint)}")
    return rules


def _target(service, endpoint):
    address, port = endpoint["address"], endpoint["port"]
    if _protocol(service) == "udplite":
        return address  # iptables' DNAT takes no port for UDP-Lite
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _rejects(services, reject_with):
    rules = []
    for service in (service for service in services if not service["endpoints"]):
        how = f"-j REJECT --reject-with {reject_with}" if reject_with and _protocol(service) == "tcp" else "-j REJECT"
        matches = [f"-d {service['clusterIP']} {_to(service, service['port'])}"]
        if "nodePort" in service:
            matches.append(f"-m addrtype --dst-type LOCAL {_to(service, service['nodePort'])}")
        rules += [f"-I {chain} -m conntrack --ctstate NEW {match} {how}"
                  for chain in ("INPUT", "FORWARD", "OUTPUT") for match in matches]
    return "\n".join(["*filter", *rules, "COMMIT", ""])
