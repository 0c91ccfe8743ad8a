"""conversations.py: two programs talk: bytes there and back over sockets of two hosts.

    tcp(client, target, server, listen)      one connection
    udp(client, target, server, listen)      one datagram each way, between connected ends

Both return the (address, port) that the server saw, and fail (AssertionError, OSError) where not every byte arrived or an
answer came from another address than the one that was asked. Addresses are (address, port); source: bind the client.
"""

import socket

WORDS, ANSWER = b"there" * 400, b"and back" * 400
SECONDS = 5


def _family(address):
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def _bound(host, kind, address):
    end = host.socket(_family(address), kind)
    end.settimeout(SECONDS)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    end.bind(address)
    return end


def _client(host, kind, target, source):
    end = _bound(host, kind, source) if source else host.socket(_family(target), kind)
    end.settimeout(SECONDS)
    end.connect(target)
    return end


def tcp(client, target, server, listen, source=None):
    with _bound(server, socket.SOCK_STREAM, listen) as listener:
        listener.listen()
        with _client(client, socket.SOCK_STREAM, target, source) as asking:
            accepted, peer = listener.accept()
            with accepted:
                accepted.settimeout(SECONDS)
                for sender, receiver, words in ((asking, accepted, WORDS), (accepted, asking, ANSWER)):
                    sender.sendall(words)
                    got = b""
                    while len(got) < len(words) and (more := receiver.recv(65536)):
                        got += more
                    assert got == words, f"{len(got)} of {len(words)} bytes"
    return peer[:2]


def udp(client, target, server, listen, source=None, segment=None):
    """`segment`: the server sends five times as much at once, as a super-packet of such segments (UDP_SEGMENT)."""
    with _bound(server, socket.SOCK_DGRAM, listen) as listener:
        with _client(client, socket.SOCK_DGRAM, target, source) as asking:
            asking.send(WORDS[:1000])
            got, peer = listener.recvfrom(65536)
            assert got == WORDS[:1000], got
            count = 1
            answer = ANSWER[:1000]
            if segment:
                listener.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, segment)
                count, answer = 5, ANSWER[:1] * segment * 5
            listener.sendto(answer, peer)
            # A connected socket takes datagrams of its own server only.
            back = b"".join(asking.recv(65536) for _ in range(count))
            assert back == answer, f"{len(back)} of {len(answer)} bytes"
    return peer[:2]


UDP_SEGMENT = 103  # linux/udp.h
