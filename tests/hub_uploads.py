"""A hub on this machine that also takes files: repositories are made, and commits come with small and large files."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

from hub_server import Answer, Hub, running_hub

TOKEN = "hf_of_a_test"
LARGE = 100_000  # bytes from which a file goes through LFS


class UploadHub(Hub):
    """A hub where the account of `TOKEN` may write.

    private: of repositories by name. objects: large files by SHA-256. commits: the names of the files of each.
    """

    def __init__(self):
        super().__init__()
        self.RequestHandlerClass = Taking
        self.private, self.objects, self.commits = {}, {}, []


class Taking(Answer):
    def do_POST(self):  # noqa: N802
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or self.chunks()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.give({"error": "Invalid user token."}, 401)
        path = self.path.partition("?")[0]
        if path == "/api/repos/create":
            return self.create(json.loads(content))
        if path == "/api/validate-yaml":
            head = json.loads(content)["content"].split("---\n")
            return self.give({"errors": [], "warnings": []} if len(head) > 2 else {"errors": ["no metadata"]})
        if "/preupload/" in path:
            asked = json.loads(content)["files"]
            return self.give({"files": [self.mode(file) for file in asked]})
        if path.endswith(".git/info/lfs/objects/batch"):
            return self.batch(json.loads(content))
        return self.commit(path, [json.loads(line) for line in content.splitlines()])

    def do_PUT(self):  # noqa: N802
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.objects[self.path.removeprefix("/put/")] = content
        self.give({})

    def chunks(self):
        """The body of a request that does not say its length."""
        parts = []
        while self.headers.get("Transfer-Encoding") == "chunked" and (size := int(self.rfile.readline(), 16)) >= 0:
            parts.append(self.rfile.read(size))
            self.rfile.readline()
            if not size:
                break
        return b"".join(parts)

    def create(self, asked):
        name = f"{asked.get('organization') or 'someone'}/{asked['name']}"
        status = 409 if name in self.server.private else 200
        private = asked.get("private") or asked.get("visibility") == "private"
        self.server.private.setdefault(name, bool(private))
        self.give({"url": f"{self.server.address}/{name}", "id": name}, status)

    def mode(self, file):
        return {
            "path": file["path"], "uploadMode": "lfs" if file["size"] >= LARGE else "regular",
            "shouldIgnore": False, "oid": None,
        }  # fmt: skip

    def batch(self, asked):
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.server.address}/put/{each['oid']}"}}}
            for each in asked["objects"]
        ]
        self.give({"transfer": "basic", "objects": objects})

    def commit(self, path, lines):
        name = path.removeprefix("/api/models/").removesuffix("/commit/main")
        added = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                added[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                content = self.server.objects[value["oid"]]
                assert hashlib.sha256(content).hexdigest() == value["oid"]
                added[value["path"]] = content
        self.server.files |= {f"{name}:{path}": content for path, content in added.items()}
        self.server.commits.append(sorted(added))
        self.give({"commitUrl": f"{self.server.address}/{name}/commit/{'a' * 40}", "commitOid": "a" * 40})

    def give(self, content, status=200):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def running_upload_hub() -> Iterator[UploadHub]:
    """A hub without repositories, while the block runs."""
    with running_hub(UploadHub) as server:
        yield server
