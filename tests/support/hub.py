"""A stand-in for the Hugging Face hub: the requests of an upload and of a download of small files,
as https://huggingface.co/docs/hub/api describes them. It keeps what it gets in memory."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["hub"]

_SHA = "0" * 40


@contextmanager
def hub() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Its address, and its files by ``user/name/file``."""
    files: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def answer(self, body: bytes, kind: str = "application/json", **headers: str) -> None:
            self.send_response(200)
            every = {"Content-Type": kind, "Content-Length": str(len(body)), **headers}
            for name, value in every.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def to_json(self, **fields: Any) -> None:
            self.answer(json.dumps(fields).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = self.path.strip("/").split("/")
            if self.path == "/api/repos/create":
                name = f"{json.loads(body).get('organization', 'me')}/{json.loads(body)['name']}"
                self.to_json(url=f"{address}/{name}", name=name, id=name)
            elif self.path == "/api/validate-yaml":
                self.to_json(warnings=[], errors=[])
            elif parts[4:5] == ["preupload"]:
                asked = json.loads(body)["files"]
                modes = [
                    {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for f in asked
                ]
                self.to_json(files=modes)
            elif parts[4:5] == ["commit"]:
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        value = line["value"]
                        path = f"{parts[2]}/{parts[3]}/{value['path']}"
                        files[path] = base64.b64decode(value["content"])
                self.to_json(
                    success=True,
                    commitOid=_SHA,
                    commitUrl=f"{address}/{'/'.join(parts[2:4])}/commit/{_SHA}",
                )
            else:
                self.send_error(404)

        def do_GET(self) -> None:
            parts = self.path.partition("?")[0].strip("/").split("/")
            if parts[:2] == ["api", "models"]:
                name = "/".join(parts[2:4])
                held = [f.removeprefix(f"{name}/") for f in files if f.startswith(f"{name}/")]
                if held and parts[4:5] == ["tree"]:
                    rows = [
                        {"type": "file", "path": f, "size": len(files[f"{name}/{f}"]), "oid": _SHA}
                        for f in held
                    ]
                    self.answer(json.dumps(rows).encode())
                    return
                if held:
                    siblings = [{"rfilename": f} for f in held]
                    self.to_json(id=name, modelId=name, sha=_SHA, siblings=siblings, private=False)
                    return
            elif len(parts) > 4 and parts[2] == "resolve":
                body = files.get(f"{parts[0]}/{parts[1]}/{'/'.join(parts[4:])}")
                if body is not None:
                    tag = f'"{hashlib.sha1(body).hexdigest()}"'
                    self.answer(
                        body, "application/octet-stream", ETag=tag, **{"X-Repo-Commit": _SHA}
                    )
                    return
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield address, files
        server.shutdown()
