"""The study in a report: the table of placements, and the claims asked of the runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from backend.report.asked import Asked, Part, figure
from backend.report.document import Heading, Item, Points, Table, Words
from backend.store.kinds import SAE, TRAINING_SCORES
from backend.study import ClaimResult, StudyTable
from backend.study.formats import difference_grid, difference_method, heads
from backend.study.interventions import INTERVENTIONS
from backend.views import choices, questions
from backend.views.claims import choice_of, effects, of_task
from backend.views.groups import RunGroup
from backend.views.interventions import condition_drawing, interventions
from backend.views.kept import kept
from backend.views.sae import language_claim
from backend.views.study import MEASURES, claims_of, effect_rows, left_out

LEAD = "Which one wins, by how much, and what these runs say of the thesis's claims."


def study(asked: Asked) -> Part:
    """All runs of one dataset, whatever is chosen for the other sections."""
    runs = asked.overview.runs
    choice = choice_of(asked.state, asked.overview)
    items: list[Item] = [Words(f"{LEAD} All runs on {choice.dataset} count.")]
    if choice.scores["value"].notna().any():
        items += _tables(choice.table)
    else:
        items.append(Words("No scores are stored for these runs."))
    shown: dict[str, Any] = dict(choice.shown)
    tables = {"study scores": choice.scores}
    language = _language(asked, choice.groups)
    if language.findings:
        items += _claim(language)
        tables["study language"] = effect_rows(language.findings)
    if not choice.placed:
        items.append(Words("The claims are about models that were trained with a placement."))
        return Part(tuple(items), shown, tables)
    items += [Words(note) for note in left_out(runs, choice.dataset)]
    pairs = choices.pair_of(asked.state, choice.placed)
    pair = pairs.pair if pairs else None
    measures = questions.measures(asked.store, choice.placed, MEASURES).answer().frame
    pooling = "cls"
    if len(measures):
        available = choices.poolings_in(measures)
        pooling = choices.pooling_of(asked.state, available, choice.placed, pair or ())
        shown |= {"pooling": pooling, "pair": pair}
    else:
        items.append(asked.missing("measures for the claims on layers", "measure"))
    partners = interventions(asked.store, choice.placed).answer().frame
    run_ids = [run.run_id for group in choice.placed for run in group.runs]
    trained = kept(asked.store, run_ids, TRAINING_SCORES).answer().frame
    claims, points = claims_of(
        runs, choice.dataset, measures, pooling, "debiased", pair, partners, trained
    )
    for result in of_task(claims, points, choice.task)[0]:
        if result.claim is INTERVENTIONS:
            draw = partial(condition_drawing, runs, choice.dataset, partners, pooling)
        else:
            draw = partial(effects, result.claim.key, result.findings)
        items += _claim(result, draw)
    return Part(tuple(items), shown, tables)


def _tables(table: StudyTable) -> list[Item]:
    """The scores with the best of each column marked, and the differences to the baseline."""
    columns = {table.heading: [row.label for row in table.rows]}
    columns["seeds"] = [table.seeds(row) for row in table.rows]
    strong = set()
    for column, head in zip(table.columns, heads(table), strict=True):
        cells = [table.cell(row, column) for row in table.rows]
        columns[head] = ["–" if cell is None else cell.text for cell in cells]
        strong |= {(at, head) for at, cell in enumerate(cells) if cell is not None and cell.best}
    title = "Mean ± sd over seeds on each run's own split; the best of a column is strong"
    items: list[Item] = [Table(title, pd.DataFrame(columns), strong=frozenset(strong))]
    if table.baseline and len(table.rows) > 1:
        frame = pd.DataFrame(difference_grid(table), columns=[table.heading, *heads(table)])
        items += [Table(f"Difference to {table.baseline}", frame), Words(difference_method(table))]
    return items + [Words(note) for note in table.notes]


def _language(asked: Asked, groups: Sequence[RunGroup]) -> ClaimResult:
    """The claim on vision that becomes language, of runs that autoencoders have read."""
    ids = [run.run_id for group in groups for run in group.runs]
    return language_claim(kept(asked.store, ids, SAE).answer().frame, asked.overview.runs)


def _claim(result: ClaimResult, draw: Callable[[], go.Figure] | None = None) -> list[Item]:
    """What the claim says, a drawing, every finding in words, and how it was asked."""
    items: list[Item] = [Heading(result.claim.title), Words(result.claim.statement)]
    if draw is None:
        items.append(Words(result.claim.method))
    elif result.findings:
        items.append(figure(result.claim.title, draw(), result.summary, result.claim.method))
    lines = [f"{one.verdict}: {' '.join([one.sentence, *one.notes])}" for one in result.findings]
    items.append(Points(tuple(lines)))
    notes = [result.multiplicity] if result.findings else []
    return items + [Words(note) for note in [*notes, *result.notes] if note]
