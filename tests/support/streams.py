"""streams.py: many slow downloads at once, compared with what was sent; a steady stream of new connections.

    StreamServer(host, ...)      a listener: "who" is answered with its words; "GET seed" with a block every `gap`
                                 seconds, until end() is called
    Downloads(host, ...)         N connections at once, each from an address of its own; the MD5 of what came is compared
                                 with that of what was sent: a byte lost, doubled or exchanged is found, and so is a reset
    Arrivals(host, ...)          one new connection every `gap` seconds, by known clients in turn: who answered, when

All are threads of the test's process. The streams are no files: block i of seed s is MD5(s, i) repeated, so both ends
know them, and they last exactly as long as a test wants. It is the server that is slow, not the reader: closed windows
would look like loss.
"""

import collections
import hashlib
import selectors
import socket
import threading
import time

BLOCK = 1024
BIND_ADDRESS_NO_PORT = 24  # linux/in.h: the source port is chosen by connect()
FREEBIND = 15


def block(seed, index):
    """BLOCK bytes."""
    return hashlib.md5(f"{seed} {index}".encode()).digest() * (BLOCK // 16)


def digest(seed, length):
    """MD5 of the first `length` blocks of a stream."""
    summed = hashlib.md5()
    for index in range(length):
        summed.update(block(seed, index))
    return summed.hexdigest()


def bound_socket(host, family, source):
    """A TCP socket of a host, bound to one of the many addresses that are local there as a prefix."""
    sock = host.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_IP, FREEBIND, 1)
    sock.setsockopt(socket.SOL_IP, BIND_ADDRESS_NO_PORT, 1)
    sock.bind((source, 0))
    return sock


# -------------------------------------------------------------------------------------------------------------- servers


