"""programs.py: the real programs that the wire tests and the demo run on their hosts.

    http_server(host, words)    nginx; answers every request with "WORDS client-address"
    dns_server(host, ...)       unbound, with local data only
    Clients(host, program)      limpet-clients: which source was answered by whom
    Limpet(host, program, ...)  the load balancer: start, ready, counters, stop, kill

All of them live under /run, which is private, and die with the namespaces at the latest.
"""

import collections
import json
import pathlib
import re
import signal
import subprocess
import tempfile
import threading

from netns import wait_until

RUN = pathlib.Path("/run")


def _folder(prefix):
    folder = pathlib.Path(tempfile.mkdtemp(prefix=prefix + "-", dir=RUN))
    folder.chmod(0o755)
    return folder


def _listening(host, port, protocol="t"):
    return lambda: f":{port} " in host.run("ss", f"-Hln{protocol}").stdout


# -------------------------------------------------------------------------------------------------------------- servers

NGINX = """
user root;
master_process off;
daemon off;
pid {folder}/pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  default_type text/plain;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    {listen}
    location = / {{ return 200 "{words} $remote_addr\\n"; }}
    location / {{ root {folder}; }}
  }}
}}
"""


def http_server(host, words, ports=(80,)):
    """Answer `GET /` with "WORDS client-address"; other paths are files of the folder that is returned."""
    folder = _folder(f"nginx-{host.name}")
    listen = " ".join(f"listen {port} backlog=4096; listen [::]:{port} backlog=4096;" for port in ports)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, listen=listen, words=words))
    host.popen("nginx", "-p", folder, "-e", "stderr", "-c", folder / "nginx.conf")
    wait_until(_listening(host, ports[0]), 5, f"nginx on {host.name} listens")
    return folder


UNBOUND = """
server:
  username: ""
  chroot: ""
  pidfile: ""
  directory: "{folder}"
  use-syslog: no
  logfile: "{folder}/log"
  verbosity: 0
  num-threads: 1
  do-daemonize: no
  interface: 0.0.0.0
  interface: ::
  access-control: 0.0.0.0/0 allow
  access-control: ::/0 allow
  local-zone: "test." static
  local-data: "who.test. 0 TXT {words}"
remote-control:
  control-enable: no
"""


def dns_server(host, words):
    """Answer `TXT who.test` with the words, on port 53, UDP and TCP."""
    folder = _folder(f"unbound-{host.name}")
    (folder / "unbound.conf").write_text(UNBOUND.format(folder=folder, words=words))
    host.popen("unbound", "-d", "-c", folder / "unbound.conf")
    wait_until(_listening(host, 53, "u"), 5, f"unbound on {host.name} listens")


# -------------------------------------------------------------------------------------------------------------- clients

Answer = collections.namedtuple("Answer", "source round words")


class Clients:
    """limpet-clients on one host."""

    def __init__(self, host, program):
        self.host = host
        self.program = program

    def visit(self, server, prefix, count=1, rounds=1, parallel=64, timeout_ms=5000):
        """Every client's answers, in order of arrival. An answer that begins with "!" is an error."""
        done = self.host.run(self.program, "--to", server, "--from", prefix, "--count", count, "--rounds", rounds,
                             "--parallel", parallel, "--timeout-ms", timeout_ms, check=False, timeout=120)
        if done.returncode not in (0, 1):
            raise RuntimeError(f"limpet-clients: {done.stderr}")
        lines = (line.split("\t") for line in done.stdout.splitlines())
        return [Answer(source, int(number), words) for source, number, words in lines]


def failures(answers):
    return [answer for answer in answers if answer.words.startswith("!")]


def pod_of(answer):
    """The first word of an answer: who gave it."""
    return answer.words.split()[0]


def pods_by_client(answers):
    """source → the pods that answered it, in order."""
    visits = collections.defaultdict(list)
    for answer in answers:
        visits[answer.source].append(pod_of(answer))
    return visits


# --------------------------------------------------------------------------------------------------------------- limpet


class Limpet:
    """`limpet run` on a host. Its log is kept in `log`, line by line."""

    def __init__(self, host, program, config, *options):
        program = program if isinstance(program, list) else [program]
        path = _folder("limpet") / "limpet.yaml"
        # JSON is YAML: the configuration needs no YAML library here.
        path.write_text(config if isinstance(config, str) else json.dumps(config, indent=2))
        self.host = host
        self.log = []
        self.process = host.popen(*program, "run", "-c", path, *options, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True, errors="replace")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))

    def __enter__(self):
        return self.wait_ready()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()

    def text(self):
        return "\n".join(self.log)

    def wait_ready(self, seconds=20):
        def ready():
            if self.process.poll() is not None:
                self._reader.join(5)
                raise RuntimeError(f"limpet ended with {self.process.returncode}:\n{self.text()}")
            return any(re.search(r"\bready\b", line) for line in self.log)

        wait_until(ready, seconds, f"limpet is ready; it says:\n{self.text()}")
        return self

    def counter(self, name):
        """One counter now: the sum of those whose last name this is. KeyError if there is none."""
        values = [value for path, value in self.counters().items() if path.rsplit(".", 1)[-1] == name]
        if not values:
            raise KeyError(name)
        return sum(values)

    def counters(self):
        """All counters now, as {"group.name": number}."""
        seen = len(self.log)
        self.process.send_signal(signal.SIGUSR1)

        def answer():
            return next((line for line in self.log[seen:] if "stats {" in line), None)

        line = wait_until(answer, 5, f"limpet logs its counters; it says:\n{self.text()}")
        return dict(_flatten(json.loads(line[line.index("{"):])))

    def settled_counters(self, seconds=5):
        """All counters, once no packet has come between two readings: a packet is counted first, what became of it later."""
        last = self.counters()

        def settled():
            nonlocal last
            before, last = last, self.counters()
            return last if last["packets"] == before["packets"] else None

        return wait_until(settled, seconds, "no packet comes any more")

    def stop(self, how=signal.SIGTERM, seconds=10):
        """Ask it to end; its exit code."""
        self.process.send_signal(how)
        return self.wait(seconds)

    def wait(self, seconds=10):
        code = self.process.wait(seconds)
        self._reader.join(5)
        self.process.stderr.close()
        return code

    def kill(self):
        self.process.kill()
        self.wait()


def _flatten(tree, path=""):
    if isinstance(tree, dict):
        for name, branch in tree.items():
            yield from _flatten(branch, f"{path}.{name}" if path else name)
    elif isinstance(tree, list):
        for index, branch in enumerate(tree):
            yield from _flatten(branch, f"{path}.{index}")
    elif isinstance(tree, (int, float)) and not isinstance(tree, bool):
        yield path, tree


def queued_packets(host):
    """queue number → packets that the kernel has given it so far (nfnetlink_queue: id_sequence, the eighth column)."""
    text = host.run("cat", "/proc/net/netfilter/nfnetlink_queue").stdout
    rows = [line.split() for line in text.splitlines()]
    return {int(row[0]): int(row[7]) for row in rows}
