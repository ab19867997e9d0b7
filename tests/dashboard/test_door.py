"""What a stranger's browser gets from the server, and what the server takes from it."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.datastructures import Headers
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec
from websockets.exceptions import InvalidStatus

from dashboard import door
from tests.visitor import Visitor

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """``streamlit run app.py`` from another directory, with nothing said of where to listen."""
    where = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    log = where / "log"
    command = [
        *(sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py")),
        *("--server.port", str(port), "--server.headless", "true"),
        *("--server.fileWatcherType", "none", "--", "--store", str(where / "none")),
    ]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("STREAMLIT_")}
    with log.open("w") as said:
        process = subprocess.Popen(command, cwd=where, env=environment, stdout=said, stderr=said)
    try:
        until = time.monotonic() + 300
        while True:
            try:
                socket.create_connection(("localhost", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < until, log.read_text()
                time.sleep(0.1)
        yield f"http://localhost:{port}", log
    finally:
        process.terminate()
        process.wait(10)


def other_address() -> str | None:
    """An address of this machine that is not loopback; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 1))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def test_plain_streamlit_run_listens_on_this_machine_alone(server: tuple[str, Path]) -> None:
    address, log = server
    assert "Network URL" not in log.read_text() and "External URL" not in log.read_text()
    other = other_address()
    if other is None or other.startswith("127."):
        pytest.skip("this machine has no other address")
    with pytest.raises(OSError):
        socket.create_connection((other, int(address.rpartition(":")[2])), timeout=2).close()


@pytest.mark.parametrize(
    "path",
    ["/", "/trace", "/_stcore/health", "/media/none", "/fusionscope/1/none", "/static/none.js"],
)
def test_every_answer_has_the_headers(server: tuple[str, Path], path: str) -> None:
    link = http.client.HTTPConnection(server[0].removeprefix("http://"), timeout=30)
    link.request("GET", path)
    sent = link.getresponse().headers
    link.close()
    assert sent["X-Frame-Options"] == "SAMEORIGIN"
    assert sent["X-Content-Type-Options"] == "nosniff"
    assert sent["Referrer-Policy"] == "same-origin"
    policy = dict(part.split(" ", 1) for part in sent["Content-Security-Policy"].split("; "))
    assert policy["frame-ancestors"] == policy["default-src"] == "'self'"
    assert "'unsafe" not in policy["script-src"] and "http" not in str(policy)
    assert "sha256-" in policy["script-src"]


def test_a_file_is_taken_only_where_a_page_asks_for_one(server: tuple[str, Path]) -> None:
    with Visitor(server[0]) as visitor:
        for page, status in (("", 403), ("trace", 204), ("alignment", 403), ("tokens", 204)):
            visitor.visit(page)
            assert visitor.upload(b"x")[0] == status, page
        assert visitor.upload(b"x" * (21 * 2**20))[0] == 413
        answers = [visitor.upload(b"x", f"file-{at}")[0] for at in range(door.MAX_FILES)]
        assert answers == [204] * (door.MAX_FILES - 1) + [429]  # one was there
        visitor.session_id = "somebody-else"
        assert visitor.upload(b"x")[0] == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "http://evil.example:8501", "null"])
def test_a_page_of_another_site_opens_no_session(server: tuple[str, Path], origin: str) -> None:
    with pytest.raises(InvalidStatus):
        Visitor(server[0], origin=origin)


@pytest.mark.parametrize(
    ("sent", "foreign"),
    [
        ({}, False),
        ({"origin": "http://a.example:80", "host": "a.example:80"}, False),
        ({"origin": "http://localhost:3", "host": "127.0.0.1:8501"}, False),
        ({"origin": "http://[::1]:3", "host": "127.0.0.1:8501"}, False),
        ({"origin": "http://a.example", "host": "b.example"}, True),
        ({"origin": "null", "host": "localhost:8501"}, True),  # of a sandboxed frame
        ({"origin": "http://[", "host": "localhost:8501"}, True),
        ({"origin": "http://localhost.a.example", "host": "localhost"}, True),
    ],
)
def test_which_origins_are_foreign(sent: dict[str, str], foreign: bool) -> None:
    assert door._foreign(Headers(sent)) is foreign


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> tuple[MemoryUploadedFileManager, set[str]]:
    """The files that a server keeps, and the sessions that are there."""
    manager, active = MemoryUploadedFileManager("/x"), {"a", "b"}
    runtime = SimpleNamespace(
        uploaded_file_mgr=manager, is_active_session=lambda session_id: session_id in active
    )
    monkeypatch.setattr(door.Runtime, "instance", lambda: runtime)
    for name in ("_page_of", "_left_at"):
        monkeypatch.setattr(door, name, {})
    for session_id in active:
        door._page_of[session_id] = "trace"
    return manager, active


def add(manager: MemoryUploadedFileManager, session_id: str, name: str, size: int) -> None:
    manager.add_file(session_id, UploadedFileRec(name, name, "image/png", b"x" * size))


def status(session_id: str) -> int | None:
    with door._coming(session_id) as refusal:
        return None if refusal is None else refusal.status_code


def test_all_visitors_together_have_a_bound(
    files: tuple[MemoryUploadedFileManager, set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    manager, _ = files
    monkeypatch.setattr(door, "MAX_TOTAL_BYTES", 3 * 20 * 2**20)
    add(manager, "a", "1", 20 * 2**20)
    assert status("b") is None
    with door._coming("a"):  # on its way, so its size is not known yet
        assert status("b") is None
        add(manager, "b", "2", 1)
        assert status("b") == 503
    assert status("b") is None


def test_what_is_on_its_way_counts(files: tuple[MemoryUploadedFileManager, set[str]]) -> None:
    manager, _ = files
    for at in range(door.MAX_FILES - 1):
        add(manager, "a", str(at), 1)
    with door._coming("a"):
        assert status("a") == 429
        assert status("b") is None
    assert status("a") is None


def test_files_go_with_their_visitor(files: tuple[MemoryUploadedFileManager, set[str]]) -> None:
    manager, active = files
    add(manager, "a", "1", 10)
    add(manager, "b", "1", 10)
    active.discard("a")
    door.sweep(0.0)
    door.sweep(119.0)
    assert set(manager.file_storage) == {"a", "b"}  # who comes back in time finds them
    door.sweep(120.0)
    assert set(manager.file_storage) == {"b"}
    assert status("a") == 403 and status("b") is None
    active.discard("b")
    door.sweep(121.0)
    active.add("b")
    door.sweep(200.0)
    active.discard("b")
    door.sweep(250.0)
    door.sweep(369.0)
    assert set(manager.file_storage) == {"b"}
