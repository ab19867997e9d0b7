"""Named sites on a layer axis: ``12.norm``, ``12.projected``, each at its stream's place for it.

Where another stream comes in (``4.fusion``, ``4.cross``) is a kind of its own: it splits the
transition of its layer in two halves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from backend.figures.seeds import Point, in_order, over_seeds, pairs
from backend.figures.theme import Series, escape
from backend.types import BLOCK, LayerRef, StreamSpec

NORM = "norm"
"""The name of the site after a stream's final norm."""

_LINE_PX = 14
_NUMBERS_PX = 18
_COLUMNS = ["series", "label", "where", "position", *Point._fields]


def having(series: Sequence[Series], stream: str) -> list[tuple[Series, StreamSpec]]:
    """The series that have a stream of that name, each with its own."""
    return [(one, spec) for one in series if (spec := one.stream(stream)) is not None]


def fusion_sites(spec: StreamSpec) -> tuple[LayerRef, ...]:
    """The named sites at which a stream has just taken another one in, in order."""
    outputs = {meet.site for meet in spec.meets if meet.how != "loss"}
    return tuple(ref for ref in spec.refs if ref.site != BLOCK and ref.label in outputs)


def named_sites(spec: StreamSpec) -> tuple[LayerRef, ...]:
    """A stream's sites besides its layers and its :func:`fusion_sites`, in order."""
    outputs = fusion_sites(spec)
    return tuple(ref for ref in spec.refs if ref.site != BLOCK and ref not in outputs)


def norm_in_words(spec: StreamSpec) -> str:
    """How the last layer stands to the final norm, ``before the final norm (12.norm is after it)``.

    "" for a stream that has no such site.
    """
    after = LayerRef(spec.name, spec.depth, NORM)
    return f"before the final norm ({after.label} is after it)" if after in spec.refs else ""


def site_in_words(ref: LayerRef) -> str:
    """A site for a hover or a title: ``4``, ``12.norm (after the final norm)``."""
    return f"{ref.label} (after the final norm)" if ref.site == NORM else ref.label


class SiteNames(NamedTuple):
    """The names of sites below a layer axis: Plotly's annotations, and the room that they take."""

    annotations: list[dict[str, object]]
    px: int


def site_names(named: Mapping[str, float]) -> SiteNames:
    """Words below an axis at the places of named sites, ``after final norm`` for ``12.norm``.

    ``named`` is {a site's label: its position}. Each name has lines of its own below the numbers,
    so that neighbours do not lie on each other. They are no ticks of Plotly's: it leaves out
    numbers beside a tick with a long name.
    """
    out: list[dict[str, object]] = []
    px = 0
    for label, position in sorted(named.items(), key=lambda item: item[1]):
        site = LayerRef.parse("", label).site
        words = "after<br>final norm" if site == NORM else escape(site)
        place = {"x": position, "xref": "x", "yref": "paper", "y": 0, "yanchor": "top"}
        below = {"yshift": -(_NUMBERS_PX + px), "showarrow": False, "borderpad": 0}
        out.append({"text": words, "font": {"size": 11}, **place, **below})
        px += _LINE_PX * (words.count("<br>") + 1)
    return SiteNames(out, px)


def layer_sites(
    frame: pd.DataFrame, series: Sequence[Series], stream: str, measure: str
) -> pd.DataFrame:
    """A one-layer measure at the named sites of ``stream``.

    The columns of a curve's point, ``series``, the site's ``label`` and ``position`` on the layer
    axis, and ``where``, which words it for a hover.
    """
    rows = frame[frame["measure"].eq(measure) & frame["stream_a"].eq(stream)]
    rows = rows[rows["stream_b"].eq("")]
    parts = []
    for one, spec in having(series, stream):
        for ref in named_sites(spec):
            here = rows[rows["layer_a"].eq(ref.layer) & rows["site_a"].eq(ref.site)]
            parts.append(_at(here, one, spec, ref, f"{stream} {site_in_words(ref)}"))
    return _together(parts)


def transition_sites(
    frame: pd.DataFrame, series: Sequence[Series], stream: str, measure: str
) -> pd.DataFrame:
    """A measure of each named site with the one before it, as in :func:`layer_sites`."""
    rows = pairs(frame, stream, stream, measure)
    parts = []
    for one, spec in having(series, stream):
        for ref in named_sites(spec):
            before = spec.refs[spec.refs.index(ref) - 1]
            here = rows[between(rows, before, ref)]
            words = f"{stream} {before.label} to {site_in_words(ref)}"
            parts.append(_at(here, one, spec, ref, words))
    return _together(parts)


def matching_sites(
    frame: pd.DataFrame,
    series: Sequence[tuple[Series, StreamSpec, StreamSpec]],
    measure: str,
) -> pd.DataFrame:
    """A measure between sites of the same name of two streams, as in :func:`layer_sites`.

    ``series`` are each with the stream of the axis and the other one; CLIP's two ``projected``
    sites are the shared space in which it is trained.
    """
    parts = []
    for one, deep, other in series:
        rows = pairs(frame, deep.name, other.name, measure)
        theirs = {ref.site: ref for ref in named_sites(other)}
        for ref in named_sites(deep):
            if partner := theirs.get(ref.site):
                here = rows[between(rows, ref, partner)]
                words = f"{deep.name} {ref.label} and {other.name} {site_in_words(partner)}"
                parts.append(_at(here, one, deep, ref, words))
    return _together(parts)


def between(rows: pd.DataFrame, a: LayerRef, b: LayerRef) -> pd.Series:
    """Which rows of :func:`backend.figures.seeds.pairs` are of these two sites.

    Those from ``a`` to ``b`` where both directions are there.
    """
    ahead = _is(rows, "a", a) & _is(rows, "b", b)
    if a.stream != b.stream or ahead.any():
        return ahead
    first, second = in_order(a, b)
    return _is(rows, "a", first) & _is(rows, "b", second)


def _is(rows: pd.DataFrame, side: str, ref: LayerRef) -> pd.Series:
    return rows[f"layer_{side}"].eq(ref.layer) & rows[f"site_{side}"].eq(ref.site)


def _at(
    rows: pd.DataFrame, one: Series, spec: StreamSpec, ref: LayerRef, words: str
) -> pd.DataFrame:
    mine = rows[rows["series"].eq(one.key)]
    points = over_seeds(mine, ["series"])
    return points.assign(x=ref.layer, position=spec.position(ref), label=ref.label, where=words)


def _together(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    held = [part for part in parts if len(part)]
    return pd.concat(held, ignore_index=True) if held else pd.DataFrame(columns=_COLUMNS)
