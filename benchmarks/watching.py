"""What the benchmarks with a browser share: a server, a Chromium, and when a page stands.

A page stands when nothing of it changes any more: the time of its last change is taken before
``QUIET_MS`` without any, while no script runs and every chart on the screen is drawn.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, ViewportSize

ROOT = Path(__file__).resolve().parent.parent
QUIET_MS = 500
SIZE: ViewportSize = {"width": 1440, "height": 900}

# Chart: Streamlit's element or ours. An element that is far below the screen need not be drawn.
WATCH = """
window.bench = {pressed: 0, changed: 0, plots: 0};
addEventListener('pointerdown', () => { bench.pressed = performance.now(); }, true);
new MutationObserver(changes => {
    if (changes.some(({type, target}) => {
        const element = target.nodeType === 1 ? target : target.parentElement;
        return element?.closest('[data-testid=stMain]')
            && (type !== 'attributes' || element.closest('.js-plotly-plot .main-svg'));
    })) bench.changed = performance.now();
}).observe(document, {childList: true, characterData: true, attributes: true, subtree: true});
bench.charts = () => [...document.querySelectorAll('[data-testid=stPlotlyChart], .figure')];
bench.stands = () => {
    const app = document.querySelector('[data-testid=stApp]');
    return app?.dataset.testScriptState === 'notRunning'
        && performance.now() - bench.changed > QUIET_MS
        && !document.querySelector('[data-testid=stSkeleton]')
        && bench.charts().every(chart => {
            const {top, bottom} = chart.getBoundingClientRect();
            return top > innerHeight || bottom < 0 || chart.querySelector('.main-svg');
        });
};
""".replace("QUIET_MS", str(QUIET_MS))


def chromium() -> dict[str, Any]:
    """How ``launch`` of playwright starts the machine's Chromium."""
    return {
        "executable_path": shutil.which("chromium") or shutil.which("google-chrome"),
        "args": ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
    }


@contextmanager
def serving(store: Path, log: Path | None = None, root: Path = ROOT) -> Iterator[tuple[str, int]]:
    """The dashboard on a free port: its address and its process id; ``log`` gets what it says.

    ``root`` is the checkout whose dashboard it is.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "streamlit", "run", str(root / "app.py")),
        *("--server.headless", "true", "--server.port", str(port)),
        *("--server.address", "127.0.0.1", "--server.fileWatcherType", "none"),
        *("--browser.gatherUsageStats", "false", "--", "--store", str(store)),
    ]
    with Path(log or os.devnull).open("w") as said:
        process = subprocess.Popen(command, cwd=root, stdout=said, stderr=said if log else None)
    address = f"http://127.0.0.1:{port}"
    try:
        while True:
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=1)  # noqa: S310
                break
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                if process.poll() is not None:
                    raise RuntimeError("the server ended") from None
                time.sleep(0.1)
        yield address, process.pid
    finally:
        process.terminate()
        process.wait(10)


def cpu_s(pid: int) -> float:
    """Processor seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """What a process holds of the main memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def waited_ms(page: Page, press: Callable[[], None]) -> float:
    """From the press until the last change of the page."""
    page.evaluate("bench.pressed = 0")
    press()
    page.wait_for_function(
        "() => bench.pressed && bench.changed > bench.pressed && bench.stands()",
        timeout=180_000,
        polling=50,
    )
    return float(page.evaluate("bench.changed - bench.pressed"))
