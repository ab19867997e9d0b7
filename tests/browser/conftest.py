"""A real server and a real Chromium; everything is skipped where there is no browser."""

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

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
        if (path := shutil.which(name))
    ),
    None,
)


@contextmanager
def serving(store: Path, where: Path) -> Iterator[str]:
    """``streamlit run app.py`` on a free port from another directory; yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(sys.executable, "-m", "streamlit", "run", str(ROOT / "app.py")),
        *("--server.headless", "true", "--server.port", str(port)),
        *("--server.address", "127.0.0.1", "--server.fileWatcherType", "none"),
        *("--browser.gatherUsageStats", "false", "--", "--store", str(store)),
    ]
    log = where / f"server-{port}.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=where, stdout=out, stderr=subprocess.STDOUT)
        address = f"http://127.0.0.1:{port}"
        try:
            until = time.monotonic() + 60
            while True:
                try:
                    urllib.request.urlopen(f"{address}/_stcore/health", timeout=1)  # noqa: S310
                    break
                except (urllib.error.URLError, TimeoutError, ConnectionError):
                    if process.poll() is not None or time.monotonic() > until:
                        raise AssertionError(log.read_text()) from None
                    time.sleep(0.1)
            yield address
        finally:
            process.terminate()
            process.wait(10)
    assert "Traceback" not in log.read_text(), log.read_text()


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as run:
        chromium = run.chromium.launch(
            executable_path=CHROMIUM,
            args=["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """Where screenshots go: FUSIONSCOPE_SCREENSHOTS, else a temporary directory."""
    chosen = os.environ.get("FUSIONSCOPE_SCREENSHOTS")
    path = Path(chosen) if chosen else tmp_path_factory.mktemp("screenshots")
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="session")
def small_store(tmp_path_factory, store_factory) -> Path:
    """Five placements, two seeds."""
    path = tmp_path_factory.mktemp("browser") / "small"
    store_factory.make_store(path, seeds=(0, 1), n=60, depth=6)
    return path


@pytest.fixture(scope="session")
def address(browser, small_store, tmp_path_factory) -> Iterator[str]:
    """A server on the small store."""
    with serving(small_store, tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.fixture(scope="session")
def demo(browser, tmp_path_factory) -> Iterator[str]:
    """A server on the demo store that comes with the project."""
    with serving(ROOT / "cache" / "demo", tmp_path_factory.mktemp("demo")) as url:
        yield url


@pytest.fixture
def open_at(browser) -> Iterator[Callable]:
    """Opens pages and, at the end, checks that none of them showed or logged an error."""
    contexts, errors = [], []

    def go(url: str, *, width: int = 1440, height: int = 900, scheme: str = "light"):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on(
            "pageerror",
            lambda error: None if _plotlys_own(error) else errors.append(str(error)),
        )
        page.on(
            "console",
            lambda message: (
                errors.append(message.text + message.location["url"])
                if message.type == "error" and not _streamlits_own(message)
                else None
            ),
        )
        page.goto(url)
        settle(page)
        return page

    yield go
    for context in contexts:
        context.close()
    assert not errors


def _streamlits_own(message) -> bool:
    """Opened below a page's address, Streamlit first asks for its own files below it, in vain."""
    return "404" in message.text and "/_stcore/" in message.location.get("url", "")


def _plotlys_own(error) -> bool:
    """An animation that is paused rejects its promise, which Plotly leaves open, with nothing."""
    return str(error) == "undefined"


def settle(page) -> None:
    """Wait until the script ran, every chart on the screen is drawn, and nothing is an error."""
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    page.wait_for_function(
        """() => [...document.querySelectorAll('.figure')].every(chart => {
            const {top, bottom} = chart.getBoundingClientRect();
            return top > innerHeight || bottom < 0 || chart.querySelector('.main-svg');
        })"""
    )
    page.wait_for_timeout(250)
    assert page.locator("[data-testid=stException]").count() == 0


def drawn(page, key: str):
    """The chart of that key, scrolled to and drawn."""
    page.locator(f".st-key-{key} .figure").scroll_into_view_if_needed()
    plot = page.locator(f".st-key-{key} .js-plotly-plot")
    plot.locator(".main-svg").first.wait_for()
    return plot


def click_point(page, key: str, trace: str, index: int) -> None:
    """Click the ``index``-th point (or cell, row by row) of the trace that is called so."""
    place = drawn(page, key).evaluate(
        """(plot, [trace, index]) => {
            const data = plot._fullData.find(t => t.name.startsWith(trace));
            const columns = data.z?.[0].length;
            const [x, y] = columns
                ? [index % columns, Math.floor(index / columns)]
                : [data.x[index], data.y[index]];
            const {xaxis, yaxis} = plot._fullLayout;
            const frame = plot.getBoundingClientRect();
            return [frame.left + xaxis._offset + xaxis.d2p(x),
                    frame.top + yaxis._offset + yaxis.d2p(y)];
        }""",
        [trace, index],
    )
    page.mouse.move(*place)
    page.mouse.click(*place)
