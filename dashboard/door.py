"""What stands between a stranger's browser and the server: headers, and bounds on what is sent.

Streamlit takes files for every visitor at once, also on pages that ask for none, and keeps them in
memory. Here a file is taken only on a page that asks for one, only so many a visitor, and only up
to a total; those of a visitor who left are dropped.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import config
from streamlit.runtime import Runtime
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx

UPLOADING_PAGES = frozenset({"trace", "tokens"})
"""The pages that have a place for a file."""

MAX_FILES = 8
"""Of one visitor at a time: two places, each with a file and with one that is being replaced."""
MAX_TOTAL_BYTES = 400 * 2**20
"""Of all visitors, with what is on its way."""

_UPLOAD = re.compile(r"/_stcore/upload_file/([^/]+)/[^/]+/?$")
_INLINE = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
_SWEEP_S = 15.0
_OWN_NAMES = ("localhost", "127.0.0.1", "::1")


class Door:
    """Around the whole server: every answer gets the headers, every upload is looked at first."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            refused = scope["type"] == "websocket" and _foreign(Headers(scope=scope))
            await (_refuse if refused else self.app)(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers())
            await send(message)

        upload = _UPLOAD.search(scope["path"]) if scope["method"] == "PUT" else None
        if upload is None:
            await self.app(scope, receive, with_headers)
            return
        with _coming(upload[1]) as refusal:
            answer: ASGIApp = self.app if refusal is None else refusal
            await answer(scope, receive, with_headers)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "websocket.close", "code": 1008})


def _foreign(sent: Headers) -> bool:
    """Whether a page of another site opens a session here.

    Streamlit refuses them as well, but asks the network first whether the other site's address is
    this machine's own.
    """
    if "origin" not in sent or not config.get_option("server.enableCORS"):
        return False
    try:
        origin = urlsplit(sent["origin"])
    except ValueError:
        return True
    own = {*_OWN_NAMES, config.get_option("browser.serverAddress")}
    allowed = {urlsplit(each).hostname for each in config.get_option("server.corsAllowedOrigins")}
    return origin.netloc != sent.get("host") and origin.hostname not in (own | allowed) - {None}


@lru_cache(maxsize=1)
def headers() -> dict[str, str]:
    """Of every answer: no other site frames the pages, and they load nothing from elsewhere."""
    policy = {
        "default-src": "'self'",
        # The interface colours code by a compiled module of its own; text is never run as a script.
        "script-src": f"'self' {' '.join(_inline_scripts())} blob: 'wasm-unsafe-eval'",
        "style-src": "'self' 'unsafe-inline'",  # the interface writes its styles as it goes
        "img-src": "'self' data: blob:",
        "media-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'self'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Frame-Options": "SAMEORIGIN",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",
    }


def _inline_scripts() -> Iterator[str]:
    """The scripts in Streamlit's own page by their hashes: no others may stand in it."""
    page = Path(st.__file__).parent / "static" / "index.html"
    for script in _INLINE.findall(page.read_bytes()):
        yield f"'sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}'"


_lock = threading.Lock()
_page_of: dict[str, str] = {}
_on_the_way: Counter[str] = Counter()
_left_at: dict[str, float] = {}


def enter(page: str) -> None:
    """The visitor whose script runs now is on ``page``."""
    context = get_script_run_ctx()
    if context is not None:
        with _lock:
            _page_of[context.session_id] = page


@contextmanager
def _coming(session_id: str) -> Iterator[PlainTextResponse | None]:
    """Within it a visitor's file is on its way; what to answer instead where none is taken."""
    with _lock:
        refusal = _refusal(session_id)
        if refusal is None:
            _on_the_way[session_id] += 1
    try:
        yield refusal
    finally:
        if refusal is None:
            with _lock:
                _on_the_way[session_id] -= 1
                if not _on_the_way[session_id]:
                    del _on_the_way[session_id]


def _refusal(session_id: str) -> PlainTextResponse | None:
    if _page_of.get(session_id) not in UPLOADING_PAGES:
        return PlainTextResponse("this page takes no files", 403)
    kept = _files().file_storage
    if len(kept.get(session_id, ())) + _on_the_way[session_id] >= MAX_FILES:
        return PlainTextResponse(f"no more than {MAX_FILES} files at a time", 429)
    sizes = (len(file.data) for files in list(kept.values()) for file in list(files.values()))
    if sum(sizes) + (_on_the_way.total() + 1) * _max_bytes() > MAX_TOTAL_BYTES:
        return PlainTextResponse("the server holds as many files as it can; try again later", 503)
    return None


def _max_bytes() -> int:
    """Of one file: Streamlit's own bound."""
    return int(config.get_option("server.maxUploadSize")) * 2**20


def _files() -> MemoryUploadedFileManager:
    files = Runtime.instance().uploaded_file_mgr
    if not isinstance(files, MemoryUploadedFileManager):
        raise TypeError("files of visitors are not kept where they are looked for")
    return files


async def sweep_for_ever() -> None:
    """Every few seconds drop the files of those who left."""
    while True:
        await asyncio.sleep(_SWEEP_S)
        sweep(time.monotonic())


def sweep(now: float) -> None:
    """Drop the files of visitors who have been gone for as long as Streamlit keeps a session.

    It would drop them itself when the session is, which is when somebody else comes.
    """
    patience = float(config.get_option("server.disconnectedSessionTTL"))
    runtime, files = Runtime.instance(), _files()
    with _lock:
        known = {*_page_of, *files.file_storage}
        for session_id in known:
            if runtime.is_active_session(session_id):
                _left_at.pop(session_id, None)
                continue
            if now - _left_at.setdefault(session_id, now) >= patience:
                del _left_at[session_id]
                files.remove_session_files(session_id)
                with suppress(KeyError):
                    del _page_of[session_id]
