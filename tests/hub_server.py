"""A hub on this machine: a server that speaks its protocol for files, and can cut connections and send wrong ones."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Hub(ThreadingHTTPServer):
    """Files by path (owner/name/resolve/main/file). `cut`: break off the next so many answers in the middle."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files, self.cut, self.asked, self.checksums = {}, 0, [], {}

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        span = self.headers.get("Range")
        self.server.asked.append((self.command, self.path, span))
        name = self.path.lstrip("/").replace("/resolve/main/", ":")
        content = self.server.files.get(name)
        if content is None:
            known = any(each.split(":")[0] == name.split(":")[0] for each in self.server.files)
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        start = int(span.removeprefix("bytes=").split("-")[0] or 0) if span else 0
        part = content[start:]
        self.send_response(206 if span else 200)
        if span:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        checksum = self.server.checksums.get(name, hashlib.sha256(content).hexdigest())
        for key, value in {
            "Content-Length": len(part), "Accept-Ranges": "bytes", "ETag": f'"{checksum}"',
            "X-Linked-Etag": f'"{checksum}"', "X-Linked-Size": len(content), "X-Repo-Commit": "a" * 40,
        }.items():  # fmt: skip
            self.send_header(key, str(value))
        self.end_headers()
        if not body:
            return
        if self.server.cut:
            self.server.cut -= 1
            self.wfile.write(part[: len(part) // 2])
            self.wfile.flush()
            self.connection.close()
            self.close_connection = True
            return
        self.wfile.write(part)


@contextmanager
def running_hub(kind: type[Hub] = Hub) -> Iterator[Hub]:
    """A hub without files, while the block runs."""
    with kind() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()
