"""What is measured: one Mode a row of the table. A mode prepares its own rig once and is then sampled in every round.

    forward            plain forwarding, no rule at all
    kernel-*           nf_nat by kube-proxy's rules, through iptables-nft and iptables-legacy
    one-by-one         NFQUEUE, one packet a system call, payload written back
    echo               limpet's worker loop, payload written back, no decision
    echo-one-rule      the same behind a single rule instead of limpet's own: what those rules cost the kernel
    limpet-*           `limpet run`; "-ct": with a rule that turns conntrack on

known: 1,000 clients whose flows stand. new-N: every packet is the first of a client never seen before, N endpoints, affinity on.
bulk: one TCP connection of iperf3.

Where the work happens, the same in all modes: the generator on CPU 0, the queue's program on CPU 1. A veth hands a packet over inside
the sender's system call, so PREROUTING (and all of the kernel's own path up to the sink) runs on CPU 0; a verdict runs the rest of the
path (routing, POSTROUTING, transmission) inside the worker's system call, on CPU 1. Bulk: iperf3's client on CPU 0, its server on CPU 1.
"""

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import kube_rules
import rig as rigs
from rig import Rig, RigError

QUEUE_RULE = f"-t raw -A PREROUTING -d {rigs.VIP} -p udp --dport {rigs.PORT} -j NFQUEUE --queue-num 0".split()
CONNTRACK_RULE = "-A FORWARD -m conntrack --ctstate NEW,ESTABLISHED,RELATED -j ACCEPT".split()


@dataclass(frozen=True)
class Effort:
    """How long one sample may take."""

    seconds: float  # known flows and bulk
    new_seconds: float  # new flows: cut off here if the clients have not run out before
    new_clients: int = 100_000


@dataclass
class Sample:
    rate: float  # packets/s, or bit/s for bulk
    cpu_ns: float  # of the whole machine: per packet, or per KiB for bulk
    sent: int
    arrived: int
    lost: int
    seconds: float
    queue_drops: int = 0
    conntrack_failures: int = 0


@dataclass(frozen=True)
class Mode:
    name: str
    setup: Callable[[Rig, "Programs"], None]
    traffic: str = "known"  # known, new or bulk
    conntrack: bool = False
    needs: str | None = None  # attribute of Programs


@dataclass(frozen=True)
class Programs:
    """Files of a build folder; None where the file is not there."""

    generator: Path
    one_by_one: Path | None = None
    echo: Path | None = None
    limpet: Path | None = None
    scratch: Path = field(default_factory=Path)  # for configurations and logs

    @classmethod
    def of(cls, build: Path, scratch: Path) -> "Programs":
        def found(path: str) -> Path | None:
            return build / path if (build / path).exists() else None

        return cls(build / "bench/wire/wire_generator", found("bench/wire/wire_one_by_one"), found("bench/wire/wire_echo"),
                   found("limpet"), scratch)


def _forward(rig: Rig, _: Programs):
    rig.forward_vip()


def _kernel(backend: str, endpoints: tuple, protocol: str = "udp") -> Callable:
    def setup(rig: Rig, _: Programs):
        service = kube_rules.ServicePort("bench/sink:port", rigs.VIP, rigs.PORT, protocol, endpoints)
        rig.run("node", f"iptables-{backend}-restore", "--noflush", stdin=kube_rules.nat_table(service))

    return setup


def _queue_program(name: str, rules: Callable) -> Callable:
    """A program that takes the queue's number and changes nothing."""

    def setup(rig: Rig, programs: Programs):
        rig.forward_vip()
        process = rig.spawn("node", str(getattr(programs, name)), "0", cpu=rigs.WORKER_CPU)
        rules(rig, programs)
        rig.await_service(process)

    return setup


def _one_rule(rig: Rig, _: Programs):
    rig.run("node", "iptables", *QUEUE_RULE)


def _limpet_rules(rig: Rig, programs: Programs):
    """The same diversion as limpet-known: so that the two differ in what the program does, and in nothing else."""
    configuration = _write_configuration(rig, programs, rigs.sink_endpoints(4), "udp")
    rig.run("node", str(programs.limpet), "divert", "apply", "-c", str(configuration))


def _write_configuration(rig: Rig, programs: Programs, endpoints: tuple, protocol: str) -> Path:
    path = programs.scratch / f"{rig.name}.yaml"
    path.write_text(limpet_configuration(endpoints, protocol))
    return path


def limpet_configuration(endpoints: tuple, protocol: str) -> str:
    listed = "\n".join(f"      - {{address: {address}, port: {port}}}" for address, port in endpoints)
    return f"""node:
  podCIDRs: [{rigs.POD_CIDR}]
  detectLocal: {{mode: ClusterCIDR}}
queues: {{first: 0, count: 1, maxLength: 8192, batch: 64}}
state: {{path: none}}
tables: {{flows: 2000000, affinity: 2000000}}
services:
  - name: bench/sink:port
    clusterIP: {rigs.VIP}
    port: {rigs.PORT}
    protocol: {protocol.upper()}
    sessionAffinity: {{clientIP: {{timeoutSeconds: 10800}}}}
    endpoints:
{listed}
"""


