#!/usr/bin/python3
"""cli_daemon_test.py: the subcommands that ask a running daemon, with a few lines in its place: what they ask for, what they
print, what they say where nobody answers or the answer is no.

    usage   cli_daemon_test.py PROGRAM [TEST ...]

What a real one answers is wire/control_test.py's. Nothing here needs a network or a privilege.
"""

import http.server
import json
import pathlib
import re
import socketserver
import tempfile
import threading
import urllib.parse

import cli_case
from cli_case import limpet


class FakeDaemon(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers by a table: target → object; or a list of lines, which are streamed. Keeps what it is asked for."""

    daemon_threads = True

    def __init__(self, path, answers):
        self.answers, self.asked = answers, []
        super().__init__(str(path), FakeDaemonRequest)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class FakeDaemonRequest(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.server.asked.append(f"{self.command} {urllib.parse.unquote(self.path)}" + (f" {body!r}" if body else ""))
        refusal = (404, {"error": "there is no " + self.path, "remedy": "ask for something else"})
        status, answer = self.server.answers.get(urllib.parse.unquote(self.path), refusal)
        self.send_response(status)
        if isinstance(answer, list):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for line in answer:
                self.wfile.write(f"{len(line) + 1:x}\r\n{line}\n\r\n".encode())
            self.wfile.write(b"0\r\n\r\n")
            return
        body = json.dumps(answer).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_DELETE = do_POST = do_GET


class Daemon(cli_case.Case):
    FLOW = {"protocol": "tcp", "state": "ESTABLISHED", "client": "203.0.113.7:40000", "service_address": "10.96.0.10:80",
            "endpoint": "10.2.0.1:8080", "service": "t/web:http", "confirmed": True, "direct": False,
            "expires_in": 431999.5}
    ENTRY = {"service": "t/web:http", "client": "203.0.113.7", "endpoint": "10.2.0.1:8080", "confirmed": True,
             "age": 12.5, "expires_in": 10787.5}

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="limpet-cli-test-")
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name) / "d.sock"

    def daemon(self, **answers):
        """Of a 200 for each target; a pair (status, object) is any other answer."""
        daemon = FakeDaemon(self.path, {target: answer if isinstance(answer, tuple) else (200, answer)
                                        for target, answer in answers.items()})
        self.addCleanup(daemon.server_close)
        self.addCleanup(daemon.shutdown)
        return daemon

    def ask(self, *words, exit_code=0):
        done = limpet(*words, "--socket", self.path)
        self.assertEqual(done.returncode, exit_code, done.stderr)
        return done

    def test_where_nobody_answers_it_is_said(self):
        for words in (("show", "services"), ("show", "endpoints", "-j"), ("show", "affinity"), ("show", "flows"),
                      ("show", "queues"), ("show", "stats"), ("show", "recent", "L"), ("affinity", "list"),
                      ("recent", "flush", "L"),
                      ("affinity", "delete", "--client", "10.0.0.1"), ("affinity", "flush", "--all"),
                      ("trace", "--from", "10.0.0.1")):
            with self.subTest(words=words):
                self.check_refused(4, (*words, "--socket", self.path), re.escape(str(self.path)),
                                   "No such file", "`limpet run`")

    def test_the_daemon_of_a_configuration_is_asked(self):
        self.daemon(**{"/v1/affinity": {"items": [self.ENTRY], "next": None}})
        config = self.path.parent / "limpet.yaml"
        config.write_text(f"control: {{socket: {self.path}}}\n")
        for words in (("affinity", "list"), ("show", "affinity")):
            done = limpet(*words, "-c", config, "-j")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(json.loads(done.stdout), self.ENTRY)
        self.check_refused(2, ("show", "affinity", "-c", config, "--socket", self.path), "excludes")
        config.write_text("control: {socket: none}\n")
        self.check_refused(3, ("show", "affinity", "-c", config), "control.socket is none")

    def test_a_list_is_followed_page_by_page(self):
        other = {**self.FLOW, "client": "203.0.113.8:1", "egress": "10.128.0.5:2000", "expires_in": 59}
        query = "/v1/flows?service=t/web:http&client=203.0.113.0/24&state=ESTABLISHED"
        daemon = self.daemon(**{query: {"items": [self.FLOW], "next": "7"},
                                query + "&cursor=7": {"items": [], "next": "9"},
                                query + "&cursor=9": {"items": [other], "next": None}})
        words = ("show", "flows", "--service", "t/web:http", "--client", "203.0.113.0/24", "--state", "ESTABLISHED")
        self.assertEqual(
            self.ask(*words).stdout,
            "PROTOCOL  STATE        CLIENT             SERVICE        ENDPOINT       AS               EXPIRES\n"
            "tcp       ESTABLISHED  203.0.113.7:40000  10.96.0.10:80  10.2.0.1:8080  -                4d23h\n"
            "tcp       ESTABLISHED  203.0.113.8:1      10.96.0.10:80  10.2.0.1:8080  10.128.0.5:2000  59s\n")
        self.assertEqual(daemon.asked, [f"GET {query}{cursor}" for cursor in ("", "&cursor=7", "&cursor=9")])
        self.assertEqual([json.loads(line) for line in self.ask(*words, "-j").stdout.splitlines()], [self.FLOW, other])

    def test_an_empty_list_has_a_head(self):
        self.daemon(**{"/v1/affinity": {"items": [], "next": None}})
        self.assertEqual(self.ask("affinity", "list").stdout, "SERVICE  CLIENT  ENDPOINT  AGE  EXPIRES  PROVED\n")
        self.assertEqual(self.ask("show", "affinity", "-j").stdout, "")

    def test_affinity_is_listed_with_times_for_people(self):
        never = {**self.ENTRY, "client": "fd00::7", "endpoint": None, "expires_in": None, "confirmed": False}
        self.daemon(**{"/v1/affinity": {"items": [self.ENTRY, never], "next": None}})
        self.assertEqual(self.ask("affinity", "list").stdout,
                         "SERVICE     CLIENT       ENDPOINT       AGE  EXPIRES  PROVED\n"
                         "t/web:http  203.0.113.7  10.2.0.1:8080  12s  2h59m    yes\n"
                         "t/web:http  fd00::7      -              12s  never    no\n")

    def test_stats_are_counters_by_name(self):
        self.daemon(**{"/v1/stats": {"packets": 7, "flows": 2, "queues": [], "endpoints": []}})
        self.assertRegex(self.ask("show", "stats").stdout, r"\Apackets +7\nflows +2\n\Z")
        self.assertEqual(json.loads(self.ask("show", "stats", "-j").stdout)["packets"], 7)

    def test_affinity_is_forgotten_on_request_only(self):
        table = [(("delete", "--client", "10.0.0.1"), "client=10.0.0.1", 2),
                 (("delete", "--client", "10.0.0.1", "--service", "t/w:h"), "service=t/w:h&client=10.0.0.1", 1),
                 (("flush", "--service", "t/w:h"), "service=t/w:h&all=true", 3), (("flush", "--all"), "all=true", 0)]
        daemon = self.daemon(**{"/v1/affinity?" + query: {"erased": erased} for _, query, erased in table})
        for words, query, erased in table:
            with self.subTest(query):
                done = self.ask("affinity", *words)
                self.assertEqual(done.stdout, f"{erased} {'entry' if erased == 1 else 'entries'} forgotten\n")
                self.assertEqual(daemon.asked.pop(), "DELETE /v1/affinity?" + query)

    def test_recent_lists_are_named_with_their_sizes(self):
        one = {"list": "KUBE-SEP-A", "entries": 2, "capacity": 100, "stamps": 32, "evicted": 1, "starved": 0,
               "reaped": 3, "flushed": 0, "bytes": 30400}
        self.daemon(**{"/v1/recent": {"items": [one, {**one, "list": "b", "capacity": None}], "next": None}})
        self.assertEqual(self.ask("show", "recent").stdout,
                         "LIST        ENTRIES  CAPACITY  STAMPS  EVICTED  STARVED  REAPED  FLUSHED  BYTES\n"
                         "KUBE-SEP-A  2        100       32      1        0        3       0        30400\n"
                         "b           2        -         32      1        0        3       0        30400\n")
        self.assertEqual(json.loads(self.ask("show", "recent", "-j").stdout.splitlines()[0]), one)

    def test_a_recent_list_is_shown_as_the_kernel_shows_it(self):
        first = {"client": "10.0.0.1", "ttl": 64, "last_seen": 9, "oldest_pkt": 2, "stamps": [5, 9]}
        second = {"client": "fd00::1", "ttl": 0, "last_seen": 7, "oldest_pkt": 1, "stamps": [7]}
        target = "/v1/recent/entries?list=b c"
        self.daemon(**{target: {"items": [first], "next": "1"}, target + "&cursor=1": {"items": [second], "next": None},
                       target + "&client=fd00::1": {"items": [second], "next": None}})
        self.assertEqual(self.ask("show", "recent", "b c").stdout,
                         "src=10.0.0.1 ttl: 64 last_seen: 9 oldest_pkt: 2 5, 9\n"
                         "src=fd00:0000:0000:0000:0000:0000:0000:0001 ttl: 0 last_seen: 7 oldest_pkt: 1 7\n")
        self.assertEqual(json.loads(self.ask("show", "recent", "b c", "--client", "fd00::1", "-j").stdout), second)

    def test_recent_lists_are_written_to_as_the_kernels_file(self):
        target = "/v1/recent/entries?list=KUBE-SEP-A"
        daemon = self.daemon(**{target: {"list": "KUBE-SEP-A", "entries": 1}})
        for words, body in ((("add", "KUBE-SEP-A", "10.0.0.1"), "+10.0.0.1\n"),
                            (("remove", "KUBE-SEP-A", "fd00::1"), "-fd00::1\n"), (("flush", "KUBE-SEP-A"), "/\n")):
            self.assertEqual(self.ask("recent", *words).stdout, "KUBE-SEP-A: 1 entry\n")
            self.assertEqual(daemon.asked.pop(), f"POST {target} {body!r}")
        self.check_refused(1, ("recent", "flush", "none", "--socket", self.path), "there is no /v1/recent")
        self.check_refused(2, ("recent", "add", "KUBE-SEP-A", "--socket", self.path), "ADDRESS")

    def test_what_the_daemon_refuses_is_passed_on(self):
        table = [(400, 2), (404, 1), (503, 4), (500, 1)]
        self.daemon(**{f"/v1/flows?client={status}": (status, {"error": "it is wrong", "remedy": "do it right"})
                       for status, _ in table})
        for status, exit_code in table:
            with self.subTest(status=status):
                done = self.ask("show", "flows", "--client", status, exit_code=exit_code)
                self.assertEqual((done.stdout, done.stderr), ("", "limpet show flows: it is wrong; do it right\n"))

    def test_a_live_trace_has_the_columns_of_an_offline_one(self):
        crossing = {"t": 1700000000.0, "packet": 1, "hook": "PREROUTING", "protocol": "tcp", "source": "10.0.0.1:4000",
                    "destination": "10.96.0.10:80", "detail": "S", "key": "new",
                    "decision": {"action": "dnat", "service": "t/web:http", "endpoint": "10.2.0.1:8080",
                                 "masquerade": False, "affinity": "miss", "reason": "picked"},
                    "outcome": "rewritten", "to": {"source": "10.0.0.1:4000", "destination": "10.2.0.1:8080"},
                    "verdict": "accept"}
        lines = [json.dumps(crossing), json.dumps({"lost": 3}), json.dumps({**crossing, "t": 1700000001.5, "packet": 5})]
        self.daemon(**{"/v1/trace?from=10.0.0.1": lines})
        done = self.ask("trace", "--from", "10.0.0.1")
        self.assertRegex(done.stderr, "watching 10.0.0.1")
        head, first, lost, second = done.stdout.splitlines()
        self.assertRegex(head, r"\A +time hook +packet +key +what becomes of it\Z")
        self.assertRegex(first, r"\A +0.000000 PREROUTING +tcp 10.0.0.1:4000 > 10.96.0.10:80 S +new +"
                                r"dst := 10.2.0.1:8080, picked \(miss\)\Z")
        self.assertRegex(lost, r"\A3 more were lost")
        self.assertRegex(second, r"\A +1.500000 PREROUTING ")
        self.assertEqual(self.ask("trace", "--from", "10.0.0.1", "-j").stdout.splitlines(), lines)


if __name__ == "__main__":
    cli_case.main()
