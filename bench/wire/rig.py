"""One rig: three private network namespaces in a row, and what one does with them.

    clients                    node                         endpoints
    c0 10.1.0.2  ── veth ──  n0 10.1.0.1
    10.64.0.0/10               n1 10.3.0.1  ── veth ──  e0 10.3.0.2
                               10.2.0.0/16 via 10.3.0.254

The generator sends from client addresses in 10.64.0.0/10 to the VIP. Endpoints of UDP modes are addresses of 10.2.0.0/16; their
next hop 10.3.0.254 has a permanent neighbour entry whose MAC address is nobody's: frames cross the veth, are counted on e0 and
discarded by ip_rcv at once (PACKET_OTHERHOST), so that the sink costs next to nothing and nobody answers. IPv6 is off and no ARP is
needed: every packet on e0 is one of ours.
"""

import json
import subprocess
import time
from pathlib import Path

VIP = "10.96.0.1"
PORT = 80
POD_CIDR = "10.64.0.0/10"
FIRST_CLIENT = 0x0A400001  # 10.64.0.1
LAST_CLIENT = 0x0A5FFFFF  # the VIP lies above
BULK_CLIENT = "10.127.0.1"
BULK_ENDPOINT = ("10.3.0.2", 5201)
SINK_GATEWAY = "10.3.0.254"

GENERATOR_CPU = 0
WORKER_CPU = 1

_SYSCTLS = {
    "clients": ["net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"],
    "node": [
        "net.ipv6.conf.all.disable_ipv6=1",
        "net.ipv6.conf.default.disable_ipv6=1",
        "net.ipv4.ip_forward=1",
        "net.ipv4.conf.all.rp_filter=0",
        "net.ipv4.conf.default.rp_filter=0",
    ],
    "endpoints": ["net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1"],
}
_C0, _N0, _N1, _E0, _NOBODY = (f"02:00:00:00:00:{i:02x}" for i in (1, 2, 3, 4, 0xFF))


class RigError(RuntimeError):
    """Something of the rig did not start or did not behave; the message says what."""


def dotted(number: int) -> str:
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def sink_endpoints(count: int) -> tuple[tuple[str, int], ...]:
    """`count` endpoints of 10.2.0.0/16."""
    return tuple((dotted(0x0A020001 + i), PORT) for i in range(count))


