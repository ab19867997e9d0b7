"""Two captions by two images: what the pair is beyond the sum of its parts, by layer and in words.

The test of benign confounders (Kiela et al. 2020, Hateful Memes). Rows of the grid are the
captions, columns the images; ``traces`` are {name: trace} as of
:func:`backend.inference.what_if.what_if`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log, nan

import numpy as np
import pandas as pd

from backend.inference.difference import interaction
from backend.inference.reference import PLACE
from backend.inference.values import Output, Trace
from backend.inference.what_if import BOTH, CAPTION, GIVEN, IMAGE
from backend.types import LayerRef, Pooling
from backend.words import listed

CELLS: dict[str, tuple[str, str]] = {
    GIVEN: ("this caption", "this image"),
    IMAGE: ("this caption", "another image"),
    CAPTION: ("another caption", "this image"),
    BOTH: ("another caption", "another image"),
}
"""{name of the trace: its caption and its image}: the upper row, then the lower one."""

PARTS: dict[str, str] = {
    "caption": "caption alone",
    "image": "image alone",
    "interaction": "the pair beyond both",
}
"""{how columns of :func:`effects` begin: what that change is put down to}."""

_EFFECTS = [f"{name}_effect" for name in PARTS]
_PARTS = [f"{name}_part" for name in PARTS]


def has_grid(traces: Mapping[str, Trace]) -> bool:
    """Whether all four pairs of the grid are there."""
    return set(CELLS) <= set(traces)


def effects(traces: Mapping[str, Trace], pooling: Pooling) -> pd.DataFrame:
    """What captions, images and their interaction change, a row a site under one pooling.

    ``caption_effect``, ``image_effect`` and ``interaction_effect`` are lengths in the units of the
    vectors, as is ``noise``; ``share`` 0..1 is the interaction's share of their squares
    (:func:`backend.inference.difference.interaction`). ``caption_part``, ``image_part`` and
    ``interaction_part`` 0..1 are the three over the length of all that changes: their squares sum
    to 1. NaN with a ``reason`` where nothing changes.
    """
    given, image, caption, both = (traces[name] for name in CELLS)
    table = interaction(given, image, caption, both)
    table = table[table["pooling"].eq(pooling)].reset_index(drop=True)
    lengths = table[["row_effect", "column_effect", "interaction"]].set_axis(_EFFECTS, axis=1)
    whole = np.sqrt((lengths**2).sum(axis=1)).where(table["share"].notna())
    parts = lengths.div(whole, axis=0).set_axis(_PARTS, axis=1)
    # Where only the interaction changes anything there is a reason, too, but nothing is undefined.
    table["reason"] = table["reason"].where(table["share"].isna(), "")
    return table[[*PLACE]].join([lengths, parts, table[["share", "noise", "reason"]]])


def effects_in_words(table: pd.DataFrame, trace: Trace) -> str:
    """Where the pair becomes more than picture plus text, and where it is that most.

    ``table`` as of :func:`effects`, of the model of ``trace``.
    """
    beyond = table[table["interaction_effect"] > table["noise"]]
    if beyond.empty:
        nowhere = "at no layer is the pair more than picture plus text."
        if any(spec.fusion_layers for spec in trace.streams):
            return f"With these captions and images, {nowhere}"
        outputs = " Only its outputs see both." if trace.outputs else ""
        return f"This model never lets the two meet: {nowhere}{outputs}"
    firsts = [_place(rows.iloc[0]) for _, rows in beyond.groupby("stream", sort=False)]
    most = beyond.iloc[int(beyond["interaction_part"].argmax())]
    size = _percent(most["interaction_part"])
    return (
        f"The pair becomes more than picture plus text at {listed(firsts)}. It is that most at "
        f"{_place(most)}: the interaction is {size} as long as all that changes."
    )


def predictions(trace: Trace) -> tuple[str, ...]:
    """The likeliest class of each task, ``irony: ironic 97 %``."""
    return tuple(
        f"{output.task}: {output.classes[at]} {_percent(output.probabilities[at])}"
        for output in trace.outputs
        for at in [_top(output)]
    )


def outputs(traces: Mapping[str, Trace]) -> pd.DataFrame:
    """The interaction of what the model predicts, a row a task: of the pair's likeliest class.

    Columns: task, class, the probability 0..1 of each of :data:`CELLS` by name, their
    ``interaction`` p11 - p12 - p21 + p22 in -2..2, and ``log_odds``, the same of ln(p / (1 - p)),
    which is NaN where a probability is 0 or 1. Both are 0 where caption and image only add up, each
    on its own scale. No rows for a model that predicts nothing.
    """
    rows = []
    for at, output in enumerate(traces[GIVEN].outputs):
        top = _top(output)
        values = [float(traces[name].outputs[at].probabilities[top]) for name in CELLS]
        rows.append(
            {
                "task": output.task,
                "class": output.classes[top],
                **dict(zip(CELLS, values, strict=True)),
                "interaction": _contrast(values),
                "log_odds": _contrast([_log_odds(value) for value in values]),
            }
        )
    columns = ["task", "class", *CELLS, "interaction", "log_odds"]
    return pd.DataFrame(rows, columns=columns)


def outputs_in_words(table: pd.DataFrame) -> str:
    """The output of :func:`outputs` with the largest interaction; empty without any."""
    table = table.dropna(subset=["interaction"])
    if table.empty:
        return ""
    row = table.iloc[int(table["interaction"].abs().argmax())]
    given, image, caption, both = (_percent(row[name]) for name in CELLS)
    points = f"{100 * row['interaction']:+z.0f} points"
    logit = "" if np.isnan(row["log_odds"]) else f", {row['log_odds']:+z.1f} in log-odds"
    return (
        f"Of the outputs, {row['task']}: {row['class']} has the largest interaction: {given} as "
        f"given and {both} with both others, {image} with another image and {caption} with another "
        f"caption. That is {points}{logit}; it would be 0 if picture and text only added up, and "
        "is 200 at most."
    )


def for_people(table: pd.DataFrame) -> pd.DataFrame:
    """:func:`outputs` as a page shows it: percent, points and log-odds as text."""
    shown = table[["task", "class"]].rename(columns=str.capitalize)
    for name, words in CELLS.items():
        shown[", ".join(words)] = table[name].map(_percent)
    shown["Interaction, points"] = table["interaction"].map(lambda value: f"{100 * value:+z.0f}")
    shown["Interaction, log-odds"] = table["log_odds"].map(
        lambda value: "undefined" if np.isnan(value) else f"{value:+z.1f}"
    )
    return shown


def _place(row: pd.Series[float]) -> str:
    return f"{row['stream']} {LayerRef('', int(row['layer']), str(row['site'])).label}"


def _percent(share: float) -> str:
    return "< 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def _top(output: Output) -> int:
    return int(output.probabilities.argmax())


def _contrast(values: list[float]) -> float:
    given, image, caption, both = values
    return given - image - caption + both


def _log_odds(probability: float) -> float:
    return log(probability / (1 - probability)) if 0 < probability < 1 else nan