def _limpet(endpoints: tuple, protocol: str = "udp", conntrack: bool = False) -> Callable:
    def setup(rig: Rig, programs: Programs):
        configuration = _write_configuration(rig, programs, endpoints, protocol)
        if conntrack:
            rig.run("node", "iptables", *CONNTRACK_RULE)
        process = rig.spawn("node", str(programs.limpet), "run", "-c", str(configuration), cpu=rigs.WORKER_CPU)
        if protocol == "udp":
            rig.await_service(process)
        else:
            _await_queue(rig, process)

    return setup


def _await_queue(rig: Rig, process: subprocess.Popen):
    """TCP cannot be probed with a packet that goes nowhere: wait for the daemon's rules instead."""
    for _ in range(200):
        if process.poll() is not None:
            raise RigError(f"{rig.name}: ended with {process.returncode}: {rig.log_tail()}")
        if "NFQUEUE" in rig.run("node", "iptables-save", "-t", "raw") + rig.run("node", "iptables-legacy-save", "-t", "raw"):
            return
        time.sleep(0.05)
    raise RigError(f"{rig.name}: no rules after 10 s: {rig.log_tail()}")


def all_modes() -> list[Mode]:
    four, bulk = rigs.sink_endpoints(4), (rigs.BULK_ENDPOINT,)
    modes = [
        Mode("forward", _forward),
        Mode("one-by-one", _queue_program("one_by_one", _limpet_rules), needs="one_by_one"),
        Mode("echo", _queue_program("echo", _limpet_rules), needs="echo"),
        Mode("echo-one-rule", _queue_program("echo", _one_rule), needs="echo"),
        Mode("limpet-known", _limpet(four), needs="limpet"),
        Mode("limpet-ct-known", _limpet(four, conntrack=True), conntrack=True, needs="limpet"),
    ]
    modes += [Mode(f"kernel-{backend}-known", _kernel(backend, four), conntrack=True) for backend in ("nft", "legacy")]
    for count in (4, 64, 512):
        endpoints = rigs.sink_endpoints(count)
        modes.append(Mode(f"limpet-new-{count}", _limpet(endpoints), "new", needs="limpet"))
        modes.append(Mode(f"limpet-ct-new-{count}", _limpet(endpoints, conntrack=True), "new", True, "limpet"))
        modes += [Mode(f"kernel-{backend}-new-{count}", _kernel(backend, endpoints), "new", True)
                  for backend in ("nft", "legacy")]
    modes += [
        Mode("kernel-bulk", _kernel("nft", bulk, "tcp"), "bulk", True),
        Mode("limpet-bulk", _limpet(bulk, "tcp"), "bulk", needs="limpet"),
    ]
    return modes


def sample(mode: Mode, rig: Rig, effort: Effort) -> Sample:
    drops, failures = rig.queue_drops(), rig.conntrack_failures()
    result = _bulk(rig, effort) if mode.traffic == "bulk" else _packets(mode, rig, effort)
    result.queue_drops = rig.queue_drops() - drops
    result.conntrack_failures = rig.conntrack_failures() - failures
    if not mode.conntrack and rig.conntrack_entries() != 0:
        raise RigError(f"{mode.name}: conntrack is on in this rig, though no rule should have turned it on")
    if mode.conntrack:
        rig.run("node", "conntrack", "-F")  # the next sample finds the room that this one found
    return result


def _packets(mode: Mode, rig: Rig, effort: Effort) -> Sample:
    if mode.traffic == "new":
        got = rig.generate(fresh=True, packets=effort.new_clients, seconds=effort.new_seconds, warm_up=32)
    else:
        got = rig.generate(fresh=False, packets=1 << 40, seconds=effort.seconds, warm_up=4000)
    return Sample(got["pps"], got["cpu_ns_per_packet"], got["sent"], got["arrived"], got["lost"], got["seconds"])


def _busy_seconds() -> tuple[float, float]:
    """(time, CPU time of the whole machine), as the generator counts it: all but idle, iowait and steal."""
    with open("/proc/stat") as file:
        lines = file.read().splitlines()
    ticks = [int(field) for field in lines[0].split()[1:9]]
    return time.monotonic(), (sum(ticks) - ticks[3] - ticks[4] - ticks[7]) / 100


def _bulk(rig: Rig, effort: Effort) -> Sample:
    address, port = rigs.BULK_ENDPOINT
    server = rig.spawn("endpoints", "iperf3", "-s", "-B", address, "-p", str(port), cpu=rigs.WORKER_CPU)
    try:
        _await_listener(rig, port)
        begin, busy = _busy_seconds()
        report = json.loads(rig.run(
            "clients", "iperf3", "-c", rigs.VIP, "-p", str(rigs.PORT), "-B", rigs.BULK_CLIENT, "-J",
            "-t", str(max(1, round(effort.seconds))), cpu=rigs.GENERATOR_CPU, timeout=effort.seconds + 15))
        end, busy_then = _busy_seconds()
    finally:
        server.kill()
        server.wait()
    received = report["end"]["sum_received"]
    return Sample(received["bits_per_second"], (busy_then - busy) * 1e9 / (received["bytes"] / 1024),
                  report["end"]["sum_sent"]["bytes"], received["bytes"], 0, end - begin)


def _await_listener(rig: Rig, port: int):
    for _ in range(100):
        if f":{port} " in rig.run("endpoints", "ss", "-ltnH"):
            return
        time.sleep(0.02)
    raise RigError(f"{rig.name}: the server does not listen: {rig.log_tail()}")
