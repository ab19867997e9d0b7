"""Writes what docs/study.md shows, from the store that the sweep of study.toml made.

    uv run python docs/study/report.py [STORE]

``scores.csv`` has one row a run and metric, ``curves.csv`` the measures of the figures (mean, least
and most over seeds), ``findings.json`` what ``fusionscope findings --json`` prints, and the PNGs
are the dashboard's own figures. Nothing of the datasets is written: no text, image or vector.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from playwright.sync_api import sync_playwright
from plotly.offline import get_plotlyjs

from backend.figures import alignment_curves, dimension_curves, transition_curves
from backend.figures.dimensionality import shared_span
from backend.figures.seeds import over_seeds
from backend.figures.theme import SERIES_COLOURS, Series
from backend.study import published_claims
from backend.study.report import as_json
from backend.views import queries
from backend.views.groups import RunGroup
from backend.views.study import datasets, findings, groups_of, opened, score_frame

HERE = Path(__file__).parent
MEASURES = ("cka", "effective_dimension")
POOLING, ESTIMATOR = "cls", "debiased"
WIDTH, HEIGHT = 560, 330


def measures_of(store: str, groups: tuple[RunGroup, ...]) -> pd.DataFrame:
    """The rows of the figures, of one pooling and one estimator, with ``series`` and ``seed``."""
    parts = []
    for group in groups:
        for run in group.runs:
            table = queries.run_measures(store, run.run_id, MEASURES)
            if table.problems:
                raise SystemExit("\n".join(table.problems))
            parts.append(table.frame.assign(series=group.key, placement=group.label, seed=run.seed))
    rows = pd.concat(parts, ignore_index=True)
    wanted = rows["measure"].ne("cka") | rows["estimator"].eq(ESTIMATOR)
    return rows[rows["pooling"].eq(POOLING) & wanted]


def series_of(groups: tuple[RunGroup, ...]) -> list[Series]:
    """One dataset a picture: the legend need not name it, and a placement looks alike in all."""
    names = [group.runs[0].manifest.placement.name for group in groups]
    return [
        replace(group.series, label=name, colour=SERIES_COLOURS[at], variant=at)
        for at, (group, name) in enumerate(zip(groups, names, strict=True))
    ]


def figures_of(rows: pd.DataFrame, groups: tuple[RunGroup, ...]) -> dict[str, list[go.Figure]]:
    """{name: figures that stand side by side}."""
    series = series_of(groups)
    streams = [spec.name for spec in series[0].streams]
    cka = rows[rows["measure"].eq("cka")]
    span = shared_span(rows, streams, "effective_dimension")
    return {
        "transitions": [
            transition_curves(cka, series, stream, estimator=ESTIMATOR, height=HEIGHT)
            for stream in streams
        ],
        "dimension": [
            dimension_curves(
                rows,
                series,
                stream,
                "effective_dimension",
                span=span,
                y_title="effective dimension (95 % of variance)",
                height=HEIGHT,
            )
            for stream in streams
        ],
        "alignment": [alignment_curves(cka, series, estimator=ESTIMATOR, height=HEIGHT + 40)],
    }


def draw(pictures: Mapping[str, list[go.Figure]]) -> None:
    """Render every row of figures as one PNG, in Chromium."""
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(device_scale_factor=1.5)
        page.set_content("<body style='margin:0;background:#fff'><div id='row'></div></body>")
        page.add_script_tag(content=get_plotlyjs())
        for name, row in pictures.items():
            width = WIDTH if len(row) > 1 else 2 * WIDTH
            page.evaluate(
                """async ([specs, width]) => {
                    const row = document.getElementById('row');
                    row.replaceChildren();
                    row.style.cssText = 'display:inline-flex;background:#fff';
                    for (const spec of specs) {
                        const box = document.createElement('div');
                        row.append(box);
                        const layout = {...spec.layout, width, paper_bgcolor: '#fff'};
                        layout.font = {...layout.font, family: 'DejaVu Sans, sans-serif'};
                        await Plotly.newPlot(box, spec.data, layout, {staticPlot: true});
                    }
                }""",
                [[json.loads(figure.to_json()) for figure in row], width],
            )
            page.locator("#row").screenshot(path=HERE / f"{name}.png")
        browser.close()


def main(store: str) -> None:
    """Write everything."""
    overview = opened(store)
    if overview.broken:
        raise SystemExit("\n".join(f"{one.run_id}: {one.reason}" for one in overview.broken))
    scores = score_frame(overview.runs)
    scores.round(4).to_csv(HERE / "scores.csv", index=False)
    curves, pictures = [], {}
    for dataset in datasets(overview.runs):
        groups = groups_of(overview, dataset)
        rows = measures_of(store, groups)
        by = ["placement", "measure", "stream_a", "layer_a", "site_a"]
        by += ["stream_b", "layer_b", "site_b"]
        rows = rows.assign(**{c: rows[c].fillna("") for c in ("stream_b", "site_b")})
        rows["layer_b"] = rows["layer_b"].fillna(-1).astype(int)
        points = over_seeds(rows, by)[[*by, "mean", "low", "high", "seeds", "n"]]
        curves.append(points.assign(dataset=dataset))
        name = groups[0].runs[0].run_id.partition("-")[0]
        for kind, row in figures_of(rows, groups).items():
            pictures[f"{name}-{kind}"] = row
    pd.concat(curves).round(4).to_csv(HERE / "curves.csv", index=False)
    asked, problems = findings(store)
    if problems:
        raise SystemExit("\n".join(problems))
    (HERE / "findings.json").write_text(as_json(asked, published_claims()) + "\n", encoding="utf-8")
    draw(pictures)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "cache/study")
