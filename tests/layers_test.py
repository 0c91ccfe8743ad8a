#!/usr/bin/python3
"""layers_test.py: no #include climbs a layer.

A file includes its own folder, or folders of a lower layer. Inside conntrack/ the three libraries are cut the same way:
flow stands on net and store, which stand on nothing. Libraries of the kernel's sockets are seen only where they are
needed:

    libnetfilter_queue   lb/queue        libmnl   lb/queue, lb/node, lb/divert        libpcap   lb/lab
    conntrack/           std and POSIX only

    usage   layers_test.py [ROOT]      exit code 1 and one line for each include that must not be
"""

import pathlib
import re
import sys
import tempfile

LAYERS = {
    "conntrack/net": 0.0, "conntrack/store": 0.0, "conntrack/flow": 0.5,
    "lb/pick": 1, "lb/affinity": 1, "lb/node": 1,
    "lb/datapath": 2,
    "lb/service": 3, "lb/rules": 3,
    "lb/queue": 4, "lb/divert": 4, "lb/kube": 4,
    "lb/control": 5, "lb/lab": 5,
    "lb/cli": 6,
}
LIBRARIES = {"libnetfilter_queue": {"lb/queue"}, "libmnl": {"lb/queue", "lb/node", "lb/divert"},
             "pcap": {"lb/lab"}}
STANDARD = re.compile(r"[a-z_0-9]+$")  # <vector>
POSIX = re.compile(r"(sys|netinet|arpa|net)/\w+\.h$"
                   r"|(errno|fcntl|limits|pthread|sched|signal|stdint|string|time|unistd|endian)\.h$")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]+)[">]', re.MULTILINE)


def folder_of(path):
    """The first two parts: "lb/queue/worker.h" → "lb/queue"."""
    return "/".join(pathlib.PurePosixPath(path).parts[:2])


def objection(folder, kind, included):
    """Why a file of this folder must not include that, or None."""
    if kind == '"':
        target = folder_of(included)
        if target not in LAYERS:
            return "names no folder of the house: write the path from the top of the tree"
        if target != folder and LAYERS[target] >= LAYERS[folder]:
            return f"{target} is not below {folder}"
        return None
    library = included.split("/")[0]
    if library in LIBRARIES and folder not in LIBRARIES[library]:
        return f"{library} is for {', '.join(sorted(LIBRARIES[library]))} only"
    if folder.startswith("conntrack/") and not STANDARD.match(included) and not POSIX.match(included):
        return "conntrack/ uses the standard library and POSIX only"
    return None


def check(root):
    """(files read, objections)."""
    files = [path for top in ("conntrack", "lb") for path in sorted((root / top).rglob("*"))
             if path.suffix in (".h", ".cpp")]
    found = []
    for path in files:
        name = path.relative_to(root).as_posix()
        folder = folder_of(name)
        if folder not in LAYERS:
            found.append(f"{name}: {folder} has no layer: give it one in tests/layers_test.py")
            continue
        for kind, included in INCLUDE.findall(path.read_text()):
            reason = objection(folder, kind, included)
            if reason:
                found.append(f"{name}: includes {included}: {reason}")
    return len(files), found


SAMPLES = [  # file, line, must it be objected to?
    ("lb/datapath/a.cpp", '#include "lb/datapath/b.h"', False),
    ("lb/datapath/a.cpp", '#include "lb/pick/rng.h"', False),
    ("lb/datapath/a.cpp", '#include "lb/service/balancer.h"', True),
    ("lb/pick/a.h", '#include "lb/affinity/b.h"', True),
    ("lb/queue/a.cpp", '#include "lb/divert/b.h"', True),
    ("lb/service/a.cpp", '  #  include "lb/cli/b.h"', True),
    ("lb/service/a.cpp", '#include "b.h"', True),
    ("lb/mystery/a.h", "", True),
    ("conntrack/flow/a.h", '#include "conntrack/net/b.h"', False),
    ("conntrack/net/a.h", '#include "conntrack/flow/b.h"', True),
    ("conntrack/store/a.h", '#include "conntrack/net/b.h"', True),
    ("conntrack/net/a.h", "#include <sys/socket.h>", False),
    ("conntrack/net/a.h", "#include <vector>", False),
    ("conntrack/net/a.h", "#include <boost/asio.hpp>", True),
    ("conntrack/net/a.h", "#include <linux/netfilter.h>", True),
    ("conntrack/net/a.h", '#include "lb/pick/rng.h"', True),
    ("lb/queue/a.h", "#include <libnetfilter_queue/libnetfilter_queue.h>", False),
    ("lb/divert/a.h", "#include <libnetfilter_queue/libnetfilter_queue.h>", True),
    ("lb/divert/a.h", "#include <libmnl/libmnl.h>", False),
    ("lb/service/a.h", "#include <libmnl/libmnl.h>", True),
    ("lb/lab/a.cpp", "#include <pcap/pcap.h>", False),
    ("lb/cli/a.cpp", "#include <pcap/pcap.h>", True),
]


def samples_misjudged():
    """The check itself, fed with good and bad includes."""
    wrong = []
    for name, line, bad in SAMPLES:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / name
            path.parent.mkdir(parents=True)
            path.write_text(line + "\n")
            _, found = check(pathlib.Path(folder))
        if bool(found) != bad:
            wrong.append(f"sample {name}: {line!r} was {'objected to' if found else 'let through'}")
    return wrong


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1]).resolve()
    files, found = check(root)
    found += samples_misjudged()
    if files == 0:
        found.append(f"no file below {root}: nothing was checked")
    print("\n".join(found) or f"{files} files, no include climbs a layer")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
