"""Whose neighbours change from one layer to the next, in the full space, and how far maps move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backend.projection.geometry import movement
from backend.projection.nearest import changed_share
from backend.store.kinds import NEIGHBOURS
from backend.types import LayerRef
from backend.views import questions
from backend.views.layers import Colouring, points_at
from backend.views.questions import Neighbours
from backend.views.store_access import StoreView

NEIGHBOUR_COLOUR = "neighbours"
"""The colour of a map that shows whose neighbours changed."""

CHANGED = Colouring(NEIGHBOUR_COLOUR, "neighbours changed", ())
"""That colour in the menu; its scale is one of shares and has no classes."""

MOST_LISTED = 8
"""Samples in the table of those whose neighbours changed most."""


@dataclass(frozen=True, eq=False)
class Changes:
    """Which share of each sample's ``k`` nearest neighbours changed from one site to the next.

    ``frame``: sample_id, ``changed`` (0..1), ``before`` and ``after`` (the ids of the neighbours,
    nearest first), in the order of the samples. ``usual`` are its 5 %, 50 % and 95 % quantiles.
    """

    k: int
    frame: pd.DataFrame
    usual: tuple[float, float, float]


@dataclass(frozen=True)
class Movement:
    """The median movement of a map's points from site to site, and that of a mere second fit.

    Both in radii of the map; ``refit`` is None where it is not known.
    """

    between: float
    refit: float | None


def changes(before: pd.DataFrame, after: pd.DataFrame) -> Changes | None:
    """The changes between two sites, by the stored neighbours of their samples.

    ``before`` and ``after`` have a row a sample and neighbour: sample_id, rank, neighbour. None
    where a site has no neighbours (all its samples are alike, or they are not stored), or where
    samples or their numbers of neighbours differ.
    """
    if before.empty or len(before) != len(after):
        return None
    (ids, old), (others, new) = _lists(before), _lists(after)
    if old.shape != new.shape or not np.array_equal(ids, others):
        return None
    numbers = pd.factorize(np.concatenate([old.ravel(), new.ravel()]))[0].astype(np.int64)
    first, second = numbers.reshape(2, *old.shape)
    changed = changed_share(first, second)
    low, middle, high = np.quantile(changed, [0.05, 0.5, 0.95])
    frame = pd.DataFrame(
        {
            "sample_id": ids,
            "changed": changed,
            "before": [", ".join(row) for row in old],
            "after": [", ".join(row) for row in new],
        }
    )
    return Changes(old.shape[1], frame, (float(low), float(middle), float(high)))


def keeps_neighbours(store: StoreView, run_id: str) -> bool:
    """Whether a run's neighbours are stored."""
    return bool(questions.keys_of(store, NEIGHBOURS, run_id))


def sides(
    store: StoreView, run_id: str, pooling: str, before: LayerRef | None, ref: LayerRef
) -> tuple[Neighbours | None, Neighbours]:
    """The questions for the neighbours before and after; None for before a first site."""
    return (
        None if before is None else questions.neighbours(store, run_id, pooling, before),
        questions.neighbours(store, run_id, pooling, ref),
    )


def most_changed(found: Changes, count: int) -> pd.DataFrame:
    """The ``count`` samples with the largest share, ties in the order of the samples."""
    return found.frame.sort_values("changed", ascending=False, kind="stable").head(count)


def site_before(refs: Sequence[LayerRef], ref: LayerRef) -> LayerRef | None:
    """The site just before ``ref`` in ``refs``; None for the first."""
    at = list(refs).index(ref)
    return refs[at - 1] if at else None


