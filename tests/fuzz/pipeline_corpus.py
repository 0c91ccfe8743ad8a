#!/usr/bin/python3
"""pipeline_corpus.py: writes corpus/pipeline, the seeds of pipeline_fuzz.cpp, in that file's language.

    usage   pipeline_corpus.py [FOLDER]     default: corpus/pipeline beside this file

Each seed is one life of a connection, or one corner, named for what it shows. Who and what the numbers stand for:
pipeline_world.h (the cast), pipeline_fuzz.cpp (steps).
"""

import pathlib
import sys

PRE, POST, OUT, IN = range(4)
CLIENT, CLIENT2, OTHER, VIP, VIP2, MASQ, MASQ2, REJECTED, DROPPED, E1, E2, EGRESS, LOCAL, NODEPORT, ITSELF, POD = range(16)
TCP, UDP, UDPLITE, SCTP = range(4)
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
PENDING, SEGMENTED, TRUNCATED, OWN = 1, 2, 4, 8  # how a packet arrives
PICK, DROP, RESET, DIRECT, ECHO, WATCHED = 1, 2, 4, 8, 16, 0x80  # options
MS, S1, S4, S31, S61, S121, HOUR, DAYS5 = range(8)  # time that passes


def step(kind, hook, body, marked=False, twice=False, after=None, flags=0):
    first = kind | hook << 3 | marked << 5 | twice << 6 | (after is not None) << 7
    return bytes([first] + ([] if kind == 7 else [flags]) + ([] if after is None else [after]) + list(body))


def packet(hook, sender, receiver, protocol=TCP, content=SYN, v6=False, long=False, plain=False, payload=0, numbers=1, **how):
    """content: TCP flags, or sctp(…); plain: without checksum."""
    what = protocol | v6 << 2 | long << 3 | plain << 4 | payload << 5
    return step(0, hook, [sender | receiver << 4, what, content, numbers], **how)


def sctp(chunk, tag=0, initiate=0):
    """Tags: 0 none, 1 the client's own, 2 the endpoint's, 3 nobody's."""
    return chunk | tag << 4 | initiate << 6


def following(hook, content, back=False, k=0, off_sequence=0, off_ack=0, payload=0, **how):
    """The packet after the k-th last one, TCP flags (and up to 3 bytes) or sctp(…)."""
    return step(1, hook, [k | back << 3 | off_sequence << 4 | off_ack << 6, content | payload << 6], **how)


def again(hook, k=0, **how):
    return step(2, hook, [k], **how)


def error(hook, sender, k=0, kind=0, code=3, length=255, **how):
    return step(3, hook, [k | kind << 3, sender | code << 4, length], **how)


def fragment(hook, offset, units, more, k=0, name=1, **how):
    return step(4, hook, [k | more << 3 | name << 4, offset | units - 1 << 4], **how)


def damaged(hook, at, value, repaired=False, k=0, **how):
    return step(5, hook, [k | repaired << 3, at, value], **how)


def raw(hook, text, **how):
    body = bytes.fromhex(text)
    return step(6, hook, [len(body)] + list(body), **how)


def node(what, after=None):
    """0 … 2: that endpoint serves, or no longer; 3: the node's addresses; 4 + 8 n: n records are swept."""
    return step(7, PRE, [what], after=after)


def through(first, masqueraded=False):
    """A request as the endpoint sees it."""
    return first + again(POST) if masqueraded else first


def handshake(service=VIP, v6=False):
    masqueraded = service != VIP
    back = following(PRE, SYN | ACK, back=True) + again(POST) if masqueraded else following(POST, SYN | ACK, back=True)
    return through(packet(PRE, CLIENT, service, v6=v6), masqueraded) + back + through(
        following(PRE, ACK, back=True), masqueraded)


def association(v6=False):
    """Of SCTP, established."""
    return (packet(PRE, CLIENT, VIP, SCTP, sctp(1, 0, 1), v6=v6) + following(POST, sctp(2, 1, 2), back=True) +
            following(PRE, sctp(10, 2), back=True) + following(POST, sctp(11, 1), back=True))


UDP_OUT = packet(PRE, CLIENT, VIP, UDP, payload=5)
UDP_MASQ = through(packet(PRE, CLIENT, MASQ, UDP, payload=5), True)
ECHO_V4 = "4500001c0000400040016f2bc63364070a600001" "0800f7ff00000000"

