"""netns.py: private namespaces for the wire tests and the demo. The machine's own network is never touched.

    enter(mode)   starts the calling script again inside namespaces of its own: network, mounts, processes
                  (and users, when rootless). There it is process 1: when it ends, however it ends, everything dies
                  with it: hosts, links, rules, sockets, programs, files under /run and /mnt.
    Host(name)    a host: a network namespace with a name, in which programs run
    link(a, b)    a cable between two hosts, an interface at each end named after the other end

    modes   root       unshare as root
            rootless   a user namespace. Where the caller is root: as nobody, from copies of the files on a tmpfs that
                       only these namespaces see, because nobody may not be allowed to read the originals
            auto       root if we are, else rootless

Whoever uses this must have come through enter(): Host refuses to exist in the namespace where the script was started.
What a machine cannot do is said, and is exit code 77 (skipped), never a success. Standard library only.
"""

import ctypes
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

SKIPPED = 77
PROJECT = pathlib.Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"  # the system's: a user's own may be where nobody cannot read it
NOBODY = "65534"
STAGING = pathlib.Path("/mnt")  # exists on every Debian; covered by a tmpfs that only our namespaces see
OUTSIDE = "LIMPET_OUTSIDE_NETNS"  # the network namespace that the script was started in
STAGED = "LIMPET_STAGED"

NAMESPACES = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
USER_NAMESPACES = ["--user", "--map-root-user", *NAMESPACES]


def skip(reason):
    """End as skipped, and say why."""
    print(f"SKIPPED: {reason}", flush=True)
    sys.exit(SKIPPED)


# ---------------------------------------------------------------------------------------------------------------- entry


def enter(mode="auto"):
    """Return inside private namespaces. Outside of them, replace this process by one that is inside."""
    if OUTSIDE in os.environ:
        if os.environ.get(STAGED) == "wanted":
            _become_nobody()
        require_private()
        _furnish()
        return
    is_root = os.geteuid() == 0
    if mode == "root" and not is_root:
        skip("needs root, and this is an ordinary user")
    os.environ[OUTSIDE] = _current_netns()
    if mode == "rootless" and is_root:
        os.environ[STAGED] = "wanted"
        _exec(["unshare", "--mount", "--propagation", "private"], sys.argv)
    _probe([] if is_root else ["--user", "--map-root-user"], [])
    _exec(["unshare", *(NAMESPACES if is_root else USER_NAMESPACES)], sys.argv)


def require_private():
    """Refuse to go on in the network namespace of the machine."""
    outside = os.environ.get(OUTSIDE)
    if outside is None or outside == _current_netns():
        sys.exit("netns.py: not inside private namespaces; call enter() first")


def _current_netns():
    return os.readlink("/proc/self/ns/net")


def _exec(prefix, argv):
    sys.stdout.flush()
    os.execvp(prefix[0], [*prefix, PYTHON, "-B", *argv])


def _probe(users, prefix):
    """Skip, with the kernel's own words, where such namespaces cannot be made."""
    attempt = subprocess.run([*prefix, "unshare", *users, *NAMESPACES, "true"], capture_output=True, text=True)
    if attempt.returncode != 0:
        skip(f"no private namespaces here: {attempt.stderr.strip()}")


def _become_nobody():
    """Root, in a mount namespace of its own: copy what is needed onto a tmpfs, go on as nobody in a user namespace."""
    _mount("tmpfs", STAGING, "mode=0755")
    os.environ[STAGED] = "done"
    argv = [str(_stage(argument)) for argument in sys.argv]
    for folder in {PROJECT / "tests" / "support", PROJECT / "tests" / "data", pathlib.Path(sys.argv[0]).resolve().parent}:
        target = STAGING / folder.relative_to(PROJECT)
        shutil.copytree(folder, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    _make_readable(STAGING)
    os.chdir("/")
    os.environ["HOME"] = "/"
    nobody = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]
    _probe(["--user", "--map-root-user"], nobody)
    _exec([*nobody, "unshare", *USER_NAMESPACES], argv)


def _stage(argument):
    """An argument that names a file is copied along and replaced by its copy's name."""
    source = pathlib.Path(argument)
    if not source.is_file():
        return argument
    source = source.resolve()
    inside = source.relative_to(PROJECT) if source.is_relative_to(PROJECT) else pathlib.Path(source.name)
    target = STAGING / inside
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)
    return target


def _make_readable(root):
    for path in [root, *root.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)


