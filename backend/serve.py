"""Starts the dashboard's server and waits for it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from backend.errors import InputError
from backend.paths import app_file

_START_TIMEOUT_S = 60.0
_POLL_S = 0.1


def serve(
    store: Path,
    port: int,
    address: str,
    announce: Callable[[str], None],
    options: Sequence[str] = (),
) -> int:
    """Serve ``store`` until the server ends or Ctrl-C; returns its exit code.

    ``announce`` gets the URL once the server answers; ``options`` are further arguments of the
    dashboard. InputError when the port is taken.
    """
    with Server(store, port, address, options) as server:
        server.announce(announce)
        return server.wait()


class Server:
    """A context manager: the dashboard on a store in a process of its own, ended with the block.

    The store may grow meanwhile. InputError when the port is taken.
    """

    def __init__(self, store: Path, port: int, address: str, options: Sequence[str] = ()) -> None:
        check_port(address, port)
        self._command = [
            *(sys.executable, "-m", "streamlit", "run", str(app_file())),
            *("--server.port", str(port), "--server.address", address),
            *("--server.headless", "true", "--browser.gatherUsageStats", "false"),
            *("--server.fileWatcherType", "none", "--client.toolbarMode", "viewer"),
            # Its own welcome asks the network for this machine's addresses.
            *("--logger.hideWelcomeMessage", "true"),
            *("--", "--store", str(store.resolve()), *options),
        ]
        everywhere = ("127.0.0.1", "0.0.0.0")  # noqa: S104
        self.url = f"http://{'localhost' if address in everywhere else address}:{port}"

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, env=os.environ.copy())
        # Told to end, this process takes its server along; otherwise that would keep the port.
        self._before = signal.signal(signal.SIGTERM, lambda *_: _interrupt())
        return self

    def announce(self, announce: Callable[[str], None]) -> None:
        """Tell the URL once the server answers, if it does, and open it where there is a screen."""
        if _wait(self.url, self._process):
            announce(self.url)
            if _has_display():
                webbrowser.open(self.url)

    def wait(self) -> int:
        """The server's exit code once it has ended; Ctrl-C ends it."""
        try:
            return self._process.wait()
        except KeyboardInterrupt:
            return 0

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait()
        signal.signal(signal.SIGTERM, self._before)


def _interrupt() -> None:
    raise KeyboardInterrupt


def check_port(address: str, port: int) -> None:
    """InputError for a port that is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise InputError(
                f"cannot listen on it ({error.strerror})",
                where=f"{address}:{port}",
                hint="Choose another `port`.",
            ) from error


def _wait(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Whether the server answered before it ended or the time was up."""
    until = time.monotonic() + _START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1):  # noqa: S310
                return True
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(_POLL_S)
    return False


def _has_display() -> bool:
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
