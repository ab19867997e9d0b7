"""A contrastive model's own space by layer in a report: classes, search and gap."""

from __future__ import annotations

import pandas as pd

from backend.figures.shared_space import SHARED_SCALES, Stop, shared_space_curves
from backend.measures.suite.parts import gallery_names
from backend.pairing import Pair
from backend.report.asked import Asked, figure, labels_of, reading, series_of
from backend.report.document import Heading, Item, Words
from backend.views import leads, shared_space
from backend.views.groups import RunGroup
from backend.words import listed

MEASURES = ("zero_shot", "recall_at_5", "modality_gap")
STOP: Stop = "vision"


def stopped(
    asked: Asked, groups: tuple[RunGroup, ...], pair: Pair
) -> tuple[list[Item], dict[str, pd.DataFrame]]:
    """The figures for each set of class prompts, and their rows; nothing for other models."""
    keys = shared_space.keys_held(asked.store, groups)
    if not keys and not shared_space.is_contrastive(groups):
        return [], {}
    items: list[Item] = [Heading("If the model stopped here"), Words(leads.SHARED_SPACE)]
    if not keys:
        what = "search and classes by layer in the model's own space"
        return [*items, asked.missing(what, "shared-space")], {}
    tables = {}
    for key in keys:
        rows = shared_space.shared_space(asked.store, groups, key).answer().frame
        if rows.empty:
            continue
        prompts = listed(shared_space.templates_of(rows))
        if prompts:
            items.append(Words(f"Prompts: {prompts}"))
        items += _figures(rows, groups, pair)
        tables[" ".join(["shared space", *([prompts] if len(keys) > 1 else [])])] = rows
    return items, tables


def _figures(rows: pd.DataFrame, groups: tuple[RunGroup, ...], pair: Pair) -> list[Item]:
    choices, items = shared_space.choices_of(rows), list[Item]()
    for measure in (name for name in MEASURES if name in choices.measures):
        scale = SHARED_SCALES[measure]
        items.append(Words(scale.meaning))
        panels = shared_space.panels_of(measure, choices.tasks, gallery_names(*pair))
        for words, estimator in panels:
            mine = rows[rows["estimator"].eq(estimator)].reset_index(drop=True)
            title = f"{scale.label}, {words}" if words else scale.label
            drawn = shared_space_curves(
                mine, series_of(groups), measure, STOP, words=words, height=300
            )
            alt = f"{title} by the layer at which {shared_space.STOPS[STOP]} stops, "
            of_measure = mine[mine["measure"].eq(measure)]
            items.append(
                figure(
                    title, drawn, alt + labels_of(groups), reading(of_measure, groups), half=True
                )
            )
    return items
