"""What a visitor of Trace waits for, in a real browser: ``uv run python benchmarks/trace.py``.

A server is started on a store with a MiniLM and a ViT-S/14 at 112 px (``trace_store.py``; made
once, in ``--work``), or on ``STORE``. A headless Chromium at 1440 x 2200, where the form and the
first panels are on the screen together, traces a picture that nobody traced before, ``--rounds``
times. Printed are medians, in milliseconds, and the targets:

- *upload*: from the choice of a file until it is shown in the form;
- *first panel*: from the press on Trace until the first figure is drawn; one forward pass + 400;
- *complete page*: from the press until nothing on the screen changes any more;
- *upload to complete*: both together; 1.2 times the bare forward passes + 700;
- *decoding, running, placing*: the server's stages, as the page tells them; *building* is what is
  left before the first panel, *drawing* what comes after it;
- *strip*: from a key until the panels show the other layer; 200. The server is told later;
- *cut, swap*: from the press on Trace until the first panel of a pair that is shown has it beside
  itself without fusion, and with another caption; one forward pass + 300. *Cut whole, swap whole*:
  until nothing changes any more.

The bare forward passes are those of the same model on the same pictures, in another process, before
and after: nothing is decoded, tokenised or read there. 1 is returned if a target is missed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from playwright.sync_api import FilePayload, Page, ViewportSize, sync_playwright
from trace_store import traced_store
from watching import WATCH, chromium, serving, waited_ms

from backend.data.macros.draw import draw
from backend.data.macros.grammar import OBJECTS, compose
from backend.inference.models import Catalogue, Offer, named_models
from backend.views.store_access import opened

STAGES = ("decoding", "running", "placing")
SIZE: ViewportSize = {"width": 1440, "height": 2200}
PASSES = 2
"""Of a pair by default: as it is, and with the fusion cut."""
MARKS = """
Object.assign(bench, {first: 0, panels: 0, sent: 0, again: 0});
addEventListener('keydown', () => { bench.pressed = performance.now(); }, true);
for (const kind of ['keydown', 'pointerdown'])
    addEventListener(kind, () => Object.assign(bench,
        {first: 0, panels: 0, sent: 0, again: 0}), true);
