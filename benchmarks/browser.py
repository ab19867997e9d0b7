"""What a visitor waits for, in a real browser: ``uv run python benchmarks/browser.py [STORE]``.

A server is started on the store (default cache/demo) and a headless Chromium at 1440 x 900 goes
through its pages by the sidebar. A line a page, in milliseconds, medians over ``--rounds``:

- *first*: the first visit of this browser, with a server that has drawn nothing yet;
- *warm*: a later visit, from the press on the sidebar's link until the last chart stands;
- *click*: from the press on a widget or a chart until the view is updated;
- *floor*: the same figures' JSON, as the page drew them, drawn by bare Plotly at the same sizes in
  the same browser: what the page drew without scrolling, and *(all)* after scrolling to its end;
- *ratio*: (warm - 150 ms) / floor, which is to stay below 1.5;
- *cpu*: processor time of the server for a warm visit.

``watching.py`` says when a chart stands.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
from collections.abc import Callable
from pathlib import Path

import plotly
from playwright.sync_api import Page, sync_playwright
from watching import ROOT, SIZE, WATCH, chromium, cpu_s, serving, waited_ms

PLOTLY_JS = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
PAGES = (
    *("Runs", "Transitions", "Alignment", "Dimensionality", "Probes"),
    *("Training", "Projection", "Compare", "Study"),
)

FIGURES = """() => [...document.querySelectorAll('.js-plotly-plot')].map(plot => ({
    data: plot.data, layout: plot.layout,
    width: plot._fullLayout.width, height: plot._fullLayout.height,
}))"""

BARE = """async figures => {
    document.body.replaceChildren();
    const places = figures.map(({width, height}) => {
        const place = document.createElement('div');
        Object.assign(place.style, {width: `${width}px`, height: `${height}px`});
        return document.body.appendChild(place);
    });
    await new Promise(requestAnimationFrame);
    const start = performance.now();
    for (const [at, {data, layout, width, height}] of figures.entries()) {
        await Plotly.newPlot(places[at], data, {...layout, width, height, autosize: false},
            {displayModeBar: false});
    }
    await new Promise(requestAnimationFrame);
    return performance.now() - start;
}"""


def visit(page: Page, title: str) -> float:
    """Go to a page by the sidebar, from another one."""
    if page.get_by_role("heading", name=title, exact=True).count():
        visit(page, next(other for other in PAGES if other != title))

    def press() -> None:
        page.get_by_role("link", name=title, exact=True).click()
        page.get_by_role("heading", name=title, exact=True).wait_for()

    return waited_ms(page, press)


def _cell(page: Page, at: int) -> Callable[[], None]:
    """Press a cell of the heatmap, on which the mouse rests already."""
    page.locator(".st-key-heatmap").scroll_into_view_if_needed()
    plot = page.locator(".st-key-heatmap .js-plotly-plot:has(.main-svg)")
    place = plot.evaluate(
        """(plot, at) => {
            const {xaxis: x, yaxis: y} = plot._fullLayout;
            const frame = plot.getBoundingClientRect();
            return [frame.left + x._offset + x.d2p(2 + at), frame.top + y._offset + y.d2p(3)];
        }""",
        at,
    )
    page.mouse.move(*place)
    page.wait_for_timeout(400)
    return lambda: page.mouse.click(*place)


def _chosen(page: Page, key: str, text: str) -> Callable[[], None]:
    """Press an option of a widget."""
    option = page.locator(f".st-key-{key}").get_by_text(text, exact=True).first
    option.scroll_into_view_if_needed()
    page.wait_for_timeout(400)
    return option.click


def _stepped(page: Page, at: int) -> Callable[[], None]:
    """Press Previous and Next by turns."""
    return page.get_by_role("button", name="Next" if at % 2 else "Previous").first.click


def _toggled(page: Page, text: str) -> Callable[[], None]:
    toggle = page.locator("[data-testid=stCheckbox]").filter(has_text=text).first
    toggle.scroll_into_view_if_needed()
    page.wait_for_timeout(400)
    return toggle.locator("label").click


# Page: what is pressed there, the ``at``-th time.
CLICKS: dict[str, Callable[[Page, int], Callable[[], None]]] = {
    "Transitions": _cell,
    "Alignment": _cell,
    "Dimensionality": lambda page, at: _chosen(page, "view_dims", "Participation ratio"),
    "Probes": lambda page, at: _chosen(page, "view_pooling", "cls" if at % 2 else "mean"),
    "Training": lambda page, at: _chosen(page, "view_stream", "vision" if at % 2 else "text"),
    "Projection": _stepped,
    "Compare": lambda page, at: _toggled(page, "Numbers"),
    "Study": lambda page, at: _toggled(page, "Published numbers"),
}


def scrolled(page: Page) -> None:
    """Go to the end of the page in steps, so that everything is drawn."""
    main = page.locator("[data-testid=stMain]")
    end = main.evaluate("node => node.scrollHeight")
    for top in range(0, end + 600, 600):
        main.evaluate("(node, top) => node.scrollTo(0, top)", top)
        page.wait_for_timeout(60)
    page.wait_for_function("() => bench.stands()", timeout=60_000)
    page.wait_for_timeout(300)


def measure(page: Page, bare: Page, pid: int, rounds: int, titles: list[str]) -> list[dict]:
    """A row a page."""
    rows = {title: {"page": title, "first": visit(page, title)} for title in titles}
    visits: dict[str, list[tuple[float, float]]] = {title: [] for title in titles}
    for _ in range(rounds):
        for title in titles:
            before = cpu_s(pid)
            ms = visit(page, title)
            visits[title].append((ms, 1000 * (cpu_s(pid) - before)))
    for title in titles:
        visit(page, title)
        on_screen = page.evaluate(FIGURES)
        scrolled(page)
        every = page.evaluate(FIGURES)
        clicks: list[float] = []
        if title in CLICKS:
            for at in range(rounds):
                clicks.append(waited_ms(page, CLICKS[title](page, at)))
        # A page in the background is given a frame a second.
        bare.bring_to_front()
        floors = [bare.evaluate(BARE, on_screen) for _ in range(rounds + 1)][1:]
        alls = [bare.evaluate(BARE, every) for _ in range(rounds + 1)][1:]
        page.bring_to_front()
        rows[title] |= {
            "warm": statistics.median(ms for ms, _ in visits[title]),
            "cpu": statistics.median(cpu for _, cpu in visits[title]),
            "click": statistics.median(clicks) if clicks else None,
            "floor": statistics.median(floors),
            "floor_all": statistics.median(alls),
            "drawn": len(on_screen),
            "charts": len(every),
            "traces": sum(len(figure["data"]) for figure in every),
            "json_kB": sum(len(json.dumps(figure)) for figure in every) // 1000,
        }
        rows[title]["ratio"] = (rows[title]["warm"] - 150) / rows[title]["floor"]
    return list(rows.values())


def main() -> None:
    """Print the table and the machine's load."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", nargs="?", default=str(ROOT / "cache" / "demo"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--page", action="append", choices=PAGES, help="only these")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    load = os.getloadavg()
    with serving(Path(options.store).resolve()) as (address, pid), sync_playwright() as run:
        browser = run.chromium.launch(**chromium())
        context = browser.new_context(viewport=SIZE)
        page, bare = context.new_page(), context.new_page()
        bare.goto("about:blank")
        bare.add_script_tag(path=str(PLOTLY_JS))
        page.bring_to_front()
        page.add_init_script(WATCH)
        page.goto(f"{address}/study")
        page.wait_for_function("() => bench.stands()", timeout=60_000)
        rows = measure(page, bare, pid, options.rounds, options.page or list(PAGES))
        browser.close()
    if options.json:
        print(json.dumps({"load": load, "rows": rows}))
        return
    names = ("first", "warm", "click", "floor", "floor_all", "cpu")
    print(f"{'page':<15}" + "".join(f"{name:>10}" for name in names), end="")
    print("   ratio  drawn of charts, traces, JSON")
    for row in rows:
        print(f"{row['page']:<15}", end="")
        print(
            "".join(f"{row[name]:>10.0f}" if row[name] else f"{'':>10}" for name in names), end=""
        )
        print(
            f"{row['ratio']:>8.2f}  {row['drawn']} of {row['charts']}, {row['traces']}, "
            f"{row['json_kB']} kB"
        )
    after = os.getloadavg()
    print(
        f"load average (1 minute) {load[0]:.1f} before, {after[0]:.1f} after; {os.cpu_count()} cpus"
    )


if __name__ == "__main__":
    main()
