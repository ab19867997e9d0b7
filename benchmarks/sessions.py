"""Many visitors tracing at once: ``python benchmarks/sessions.py --sessions 20 --minutes 5``.

    uv run python benchmarks/sessions.py --sessions 20 --minutes 5

Each session is a browser context of its own. It uploads a picture of its own colour, writes a text
with its own number, presses Trace, checks that the picture and the text that are shown are its own,
moves the layer strip, and begins again, with another size of picture and another text, so that no
kept result answers. Where the queue is full it waits a second and presses again.

Printed are the traces, the refusals, the time from the press to the result (median and 95 %), and
the server's memory: once the model is loaded and has traced (its level), at most, and after all
have gone and the age of kept results has passed. 1 is returned for an error on a page or in the
server's log, a picture or a text of somebody else, anything of a text in the log, and for memory
that stays more than ``--allowed-mib`` above its level.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from playwright.async_api import Browser, FilePayload, Page, async_playwright
from trace_store import traced_store
from watching import SIZE, chromium, resident_bytes, serving

from backend.inference.service import Limits

Colour = tuple[int, int, int]

VISITOR = "visitor"
"""Begins every text, and is to be in no log."""
WAIT_MS = 180_000
POLL_MS = 1_000
"""Looking more often would keep the cores busy that the server is measured on."""
BUSY, SHOWN, OTHERS = "busy", "shown", "somebody else"
LEVELS = (30, 90, 160, 230)
WIDTH, STEP = 160, 8
"""Of the pictures, in pixels: each turn's is higher than that before. They are shown smaller."""
NEAR = 20
"""Of a channel: the page shows a WebP. The colours are 60 and more apart."""

HEARD = """
window.heard = 0;
window.WebSocket = class extends WebSocket {
    constructor(...given) {
        super(...given);
        this.addEventListener('message', () => { heard += 1; });
    }
};
"""
# What an earlier run said stands until the next one is over.
OUTCOME = """([text, busy]) => {
    const main = document.querySelector('[data-testid=stMain]');
    const state = document.querySelector('[data-testid=stApp]').dataset.testScriptState;
    if (main.querySelector('[data-testid=stException]')) return 'a fault on the page';
    const texts = [...main.querySelectorAll('[data-testid=stText]')].map(one => one.innerText);
    const own = text.replace(/ turn.*/, ' turn');
    if (texts.some(one => !one.startsWith(own))) return 'somebody else';
    if (!heard || state !== 'notRunning') return null;
    const said = [...main.querySelectorAll('[data-testid=stAlert]')].map(one => one.innerText);
    if (said.some(one => one.includes(busy))) return 'busy';
    if (said.length) return said.join(' ');
    const head = main.querySelector("img[alt='The picture that was traced']");
    return head?.complete && texts.includes(text) ? 'shown' : null;
}"""
LAYER = "new URL(location).searchParams.get('layer')"
CHOSEN = """height => document.querySelector(
    "img[alt='The picture that will be traced']")?.naturalHeight === height"""
LOOK = """async image => {
    await image.decode();
    const canvas = new OffscreenCanvas(1, 1), pen = canvas.getContext('2d');
    pen.drawImage(image, 0, 0, 1, 1);
    const colour = pen.getImageData(0, 0, 1, 1).data.slice(0, 3);
    return [image.naturalHeight / image.naturalWidth, ...colour];
}"""


@dataclass
class Tally:
    """What all sessions have seen."""

    seconds: list[float] = field(default_factory=list)
    busy: int = 0
    others: int = 0
    errors: Counter[str] = field(default_factory=Counter)


def height(turn: int) -> int:
    """Of the picture of a turn."""
    return 100 + STEP * (turn % 40)


def picture(colour: Colour, turn: int) -> FilePayload:
    """A picture of one colour, of another height every turn."""
    file = io.BytesIO()
    Image.new("RGB", (WIDTH, height(turn)), colour).save(file, "PNG")
    return {"name": "a.png", "mimeType": "image/png", "buffer": file.getvalue()}


async def opened_page(browser: Browser, address: str) -> Page:
    """The Trace page of a new visitor, ready for a file."""
    page = await (await browser.new_context(viewport=SIZE)).new_page()
    page.set_default_timeout(WAIT_MS)
    await page.add_init_script(HEARD)
    await page.goto(f"{address}/trace")
    await quiet(page)
    pairs = page.get_by_role("radiogroup", name="Pair")
    await pairs.get_by_role("radio", name="Upload").click()
    await page.locator(".st-key-trace-file").wait_for()
    return page


async def quiet(page: Page) -> None:
    """Wait until no script runs for this visitor."""
    app = page.locator("[data-testid=stApp][data-test-script-state=notRunning]")
    await app.wait_for()


async def trace(page: Page, colour: Colour, text: str, turn: int, tally: Tally) -> None:
    """One picture, from the file to a look at what is shown, and three moves of the strip."""
    await page.locator(".st-key-trace-file input[type=file]").set_input_files(picture(colour, turn))
    # Only then is what is written in the form safe from the run that shows the picture.
    await page.wait_for_function(CHOSEN, arg=height(turn))
    await quiet(page)
    await page.get_by_label("Text", exact=True).fill(text)
    outcome = BUSY
    while outcome == BUSY:
        await quiet(page)
        await page.evaluate("heard = 0")
        start = time.perf_counter()
        await page.get_by_role("button", name="Trace", exact=True).click()
        asked = [text, "are waiting already"]
        answer = await page.wait_for_function(OUTCOME, arg=asked, polling=POLL_MS)
        outcome = str(await answer.json_value())
        if outcome == BUSY:
            tally.busy += 1
            await asyncio.sleep(1)
    if outcome != SHOWN:
        tally.others += outcome == OTHERS
        tally.errors[outcome] += 1
        return
    tally.seconds.append(time.perf_counter() - start)
    image = page.get_by_alt_text("The picture that was traced")
    ratio, *shown = await image.evaluate(LOOK)
    of_turn = abs(ratio * WIDTH - height(turn)) < STEP / 2
    if not of_turn or any(abs(a - b) > NEAR for a, b in zip(shown, colour, strict=True)):
        tally.others += 1
    await move(page)


