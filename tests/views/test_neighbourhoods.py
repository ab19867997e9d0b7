"""Whose neighbours change: shares by set arithmetic, the usual, the most changed, and the words."""

import numpy as np
import pandas as pd
import pytest

from backend.projection import changed_share
from backend.types import LayerRef
from backend.views import neighbourhoods as views
from backend.views.layers import CLASS_COLOURS, Colouring
from backend.views.maps import Shown, change_map

A, B = LayerRef("text", 3), LayerRef("text", 4)


def lists(near: np.ndarray) -> pd.DataFrame:
    """Stored rows of neighbours (n, k), shuffled as a store may give them."""
    n, k = near.shape
    rows = pd.DataFrame(
        {
            "sample_id": np.repeat([f"s{at:03d}" for at in range(n)], k),
            "rank": np.tile(np.arange(1, k + 1), n),
            "neighbour": [f"s{at:03d}" for at in near.ravel()],
        }
    )
    return rows.sample(frac=1, random_state=0)


def drawn(seed: int, n: int = 30, k: int = 10) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.array([rng.choice(np.delete(np.arange(n), i), k, replace=False) for i in range(n)])


def test_the_share_is_that_of_the_neighbours_that_are_no_longer_there():
    before, after = drawn(0), drawn(1)
    expected = [len(set(a) - set(b)) / 10 for a, b in zip(before, after, strict=True)]
    found = views.changes(lists(before), lists(after))
    assert found.k == 10 and found.frame["changed"].tolist() == expected
    assert found.usual == pytest.approx(tuple(np.quantile(expected, [0.05, 0.5, 0.95])))
    first = found.frame.iloc[0]
    assert first["before"].split(", ") == [f"s{at:03d}" for at in before[0]]
    assert first["after"].split(", ") == [f"s{at:03d}" for at in after[0]]


def test_another_order_of_the_same_neighbours_is_no_change_and_all_others_are_all():
    near = np.arange(1, 5)[None]
    assert changed_share(near, near[:, ::-1]).tolist() == [0]
    assert changed_share(near, near + 4).tolist() == [1]
    assert changed_share(near, near + 1).tolist() == [0.25]


def test_the_most_changed_come_first_and_ties_in_the_order_of_the_samples():
    frame = pd.DataFrame({"sample_id": list("abcd"), "changed": [0.2, 0.9, 0.5, 0.9]})
    most = views.most_changed(views.Changes(10, frame, (0, 0, 0)), 3)
    assert most["sample_id"].tolist() == ["b", "d", "c"]


def test_sites_without_neighbours_or_with_other_samples_have_no_change():
    rows = lists(drawn(0))
    assert views.changes(rows.iloc[:0], rows) is None
    assert views.changes(rows, rows.iloc[:0]) is None
    other = rows.assign(sample_id=rows["sample_id"].replace("s003", "zzz"))
    assert views.changes(rows, other) is None
    assert views.changes(lists(drawn(0, k=4)), lists(drawn(0, n=60, k=2))) is None


def maps(moves: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two maps of a unit circle, the later one moved, and the movement of a second fit."""
    angle = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    parts = [
        pd.DataFrame(
            {"sample_id": [f"s{i}" for i in range(8)], "stream": "text", "layer": ref.layer,
             "site": "block", "pooling": "cls", "method": "umap",
             "x": np.cos(angle) + shift, "y": np.sin(angle)}
        )
        for ref, shift in ((A, 0.0), (B, moves))
    ]  # fmt: skip
    parts[1] = parts[1].iloc[::-1]  # samples are matched by their ids
    places = {"stream": "text", "site": "block", "pooling": "cls", "method": "umap", "n": 8}
    refits = pd.DataFrame([{**places, "layer": 3, "movement": 0.2}])
    return pd.concat(parts, ignore_index=True), refits


@pytest.mark.parametrize(
    ("moves", "said"), [(0.15, "says nothing about the layers"), (0.7, "does not say whether its")]
)
def test_the_movement_stands_beside_that_of_a_second_fit_of_the_layer_before(moves, said):
    coordinates, refits = maps(moves)
    moved = views.map_movement(coordinates, refits, A, B)
    assert moved.between == pytest.approx(moves) and moved.refit == 0.2
    words = views.movement_in_words(moved, A, B)
    assert f"moves {moves:.2f} of the map's radius" in words
    assert "fitting layer 3 a second time, with nothing changed, moves it 0.20" in words
    assert said in words
    alone = views.map_movement(coordinates, refits.iloc[:0], A, B)
    assert alone.refit is None and views.movement_in_words(alone, A, B).endswith("radius.")


def test_the_usual_is_said_in_numbers_of_neighbours():
    frame = pd.DataFrame({"sample_id": [], "changed": []})
    words = views.changes_in_words(views.Changes(10, frame, (0.0, 0.25, 0.6)), A, B)
    assert "2.5 of a sample's 10 nearest neighbours change" in words and "0 to 6" in words


def test_a_map_is_coloured_by_the_share_and_grey_where_nothing_is_before():
    coordinates, _ = maps(0.5)
    shape = [np.delete(np.arange(8), i) for i in range(8)]
    before, after = (np.array([row[at] for row in shape]) for at in (slice(0, 4), slice(1, 5)))
    rows = [lists(near).replace(r"^s00(\d)$", r"s\1", regex=True) for near in (before, after)]
    colour = Colouring(views.NEIGHBOUR_COLOUR, "neighbours changed", (), CLASS_COLOURS)
    shown = Shown((B,), "cls", "umap", colour, ())
    ranges = ((-2.0, 2.0), (-2.0, 2.0))
    titles = {"x_title": "x", "y_title": "y"}
    figure = change_map(coordinates, pd.DataFrame(), shown, ranges, *rows, **titles)
    (trace,) = figure.data
    assert trace.marker.color.tolist() == [0.25] * 8
    assert (trace.marker.cmin, trace.marker.cmax) == (0, 1)
    assert "neighbours changed" in trace.hovertemplate
    (grey,) = change_map(coordinates, pd.DataFrame(), shown, ranges, None, rows[1], **titles).data
    assert grey.marker.color == "#9A9A9A" and "no value" in grey.hovertemplate


def test_between_two_models_the_words_tell_chance_and_the_table_names_both():
    found = views.changes(lists(drawn(0)), lists(drawn(1)))
    said = views.between_models_in_words(found, "layer 3 of a", "layer 6 of b")
    # Of 29 others 10 are a sample's neighbours: of 10 drawn from them 10 * 19 / 29 are others.
    assert "with nothing in common 6.55" in said and "From layer 3 of a to layer 6 of b" in said
    middle = 10 * found.frame["changed"].median()
    assert f"{middle:.3g} of a sample's 10 nearest neighbours are others" in said
    table = views.moved_table(found, {}, "layer 3 of a", "layer 6 of b")
    assert list(table.columns)[-2:] == ["nearest in layer 3 of a", "nearest in layer 6 of b"]
    assert len(table) == views.MOST_LISTED
