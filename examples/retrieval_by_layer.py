"""Image-text retrieval by layer of the dual encoders in a store, as a table, a CSV and a picture.

    uv run fusionscope capture --model OUT/untrained --data mmimdb:PATH --store STORE
    uv run fusionscope capture --model OUT/trained --data mmimdb:PATH --store STORE
    uv run python examples/retrieval_by_layer.py STORE --csv FILE.csv --png FILE.png

Ways to find the partner of a sample. ``map`` is the store's own measure (computed here where
``fusionscope measure`` has not yet): half of the samples fit an orthogonal map between two layers,
the other half is searched. ``cosine`` searches the shared space (``projected``) as it is, over all
samples, and ``cosine, alike`` among a hundred whose texts are as long. ``length`` is a control:
what is found by no more of a text than its length, as far as the image tells it. What the encoders
give is the same before and after, and is listed once.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots
from sklearn.linear_model import RidgeCV

from fusionscope import Run, Store
from fusionscope.figures import theme
from fusionscope.jobs import missing_in_store, perform_all
from fusionscope.types import BLOCK, matched_layers

KS = (1, 5, 10)
GROUP = 100
DIRECTIONS = {"image_to_text": "image → text", "text_to_image": "text → image"}
SHARED = "projected"
COLOURS = {"cls": theme.SERIES_COLOURS[1], "mean": theme.SERIES_COLOURS[2]}
TIE = 1e-6  # a difference of scores in float32 that is rounding


def recalls(scores: np.ndarray) -> pd.DataFrame:
    """R@k in both directions of (images, texts) ``scores`` whose true pairs are on the diagonal.

    Tied places are shared out, so that scores which are all the same give chance. Columns
    direction, k, recall in 0..1, chance, sd (binomial, of finding by chance) and n.
    """
    n = len(scores)
    own = np.diagonal(scores)
    rows = []
    for direction, table in (("image_to_text", scores), ("text_to_image", scores.T)):
        above = (table > own[:, None] + TIE).sum(axis=1)
        tied = (np.abs(table - own[:, None]) <= TIE).sum(axis=1)
        for k in KS:
            recall = np.clip((k - above) / tied, 0.0, 1.0).mean()
            rows.append((direction, k, recall, k / n, np.sqrt(k / n * (1 - k / n) / n), n))
    return pd.DataFrame(rows, columns=["direction", "k", "recall", "chance", "sd", "n"])


def cosines(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """(n, d) and (n, d) -> (n, n)."""
    images, texts = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (images, texts))
    return images @ texts.T


def alike_recalls(scores: np.ndarray, lengths: np.ndarray) -> pd.DataFrame:
    """As :func:`recalls`, each sample searched among some ``GROUP`` whose texts are as long."""
    order = np.argsort(lengths, kind="stable")
    groups = np.array_split(order, max(1, len(order) // GROUP))
    found = pd.concat([recalls(scores[np.ix_(rows, rows)]) for rows in groups])
    mean = found.groupby(["direction", "k"], as_index=False, sort=False).mean()
    mean["sd"] /= np.sqrt(len(groups))
    return mean.astype({"n": int})


def length_recalls(run: Run) -> Iterator[pd.DataFrame]:
    """What is found if of a text no more than its length is known, for each layer of vision.

    A ridge regression on one half of the samples tells the logarithm of the length from the image;
    in the other half those texts are nearest whose length is. The halves are those of ``map``.
    """
    lengths = np.log1p(lengths_of(run))
    order = np.random.default_rng(0).permutation(run.n)
    held, fit = order[: run.n // 2], order[run.n // 2 :]
    for ref, pooling in run.captured():
        if ref.stream != "vision" or ref.site != BLOCK:
            continue
        images = run.vectors("vision", ref, pooling)
        ridge = RidgeCV(np.logspace(0, 6, 13)).fit(images[fit], lengths[fit])
        told = ridge.predict(images[held])
        found = recalls(-np.abs(told[:, None] - lengths[held][None, :]))
        yield found.assign(way="length", vision=ref.label, text="length", pooling=pooling)


def lengths_of(run: Run) -> np.ndarray:
    """(n,) characters of each text."""
    return run.samples()["text"].str.len().to_numpy(dtype=np.float64)


def stored_recalls(run: Run) -> pd.DataFrame:
    """What ``fusionscope measure`` stored: for matching layers, and for sites after the last."""
    rows = run.measures([f"recall_at_{k}" for k in KS])
    a, b = (_labels(rows, side) for side in "ab")
    stored = pd.DataFrame(
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
    matching = matched_layers(run.manifest.stream("vision"), run.manifest.stream("text"))
    wanted = pd.MultiIndex.from_tuples([(a.label, b.label) for a, b in matching])
    at_end = stored["vision"].str.contains(".", regex=False)
    return stored[at_end | pd.MultiIndex.from_frame(stored[["vision", "text"]]).isin(wanted)]


def _labels(rows: pd.DataFrame, side: str) -> pd.Series:
    layer, site = rows[f"layer_{side}"].astype(str), rows[f"site_{side}"]
    return layer.where(site.eq("block"), layer + "." + site)


def retrieval_of(run: Run) -> pd.DataFrame:
    """All ways of a run: columns run, way, vision, text, pooling, direction, k, recall, ..."""
    ends = {spec.name: f"{spec.depth}.{SHARED}" for spec in run.streams}
    shared = cosines(*(run.vectors(stream, ends[stream]) for stream in ("vision", "text")))
    return pd.concat(
        [
            stored_recalls(run).assign(way="map"),
            recalls(shared).assign(way="cosine", **ends, pooling="cls"),
            alike_recalls(shared, lengths_of(run)).assign(
                way="cosine, alike", **ends, pooling="cls"
            ),
            *length_recalls(run),
        ],
        ignore_index=True,
    ).assign(run=run.run_id)


def once(rows: pd.DataFrame) -> pd.DataFrame:
    """Without the rows that an earlier run has too: what frozen encoders give, before and after."""
    learned = rows["vision"].str.endswith(SHARED)
    return rows[learned | ~rows.drop(columns="run").duplicated()]


def picture(rows: pd.DataFrame, k: int) -> go.Figure:
    """R@k by ``map`` and by ``length`` over the vision stream's layers; chance as a dotted line.

    The encoders are frozen: layers are drawn of the first run, what follows them of every run.
    """
    rows = rows[rows["way"].isin(["map", "length"]) & rows["k"].eq(k)]
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    figure.update_layout(**theme.layout(height=360), width=1100)
    figure.update_layout(paper_bgcolor="#fff", font_family="DejaVu Sans, sans-serif")
    first = rows["run"].iloc[0]
    at_end = rows["vision"].str.contains(".", regex=False)
    for column, (direction, words) in enumerate(DIRECTIONS.items(), start=1):
        own = rows["direction"].eq(direction)
        layers = rows[own & ~at_end & rows["run"].eq(first)]
        for (way, pooling), curve in layers.groupby(["way", "pooling"], sort=False):
            figure.add_scatter(
                x=curve["vision"],
                y=curve["recall"],
                name=f"{pooling}, {'length alone' if way == 'length' else 'layers matched'}",
                mode="lines+markers",
                line={"color": COLOURS[pooling], "dash": "dash" if way == "length" else "solid"},
                showlegend=column == 1,
                row=1,
                col=column,
            )
        for at, run in enumerate(rows["run"].unique(), start=3):
            sites = rows[own & at_end & rows["run"].eq(run)]
            figure.add_scatter(
                x=sites["vision"],
                y=sites["recall"],
                name=run,
                mode="markers",
                marker={
                    "color": theme.SERIES_COLOURS[at],
                    "symbol": theme.CLASS_MARKERS[at],
                    "size": 10,
                },
                showlegend=column == 1,
                row=1,
                col=column,
            )
        places = rows["vision"].unique()
        figure.add_scatter(
            x=places,
            y=[float(rows["chance"].max())] * len(places),
            name="chance",
            mode="lines",
            line={"color": theme.NEUTRAL, "dash": "dot"},
            showlegend=column == 1,
            row=1,
            col=column,
        )
        figure.update_xaxes(
            theme.axis(f"vision layer ({words})", type="category", tickangle=-40), row=1, col=column
        )
        figure.update_yaxes(
            theme.axis(f"R@{k}" if column == 1 else "", rangemode="tozero"), col=column
        )
    return figure


def draw(figure: go.Figure, to: Path) -> None:
    """Render a figure as PNG in Chromium."""
    from playwright.sync_api import sync_playwright  # for development only

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
    perform_all(store, [task for task in missing_in_store(store) if task.part == "retrieval"])
    rows = once(pd.concat([retrieval_of(store.run(run_id)) for run_id in store.run_ids()]))
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