SEEDS = {
    "nothing": (0, b""),
    "tcp_to_time_wait": (0, handshake() + following(PRE, FIN | ACK, k=1, back=True) + following(
        POST, FIN | ACK, back=True) + following(PRE, ACK, back=True) + packet(PRE, CLIENT, VIP, numbers=9)),
    "tcp_masqueraded": (0, handshake(MASQ) + following(PRE, PSH | ACK, k=2, back=True, payload=3)),
    "tcp_v6_masqueraded": (0, handshake(MASQ, v6=True)),
    "tcp_refused": (0, packet(PRE, CLIENT, VIP) + following(POST, RST | ACK, back=True) + packet(PRE, CLIENT, VIP, numbers=5)),
    "tcp_reset_forged": (0, handshake() + following(PRE, RST, k=1, back=True, off_sequence=1) + following(
        PRE, RST, k=2, back=True) + packet(PRE, CLIENT, VIP, numbers=5)),
    "tcp_midstream_known": (0, packet(PRE, CLIENT, VIP, content=ACK, numbers=0x42)),
    "tcp_midstream_stranger": (0, packet(PRE, CLIENT2, VIP, content=ACK, numbers=0x42)),
    "tcp_midstream_dropped": (DROP, packet(PRE, CLIENT, VIP, content=ACK, numbers=0x42)),
    "tcp_midstream_picked": (PICK, packet(PRE, CLIENT2, VIP, content=ACK, numbers=0x42) + following(
        POST, ACK, back=True)),
    "tcp_expires_and_begins_anew": (0, handshake() + packet(PRE, CLIENT, VIP, content=ACK, after=DAYS5)),
    "tcp_clash": (0, packet(PRE, CLIENT, VIP) + packet(PRE, CLIENT, VIP2) + following(POST, SYN | ACK, back=True)),
    "tcp_direct_beside": (0, packet(PRE, CLIENT, VIP) + packet(POST, E1, CLIENT, content=SYN | ACK, numbers=0x93)),
    "tcp_direct_first": (DIRECT, packet(PRE, CLIENT, E1) + packet(PRE, CLIENT, VIP) + following(
        POST, SYN | ACK, back=True)),
    "tcp_ports_run_out": (0, b"".join(through(packet(PRE, who, MASQ), True) for who in (CLIENT, OTHER, POD)) + through(
        packet(PRE, CLIENT, NODEPORT), True) + through(packet(PRE, OTHER, NODEPORT), True)),
    "tcp_port_taken_back": (0, through(packet(PRE, CLIENT, MASQ), True) + following(PRE, RST | ACK, back=True) + again(POST)
                            + b"".join(through(packet(PRE, who, MASQ), True) for who in (OTHER, POD)) + through(
                                packet(PRE, CLIENT, NODEPORT), True) + through(packet(PRE, OTHER, NODEPORT), True)),
    "udp_there_and_back": (WATCHED, UDP_OUT + following(POST, 0, back=True) + packet(PRE, CLIENT, VIP, UDP)),
    "udp_without_checksum": (0, packet(PRE, CLIENT, VIP, UDP, plain=True) + following(POST, 0, back=True)),
    "udp_v6_without_checksum": (0, packet(PRE, CLIENT, VIP, UDP, v6=True, plain=True)),
    "udp_super_packet": (0, packet(PRE, CLIENT, VIP, UDP, payload=7, flags=PENDING | SEGMENTED) + again(
        POST, flags=SEGMENTED)),
    "udp_endpoint_gone": (0, UDP_OUT + node(0) + UDP_OUT),
    "udp_egress_gone": (0, UDP_MASQ + node(3) + again(POST, k=1)),
    "udp_to_itself_masqueraded": (0, through(packet(PRE, CLIENT, ITSELF, UDP), True)),
    "udp_hairpin": (0, through(packet(PRE, POD, MASQ, UDP), True) + following(PRE, 0, back=True) + again(POST)),
    "udp_local_client": (0, packet(OUT, LOCAL, VIP, UDP) + following(IN, 0, back=True)),
    "udp_nodeport": (0, through(packet(PRE, CLIENT, NODEPORT, UDP), True) + following(PRE, 0, back=True) + again(POST)),
    "udp_checksum_pending": (0, packet(PRE, CLIENT, VIP, UDP, payload=3, flags=PENDING)),
    "udp_bad_checksum": (0, packet(POST, CLIENT, VIP, UDP, payload=5) + damaged(PRE, 30, 0xff) + damaged(
        PRE, 30, 0xff, repaired=True, k=1)),
    "udp_ip_options": (0, packet(PRE, CLIENT, VIP, UDP, long=True) + packet(PRE, CLIENT, VIP, UDP, v6=True, long=True)),
    "udp_twice_at_every_hook": (0, packet(PRE, CLIENT, MASQ, UDP, twice=True) + again(POST, twice=True) + following(
        PRE, 0, back=True, twice=True) + again(POST, twice=True)),
    "udplite_partial_coverage": (0, packet(PRE, CLIENT, VIP, UDPLITE, plain=True, payload=7) + following(
        POST, 0, back=True)),
    "sctp_to_shutdown": (0, association() + following(PRE, sctp(7, 2), back=True) + following(
        POST, sctp(8, 1), back=True) + following(PRE, sctp(14, 2), back=True) + packet(
            PRE, CLIENT, VIP, SCTP, sctp(1, 0, 3))),
    "sctp_aborted": (0, association(v6=True) + following(PRE, sctp(6, 3), back=True) + following(PRE, sctp(6, 2), k=1, back=True)),
    "sctp_midstream": (PICK, packet(PRE, CLIENT, VIP, SCTP, sctp(4, 2)) + following(POST, sctp(5, 1), back=True)),
    "sctp_clash": (0, packet(PRE, CLIENT, VIP, SCTP, sctp(1, 0, 1)) + packet(PRE, CLIENT, VIP2, SCTP, sctp(1, 0, 1))),
    "table_full": (0, b"".join(packet(PRE, who, service, protocol) for who in (CLIENT, CLIENT2, OTHER)
                               for service in (VIP, MASQ2) for protocol in (UDP, UDPLITE))),
    "swept": (0, UDP_OUT + node(4 + 8 * 8, after=HOUR) + following(POST, 0, back=True)),
    "rejected": (0, packet(PRE, CLIENT, REJECTED, UDP) + packet(PRE, CLIENT, REJECTED, v6=True)),
    "rejected_by_reset": (RESET, packet(PRE, CLIENT, REJECTED) + packet(OUT, LOCAL, REJECTED, v6=True)),
    "dropped_no_local": (0, packet(PRE, CLIENT, DROPPED)),
    "own_answer_loses_its_mark": (0, raw(POST, "4500001c0000400040010000" "0a600001c6336407" "0000ffff00000000", marked=True,
                                         flags=OWN)),
    "echo_answered": (ECHO, raw(PRE, ECHO_V4)),
    "echo_ignored": (0, raw(PRE, ECHO_V4)),
    "truncated": (0, UDP_OUT + packet(PRE, CLIENT, VIP, UDP, flags=TRUNCATED) + packet(PRE, OTHER, VIP, UDP, flags=TRUNCATED)),
    "error_of_the_endpoint": (0, UDP_OUT + error(POST, E1)),
    "error_of_a_router_packet_too_big": (0, packet(PRE, CLIENT, VIP, v6=True) + error(POST, OTHER, kind=1)),
    "error_of_the_endpoint_masqueraded": (0, UDP_MASQ + error(PRE, E1, twice=True) + again(POST, twice=True)),
    "error_of_the_client": (0, UDP_OUT + following(POST, 0, back=True) + error(PRE, CLIENT)),
    "error_of_the_client_masqueraded": (0, UDP_MASQ + following(PRE, 0, back=True) + again(POST) + error(PRE, CLIENT) + again(
        POST)),
    "error_that_quotes_eight_bytes": (0, packet(PRE, CLIENT, VIP) + error(POST, E1, length=28)),
    "error_about_sctp": (0, packet(PRE, CLIENT, VIP, SCTP, sctp(1, 0, 1)) + error(POST, E1)),
    "error_about_a_clash": (0, packet(PRE, CLIENT, VIP, UDP) + packet(PRE, CLIENT, VIP2, UDP) + error(POST, E1)),
    "error_for_somebody_else": (0, UDP_OUT + error(POST, E1, kind=8)),
    "error_truncated": (0, UDP_OUT + error(POST, E1, flags=TRUNCATED)),
    "fragments_of_a_reply": (0, UDP_OUT + following(PRE, 0, back=True, payload=3) + fragment(POST, 0, 1, True) +
                  fragment(POST, 1, 4, False, k=1)),
    "fragments_of_a_request": (0, packet(POST, CLIENT, MASQ, UDP, payload=7) + fragment(PRE, 0, 1, True) +
                               fragment(PRE, 1, 4, False, k=1) + again(POST, k=1) + again(POST, k=1)),
    "fragments_v6": (0, packet(POST, CLIENT, VIP, UDP, v6=True, payload=7) + fragment(PRE, 0, 1, True) +
                     fragment(PRE, 1, 4, False, k=1)),
    "fragments_of_tcp": (0, packet(POST, CLIENT, VIP, payload=7) + fragment(PRE, 0, 3, True) + fragment(PRE, 3, 1, False, k=1)),
    "fragment_overtakes": (0, packet(POST, CLIENT, VIP, UDP, payload=7) + fragment(PRE, 1, 4, False) + fragment(
        PRE, 0, 1, True, k=1)),
    "fragment_too_late": (0, packet(POST, CLIENT, VIP, UDP, payload=7) + fragment(PRE, 0, 1, True) + fragment(
        PRE, 1, 4, False, k=1, after=S31)),
    "fragments_of_many": (0, b"".join(packet(POST, CLIENT, VIP, UDP, payload=7) + b"".join(
        fragment(PRE, 0, 1, True, k=i, name=i + base) for i in range(7)) for base in (0, 7))),
    "fragment_pending": (0, packet(POST, CLIENT, VIP, UDP, payload=7) + fragment(PRE, 0, 1, True, flags=PENDING | SEGMENTED)),
    "fragments_with_other_marks": (0, packet(POST, CLIENT, MASQ, UDP, payload=7) + fragment(PRE, 0, 1, True) + fragment(
        PRE, 1, 4, False, k=1, marked=True)),
}


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "corpus" / "pipeline"
    folder.mkdir(parents=True, exist_ok=True)
    for name, (options, steps) in SEEDS.items():
        (folder / name).write_bytes(bytes([options]) + steps)


if __name__ == "__main__":
    main()
