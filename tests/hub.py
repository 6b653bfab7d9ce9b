"""A Hugging Face hub of a few files on this machine, for the real client."""

import hashlib
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub.constants
import huggingface_hub.file_download

COMMITS = {"main": "a" * 40, "next": "b" * 40}


class LocalHub:
    """Answers as huggingface.co does: it names commit, hash and size, and sends large files from another place.

    Attributes:
        files: "OWNER/REPO/resolve/COMMIT/FILE" to content.
        refs: branch to commit.
        requests: method and path of each request, in the order they came in.
        refusals: path to (status, error code of the hub).
        cut_after: bytes after which the connection breaks, for each download; None for none.
        cuts: how many downloads are still to be broken.
        hashes, sizes: path to what is given as the file's hash or size in place of the true one.
    """

    def __init__(self):
        self.files, self.refs, self.requests, self.refusals = {}, dict(COMMITS), [], {}
        self.hashes, self.sizes = {}, {}
        self.cut_after, self.cuts = None, 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self.store = self.endpoint.replace("127.0.0.1", "localhost")  # the client asks the host of the hub again

    def add(self, repo, file, content, revision="main"):
        """Publish a file, in the commit that a branch is at."""
        self.files[f"{repo}/resolve/{self.refs[revision]}/{file}"] = content

    def find(self, path):
        """The path with the commit for the branch, and the commit."""
        repo, _, rest = path.partition("/resolve/")
        revision, _, file = rest.partition("/")
        commit = self.refs.get(revision, revision)
        return f"{repo}/resolve/{commit}/{file}", commit

    @contextmanager
    def running(self):
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self.stop()
            thread.join()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: LocalHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.hub.requests.append(("HEAD", self.path))
        path, commit = self.hub.find(self.path.removeprefix("/"))
        status, code = self.hub.refusals.get(path, (404, "EntryNotFound"))
        if path in self.hub.refusals or path not in self.hub.files:
            return self._head(status, {"X-Error-Code": code, "Content-Length": "0"})
        content = self.hub.files[path]
        sha = self.hub.hashes.get(path, hashlib.sha256(content).hexdigest())
        size = self.hub.sizes.get(path, len(content))
        headers = {"X-Repo-Commit": commit, "X-Linked-Etag": f'"{sha}"', "X-Linked-Size": str(size)}
        return self._head(302, {**headers, "Location": f"{self.hub.store}/cdn/{path}", "Content-Length": "0"})

    def do_GET(self):
        self.hub.requests.append(("GET", self.path))
        content = self.hub.files.get(self.path.removeprefix("/cdn/"))
        if content is None:
            return self._head(404, {"Content-Length": "0"})
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        headers = {"Content-Length": str(len(content) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._head(206 if start else 200, headers)
        if self.hub.cuts:
            self.hub.cuts -= 1
            content = content[: start + self.hub.cut_after]
            self.close_connection = True
        return self.wfile.write(content[start:])

    def _head(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments):
        pass


def use_hub(monkeypatch, endpoint, cache):
    """Have the client, which reads the environment when it is imported, take its files from `endpoint`."""
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.file_download.time, "sleep", lambda seconds: None)