class StreamServer(threading.Thread):
    def __init__(self, host, family, address, port, words, gap=0.2):
        super().__init__(daemon=True)
        self.words = words
        self.gap = gap
        self.sent = {}  # seed → blocks, of the streams that have ended
        self.ending = False
        self.closing = False
        self.listener = host.socket(family, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.listener.listen(4096)
        self.listener.setblocking(False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)
        self.streams = {}  # socket → [seed, blocks begun, bytes that wait]
        self.start()

    def end(self):
        """Streams end after the block that they are at."""
        self.ending = True

    def close(self):
        """No more connections; those that are open are reset or end."""
        self.closing = True
        self.join()
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()
        for sock in self.streams:
            sock.close()

    def run(self):
        due = time.monotonic()
        while not self.closing:
            for key, _ in self.selector.select(max(0, due - time.monotonic())):
                key.data(key.fileobj)
            if time.monotonic() >= due:
                due += self.gap
                for sock in list(self.streams):
                    self._send(sock)

    def _accept(self, listener):
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            return
        sock.setblocking(False)
        self.selector.register(sock, selectors.EVENT_READ, self._request)

    def _request(self, sock):
        """One line, which arrives whole: "who" or "GET seed"."""
        try:
            words = sock.recv(4096).decode().split()
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            words = []
        self.selector.unregister(sock)
        if words[:1] == ["GET"]:
            self.streams[sock] = [words[1], 0, b""]
            return
        if words[:1] == ["who"]:
            sock.sendall(self.words.encode() + b"\n")
        sock.close()

    def _send(self, sock):
        seed, index, waiting = state = self.streams[sock]
        if not waiting and not self.ending:
            waiting = block(seed, index)
            state[1] += 1
        try:
            state[2] = waiting[sock.send(waiting):] if waiting else b""
        except (BlockingIOError, InterruptedError):
            state[2] = waiting
            return
        except OSError:  # the client finds out by itself
            state[2] = b""
        if not state[2] and self.ending:
            self.sent[seed] = state[1]
            del self.streams[sock]
            sock.close()


# -------------------------------------------------------------------------------------------------------------- clients


class Downloads(threading.Thread):
    """Connections from each of `sources` to each of `targets`, all open at the same time."""

    def __init__(self, host, family, targets, sources, servers):
        super().__init__(daemon=True)
        self.host, self.family = host, family
        self.servers = servers
        self.failures = {}  # seed → why
        self.digests = {}  # seed → MD5 of what came
        self.received = collections.Counter()  # bytes, by seed
        self.open = {}  # socket → (seed, running MD5)
        self.selector = selectors.DefaultSelector()
        for number, target in enumerate(targets):
            for source in sources:
                self._connect(target, source, f"{number}/{source}")
        self.start()

    def _connect(self, target, source, seed):
        sock = bound_socket(self.host, self.family, source)
        sock.settimeout(10)
        sock.connect(target)
        sock.sendall(f"GET {seed}\n".encode())
        sock.setblocking(False)
        self.open[sock] = (seed, hashlib.md5())
        self.selector.register(sock, selectors.EVENT_READ)

    def run(self):
        while self.open:
            for key, _ in self.selector.select(0.5):
                self._read(key.fileobj)

    def finish(self, seconds=30):
        """Let the servers end; {seed: why} of the downloads that were broken or are not what was sent."""
        for server in self.servers:
            server.end()
        self.join(seconds)
        failures = {**self.failures, **{seed: "no end" for seed, _ in list(self.open.values())}}
        sent = {seed: blocks for server in self.servers for seed, blocks in server.sent.items()}
        for seed, summed in self.digests.items():
            if summed != digest(seed, sent.get(seed, 0)):
                failures[seed] = f"{self.received[seed]} bytes are not the {sent.get(seed, 0)} blocks that were sent"
        return failures

    def _read(self, sock):
        seed, summed = self.open[sock]
        try:
            chunk = sock.recv(1 << 16)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.failures[seed] = f"{error} after {self.received[seed]} bytes"
            chunk = None
        if chunk:
            summed.update(chunk)
            self.received[seed] += len(chunk)
            return
        if chunk is not None:
            self.digests[seed] = summed.hexdigest()
        self.selector.unregister(sock)
        sock.close()
        del self.open[sock]


def ask_who(host, family, server, source, timeout=5):
    """Who answers a new connection; OSError or TimeoutError if nobody does."""
    with bound_socket(host, family, source) as sock:
        sock.settimeout(timeout)
        sock.connect(server)
        sock.sendall(b"who\n")
        answer = b""
        while chunk := sock.recv(256):
            answer += chunk
    if not answer:
        raise ConnectionError("closed without an answer")
    return answer.decode().strip()


Arrival = collections.namedtuple("Arrival", "begun ended source words")


class Arrivals(threading.Thread):
    """New connections, one every `gap` seconds, by `sources` in turn, each in a thread of its own: no one waits for another.

    A SYN that was lost is sent again after one second by TCP, which would hide how long the service was away: so that is
    taken from the connections that begin and are answered, not from those that waited.
    """

    def __init__(self, host, family, server, sources, gap=0.02, patience=15):
        super().__init__(daemon=True)
        self.host, self.family, self.server = host, family, server
        self.sources, self.gap, self.patience = sources, gap, patience
        self.arrivals = []  # Arrival, in the order of their ends; words "!…": not answered
        self._going = True
        self._visitors = []
        self.start()

    def run(self):
        due = time.monotonic()
        number = 0
        while self._going:
            source = self.sources[number % len(self.sources)]
            visitor = threading.Thread(target=self._visit, args=(source,), daemon=True)
            visitor.start()
            self._visitors.append(visitor)
            number += 1
            due += self.gap
            time.sleep(max(0, due - time.monotonic()))

    def _visit(self, source):
        begun = time.monotonic()
        try:
            words = ask_who(self.host, self.family, self.server, source, self.patience)
        except OSError as error:
            words = f"! {error}"
        self.arrivals.append(Arrival(begun, time.monotonic(), source, words))

    def finish(self):
        """End, wait for those under way; all arrivals."""
        self._going = False
        self.join()
        for visitor in self._visitors:
            visitor.join()
        return self.arrivals

    def first_answer_after(self, instant, seconds=15):
        """When the first connection that began after `instant` was answered."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            ends = [one.ended for one in list(self.arrivals) if one.begun >= instant and not one.words.startswith("!")]
            if ends:
                return min(ends)
            time.sleep(0.002)
        raise TimeoutError(f"no new connection was answered within {seconds} s")