def _furnish():
    """A machine's minimum: an empty /run (names of namespaces, the xtables lock, pid files), lo up."""
    _mount("tmpfs", "/run", "mode=0755")
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    run("ip", "link", "set", "lo", "up")


LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000  # linux/sched.h


def _enter_netns(file):
    """Move this thread into a network namespace."""
    if LIBC.setns(file.fileno(), CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter a network namespace")


def _mount(kind, target, options):
    if LIBC.mount(kind.encode(), os.fsencode(target), kind.encode(), 0, options.encode()) != 0:
        raise OSError(ctypes.get_errno(), f"cannot mount a {kind} on {target}")


# ------------------------------------------------------------------------------------------------------------- programs


class CommandFailed(Exception):
    """A program that had to succeed did not; says which, and what it printed."""


def run(*argv, check=True, stdin=None, timeout=60):
    """Run a program to its end; its output as text."""
    words = [str(word) for word in argv]
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL if stdin is None else None)
    if check and done.returncode != 0:
        raise CommandFailed(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def wait_until(condition, seconds, what):
    """Poll until the condition holds; its value. Fails with `what` after so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise TimeoutError(f"after {seconds} s: {what}")


# ---------------------------------------------------------------------------------------------------------------- hosts


class Host:
    """A network namespace with a name of at most 12 letters."""

    def __init__(self, name, forward=False):
        require_private()
        self.name = name
        self._programs = []  # kept, so that what runs in the background is not taken for forgotten
        run("ip", "netns", "add", name)
        self.ip("link set lo up")
        # No duplicate address detection: addresses must be usable at once, and there are no duplicates here.
        self.sysctl("net.ipv6.conf.default.accept_dad", 0)
        self.sysctl("net.ipv6.conf.all.accept_dad", 0)
        if forward:
            self.sysctl("net.ipv4.ip_forward", 1)
            self.sysctl("net.ipv6.conf.all.forwarding", 1)

    def command(self, *argv):
        return ["nsenter", f"--net=/run/netns/{self.name}", *(str(word) for word in argv)]

    def run(self, *argv, **options):
        return run(*self.command(*argv), **options)

    def popen(self, *argv, **options):
        """Start a program in the background. It is killed with the namespaces at the latest."""
        options = {"stdin": subprocess.DEVNULL, **options}
        program = subprocess.Popen(self.command(*argv), **options)
        self._programs.append(program)
        return program

    def socket(self, *kind):
        """A socket of this host: a socket stays in the namespace that it was created in."""
        return self._inside(lambda: socket.socket(*kind))

    def open(self, path):
        """A file below /proc/thread-self/net: it shows the namespace that it was opened in, however often it is read."""
        return self._inside(lambda: open(f"/proc/thread-self/net/{path}"))

    def _inside(self, action):
        # thread-self: the others may be inside of a host of their own just now.
        with open("/proc/thread-self/ns/net") as here, open(f"/run/netns/{self.name}") as there:
            _enter_netns(there)
            try:
                return action()
            finally:
                _enter_netns(here)

    def ip(self, words):
        """`ip` with these words; IPv6 is understood from a colon among them."""
        family = ["-6"] if ":" in words else []
        return self.run("ip", *family, *words.split())

    def sysctl(self, name, value):
        # A program of this namespace must write it: /proc/sys/net shows the writer's namespace.
        self.run("sysctl", "-qw", f"{name}={value}")

    def own_prefix(self, prefix):
        """Make every address of a prefix this host's own, for sockets to bind to, without adding them one by one."""
        self.ip(f"route add local {prefix} dev lo")

    def http_get(self, url, *options, timeout=5):
        """The body that curl gets, or an exception with curl's own words."""
        return self.run("curl", "-sS", "-g", "--noproxy", "*", "--max-time", timeout, *options, url).stdout

    def json(self, *argv):
        return json.loads(self.run(*argv).stdout or "[]")


def link(a, b, a_addresses=(), b_addresses=()):
    """A cable. Addresses are written with their prefix length; the interfaces are named after the host opposite."""
    run("ip", "-n", a.name, "link", "add", b.name, "type", "veth", "peer", "name", a.name, "netns", b.name)
    for host, opposite, addresses in ((a, b, a_addresses), (b, a, b_addresses)):
        host.ip(f"link set {opposite.name} up")
        for address in addresses:
            nodad = " nodad" if ":" in address else ""
            host.ip(f"addr add {address} dev {opposite.name}{nodad}")
