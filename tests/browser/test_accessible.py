"""Figures without eyes, without a mouse, and on a phone: as tables, by keys, at 390 px."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pandas as pd
import pytest

from dashboard.assets import version
from tests.browser.conftest import drawn, settle

pytestmark = pytest.mark.browser

LATE = "runs=late&focus=late~macros~tiny-late&block=vision~text"
READ = """async ([folder, spec, frame]) => {
    const {Reader} = await import(`${folder}/read.js`);
    const {tables} = await import(`${folder}/table.js`);
    const plot = document.body.appendChild(document.createElement('div'));
    await Plotly.newPlot(plot, structuredClone(spec));
    if (frame) await Plotly.animate(plot, [frame], {frame: {duration: 0, redraw: false}});
    const reader = new Reader(plot, spec.layout);
    const frames = tables(reader, 'alt');
    return {tables: reader.tables(), extremes: reader.extremes(), text: frames.textContent,
        rows: frames.querySelectorAll('tbody tr').length};
}"""


def cka(store: Path, run: str, a: tuple[str, int], b: tuple[str, int]) -> pd.Series:
    """Debiased CKA of two blocks of the runs whose names begin so, as they lie in the files."""
    files = list((store / "runs").glob(f"{run}-*/measures/*.parquet"))
    rows = pd.concat([pd.read_parquet(file) for file in files])
    pair = {"stream_a": a[0], "layer_a": a[1], "stream_b": b[0], "layer_b": b[1]}
    pair |= {"measure": "cka", "estimator": "debiased", "pooling": "cls", "site_a": "block"}
    for column, value in (pair | {"site_b": "block"}).items():
        rows = rows[rows[column].eq(value)]
    return rows["value"]


def read(page, key: str) -> list[list[str]]:
    """The first table of a figure, its head first."""
    return page.locator(f".st-key-{key} table").first.evaluate(
        "table => [...table.rows].map(row => [...row.cells].map(cell => cell.textContent))"
    )


def made_of(page, spec: dict, frame: str | None = None) -> dict:
    """What a reader reads of a plot, moved to one of its frames."""
    return page.evaluate(READ, [f"/fusionscope/{version()}", spec, frame])


def test_figures_are_read_as_tables_of_what_is_stored(address, small_store, open_at):
    page = open_at(f"{address}/transitions?{LATE}")
    for key in ("heatmap", "curve-vision"):
        drawn(page, key)
        page.locator(f".st-key-{key} .figure").focus()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.locator(f".st-key-{key} table").first.wait_for()
    head, *rows = read(page, "heatmap")
    values = cka(small_store, "late", ("vision", 4), ("text", 2))
    assert len(values) == 2
    cell = next(row for row in rows if row[0] == "vision 4")[head.index("text 2")]
    assert cell == f"{values.mean():.3f}"
    head, *rows = read(page, "curve-vision")
    values = cka(small_store, "late", ("vision", 2), ("vision", 3))
    assert next(row for row in rows if row[0] == "3")[head.index("late")] == (
        f"{values.mean():.3f} ({values.min():.3f} to {values.max():.3f})"
    )
    table = page.locator(".st-key-heatmap table")
    figure = page.locator(".st-key-heatmap .figure")
    assert figure.get_attribute("aria-label").startswith(table.locator("caption").inner_text())
    assert table.locator("tbody th[scope=row]").count() == table.locator("tbody tr").count()
    page.locator(".st-key-heatmap").get_by_role("button", name="Table").click()
    assert table.count() == 0 and page.locator(".st-key-heatmap .main-svg").first.is_visible()


def test_a_table_tells_text_from_tags_and_every_kind_of_trace(address, open_at):
    page = open_at(f"{address}/transitions?{LATE}")
    drawn(page, "curve-vision")
    evil = "&lt;img src=x onerror=alert(1)&gt; &amp;lt;"
    axes = {"xaxis": {"title": {"text": "layer<br>k"}, "range": [0, 4]}}
    band = {"fill": "toself", "x": [1, 2, 2, 1], "y": [0.1, 0.9, 0.7, 0.3], "hoverinfo": "skip"}
    curve = {
        "x": [1, 2, 3],
        "y": [0.2, 0.8, None],
        "mode": "lines+markers",
        "name": "a &amp; b",
        "legendgroup": "one",
    }
    gap = {"x": [3], "y": [0], "mode": "markers", "legendgroup": "one"}
    gap["hovertext"] = ["<b>one</b>, 3<br>undefined: constant"]
    level = {"x": [0, 4], "y": [0.5, 0.5], "mode": "lines", "hoverinfo": "skip", "name": "chance"}
    dots = {"x": [2.5], "y": [0.25], "mode": "markers", "name": "site", "hovertext": [evil]}
    spec = {"data": [band, curve, gap, level, dots], "layout": axes | {"yaxis": {"range": [0, 1]}}}
    made = made_of(page, spec)
    curves, points = made["tables"]
    assert curves["head"] == ["layer; k", "a & b"] and curves["notes"] == [
        "chance",
        "(1) undefined: constant",
    ]
    assert curves["rows"] == [
        *(["1", ["0.200", "0.100 to 0.300"]], ["2", ["0.800", "0.700 to 0.900"]]),
        ["3", "(1)"],
    ]
    assert points["rows"] == [["0.250", "2.500", "site", "<img src=x onerror=alert(1)> &lt;"]]
    assert made["extremes"] == "Lowest: a & b at 1, 0.200; highest: a & b at 2, 0.800"

    bars = [
        {"type": "bar", "x": ["p", "q"], "y": [30, 40], "name": "patches"},
        {"type": "bar", "x": ["p", "q"], "y": [70, 60], "name": "CLS"},
    ]
    (table,) = made_of(page, {"data": bars, "layout": {}})["tables"]
    assert table["head"] == ["name", "patches", "CLS"]
    assert [[name, *(cell[0] for cell in row)] for name, *row in table["rows"]] == [
        ["p", "30", "70"],
        ["q", "40", "60"],
    ]
    moving = {
        "data": [{"x": [1, 2], "y": [5, 6], "mode": "lines", "name": "a"}],
        "layout": {},
        "frames": [{"name": "early", "data": [{"x": [1, 2], "y": [7, 8]}], "traces": [0]}],
    }
    (table,) = made_of(page, moving, "early")["tables"]
    assert [row[1][0] for row in table["rows"]] == ["7", "8"]
    wide = {"type": "bar", "orientation": "h", "x": [0.5], "y": ["word"]}
    error = {"type": "data", "array": [0.2], "arrayminus": [0.1], "symmetric": False}
    forest = {"x": [0.5], "y": ["late"], "mode": "markers", "error_x": error}
    layout = {"xaxis": {"range": [0, 1]}}
    (table,) = made_of(page, {"data": [wide], "layout": layout})["tables"]
    assert table["rows"] == [["word", ["0.500", ""]]]
    (table,) = made_of(page, {"data": [forest], "layout": layout})["tables"]
    assert table["rows"] == [["late", ["0.500", "0.400 to 0.700"]]]
    many = {"x": list(range(2_001)), "y": [0] * 2_001, "mode": "markers"}
    made = made_of(page, {"data": [many], "layout": {}})
    assert made["rows"] == 1_000 and "first 1,000 of 2,001 rows" in made["text"]


def test_keys_move_over_the_cells_and_choose_as_a_click_does(address, open_at):
    page = open_at(f"{address}/transitions?{LATE}&cell=vision:3~text:2")
    drawn(page, "heatmap")
    figure, words = (
        page.locator(f".st-key-heatmap .{name}") for name in ("figure", "figure-words")
    )
    help_id = figure.get_attribute("aria-describedby")
    assert "Arrow keys" in page.locator(f"#{help_id}").text_content()
    figure.focus()
    page.keyboard.press("ArrowRight")
    assert words.inner_text().startswith("vision layer 3 and text layer 2"), "where the choice is"
    for key, cell in (("ArrowRight", "3:3"), ("ArrowUp", "4:3"), ("ArrowLeft", "4:2")):
        page.keyboard.press(key)
        row, column = cell.split(":")
        assert words.inner_text().startswith(f"vision layer {row} and text layer {column}")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Vision layer 4 and text layer 2").wait_for()
    settle(page)
    assert parse_qs(urlsplit(page.url).query)["cell"] == ["vision:4~text:2"]
    assert figure.evaluate("node => node === document.activeElement")
    page.keyboard.press("Escape")
    assert page.locator(".figure-ring").count() == 0 and words.text_content() == ""


def test_keys_reach_every_point_of_a_map(address, open_at):
    page = open_at(f"{address}/projection?layer=1")
    plot = drawn(page, "map")
    words = page.locator(".st-key-map .figure-words")
    count = plot.evaluate("plot => plot._fullData.reduce((sum, t) => sum + t.x.length, 0)")
    page.locator(".st-key-map .figure").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Home")
    said = [words.inner_text()]
    for _ in range(count - 1):
        page.keyboard.press("ArrowRight")
        said.append(words.inner_text())
    assert len({line.split("\n")[0] for line in said}) == count
    page.keyboard.press(" ")
    page.wait_for_function("() => location.search.includes('sample=')")
    assert parse_qs(urlsplit(page.url).query)["sample"] == [said[-1].split("\n")[0]]


@pytest.mark.parametrize("title", ["Projection", "Study", "Compare"])
def test_a_phone_shows_everything_without_scrolling_sideways(address, browser, title):
    context = browser.new_context(
        viewport={"width": 390, "height": 3_000}, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    page.goto(f"{address}/{title.lower()}")
    page.locator(".main-svg").first.wait_for()
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    main = page.locator("[data-testid=stMain]")
    assert main.evaluate("node => node.scrollWidth - node.clientWidth") <= 0
    outside = page.locator(".js-plotly-plot").evaluate_all(
        """plots => plots.flatMap(plot => {
            const {left, right} = plot.querySelector('.main-svg').getBoundingClientRect();
            return [...plot.querySelectorAll('text[class$=title]')].filter(title => {
                const own = title.getBoundingClientRect();
                return own.left < left - 1 || own.right > right + 1;
            }).map(title => title.textContent);
        })"""
    )
    assert outside == []
    shown = page.get_by_role("button", name="Table").first
    assert shown.evaluate("node => getComputedStyle(node.parentElement).opacity") == "1"
    held = page.evaluate(
        "[...document.querySelectorAll('.js-plotly-plot')].map(plot => plot._fullLayout.dragmode)"
    )
    assert set(held) == {False}, "a finger scrolls the page and does not move a map"
    context.close()
