"""An HTTP proxy on loopback that notes what it is asked: requests of http://, tunnels for https://."""

import http.client
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


def pump(source, sink):
    """Until either side has ended."""
    try:
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def is_let_in(self):
        proxy = self.server.proxy
        proxy.requests.append((self.command, self.path, dict(self.headers)))
        if proxy.password is None or self.headers.get("Proxy-Authorization") == proxy.password:
            return True
        self.send_response(407)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return False

    def do_GET(self):
        if not self.is_let_in():
            return
        url = urlsplit(self.path)
        upstream = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
        passed_on = {name: value for name, value in self.headers.items() if not name.startswith("Proxy-")}
        upstream.request(self.command, f"{url.path}?{url.query}" if url.query else url.path, headers=passed_on)
        answer = upstream.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name not in ("Date", "Server"):
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.read())
        upstream.close()

    do_HEAD = do_GET

    def do_CONNECT(self):
        if not self.is_let_in():
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=60) as upstream:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=pump, args=(upstream, self.connection), daemon=True)
            back.start()
            pump(self.connection, upstream)
            back.join(60)
        self.close_connection = True


class FakeProxy:
    """`requests`: (method, target, headers). With a password it answers 407 to whoever does not show it."""

    def __init__(self, password=None):
        self.password, self.requests = password, []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads, self.server.proxy = True, self
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    @property
    def address(self):
        return f"127.0.0.1:{self.server.server_port}"