class Rig:
    def __init__(self, name: str, generator: Path, log_folder: Path):
        self.name = name
        self._generator = generator
        self._log_folder = log_folder
        self._clients_used = 0
        self._namespaces = {where: f"{name}.{where}" for where in _SYSCTLS}
        self._build()

    def netns(self, where: str) -> str:
        return f"/run/netns/{self._namespaces[where]}"

    def _enter(self, where: str, cpu: int | None) -> list[str]:
        pin = [] if cpu is None else ["taskset", "-c", str(cpu)]
        return ["nsenter", f"--net={self.netns(where)}", *pin]

    def run(self, where: str, *command: str, cpu: int | None = None, stdin: str | None = None,
            timeout: float | None = None) -> str:
        """Run to its end; its output. RigError if it fails, or takes longer than `timeout` seconds."""
        try:
            done = subprocess.run([*self._enter(where, cpu), *command], input=stdin, text=True, capture_output=True,
                                  check=False, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise RigError(f"{self.name}: {' '.join(command)}: no end after {timeout:.0f} s") from error
        if done.returncode != 0:
            raise RigError(f"{self.name}: {' '.join(command)}: {done.stderr.strip() or done.returncode}")
        return done.stdout

    def spawn(self, where: str, *command: str, cpu: int | None = None) -> subprocess.Popen:
        """Start and leave running; it dies with the rig's pid namespace. nsenter and taskset exec, so the pid is the program's."""
        with open(self._log_folder / f"{self.name}.log", "ab") as log:
            return subprocess.Popen([*self._enter(where, cpu), *command], stdout=log, stderr=log)

    def log_tail(self) -> str:
        return (self._log_folder / f"{self.name}.log").read_text(errors="replace").strip()[-400:]

    def _ip(self, where: str, lines: list[str]):
        self.run(where, "ip", "-batch", "-", stdin="\n".join(lines) + "\n")

    def _build(self):
        for where, name in self._namespaces.items():
            subprocess.run(["ip", "netns", "add", name], check=True)
            self.run(where, "sysctl", "-qw", *_SYSCTLS[where])
        node, clients, endpoints = (self._namespaces[where] for where in ("node", "clients", "endpoints"))
        self._ip("node", [
            f"link add n0 address {_N0} type veth peer name c0 address {_C0} netns {clients}",
            f"link add n1 address {_N1} type veth peer name e0 address {_E0} netns {endpoints}",
            "link set lo up", "link set n0 up", "link set n1 up",
            "addr add 10.1.0.1/24 dev n0", "addr add 10.3.0.1/24 dev n1",
        ])
        self._ip("clients", [
            "link set lo up", "link set c0 up", "addr add 10.1.0.2/24 dev c0", f"addr add {BULK_CLIENT}/32 dev c0",
            f"neigh add 10.1.0.1 lladdr {_N0} dev c0 nud permanent", f"route add default via 10.1.0.1 src {BULK_CLIENT}",
        ])
        self._ip("endpoints", [
            "link set lo up", "link set e0 up", "addr add 10.3.0.2/24 dev e0",
            f"neigh add 10.3.0.1 lladdr {_N1} dev e0 nud permanent", "route add default via 10.3.0.1",
        ])
        self._ip("node", [
            f"neigh add 10.1.0.2 lladdr {_C0} dev n0 nud permanent",
            f"neigh add 10.3.0.2 lladdr {_E0} dev n1 nud permanent",
            f"neigh add {SINK_GATEWAY} lladdr {_NOBODY} dev n1 nud permanent",
            f"route add {POD_CIDR} via 10.1.0.2", f"route add 10.2.0.0/16 via {SINK_GATEWAY}",
        ])

    def forward_vip(self):
        """Let packets for the VIP reach the sink untranslated. Without this route only translated ones do."""
        self._ip("node", [f"route add {VIP} via {SINK_GATEWAY}"])

    def read(self, where: str, path: str) -> str:
        return self.run(where, "cat", path)

    def generate(self, *, fresh: bool, packets: int, seconds: float, warm_up: int, clients: int = 1000,
                 patience: float = 0.5) -> dict:
        """Send in a closed loop. fresh: every packet from a client that this rig has not seen; else `clients` take turns."""
        clients = packets + warm_up if fresh else clients
        first = FIRST_CLIENT + (self._clients_used if fresh else 0)
        if first + clients > LAST_CLIENT:
            raise RigError(f"{self.name}: no unseen clients are left below the VIP")
        if fresh:
            self._clients_used += clients
        return json.loads(self.run(
            "clients", str(self._generator), "--interface", "c0", "--source-mac", _C0, "--gateway-mac", _N0,
            "--sink-netns", self.netns("endpoints"), "--sink-interface", "e0", "--destination", VIP, "--port", str(PORT),
            "--first-client", dotted(first), "--clients", str(clients), "--packets", str(packets),
            "--seconds", str(seconds), "--warm-up", str(warm_up), "--patience", str(patience), cpu=GENERATOR_CPU,
        ))

    def await_service(self, process: subprocess.Popen, deadline: float = 20):
        """Wait until a packet to the VIP comes out at the sink."""
        end = time.monotonic() + deadline
        while time.monotonic() < end:
            if process.poll() is not None:
                raise RigError(f"{self.name}: ended with {process.returncode}: {self.log_tail()}")
            if self.generate(fresh=True, packets=1, seconds=1, warm_up=0, patience=0.1)["arrived"] == 1:
                return
        raise RigError(f"{self.name}: no packet comes through: {self.log_tail()}")

    def queue_drops(self) -> int:
        """Packets that the kernel dropped before a queue's program saw them: columns qdrop (queue full) and udrop (socket full) of
        queue, portid, in-queue, copy mode, copy range, qdrop, udrop, sequence, 1."""
        rows = self.read("node", "/proc/net/netfilter/nfnetlink_queue").splitlines()
        return sum(int(column) for row in rows for column in row.split()[5:7])

    def conntrack_failures(self) -> int:
        """Connections that conntrack could not keep (insert_failed, drop, early_drop), over all CPUs."""
        header, *rows = self.read("node", "/proc/net/stat/nf_conntrack").splitlines()
        columns = [header.split().index(name) for name in ("insert_failed", "drop", "early_drop")]
        return sum(int(row.split()[column], 16) for row in rows for column in columns)

    def conntrack_entries(self) -> int:
        return int(self.read("node", "/proc/sys/net/netfilter/nf_conntrack_count"))
