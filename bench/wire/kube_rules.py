"""kube-proxy's nat table for one Service with ClientIP affinity, as iptables-restore input.

The shape is that of a GKE node (`iptables -t nat -S`): KUBE-SERVICES -> KUBE-SVC-* -> KUBE-SEP-*; in the KUBE-SVC chain one `recent
--rcheck` rule an endpoint, then one `statistic` rule an endpoint, the last unconditional; in each KUBE-SEP chain `recent --set` and DNAT.
A connection from an unknown client therefore meets N `recent` rules that miss and, on average, N/2 random draws.

Chain names are made as kube-proxy makes them (pkg/proxy/iptables, portProtoHash): the first 16 letters of the base32 SHA-256. Their
length matters: the kernel finds a `recent` list by comparing names, one after another.
Masquerading (the rule that acts on mark 0x4000) is left out: the rig's clients are pods, and replies are not measured.
"""

import base64
import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class ServicePort:
    name: str  # namespace/service:port
    address: str
    port: int
    protocol: str  # tcp or udp
    endpoints: tuple[tuple[str, int], ...]
    affinity_seconds: int = 10800
    pod_cidr: str = "10.64.0.0/10"


def _chain(prefix: str, *parts: str) -> str:
    digest = hashlib.sha256("".join(parts).encode()).digest()
    return prefix + base64.b32encode(digest).decode()[:16]


def service_chain(service: ServicePort) -> str:
    return _chain("KUBE-SVC-", service.name, service.protocol)


def endpoint_chain(service: ServicePort, endpoint: tuple[str, int]) -> str:
    address, port = endpoint
    return _chain("KUBE-SEP-", service.name, service.protocol, f"{address}:{port}")


def service_rules(service: ServicePort) -> list[str]:
    """The KUBE-SVC chain: who is remembered goes back, everyone else is spread evenly."""
    chain, comment = service_chain(service), f'-m comment --comment "{service.name}"'
    targets = [endpoint_chain(service, endpoint) for endpoint in service.endpoints]
    remembered = [
        f"-A {chain} {comment} -m recent --rcheck --seconds {service.affinity_seconds} --reap "
        f"--name {target} --mask 255.255.255.255 --rsource -j {target}"
        for target in targets
    ]
    spread = [
        f"-A {chain} {comment} -m statistic --mode random --probability {1 / (len(targets) - i):.10f} -j {target}"
        for i, target in enumerate(targets[:-1])
    ]
    return remembered + spread + [f"-A {chain} {comment} -j {targets[-1]}"]


def endpoint_rules(service: ServicePort, endpoint: tuple[str, int]) -> list[str]:
    """A KUBE-SEP chain: mark hairpin connections, remember the client, translate."""
    address, port = endpoint
    chain, comment = endpoint_chain(service, endpoint), f'-m comment --comment "{service.name}"'
    return [
        f"-A {chain} -s {address}/32 {comment} -j KUBE-MARK-MASQ",
        f"-A {chain} -p {service.protocol} {comment} -m recent --set --name {chain} --mask 255.255.255.255 --rsource "
        f"-m {service.protocol} -j DNAT --to-destination {address}:{port}",
    ]


def nat_table(service: ServicePort) -> str:
    """The whole table."""
    to_service = (
        f'-d {service.address}/32 -p {service.protocol} -m comment --comment "{service.name} cluster IP" '
        f"-m {service.protocol} --dport {service.port}"
    )
    chains = ["KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-MARK-MASQ", service_chain(service)]
    chains += [endpoint_chain(service, endpoint) for endpoint in service.endpoints]
    portals = '-m comment --comment "kubernetes service portals"'
    rules = [
        f"-A PREROUTING {portals} -j KUBE-SERVICES",
        f"-A OUTPUT {portals} -j KUBE-SERVICES",
        "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
        f"-A KUBE-SERVICES ! -s {service.pod_cidr} {to_service} -j KUBE-MARK-MASQ",
        f"-A KUBE-SERVICES {to_service} -j {service_chain(service)}",
        "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS",
    ]
    rules += service_rules(service)
    for endpoint in service.endpoints:
        rules += endpoint_rules(service, endpoint)
    return "\n".join(["*nat", *(f":{chain} - [0:0]" for chain in chains), *rules, "COMMIT", ""])
