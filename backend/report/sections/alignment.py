"""Alignment in a report: two streams layer by layer, retrieval, and the matrix across streams."""

from __future__ import annotations

from backend.figures import alignment_curves
from backend.figures.scales import scale_of
from backend.figures.transitions import matched
from backend.measures.suite.parts import gallery_names
from backend.pairing import Pair, paired
from backend.report.asked import Asked, Part, figure, labels_of, pick, reading, series_of
from backend.report.document import Heading, Item, Missing, Words
from backend.report.sections.matrix import matrix, means_table
from backend.report.sections.shared_space import stopped
from backend.views import leads, questions
from backend.views.cells import cross_blocks_of
from backend.views.choices import focus_of
from backend.views.groups import RunGroup
from backend.words import listed

RECALL = "recall_at_5"


def alignment(asked: Asked) -> Part:
    """Matching layers and their means, retrieval, the model's own space, and the matrix."""
    pair = asked.pair
    if pair is None:
        return Part((Words(leads.NO_PAIR),))
    groups = tuple(group for group in asked.groups if paired(group.series.streams, pair))
    picked = pick(asked, groups, pair, pair)
    if isinstance(picked, Missing):
        return Part((Words(leads.ALIGNMENT), picked))
    series, streams = series_of(groups), listed(pair)
    across = picked.rows[
        picked.rows["stream_a"].isin(pair)
        & picked.rows["stream_b"].isin(pair)
        & picked.rows["stream_a"].ne(picked.rows["stream_b"])
    ]
    drawn = alignment_curves(
        picked.rows, series, pair=pair, scale=picked.scale, estimator=picked.estimator
    )
    both = matched(picked.rows, series, picked.scale.measure, pair=pair)
    how = reading(across, groups, "fusion layers")
    directed = both and picked.scale.directed(f"{both.stream} layer", f"{both.other} layer")
    items: list[Item] = [
        Words(leads.ALIGNMENT),
        Words(f"{picked.words}. {picked.scale.meaning}"),
        figure(
            f"Matching layers of {streams}",
            drawn,
            f"{picked.scale.label} of matching {streams} layers, {labels_of(groups)}",
            f"{directed}; {how}" if directed else how,
        ),
    ]
    if both is not None:
        title = f"{picked.scale.label} of matching layers, mean over seeds, by {both.stream} layer"
        items.append(means_table(title, both.points, groups))
    items += _retrieval(asked, groups, pair, picked.pooling)
    own_space, tables = stopped(asked, groups, pair)
    items += own_space
    focus = focus_of(asked.state, groups)
    drawn_matrix, shown = matrix(asked, picked, cross_blocks_of(focus, pair), focus)
    return Part(
        (*items, *drawn_matrix),
        picked.shown | shown | {"pair": pair},
        {"alignment": across} | tables,
    )


def _retrieval(asked: Asked, groups: tuple[RunGroup, ...], pair: Pair, pooling: str) -> list[Item]:
    """Recall of a sample's own partner by layer; nothing where the runs hold none."""
    rows = questions.measures(asked.store, groups, (RECALL,), pooling=pooling).answer().frame
    if rows.empty:
        return []
    scale = scale_of(RECALL)
    items: list[Item] = [Heading("Retrieval"), Words(scale.meaning)]
    asked_for = gallery_names(*pair)
    for query, target in (asked_for, asked_for[::-1]):
        mine = rows[rows["estimator"].eq(f"{query}_to_{target}")]
        words = f"{query} to {target}"
        drawn = alignment_curves(
            mine, series_of(groups), pair=pair, scale=scale, estimator=words, height=300
        )
        alt = f"Retrieval, {words}, by matching layer, {labels_of(groups)}"
        items.append(
            figure(
                f"Retrieval, {words}", drawn, alt, reading(mine, groups, "fusion layers"), half=True
            )
        )
    return items
