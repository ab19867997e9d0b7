"""The reference pairs nearest to a traced pair, at the strip's layer."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from backend.types import LayerRef, StreamSpec
from backend.views import trace as views
from backend.views.queries import Sample
from backend.views.strip import CardRow
from dashboard import cache
from dashboard.trace.draw import deal, say
from dashboard.trace.side import Side

Rows = dict[LayerRef, pd.DataFrame]
"""Neighbours, nearest first, by site."""


def show_neighbours(side: Side) -> None:
    """The nearest reference pairs, a row a stream, and where they change most."""
    if side.among is None:
        return
    near = side.among.near
    for turn in near.turns:
        say(side, f"{turn.stream} neighbours", views.turn_in_words(turn))
    rows = _by_site(near.lists)
    side.part.rows[side.titled("neighbours")] = near.lists
    ids = sorted({str(name) for name in near.lists["sample_id"].unique()})
    samples = {name: cache.sample(side.store, side.traced.offer.run_id, name) for name in ids}
    streams = {spec.name: spec for spec in side.trace.streams}
    steps = {
        label: [
            _card_row(side, rows, label, spec) for spec in streams.values() if _held(rows, spec)
        ]
        for label in side.at
    }
    deal(side, "neighbours", samples, steps)
    with st.expander("Before and after the largest change"):
        _show_changes(side, rows, samples)


def _show_changes(side: Side, rows: Rows, samples: Mapping[str, Sample]) -> None:
    """Before and after, a pair of rows a stream: where most change, or over the chosen range."""
    changes = views.changes(side.among.near.turns, side.spec, side.refs) if side.among else ()
    shown: list[CardRow] = []
    for before, after in changes:
        if before in rows and after in rows:
            ids = [set(rows[ref]["sample_id"]) for ref in (before, after)]
            shown += [
                _row(f"{before.stream}, layer {before.label}: before", rows[before], ids[0]),
                _row(f"{after.stream}, layer {after.label}: after", rows[after], ids[0]),
            ]
    if shown:
        deal(side, "neighbours before and after", samples, dict.fromkeys(side.at, shown))


def _by_site(lists: pd.DataFrame) -> Rows:
    ordered = lists.sort_values("rank", kind="stable")
    out: Rows = {}
    for (stream, layer, site), rows in ordered.groupby(["stream", "layer", "site"], sort=False):
        out[LayerRef(str(stream), int(str(layer)), str(site))] = rows
    return out


def _held(rows: Rows, spec: StreamSpec) -> tuple[LayerRef, ...]:
    return tuple(ref for ref in spec.refs if ref in rows)


def _card_row(side: Side, rows: Rows, label: str, spec: StreamSpec) -> CardRow:
    held = _held(rows, spec)
    here = side.beside(label, spec, held)
    at = held.index(here)
    old = set(rows[held[max(at - 1, 0)]]["sample_id"])
    return _row(f"{spec.name}, layer {here.label}", rows[here], old)


def _row(title: str, rows: pd.DataFrame, old: set[str]) -> CardRow:
    return {
        "title": title,
        "cards": [
            {"id": str(name), "note": f"{distance:.3g}", "fresh": name not in old}
            for name, distance in zip(rows["sample_id"], rows["distance"], strict=True)
        ],
    }
