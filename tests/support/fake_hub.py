"""A Hugging Face Hub on loopback: models of folders, large files on a store of another host, and what goes wrong."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

COMMIT = "c0ffee" + "0" * 34
LARGE = 100_000  # bytes from which a file is on the store


def etag_of(data):
    if len(data) >= LARGE:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass  # clients that leave


class FakeHub:
    """`files`: contents by name. What to do wrong is set on it between requests; `requests`: (method, path,
    headers)."""

    def __init__(self, files, name="org/model", token=None, tls=None):
        """`tls`: a context of ssl, to speak https."""
        self.files, self.name, self.token = dict(files), name, token
        self.commit, self.branches = COMMIT, {"main": COMMIT}
        self.gated = False
        self.cut_after = {}  # by file: lists of how many bytes the next answers of the store give
        self.spoil = {}  # by file: how often the store gives other bytes
        self.refuse = {}  # by file: statuses of the next answers of the store
        self.knows_ranges = True
        self.held = threading.Event()  # until it is set, answers of files in `hold` stay half sent
        self.hold = set()
        self.begun = threading.Event()
        self.requests, self.store_requests = [], []
        self.tls = tls
        self.hub = self.serve(self.answer_of_hub)
        self.store = self.serve(self.answer_of_store)

    def serve(self, answer):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                answer(self)

            do_HEAD = do_GET

            def log_message(self, *_):
                pass

        server = Server(("127.0.0.1", 0), Handler)
        if self.tls:
            server.socket = self.tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.held.set()
        for server in (self.hub, self.store):
            server.shutdown()
            server.server_close()

    @property
    def scheme(self):
        return "https" if self.tls else "http"

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.hub.server_port}"

    @staticmethod
    def send(request, status, body=b"", headers=None, length=None):
        request.send_response(status)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(body) if length is None else length))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)

    def refusal(self, request):
        """What the Hub says to whoever may not see the model."""
        shown = request.headers.get("Authorization", "")
        if self.token is None or shown == f"Bearer {self.token}":
            return None
        if self.gated:
            return (403 if shown else 401), "GatedRepo"
        return (404 if shown else 401), "RepoNotFound"

    def entry(self, name):
        """A file as newer tools list it."""
        data = self.files[name]
        entry = {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
        if len(data) < LARGE:
            return {**entry, "oid": etag_of(data)}
        return {**entry, "lfs": {"oid": etag_of(data), "size": len(data), "pointerSize": 130}}

    def answer_of_hub(self, request):
        path = unquote(request.path)
        self.requests.append((request.command, path, dict(request.headers)))
        listing, content = f"/api/models/{self.name}/revision/", f"/{self.name}/resolve/"
        refusal = self.refusal(request)
        if path.startswith(listing) and (self.gated or not refusal):
            commit = self.branches.get(path.removeprefix(listing))
            commit = commit or (self.commit if path.endswith(self.commit) else None)
            if commit is None:
                return self.send(request, 404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            siblings = [{"rfilename": name} for name in self.files]
            body = {"id": self.name, "modelId": self.name, "sha": commit, "siblings": siblings}
            return self.send(request, 200, json.dumps({**body, "private": False, "tags": []}).encode())
        if path.startswith(f"/api/models/{self.name}/tree/") and not refusal:
            return self.send(request, 200, json.dumps([self.entry(name) for name in self.files]).encode())
        if refusal:
            return self.send(request, refusal[0], b"no", {"X-Error-Code": refusal[1], "X-Error-Message": "no"})
        if not path.startswith(content):
            return self.send(request, 404, b"no", {"X-Error-Code": "RepoNotFound"})
        commit, _, file = path.removeprefix(content).partition("/")
        if file not in self.files:
            return self.send(request, 404, b"no", {"X-Error-Code": "EntryNotFound"})
        data = self.files[file]
        headers = {"X-Repo-Commit": self.branches.get(commit, commit), "ETag": f'"{etag_of(data)}"'}
        if len(data) < LARGE:
            return self.send(request, 200, data, headers)
        linked = {"X-Linked-Etag": f'"{etag_of(data)}"', "X-Linked-Size": str(len(data))}
        location = f"{self.scheme}://localhost:{self.store.server_port}/store/{file}?signature=secret"
        return self.send(request, 302, b"", {**headers, "ETag": '"other"', **linked, "Location": location})

    def answer_of_store(self, request):
        file = Path(unquote(request.path).partition("?")[0]).name
        self.store_requests.append((request.command, file, dict(request.headers)))
        if self.refuse.get(file):
            return self.send(request, self.refuse[file].pop(0), b"no")
        data = self.files[file]
        if self.spoil.get(file, 0) > 0:
            self.spoil[file] -= 1
            data = bytes(byte ^ 1 for byte in data[:1000]) + data[1000:]
        begin = 0
        headers = {"ETag": f'"{etag_of(self.files[file])}"'}
        wanted = request.headers.get("Range")
        if wanted and self.knows_ranges:
            begin = int(wanted.removeprefix("bytes=").rstrip("-"))
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        body = data[begin:]
        status = 206 if "Content-Range" in headers else 200
        if self.cut_after.get(file):
            return self.cut(request, status, headers, body, self.cut_after[file].pop(0))
        if file in self.hold:
            return self.stop_half_way(request, status, headers, body)
        return self.send(request, status, body, headers)

    def cut(self, request, status, headers, body, num_bytes):
        self.send(request, status, body[:num_bytes], headers, length=len(body))
        request.close_connection = True

    def stop_half_way(self, request, status, headers, body):
        self.send(request, status, body[: len(body) // 2], headers, length=len(body))
        request.wfile.flush()
        self.begun.set()
        self.held.wait(1800)
        request.wfile.write(body[len(body) // 2 :])
