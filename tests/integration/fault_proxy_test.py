"""The fault proxy, action by action, in front of a server of this test's own that notes what reached it."""
import http.client
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PROXY = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib", "fault_proxy.py")
BODY = bytes(range(256)) * 40  # 10,240 bytes


class Upstream(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen = []

    def handle_any(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:
            self.seen.append(("cut", self.path, self.headers["host"], body))
            return
        self.seen.append((self.command, self.path, self.headers["host"], body))
        answer = b"" if self.command == "PUT" else BODY
        self.send_response(200)
        self.send_header("ETag", '"real"')
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for at in range(0, len(answer), 1000):
                piece = answer[at:at + 1000]
                self.wfile.write(b"%x\r\n" % len(piece) + piece + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
            return
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_PUT = do_POST = do_HEAD = handle_any

    def log_message(self, *args):
        pass


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # connections that end early are what this test is about


class FaultProxy(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.TemporaryDirectory()
        cls.rules_file, cls.log_file = cls.dir.name + "/rules", cls.dir.name + "/log"
        cls.server = QuietServer(("127.0.0.1", 0), Upstream)
        threading.Thread(target=cls.server.serve_forever, daemon=True).start()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            cls.port = probe.getsockname()[1]
        open(cls.rules_file, "w").close()
        cls.proxy = subprocess.Popen([sys.executable, PROXY, str(cls.port), str(cls.server.server_port), cls.rules_file,
                                      cls.log_file])
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", cls.port)).close()
                break
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    @classmethod
    def tearDownClass(cls):
        cls.proxy.kill()
        cls.proxy.wait()
        cls.server.shutdown()
        cls.server.server_close()
        cls.dir.cleanup()

    def setUp(self):
        Upstream.seen.clear()

    def rules(self, text):
        with open(self.rules_file + ".new", "w", encoding="utf-8") as file:
            file.write(f"# {self.id()} {time.monotonic_ns()}\n{text}\n")
        os.replace(self.rules_file + ".new", self.rules_file)
        open(self.log_file, "w").close()

    def log(self):
        """What was done, when the proxy is through with all that this test has sent."""
        with open(self.log_file, encoding="utf-8") as file:
            return [line.rstrip("\n").split(" ", 1)[1] for line in file]

    def ask(self, method="GET", target="/x", body=None, connection=None):
        """(status, headers, body) or how it failed."""
        c = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            c.request(method, target, body)
            answer = c.getresponse()
            return answer.status, answer.headers, answer.read()
        except ConnectionResetError:
            return "reset"
        except http.client.IncompleteRead as e:
            return "cut", len(e.partial)
        except http.client.RemoteDisconnected:
            return "closed"
        except BrokenPipeError:
            return "reset"
        finally:
            if connection is None:
                c.close()

    def asked(self, *args, **kwargs):
        got = self.ask(*args, **kwargs)
        return got if isinstance(got, str) or got[0] == "cut" else (got[0], got[2])

    def logged(self, count):
        deadline = time.monotonic() + 20
        while len(self.log()) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.log()

    def test_passes_unchanged(self):
        self.rules("")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        self.assertEqual(self.asked("PUT", "/a%20b?c=%2F", BODY, connection), (200, b""))
        self.assertEqual(self.asked("GET", "/x", connection=connection), (200, BODY))
        self.assertEqual(self.asked("GET", "/chunked", connection=connection), (200, BODY))
        self.assertEqual(self.asked("HEAD", "/x", connection=connection), (200, b""))
        host = f"127.0.0.1:{self.port}"
        self.assertEqual(Upstream.seen, [("PUT", "/a%20b?c=%2F", host, BODY), ("GET", "/x", host, b""),
                                         ("GET", "/chunked", host, b""), ("HEAD", "/x", host, b"")])
        self.assertEqual(self.logged(4), ["PUT /a%20b?c=%2F 10240 200 0 -", "GET /x 0 200 10240 -",
                                          "GET /chunked 0 200 10240 -", "HEAD /x 0 200 0 -"])

    def test_conditions(self):
        for condition, want in (("nth=2", ".f.."), ("first=2", "ff.."), ("after=3", "...f"), ("every=2", ".f.f"), ("", "ffff")):
            self.rules(f"GET ^/x$ {condition} : answer 503")
            got = "".join("f" if self.ask()[0] == 503 else "." for _ in range(4))
            self.assertEqual(got, want, condition)
            self.assertEqual(self.ask("PUT", "/x", b"")[0], 200)
            self.assertEqual(self.ask("GET", "/xy")[0], 200)

    def test_chance_repeats(self):
        runs = []
        for seed in (5, 5, 6):
            self.rules(f"seed {seed}\n* . chance=0.4 : answer 500")
            runs.append([self.ask()[0] for _ in range(60)])
        self.assertEqual(runs[0], runs[1])
        self.assertNotEqual(runs[0], runs[2])
        self.assertIn(runs[0].count(500), range(10, 40))

    def test_first_rule_decides(self):
        self.rules("GET /x nth=1 : pass\nGET /x : answer 500\n* . : answer 404")
        self.assertEqual([self.ask("GET", t)[0] for t in ("/x", "/x", "/y")], [200, 500, 404])
        self.rules("GET . nth=1 : answer 501\nGET . nth=2 : answer 502\nGET . nth=4 : answer 504")
        self.assertEqual([self.ask()[0] for _ in range(5)], [501, 502, 200, 504, 200])

    def test_answer(self):
        self.rules("PUT . : answer 503 SlowDown retry-after=7")
        status, headers, body = self.ask("PUT", "/x", BODY)
        self.assertEqual((status, headers["retry-after"], headers["x-ms-error-code"]), (503, "7", "SlowDown"))
        self.assertIn(b"<Code>SlowDown</Code>", body)
        self.assertEqual(Upstream.seen, [])
        self.assertEqual(self.logged(1), [f"PUT /x 10240 503 {len(body)} answer 503 SlowDown retry-after=7"])

    def test_answer_after(self):
        self.rules("POST . : answer-after 200 InternalError")
        status, _, body = self.ask("POST", "/x", b"1")
        self.assertEqual((status, b"<Code>InternalError</Code>" in body), (200, True))
        self.assertEqual([seen[0] for seen in Upstream.seen], ["POST"])

    def test_early(self):
        self.rules("PUT . : early 403 ExpiredToken")
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as c:
            c.sendall(b"PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 10000\r\n\r\n123")
            got = b""
            while piece := c.recv(65536):
                got += piece
        self.assertTrue(got.startswith(b"HTTP/1.1 403 "), got)
        self.assertIn(b"ExpiredToken", got)
        self.assertEqual(Upstream.seen, [])

    def test_reset_request(self):
        self.rules("PUT . : reset-request 5000")
        self.assertEqual(self.asked("PUT", "/x", BODY), "reset")
        self.assertEqual(self.logged(1), ["PUT /x 5000 0 0 reset-request 5000"])
        self.assertNotIn("PUT", [seen[0] for seen in Upstream.seen])  # the server never had all of it

    def test_lost(self):
        self.rules("PUT . : lost")
        self.assertEqual(self.asked("PUT", "/x", BODY), "reset")
        self.assertEqual([seen[0] for seen in Upstream.seen], ["PUT"])
        self.assertEqual(self.logged(1), ["PUT /x 10240 0 0 lost"])

    def test_answers_cut(self):
        self.rules("GET /close : close-answer 100\nGET /reset : reset-answer 100\nGET /shorten : shorten-answer 100\n"
                   "GET /chunked : close-answer 2500")
        self.assertEqual(self.asked("GET", "/close"), ("cut", 100))
        self.assertIn(self.asked("GET", "/reset"), ("reset", ("cut", 100)))
        self.assertEqual(self.asked("GET", "/shorten"), (200, BODY[:-100]))
        self.assertEqual(self.asked("GET", "/chunked")[0], "cut")
        self.rules("GET . : shorten-answer 4000")
        self.assertEqual(self.asked("GET", "/chunked"), (200, BODY[:-4000]))
        self.rules("GET . : flip-answer 4097")
        self.assertEqual(self.asked("GET", "/chunked"), (200, BODY[:4097] + bytes([BODY[4097] ^ 0x20]) + BODY[4098:]))

    def test_answers_cut_are_logged(self):
        self.rules("GET /close : close-answer 100\nGET /reset : reset-answer 100\nGET /shorten : shorten-answer 100")
        for target in ("/close", "/reset", "/shorten"):
            self.ask("GET", target)
        self.assertEqual(self.logged(3), ["GET /close 0 200 100 close-answer 100", "GET /reset 0 200 100 reset-answer 100",
                                          "GET /shorten 0 200 10140 shorten-answer 100"])

    def test_header_and_flips(self):
        self.rules('PUT /etag : header-answer ETag "not the real"\nPUT . : flip-request 9000\nGET . : flip-answer 4097')
        self.assertEqual(self.ask("PUT", "/etag", BODY)[1]["etag"], '"not the real"')
        self.assertEqual(Upstream.seen[0][3], BODY)
        flipped = bytearray(BODY)
        flipped[9000] ^= 0x20
        self.assertEqual(self.asked("PUT", "/x", BODY), (200, b""))
        self.assertEqual(Upstream.seen[1][3], bytes(flipped))
        flipped = bytearray(BODY)
        flipped[4097] ^= 0x20
        self.assertEqual(self.asked("GET", "/x"), (200, bytes(flipped)))

    def test_slow_and_delay(self):
        self.rules("GET /slow : slow 20480\nGET /late : delay 300")
        for target, least in (("/slow", 0.5), ("/late", 0.3)):
            begin = time.monotonic()
            self.assertEqual(self.asked("GET", target), (200, BODY))
            self.assertGreaterEqual(time.monotonic() - begin, least)

    def test_hang(self):
        self.rules("GET . : hang")
        with socket.create_connection(("127.0.0.1", self.port), timeout=0.5) as c:
            c.sendall(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
            with self.assertRaises(TimeoutError):
                c.recv(1)
        self.assertEqual(self.logged(1), ["GET /x 0 0 0 hang"])
        self.assertEqual(Upstream.seen, [])

    def test_bad_rules(self):
        sys.path.insert(0, os.path.dirname(PROXY))
        import fault_proxy
        for line in ("GET /x answer 500", "GET : answer 500", "GET /x : nothing", "GET /x : answer", "GET /x nth=1 first=2 : hang",
                     "GET /x nth=x : hang", "GET /x often : hang"):
            with self.assertRaises(ValueError, msg=line):
                fault_proxy.Rule(line)


unittest.main()
