"""The runs of a report: drawings, scores, every run, and what is missing."""

from __future__ import annotations

import pandas as pd

from backend.errors import InputError
from backend.figures import placement_drawing, score_strip
from backend.figures.placement import describe
from backend.report.asked import Asked, Part, figure, series_of
from backend.report.document import Heading, Item, Missing, Table, Words
from backend.views.groups import RunGroup, counted_groups, noun, nouns
from backend.views.missing import missing_of
from backend.views.questions import run_at
from backend.views.scores import best_of, headline_metrics, score_rows, score_table
from backend.views.together import together
from backend.words import counted, metric_name


def runs(asked: Asked) -> Part:
    """Scores of the chosen groups, a drawing of each, their runs, and what they lack."""
    groups = asked.groups
    number = sum(len(group.runs) for group in groups)
    scores = score_rows(groups)
    items: list[Item] = [Words(f"{counted(number, 'run')}: {counted_groups(groups)}.")]
    metrics = headline_metrics(scores, groups)
    for task, metric in metrics:
        best = best_of(scores, groups, task, metric)
        title = f"{task}, {metric_name(metric)}"
        drawn = score_strip(scores, series_of(groups), task=task, metric=metric)
        how = f"{best}. Open dots: seeds; diamond: their mean."
        items.append(figure(title, drawn, f"{title} of every {noun(groups)}", how, half=True))
    if metrics:
        items.append(Table("Scores, mean ± sd over seeds", score_table(scores, groups)))
    items += [
        Heading(nouns(groups).capitalize()),
        Words("Filled boxes take another stream in; lines join layers that read each other."),
    ]
    for group in groups:
        streams = group.series.streams
        drawn = placement_drawing(streams)
        about = _about(asked, group)
        items.append(figure(group.label, drawn, describe(streams), about, half=True))
    items.append(Table("Every run", _every_run(groups)))
    items += _missing(asked)
    return Part(tuple(items), tables={"scores": scores} if len(scores) else {})


def _about(asked: Asked, group: RunGroup) -> str:
    data = group.manifest.dataset
    parts = [group.manifest.model.name, f"{data.name} ({data.split}), n = {data.n:,}"]
    parts += [group.seeds_in_words] if group.seeds else []
    notes = [f"{spec.name}: {spec.note}" for spec in group.series.streams if spec.note]
    try:
        said = together(run_at(asked.store, group.runs[0].run_id))
    except InputError as error:
        return "; ".join([*parts, *notes, str(error)])
    return " ".join(["; ".join([*parts, *notes]) + ".", said.fact, *said.warnings]).rstrip()


def _missing(asked: Asked) -> list[Item]:
    """What runs lack, each kind once, with the commands for all of them."""
    lacking: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for group in asked.groups:
        for item in missing_of(group, asked.store):
            lines = [(len(item.runs), item.command)]
            lacking.setdefault((item.what, item.use), []).extend(lines)
    return [
        Missing(
            f"Without {what} ({use}): {counted(sum(number for number, _ in lines), 'run')}. "
            + asked.store.adding("This makes them"),
            tuple(line for _, command in lines for line in command.splitlines()),
        )
        for (what, use), lines in lacking.items()
    ]


def _every_run(groups: tuple[RunGroup, ...]) -> pd.DataFrame:
    rows = [
        {"run": run.run_id, noun(groups): group.label, "seed": run.seed, "n": run.n}
        | {f"{s.task} {metric_name(s.metric)}": s.value for s in run.own_scores()}
        for group in groups
        for run in group.runs
    ]
    return pd.DataFrame(rows).astype({"seed": "Int64"})