def map_movement(
    coordinates: pd.DataFrame, refits: pd.DataFrame, before: LayerRef, ref: LayerRef
) -> Movement | None:
    """How far the points of a map move from one site to the next, beside a mere second fit.

    ``coordinates`` and ``refits`` are of one pooling and method. What is fitted a second time is
    the site before: the movement that there would be if the site were the same. None where one of
    the maps is but one point.
    """
    sides = [points_at(coordinates, at).set_index("sample_id")[["x", "y"]] for at in (before, ref)]
    old, new = sides[0].reindex(sides[1].index).to_numpy(), sides[1].to_numpy()
    between = movement(old, new)
    if not np.isfinite(between):
        return None
    if refits.empty:
        return Movement(between, None)
    own = refits[
        refits["stream"].eq(before.stream)
        & refits["layer"].eq(before.layer)
        & refits["site"].eq(before.site)
    ]
    return Movement(between, float(own["movement"].iloc[0]) if len(own) else None)


def movement_in_words(moved: Movement, before: LayerRef, ref: LayerRef) -> str:
    """What a movement on the map means, for readers: not that neighbours changed."""
    words = (
        f"From layer {before.label} to layer {ref.label} the median point moves "
        f"{moved.between:.2f} of the map's radius"
    )
    if moved.refit is None:
        return f"{words}."
    meaning = (
        "So the movement says nothing about the layers."
        if moved.between <= moved.refit
        else "How far a single point moves does not say whether its neighbours changed."
    )
    return (
        f"{words}; fitting layer {before.label} a second time, with nothing changed, moves it "
        f"{moved.refit:.2f}. {meaning}"
    )


def changes_in_words(found: Changes, before: LayerRef, ref: LayerRef) -> str:
    """How many neighbours change as a rule."""
    low, middle, high = (f"{found.k * value:.3g}" for value in found.usual)
    return (
        f"From layer {before.label} to layer {ref.label}, in the full space, {middle} of a "
        f"sample's {found.k} nearest neighbours change (median of all samples; of 90 % of them "
        f"{low} to {high})."
    )


def no_changes_in_words(before: LayerRef, ref: LayerRef) -> str:
    """Why :func:`changes` gave nothing for two sites."""
    return (
        f"Layers {before.label} and {ref.label} cannot be compared: in one of them all samples "
        "have the same vector, or its neighbours are not stored."
    )


def most_changed_table(
    found: Changes, texts: Mapping[str, str], before: LayerRef, ref: LayerRef
) -> pd.DataFrame:
    """The samples whose neighbours changed most, as people read them; ``texts`` by sample."""
    return moved_table(found, texts, f"layer {before.label}", f"layer {ref.label}")


def between_models_in_words(found: Changes, first: str, second: str) -> str:
    """How many neighbours differ as a rule from one model to another, beside chance.

    ``first`` and ``second`` name a layer of each.
    """
    low, middle, high = (f"{found.k * value:.3g}" for value in found.usual)
    chance = found.k * (1 - found.k / (len(found.frame) - 1))
    return (
        f"From {first} to {second}, in the full space, {middle} of a sample's {found.k} nearest "
        f"neighbours are others (median of all samples; of 90 % of them {low} to {high}; of two "
        f"models with nothing in common {chance:.3g})."
    )


def moved_table(found: Changes, texts: Mapping[str, str], first: str, second: str) -> pd.DataFrame:
    """The samples whose neighbours differ most between two places, named ``first`` and ``second``.

    ``texts`` by sample.
    """
    most = most_changed(found, MOST_LISTED)
    words = [texts.get(str(name), "") for name in most["sample_id"]]
    return pd.DataFrame(
        {
            "sample": most["sample_id"],
            "text": [text if len(text) <= 80 else f"{text[:79]}…" for text in words],
            "changed": [f"{round(found.k * share)} of {found.k}" for share in most["changed"]],
            f"nearest in {first}": most["before"],
            f"nearest in {second}": most["after"],
        }
    )


def _lists(rows: pd.DataFrame) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """The samples (n,) in the order of their names and their neighbours (n, k), nearest first."""
    ordered = rows.sort_values(["sample_id", "rank"], kind="stable")
    k = int(ordered["rank"].max())
    ids = ordered["sample_id"].to_numpy(dtype=object)
    if len(ids) % k or (ids != np.repeat(ids[::k], k)).any():
        return ids, np.empty((0, k), dtype=object)
    return ids[::k], ordered["neighbour"].to_numpy(dtype=object).reshape(-1, k)
