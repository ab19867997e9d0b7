"""A visitor without a browser: speaks to a real server as Streamlit's page does."""

from __future__ import annotations

import http.client
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Delta_pb2 import Delta
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect

XSRF_COOKIE = "_streamlit_xsrf"


@dataclass
class Shown:
    """What one run of a page has sent, in order, and how long it took."""

    seconds: float = 0.0
    deltas: list[Delta] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """Tracebacks on the page."""
        return [
            f"{each.new_element.exception.type}: {each.new_element.exception.message}"
            for each in self.deltas
            if each.HasField("new_element") and each.new_element.HasField("exception")
        ]

    @property
    def told(self) -> list[str]:
        """The texts of warnings and errors."""
        return [
            each.new_element.alert.body
            for each in self.deltas
            if each.HasField("new_element") and each.new_element.HasField("alert")
        ]

    @property
    def html(self) -> Iterator[str]:
        """What a browser would take for HTML."""
        for each in self.deltas:
            if not each.HasField("new_element"):
                continue
            element = each.new_element
            if element.HasField("markdown") and element.markdown.allow_html:
                yield element.markdown.body
            elif element.HasField("html"):
                yield element.html.body
            elif element.HasField("iframe"):
                yield element.iframe.srcdoc + element.iframe.src


class Visitor:
    """One session at ``address`` (http://HOST:PORT); a context manager."""

    def __init__(self, address: str, origin: str | None = None) -> None:
        self.host = urllib.parse.urlsplit(address).netloc
        self.session_id = ""
        self._socket = connect(
            f"ws://{self.host}/_stcore/stream",
            subprotocols=["streamlit"],  # type: ignore[list-item]
            origin=origin or f"http://{self.host}",  # type: ignore[arg-type]
            max_size=None,
            proxy=None,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def visit(self, page: str = "", query: str = "", *, timeout_s: float = 300.0) -> Shown:
        """Run a page until its script is over; TimeoutError where it is not by then."""
        message = BackMsg()
        message.rerun_script.page_name = page
        message.rerun_script.query_string = query
        start = time.perf_counter()
        self._socket.send(message.SerializeToString())
        shown = Shown()
        while True:
            left = start + timeout_s - time.perf_counter()
            if left <= 0:
                raise TimeoutError(f"{page}?{query} after {timeout_s} s")
            answer = ForwardMsg.FromString(self._received(left))
            kind = answer.WhichOneof("type")
            if kind == "new_session":
                self.session_id = answer.new_session.initialize.session_id
                shown.deltas.clear()
            elif kind == "delta":
                shown.deltas.append(answer.delta)
            elif (
                kind == "script_finished"
                and answer.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN
            ):
                shown.seconds = time.perf_counter() - start
                return shown

    def _received(self, timeout_s: float) -> bytes:
        received = self._socket.recv(timeout=timeout_s)
        return received.encode() if isinstance(received, str) else received

    def upload(self, data: bytes, file_id: str = "a") -> tuple[int, str]:
        """Send a file as the page's uploader does: the answer's status and text."""
        link = http.client.HTTPConnection(self.host, timeout=30)
        link.request("GET", "/_stcore/host-config")
        answer = link.getresponse()
        answer.read()
        link.request("GET", "/_stcore/health")
        answer = link.getresponse()
        answer.read()
        cookies = answer.headers.get_all("Set-Cookie") or []
        token = next(
            (c.split("=", 1)[1].split(";")[0] for c in cookies if c.startswith(XSRF_COOKIE)), ""
        )
        body = (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n'
            b"Content-Type: image/png\r\n\r\n" + data + b"\r\n--x--\r\n"
        )
        link.request(
            "PUT",
            f"/_stcore/upload_file/{self.session_id}/{file_id}",
            body,
            {
                "Content-Type": "multipart/form-data; boundary=x",
                "Cookie": f"{XSRF_COOKIE}={token}",
                "X-Xsrftoken": token,
            },
        )
        answer = link.getresponse()
        text = answer.read().decode()
        link.close()
        return answer.status, text
