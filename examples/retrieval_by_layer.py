"""Image-text retrieval by layer of the dual encoders in a store, as a table, a CSV and a picture.

    uv run fusionscope capture --model OUT/untrained --data mmimdb:PATH --store STORE
    uv run fusionscope capture --model OUT/trained --data mmimdb:PATH --store STORE
    uv run fusionscope measure --store STORE
    uv run python examples/retrieval_by_layer.py STORE --csv FILE.csv --png FILE.png

Two ways to find the partner of a sample. ``map`` is what ``fusionscope measure`` stores: half of
the samples fit an orthogonal map between the two layers, the other half is searched. ``cosine``
searches the shared space (``projected``) as it is, over all samples. Rows of one store must be of
the same pairs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from playwright.sync_api import sync_playwright
from plotly.subplots import make_subplots

from backend.figures.theme import CLASS_MARKERS as MARKERS
from backend.figures.theme import NEUTRAL, SERIES_COLOURS, axis, layout
from backend.store import Run, Store

KS = (1, 5, 10)
DIRECTIONS = {"image_to_text": "image → text", "text_to_image": "text → image"}
SHARED = "projected"
TIE = 1e-6  # a difference of cosines in float32 that is rounding


def recalls(images: np.ndarray, texts: np.ndarray) -> pd.DataFrame:
    """R@k of row a of (n, d) ``images`` for row a of ``texts`` by cosine, and back.

    A text that is as similar as the partner counts as found before it. Columns direction, k, recall
    in 0..1, chance, sd (over random matchings of which nothing is known: binomial) and n.
    """
    images, texts = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (images, texts))
    cosines = images @ texts.T
    n = len(cosines)
    own = np.diagonal(cosines) - TIE
    places = {
        "image_to_text": (cosines >= own[:, None]).sum(axis=1),
        "text_to_image": (cosines >= own[None, :]).sum(axis=0),
    }
    rows = [
        (
            direction,
            k,
            float((place <= k).mean()),
            k / n,
            float(np.sqrt(k / n * (1 - k / n) / n)),
            n,
        )
        for direction, place in places.items()
        for k in KS
    ]
    return pd.DataFrame(rows, columns=["direction", "k", "recall", "chance", "sd", "n"])


def stored_recalls(run: Run) -> pd.DataFrame:
    """What ``fusionscope measure`` found of the same, for every pair of layers that it compares."""
    rows = run.measures([f"recall_at_{k}" for k in KS])
    a, b = (_labels(rows, side) for side in "ab")
    return pd.DataFrame(
        {
            "vision": a.where(rows["stream_a"].eq("vision"), b),
            "text": b.where(rows["stream_a"].eq("vision"), a),
            "pooling": rows["pooling"],
            "direction": rows["estimator"],
            "k": rows["measure"].str.removeprefix("recall_at_").astype(int),
            "recall": rows["value"],
            "chance": rows["null_mean"],
            "sd": rows["null_sd"],
            "n": rows["n"],
        }
    )


def _labels(rows: pd.DataFrame, side: str) -> pd.Series:
    layer, site = rows[f"layer_{side}"].astype(str), rows[f"site_{side}"]
    return layer.where(site.eq("block"), layer + "." + site)


def retrieval_of(run: Run) -> pd.DataFrame:
    """Both ways of a run: columns run, way, vision, text, pooling, direction, k, recall, ..."""
    ends = {spec.name: f"{spec.depth}.{SHARED}" for spec in run.streams}
    cosine = recalls(*(run.vectors(stream, ends[stream]) for stream in ("vision", "text")))
    return pd.concat(
        [
            stored_recalls(run).assign(way="map"),
            cosine.assign(way="cosine", **ends, pooling="cls"),
        ],
        ignore_index=True,
    ).assign(run=run.run_id)


def picture(rows: pd.DataFrame, k: int) -> go.Figure:
    """R@k by ``map`` over the vision stream's layers, both directions, chance as a dotted line.

    The encoders are frozen, so their layers are drawn of the first run, and of every run only the
    sites after the last layer.
    """
    rows = rows[rows["way"].eq("map") & rows["k"].eq(k)]
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    figure.update_layout(**layout(height=360), width=1100)
    figure.update_layout(paper_bgcolor="#fff", font_family="DejaVu Sans, sans-serif")
    first = rows["run"].iloc[0]
    at_end = rows["vision"].str.contains(".", regex=False)
    for column, (direction, words) in enumerate(DIRECTIONS.items(), start=1):
        own = rows["direction"].eq(direction)
        for colour, pooling in zip(SERIES_COLOURS, ("cls", "mean"), strict=False):
            curve = rows[own & ~at_end & rows["run"].eq(first) & rows["pooling"].eq(pooling)]
            figure.add_scatter(
                x=curve["vision"],
                y=curve["recall"],
                name=f"layers, {pooling}",
                mode="lines+markers",
                line_color=colour,
                showlegend=column == 1,
                row=1,
                col=column,
            )
        for at, run in enumerate(rows["run"].unique(), start=2):
            sites = rows[own & at_end & rows["run"].eq(run)]
            figure.add_scatter(
                x=sites["vision"],
                y=sites["recall"],
                name=run,
                mode="markers",
                marker={"color": SERIES_COLOURS[at], "symbol": MARKERS[at], "size": 10},
                showlegend=column == 1,
                row=1,
                col=column,
            )
        chance = float(rows["chance"].iloc[0])
        figure.add_hline(y=chance, line_dash="dot", line_color=NEUTRAL, row=1, col=column)
        figure.update_xaxes(axis(f"vision layer ({words})", type="category"), row=1, col=column)
        figure.update_yaxes(axis(f"R@{k}" if column == 1 else "", rangemode="tozero"), col=column)
    return figure


def draw(figure: go.Figure, to: Path) -> None:
    """Render a figure as PNG in Chromium."""
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(device_scale_factor=1.5)
        page.set_content(figure.to_html(include_plotlyjs=True, config={"staticPlot": True}))
        page.locator(".plot-container").screenshot(path=to)
        browser.close()


def main() -> None:
    """Print R@k of every run of a store, and write what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("store")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--png", type=Path, help="a picture of R@10; needs a Chromium")
    given = parser.parse_args()
    store = Store(given.store)
    rows = pd.concat([retrieval_of(store.run(run_id)) for run_id in store.run_ids()])
    columns = ["run", "way", "vision", "text", "pooling", "n"]
    table = rows.pivot_table("recall", columns, ["direction", "k"], sort=False)
    print(table.to_string(float_format="{:.3f}".format))
    if given.csv is not None:
        rows[[*columns, "direction", "k", "recall", "chance", "sd"]].round(4).to_csv(
            given.csv, index=False
        )
    if given.png is not None:
        draw(picture(rows, k=10), given.png)


if __name__ == "__main__":
    main()
