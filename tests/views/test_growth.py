"""Does it grow with size: points and chance from stored rows, the trend by counted orders."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from backend.figures.growth import growth_figure
from backend.figures.scales import scale_of
from backend.figures.theme import SERIES_COLOURS, Series
from backend.measures.chance.trend import rank_trend
from backend.types import StreamSpec, matched_layers
from backend.views import growth, questions
from backend.views.store_access import look, overview


def test_the_trend_is_spearmans_and_its_chance_the_share_of_all_orders() -> None:
    x, y = np.array([1.0, 5.0, 2.0, 9.0, 4.0]), np.array([0.1, 0.5, 0.3, 0.4, 0.35])
    found = rank_trend(x, y)
    assert found.rho == pytest.approx(spearmanr(x, y).statistic)
    every = [spearmanr(x, np.array(order)).statistic for order in permutations(y)]
    assert found.p_value == pytest.approx(np.mean(np.array(every) >= found.rho - 1e-12))
    assert rank_trend(np.arange(4.0), np.arange(4.0)).p_value == pytest.approx(1 / 24)
    many = rank_trend(np.arange(12.0), np.arange(12.0))
    assert many.rho == pytest.approx(1) and many.p_value == pytest.approx(1 / 10_000)
    unrelated = [
        rank_trend(*np.random.default_rng(seed).normal(size=(2, 6))).p_value for seed in range(200)
    ]
    assert np.mean(np.array(unrelated) <= 0.1) == pytest.approx(0.1, abs=0.06)
    assert np.isnan(rank_trend(np.arange(3.0), np.arange(3.0)).rho)
    assert np.isnan(rank_trend(np.ones(5), np.arange(5.0)).p_value)


def test_a_point_is_the_mean_of_matching_layers_beside_chance_and_size(
    tmp_path: Path, store_factory: ModuleType
) -> None:
    store = store_factory.make_released_store(tmp_path / "store", n=24)
    groups = overview(str(tmp_path / "store")).groups
    ask = questions.measures(
        look(str(tmp_path / "store")), groups, ("cka",), pooling="mean", estimator="debiased"
    )
    rows = ask.answer().frame
    points = growth.growth_points(rows, groups, ("vision", "text")).set_index("label")
    two = next(run for run in map(store.run, store.run_ids()) if "two" in run.run_id)
    vision, text = (two.manifest.stream(name) for name in ("vision", "text"))
    deeper, other = (vision, text) if vision.depth >= text.depth else (text, vision)
    stored = two.measures(["cka"])
    stored = stored[stored["pooling"].eq("mean") & stored["estimator"].eq("debiased")]
    cells = []
    for a, b in matched_layers(deeper, other):
        of = {a.stream: a.layer, b.stream: b.layer}
        cell = stored[
            stored["stream_a"].ne(stored["stream_b"])
            & stored["layer_a"].eq(stored["stream_a"].map(of))
            & stored["layer_b"].eq(stored["stream_b"].map(of))
            & stored["site_a"].eq("block")
            & stored["site_b"].eq("block")
        ]
        cells.append(cell[["value", "null_mean"]].iloc[0])
    label = next(name for name in points.index if "two" in name)
    assert points.loc[label, "value"] == pytest.approx(np.nanmean([c["value"] for c in cells]))
    assert points.loc[label, "size"] == sum(12 * s.depth * s.width**2 for s in (vision, text))
    null = float(np.mean([c["null_mean"] for c in cells]))
    assert points.loc[label, "above_chance"] == pytest.approx(points.loc[label, "value"] - null)
    distances = rows.assign(measure="procrustes")
    apart = growth.growth_points(distances, groups, ("vision", "text")).set_index("label")
    assert apart.loc[label, "above_chance"] == pytest.approx(null - points.loc[label, "value"])
    assert not any("one" in name for name in points.index), "a model of one stream has no pair"
    figure = growth_figure(
        points.reset_index(), [group.series for group in groups], scale=scale_of("cka")
    )
    assert {trace.name for trace in figure.data} >= {label}
    assert points["low"].min() < 0, "what lies below 0 is drawn, too"
    assert figure.layout.yaxis.range[0] < points["low"].min()
    said = growth.trend_in_words(points.reset_index())
    assert "is not said" in said and "takes 4 models" in said


def test_no_two_of_many_models_look_alike() -> None:
    specs = (StreamSpec.of("vision", "vision", 4, 8), StreamSpec.of("text", "text", 4, 8))
    series = [
        Series(f"m{at}", f"m{at}", specs, SERIES_COLOURS[at % len(SERIES_COLOURS)], variant=at)
        for at in range(160)
    ]
    rows = [
        {
            "series": one.key, "label": one.label, "size": at + 1.0, "value": 0.5, "low": 0.4,
            "high": 0.6, "null_mean": np.nan, "n": 20, "where": "",
        }
        for at, one in enumerate(series)
    ]  # fmt: skip
    figure = growth_figure(pd.DataFrame(rows), series, scale=scale_of("cka"))
    looks = [(trace.marker.color, trace.marker.symbol) for trace in figure.data]
    assert len(looks) == len(set(looks)) == 160
    assert len({symbol for _, symbol in looks[:8]}) == 8, "told apart without colour, too"
    assert all(trace.error_y.color == trace.marker.color for trace in figure.data)


def test_what_grows_by_chance_alone_does_not_count_and_unknown_chance_says_nothing() -> None:
    sizes = np.arange(1.0, 7.0)
    chance = sizes / 10
    above = np.array([0.02, 0.01, 0.03, 0.02, 0.01, 0.02])
    points = pd.DataFrame({"size": sizes, "value": chance + above, "above_chance": above})
    assert growth.trend_of(points).p_value > 0.05, "though the value goes up with every step"
    assert "cannot be told to go up" in growth.trend_in_words(points)
    rising = points.assign(above_chance=sizes / 100)
    assert growth.trend_of(rising).p_value == pytest.approx(1 / 720)
    unknown = points.assign(above_chance=np.nan)
    said = growth.trend_in_words(unknown)
    assert "is not said" in said and "6 models whose chance is not known" in said
    first = rising.assign(above_chance=rising["above_chance"].where(sizes > 1))
    assert growth.trend_of(first).n == 5
    assert "1 model whose chance is not known" in growth.trend_in_words(first)


def test_blocks_that_write_both_streams_count_once() -> None:
    image, text = (StreamSpec.of(name, name, 12, 768) for name in ("image", "text"))
    assert growth.pair_parameters((image, text)) == 2 * 12 * 12 * 768**2
    shared = [replace(spec, space="language-model") for spec in (image, text)]
    assert growth.pair_parameters(shared) == 12 * 12 * 768**2


def test_the_size_is_that_of_the_blocks() -> None:
    assert growth.block_parameters(StreamSpec.of("text", "text", 12, 768)) == 12 * 12 * 768**2
