#!/usr/bin/python3
"""summary.py: the last lines of a test run.

    usage   summary.py JUNIT.xml      as written by `ctest --output-junit`

Says why tests were skipped and what this kernel cannot run, then one line that counts. What was not run is never called
passed. Exit code 1 if a test failed, or if none was run.
"""

import collections
import os
import re
import socket
import subprocess
import sys
import xml.etree.ElementTree

SKIP_REASON = re.compile(r"^SKIPPED: (.*)$|^.*: Skipped\n(.*)$", re.MULTILINE)  # netns.py's line; GoogleTest's two
IPPROTO_SCTP = 132


def outcomes(path):
    """([passed], [failed], {reason: [skipped]}), by name."""
    passed, failed, skipped = [], [], collections.defaultdict(list)
    for case in xml.etree.ElementTree.parse(path).getroot().iter("testcase"):
        name, status = case.get("name"), case.get("status")
        if case.find("skipped") is not None or status in ("notrun", "disabled"):
            reason = SKIP_REASON.search(case.findtext("system-out") or "")
            skipped[next(filter(None, reason.groups()), "no reason given") if reason else status].append(name)
        elif status == "run":
            passed.append(name)
        else:
            failed.append(name)
    return passed, failed, skipped


def in_private_network(script):
    """Does this work in a network namespace of its own?"""
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--user", "--map-root-user"]
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    command = [*unshare, "sh", "-c", script]
    return subprocess.run(command, capture_output=True, env={**os.environ, "PATH": path}).returncode == 0


def has_sctp():
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_SCTP).close()
        return True
    except OSError:
        return False


def not_runnable_here():
    probes = {
        "private network namespaces": lambda: in_private_network("true"),
        "native nft queue": lambda: in_private_network(
            "nft 'add table t; add chain t c { type filter hook input priority 0; }; add rule t c queue num 0'"),
        "xt NFQUEUE": lambda: in_private_network("iptables -t raw -A PREROUTING -j NFQUEUE"),
        "xt recent": lambda: in_private_network("iptables -A INPUT -m recent --rcheck"),
        "kernel NAT": lambda: in_private_network("iptables -t nat -A POSTROUTING -j MASQUERADE"),
        "SCTP sockets": has_sctp,
        "netem": lambda: in_private_network("tc qdisc add dev lo root netem delay 1ms"),
    }
    return [name for name, works in probes.items() if not works()]


def main():
    passed, failed, skipped = outcomes(sys.argv[1])
    for reason, names in skipped.items():
        print(f"skipped, {reason}: {', '.join(names)}")
    for name in failed:
        print(f"failed: {name}")
    print(f"not runnable here: {', '.join(not_runnable_here()) or 'nothing'}")
    print(f"{len(passed)} passed, {len(failed)} failed, {sum(map(len, skipped.values()))} skipped")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
