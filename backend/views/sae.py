"""What runs hold of sparse autoencoders: the curves, the features, the claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from backend.figures import match_curve, sae_curves
from backend.models.registry import takes_words_alone
from backend.pairing import image_among_words
from backend.study import ClaimResult
from backend.study.language import LANGUAGE, vision_becomes_language
from backend.study.mapping_reference import published_mapping
from backend.types import StreamSpec
from backend.views.groups import RunInfo


def is_readable(family: str, streams: Sequence[StreamSpec]) -> bool:
    """Whether ``read-saes`` takes models of a family with these streams."""
    return takes_words_alone(family) and image_among_words(streams) is not None


NOT_READABLE = (
    "It takes a model that puts an image's tokens among the words of a language model that also "
    "reads words alone, such as LLaVA, PaliGemma, Gemma 3, InternVL or Qwen-VL, and one's own of "
    "`fusionscope train --family linear-adapter`. None of the chosen runs is of such a model."
)


def language_claim(rows: pd.DataFrame, runs: Sequence[RunInfo]) -> ClaimResult:
    """Whether vision becomes language in those of ``runs`` that ``rows`` of readings are of."""
    names = {run.run_id: run.manifest.dataset.name for run in runs}
    if rows.empty:
        return ClaimResult(LANGUAGE, ())
    mine = rows[rows["run_id"].isin(list(names))]
    return vision_becomes_language(mine.assign(dataset=mine["run_id"].map(names)))


@dataclass(frozen=True)
class Curve:
    """A measure of the page, its title and its words on an axis."""

    measure: str
    title: str
    axis: str


CURVES: tuple[Curve, ...] = (
    Curve("fvu", "Variance left unexplained", "fraction of variance unexplained"),
    Curve("mse", "Reconstruction error", "mean squared error of a number"),
    Curve("cosine", "Cosine with the reconstruction", "cosine"),
    Curve("l0_share", "Features on", "features on in a token, share of all"),
    Curve("l0", "Features on in a token", "features on in a token"),
    Curve("dead", "Dead features", "share of features on in none of equally many tokens"),
    Curve("overlap", "Features shared with the caption", "Jaccard overlap of features"),
    Curve("overlap_gain", "Overlap by the own caption", "overlap, own less another's caption"),
    Curve("match_rate", "Strongest features that match the caption", "share that match"),
    Curve("match_gain", "Match by the own caption", "share that match, own less another's"),
    Curve("loss_recovered", "Loss recovered", "share of the loss recovered"),
    Curve("loss_rise", "Loss added", "nats a word"),
)


def curve_rows(
    rows: pd.DataFrame, key: str, measure: str, coordinates: str, controls: bool
) -> pd.DataFrame:
    """The rows of one reading and measure, as :func:`backend.figures.sae.sae_curves` takes them."""
    mine = rows[rows["key"].eq(key) & rows["measure"].eq(measure)]
    both = mine["coordinates"].eq(coordinates)
    mine = mine[both if both.any() else mine["coordinates"].eq("all")]
    mine = mine if controls else mine[mine["control"].eq("")]
    return mine.rename(columns={"ci_low": "low", "ci_high": "high"})


def curves_figure(
    rows: pd.DataFrame, key: str, measure: str, coordinates: str, controls: bool, title: str
) -> go.Figure:
    """One measure over the layers."""
    return sae_curves(curve_rows(rows, key, measure, coordinates, controls), title, height=300)


def published_figure(measure: str, title: str) -> go.Figure:
    """The published curves of a measure."""
    return sae_curves(published_mapping(measure), title, height=300)


def feature_rows(rows: pd.DataFrame, key: str, layer: int, tokens: str) -> pd.DataFrame:
    """A row a feature: ``feature``, the share of tokens it is on in, ``description``, ``words``.

    Without descriptions or words where there are none at all.
    """
    mine = rows[rows["key"].eq(key) & rows["layer"].eq(layer) & rows["tokens"].eq(tokens)]
    first = mine.drop_duplicates("feature").sort_values("rank")
    words = mine.groupby("feature")["word"].agg(_listed)
    told = first[["feature", "share", "description"]].assign(words=first["feature"].map(words))
    empty = [name for name in ("description", "words") if told[name].eq("").all()]
    return told.drop(columns=empty).rename(columns={"share": "share of tokens it is on in"})


@dataclass(frozen=True)
class Chosen:
    """A feature of one reading of a run."""

    run_id: str
    key: str
    layer: int
    feature: int


MATCHED: dict[str, tuple[str, str]] = {
    "share": ("Tokens in which it is on", "share of tokens"),
    "activation": ("How far it moves a token", "mean activation × decoder norm"),
}
"""{column of ``sae_matches``: title, words on an axis}"""
MATCHES = (
    "Each layer has an autoencoder of its own. At every other layer this is the feature whose "
    "decoder direction has the highest cosine with that of the chosen one (Laptev et al. 2025). "
    "Where that is no higher than the best of as many random directions would have (in 19 of 20 "
    "cases), there is no match, and the curves have a gap. Means over samples, with 95 % intervals "
    "over samples that belong together."
)


def matched(rows: pd.DataFrame, chosen: Chosen) -> pd.DataFrame:
    """The matches of a feature, a row an other layer and kind of token; empty for none kept."""
    if rows.empty:
        return rows
    mine = rows["run_id"].eq(chosen.run_id) & rows["key"].eq(chosen.key)
    return rows[mine & rows["layer"].eq(chosen.layer) & rows["feature"].eq(chosen.feature)]


def matched_figure(rows: pd.DataFrame, chosen: Chosen, column: str, title: str) -> go.Figure:
    """One column of a feature's matches over the layers, by kind of token."""
    mine = matched(rows, chosen)
    values = mine[column].where(mine["cosine"].gt(mine["chance"]))
    named = {"other_layer": "layer", f"{column}_low": "low", f"{column}_high": "high"}
    told = mine.drop(columns="layer").rename(columns=named)
    return sae_curves(told.assign(value=values, control=""), title, height=300)


def cosine_figure(rows: pd.DataFrame, chosen: Chosen) -> go.Figure:
    """How well the matches of a feature fit."""
    return match_curve(matched(rows, chosen).drop_duplicates("other_layer"))


def _listed(words: pd.Series) -> str:
    return ", ".join(dict.fromkeys(word for word in words if word))


def outlined_thumbnail(webp: bytes, box: tuple[float, float, float, float]) -> bytes:
    """A thumbnail with a patch (shares of width and height) drawn around, as WebP."""
    from io import BytesIO

    from PIL import Image, ImageDraw

    with Image.open(BytesIO(webp), formats=["WEBP"]) as opened:
        picture = opened.convert("RGB")
    width, height = picture.size
    corners = [box[0] * width, box[1] * height, box[2] * width - 1, box[3] * height - 1]
    ImageDraw.Draw(picture).rectangle(corners, outline="#E11D48", width=2)
    out = BytesIO()
    picture.save(out, "WEBP", lossless=True)
    return out.getvalue()