async def move(page: Page) -> None:
    """Move the strip three times, until the server has heard of it: the link names the layer."""
    before, strip = await page.evaluate(LAYER), page.get_by_role("slider").first
    at_end = int(await strip.get_attribute("aria-valuenow") or 0) >= 3
    for _ in range(3):
        await strip.press("ArrowLeft" if at_end else "ArrowRight")
    await page.wait_for_function(f"before => {LAYER} !== before", arg=before)
    await quiet(page)


async def session(page: Page, number: int, colour: Colour, until: float, tally: Tally) -> None:
    """One visitor, until the time is over."""
    for turn in itertools.count():
        if time.monotonic() > until:
            return
        try:
            await trace(page, colour, f"{VISITOR} {number} turn {turn}", turn, tally)
        except Exception as error:  # what is late or gone is counted, the others go on
            state = await page.get_by_test_id("stApp").get_attribute("data-test-script-state")
            what = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            tally.errors[f"{what} (the page's script: {state})"] += 1


async def watched(pid: int, peak: list[int]) -> None:
    """Take the server's memory every half second."""
    while True:
        peak.append(resident_bytes(pid))
        await asyncio.sleep(0.5)


async def visits(
    address: str, pid: int, sessions: int, minutes: float, tally: Tally
) -> tuple[int, int]:
    """All sessions; the server's memory once it is warm, and at most."""
    colours = list(itertools.product(LEVELS, LEVELS, LEVELS))
    async with async_playwright() as run:
        browser = await run.chromium.launch(**chromium())
        first = await opened_page(browser, address)
        for turn in range(2):
            await trace(first, (0, 0, 0), f"{VISITOR} first turn {turn}", turn, Tally())
        level = resident_bytes(pid)
        await first.context.close()
        pages = [await opened_page(browser, address) for _ in range(sessions)]
        memory: list[int] = []
        watching = asyncio.create_task(watched(pid, memory))
        until = time.monotonic() + 60 * minutes
        await asyncio.gather(
            *(session(page, at, colours[at], until, tally) for at, page in enumerate(pages))
        )
        watching.cancel()
        await browser.close()
    return level, max(memory)


def settled(pid: int, level: int, allowed: int, most_s: float) -> int:
    """The server's memory once it is near its level, or after so many seconds."""
    until = time.monotonic() + most_s
    while resident_bytes(pid) > level + allowed and time.monotonic() < until:
        time.sleep(1)
    return resident_bytes(pid)


def of_the_log(log: Path) -> Iterator[str]:
    """What is wrong with what the server said."""
    said = log.read_text(errors="replace")
    if "Traceback" in said:
        yield f"the server's log has a traceback:\n{said[said.index('Traceback') :][:2000]}"
    if VISITOR in said:
        yield "the server's log has a visitor's text"


@contextmanager
def work_folder(given: str | None) -> Iterator[Path]:
    """A folder to work in: the one that is given, else one for now."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(given or made)
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def main() -> int:
    """Run the sessions and print what came of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", nargs="?", help="a store with a run that has its checkpoint")
    parser.add_argument("--work", help="where the store is made; it is kept there for later")
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--allowed-mib", type=int, default=200)
    given = parser.parse_args()
    if not 0 < given.sessions <= len(LEVELS) ** 3:
        parser.error(f"there are colours for 1 to {len(LEVELS) ** 3} sessions")
    load, tally, allowed = os.getloadavg(), Tally(), given.allowed_mib * 2**20
    with work_folder(given.work) as work:
        store = Path(given.store).resolve() if given.store else traced_store(work)
        log = work / "server.log"
        with serving(store, log) as (address, pid):
            task = visits(address, pid, given.sessions, given.minutes, tally)
            level, peak = asyncio.run(task)
            after = settled(pid, level, allowed, Limits().cache_age_s + 30)
        wrong = [f"{count} x {what}" for what, count in tally.errors.items()]
        wrong += of_the_log(log)
    if tally.others:
        wrong.append(f"{tally.others} pictures of somebody else")
    if after > level + allowed:
        wrong.append(f"memory is {(after - level) / 2**20:.0f} MiB above its level")
    print(f"{given.sessions} sessions, {given.minutes:g} minutes, load {load[0]:.1f} before")
    print(f"{len(tally.seconds)} traces, {tally.busy} times busy, {tally.others} of somebody else")
    if len(tally.seconds) > 1:
        high = statistics.quantiles(tally.seconds, n=20)[-1]
        print(f"shown after {statistics.median(tally.seconds):.1f} s, 95 % within {high:.1f} s")
    print(f"server: {mib(level)} warm, {mib(peak)} at most, {mib(after)} afterwards")
    for line in wrong or ["nothing wrong"]:
        print(line)
    return int(bool(wrong) or not tally.seconds)


def mib(count: int) -> str:
    """``512 MiB``."""
    return f"{count / 2**20:.0f} MiB"


if __name__ == "__main__":
    sys.exit(main())