new MutationObserver(changes => {
    const now = performance.now();
    if (!bench.first && document.querySelector('.figure .main-svg')) bench.first = now;
    if (!bench.again && changes.some(({target}) => target.closest?.('.scatterlayer')))
        bench.again = now;
    if (!bench.sent && changes.some(({target}) => target.closest?.('.figure'))) bench.panels = now;
}).observe(document, {childList: true, attributes: true, subtree: true});
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (data) {
    bench.sent ||= performance.now();
    return send.call(this, data);
};
"""


AGAIN = "bench.again - bench.pressed"


@dataclass(frozen=True)
class Target:
    """The most that a time may be, in words and in milliseconds."""

    words: str
    most_ms: float


def scene(turn: int) -> tuple[bytes, str]:
    """A macro that differs from that of any other turn, as a JPEG, and its caption."""
    made = compose(
        happy_face=bool(turn % 2), cheerful_caption=True, thing=OBJECTS[turn % 10], look=turn
    )
    file = io.BytesIO()
    draw(made, 512).save(file, "JPEG", quality=92)
    return file.getvalue(), made.caption


def upload(page: Page, turn: int) -> float:
    """Choose a file; milliseconds until it is shown."""
    image, caption = scene(turn)
    chosen: FilePayload = {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": image}

    def choose() -> None:
        page.evaluate("bench.pressed = performance.now()")
        page.locator(".st-key-trace-file input[type=file]").set_input_files(chosen)

    waited = waited_ms(page, choose)
    page.get_by_label("Text", exact=True).fill(caption)
    return waited


def press(page: Page) -> float:
    """Press Trace; milliseconds until the page is complete."""
    return waited_ms(page, page.get_by_role("button", name="Trace", exact=True).click)


def forget(page: Page) -> None:
    """Begin with an empty page."""
    button = page.get_by_role("button", name="Forget my pictures")
    if button.count():
        waited_ms(page, button.click)
    page.locator(".figure").first.wait_for(state="detached")


def cut(page: Page, option: str) -> None:
    """Choose where the fusion is cut."""
    page.get_by_role("combobox", name="Cut the fusion").click()
    page.get_by_role("option", name=option, exact=True).click()


def traced(page: Page, turn: int) -> dict[str, float]:
    """The times of one picture, from an empty page."""
    forget(page)
    uploaded = upload(page, turn)
    complete = press(page)
    first = page.evaluate("bench.first - bench.pressed")
    said = page.get_by_text(re.compile(r"running \d")).first.inner_text()
    stages = {name: 1000 * float(s) for name, s in re.findall(r"(\w+) (\d+\.\d+) s", said)}
    return {
        "upload": uploaded,
        "first panel": first,
        "complete page": complete,
        "upload to complete": uploaded + complete,
        **{name: stages[name] for name in STAGES},
        "building": first - sum(stages.values()),
        "drawing": complete - first,
    }


def moved(page: Page, key: str) -> dict[str, float]:
    """The times of one move of the strip."""
    strip = page.get_by_role("slider", name=re.compile("^Layer of the"))
    strip.focus()
    waited_ms(page, partial(strip.press, key))
    return {"strip": page.evaluate("bench.panels - bench.pressed")}


def beside(page: Page, turn: int) -> dict[str, float]:
    """The times of what if, beside a pair that is shown."""
    forget(page)
    upload(page, turn)
    cut(page, "nowhere")
    press(page)
    cut(page, "at all layers")
    times = {"cut whole": press(page), "cut": page.evaluate(AGAIN)}
    other = page.get_by_label("What if it said (optional)")
    other.fill(scene(turn + 1)[1])
    times |= {"swap whole": press(page), "swap": page.evaluate(AGAIN)}
    other.fill("")
    return times


def measure(page: Page, rounds: int) -> dict[str, float]:
    """{what: median milliseconds}."""
    pairs = page.get_by_role("radiogroup", name="Pair")
    pairs.get_by_role("radio", name="Upload").click()
    page.locator(".st-key-trace-file").wait_for()
    traced(page, 0)  # the model is loaded
    made: dict[str, list[float]] = {}

    def take(times: dict[str, float]) -> None:
        for name, ms in times.items():
            made.setdefault(name, []).append(ms)

    for turn in range(1, 1 + rounds):
        take(traced(page, turn))
    for turn in range(2 * rounds):
        take(moved(page, "ArrowLeft" if turn % 6 < 3 else "ArrowRight"))
    for turn in range(rounds):
        take(beside(page, 100 + 2 * turn))
    return {name: statistics.median(times) for name, times in made.items()}


def bare_ms(store: Path, offer: Offer, rounds: int) -> float:
    """Median milliseconds of a forward pass of one pair, in this process."""
    import torch
    from PIL import Image

    from backend.data.sample import Sample

    adapter = Catalogue(opened(str(store)), named_models()).open(offer.key)
    adapter.module.eval()
    times = []
    for turn in range(rounds + 3):
        image, caption = scene(turn)
        inputs = adapter.encode([Sample(caption, (Image.open(io.BytesIO(image)),))])
        with torch.inference_mode():
            start = time.perf_counter()
            adapter.forward(inputs)
            times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[3:])


def bare_apart(store: Path) -> float:
    """:func:`bare_ms` in a process of its own."""
    command = [sys.executable, __file__, str(store), "--bare"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def targets(forward_ms: float) -> dict[str, Target]:
    """Of the times that have one."""
    return {
        "first panel": Target("forward + 400", forward_ms + 400),
        "upload to complete": Target(
            f"1.2 x {PASSES} forward + 700", 1.2 * PASSES * forward_ms + 700
        ),
        "strip": Target("200", 200),
        "cut": Target("forward + 300", forward_ms + 300),
        "swap": Target("forward + 300", forward_ms + 300),
    }


@contextmanager
def trace_page(store: Path, offer: Offer) -> Iterator[Page]:
    """The Trace page of a fresh server in a fresh browser."""
    with serving(store) as (address, _), sync_playwright() as run:
        browser = run.chromium.launch(**chromium())
        page = browser.new_context(viewport=SIZE).new_page()
        page.add_init_script(WATCH + MARKS)
        page.goto(f"{address}/trace?model={offer.key}")
        page.wait_for_function("() => bench.stands()", timeout=180_000)
        yield page
        browser.close()


@contextmanager
def folder(given: str | None) -> Iterator[Path]:
    """A folder to work in: the one that is given, else one for now."""
    if given is None:
        with tempfile.TemporaryDirectory() as made:
            yield Path(made)
        return
    Path(given).mkdir(parents=True, exist_ok=True)
    yield Path(given)


def report(times: dict[str, float], forward_ms: float, say: Callable[[str], None]) -> bool:
    """Print the table; whether every target is met."""
    wanted, met = targets(forward_ms), True
    for name, ms in times.items():
        line = f"{name:<20}{ms:>8.0f} ms"
        if name in wanted:
            good = ms <= wanted[name].most_ms
            met = met and good
            line += f"   at most {wanted[name].most_ms:.0f} ({wanted[name].words})"
            line += "" if good else ": missed"
        say(line)
    return met


def main() -> int:
    """Print the medians, the targets and the machine's load."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store", nargs="?", help="a store with a run that has its checkpoint")
    parser.add_argument("--work", help="where the store is made; it is kept there for later")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--bare", action="store_true", help="only the forward pass, in this process"
    )
    given = parser.parse_args()
    load = os.getloadavg()
    with folder(given.work) as work:
        store = Path(given.store).resolve() if given.store else traced_store(work)
        offers = Catalogue(opened(str(store)), named_models()).offers()
        offer = next((one for one in offers if not one.problem), None)
        if offer is None:
            sys.exit(f"{store}: no run has its checkpoint")
        if given.bare:
            print(bare_ms(store, offer, 20))
            return 0
        before = bare_apart(store)
        with trace_page(store, offer) as page:
            times = measure(page, given.rounds)
        forward_ms = statistics.mean((before, bare_apart(store)))
    if given.json:
        print(json.dumps({"forward": forward_ms, "load": load, **times}))
        return 0
    print(f"bare forward pass of one pair: {forward_ms:.0f} ms ({offer.label})")
    met = report(times, forward_ms, print)
    after = os.getloadavg()
    print(f"load {load[0]:.1f} before, {after[0]:.1f} after; {os.cpu_count()} processors")
    return int(not met)


if __name__ == "__main__":
    raise SystemExit(main())
