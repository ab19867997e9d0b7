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
    _check_port(address, port)
    command = [
        *(sys.executable, "-m", "streamlit", "run", str(app_file())),
        *("--server.port", str(port), "--server.address", address),
        *("--server.headless", "true", "--browser.gatherUsageStats", "false"),
        *("--server.fileWatcherType", "none", "--client.toolbarMode", "viewer"),
        # Its own welcome asks the network for this machine's addresses.
        *("--logger.hideWelcomeMessage", "true"),
        *("--", "--store", str(store.resolve()), *options),
    ]
    process = subprocess.Popen(command, env=os.environ.copy())
    # Told to end, it takes its server along; otherwise that would keep the port.
    before = signal.signal(signal.SIGTERM, lambda *_: _interrupt())
    url = f"http://{'localhost' if address in ('127.0.0.1', '0.0.0.0') else address}:{port}"  # noqa: S104
    try:
        if _wait(url, process):
            announce(url)
            if _has_display():
                webbrowser.open(url)
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        return 0
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt() -> None:
    raise KeyboardInterrupt


def _check_port(address: str, port: int) -> None:
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
