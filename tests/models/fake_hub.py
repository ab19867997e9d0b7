"""A hub on this machine, as far as its client asks: one repository, and refusals.

The repository is a model or a data set, whichever is asked for.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "lab/tiny-clip"
REFUSALS = {
    "lab/gated": (403, "GatedRepo"),
    "lab/disabled": (451, "DisabledRepo"),
    "lab/broken": (418, "Teapot"),
}


class _Handler(BaseHTTPRequestHandler):
    folder: Path
    asked: list[str]

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.split("?")[0]
        self.asked.append(path)
        if path == "/":
            return self._send(200, b"hub", body)
        plain = re.sub("^/(api/models|api/datasets|datasets)/", "/", path)
        name = "/".join(plain.strip("/").split("/")[:2])
        if name in REFUSALS:
            status, code = REFUSALS[name]
            return self._send(status, b"", body, {"X-Error-Code": code})
        if name != NAME:
            return self._send(404, b"", body, {"X-Error-Code": "RepoNotFound"})
        rest = path.split(NAME, 1)[1].strip("/").split("/")
        if path.startswith("/api/"):
            return self._api(rest, body)
        file = self.folder / "/".join(rest[2:])
        if not file.is_file():
            return self._send(404, b"", body, {"X-Error-Code": "EntryNotFound"})
        data = file.read_bytes()
        etag = hashlib.sha256(data).hexdigest()
        return self._send(200, data, body, {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'})

    def _api(self, rest: list[str], body: bool) -> None:
        names = sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*.*"))
        if rest[0] == "tree":
            listing: object = [
                {
                    "type": "file",
                    "path": name,
                    "size": (self.folder / name).stat().st_size,
                    "oid": hashlib.sha256((self.folder / name).read_bytes()).hexdigest()[:40],
                }
                for name in names
            ]
        elif rest[0] == "revision" and rest[1] not in ("main", COMMIT):
            return self._send(404, b"", body, {"X-Error-Code": "RevisionNotFound"})
        else:
            siblings = [{"rfilename": name} for name in names]
            listing = {"id": NAME, "sha": COMMIT, "siblings": siblings}
        return self._send(
            200, json.dumps(listing).encode(), body, {"Content-Type": "application/json"}
        )

    def _send(
        self, status: int, data: bytes, body: bool, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)


@contextmanager
def fake_hub(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Serve ``folder`` as ``NAME`` to this process's hub client; yields the paths asked for."""
    asked: list[str] = []
    handler = type("Handler", (_Handler,), {"folder": folder, "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        endpoint + "/{repo_id}/resolve/{revision}/{filename}",
    )
    use_cache(cache, monkeypatch)
    try:
        yield asked
    finally:
        server.shutdown()
        server.server_close()


def use_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An own cache directory, and a network that is not switched off."""
    cache.mkdir(exist_ok=True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
