"""A part of a page runs again by itself: nothing outside of it may show what is chosen in it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Widget

from backend.jobs.project import project_run
from backend.types import LayerRef
from tests.pages.harness import as_sent, open_page, part_of, run_part, tables

IGNORED = "Parts of this link were ignored"
EARLY = "early~macros~tiny-early"
MATRIX = {
    "view_focus": EARLY,
    "view_cell_Row": LayerRef("vision", 1),
    "view_numbers": True,
    "view_above": True,
}
MAP = {"view_stream": "text", "view_colour": "object", "view_layer": "2"}
CHOICES: dict[str, dict[str, Any]] = {
    "transitions": {
        **MATRIX,
        "view_cell_Column": LayerRef("vision", 1),
        "view_block": "vision~text",
    },
    "alignment": {**MATRIX, "view_cell_Column": LayerRef("text", 1)},
    "dimensionality": {"view_dims": ["participation_ratio"]},
    "projection": {**MAP, "view_sample": "macro-00003"},
    "training": {"view_stream": "text", "view_focus": EARLY},
    "compare": {
        **MAP,
        "view_sample": "macro-00003",
        "view_focus": EARLY,
        "view_against": EARLY,
        "view_block": "vision~text",
        "view_numbers": True,
        "moved-stream": "text",
        "moved-layers-vision": "2 and 2",
    },
}
"""What else can be chosen in the parts of each page."""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory, store_factory: ModuleType) -> Path:
    """Three placements that were measured while they were trained, with neighbours."""
    store = store_factory.make_store(
        tmp_path_factory.mktemp("stale") / "store", ("none", "early", "late"), (0,), n=16, depth=4,
        projections=False, training=lambda *_: [(0, 0), (1, 5), (2, 10)],
    )  # fmt: skip
    for run_id in store.run_ids():
        project_run(store.run(run_id), method="pca")
    return Path(store.path)


def seen(at: AppTest) -> Counter[str]:
    """Every figure, table and text."""
    kinds = ("header", "subheader", "markdown", "caption", "text", "code", "info")
    texts = [str(item.value) for kind in kinds for item in getattr(at, kind)]
    told = [text for text in texts if IGNORED not in text]
    return Counter([*as_sent(at), *map(repr, tables(at).items()), *told])


def of_parts(at: AppTest) -> set[str]:
    """The keys of all that can be chosen in parts of the page."""
    kinds = ("button_group", "selectbox", "select_slider", "toggle", "checkbox", "text_input")
    widgets = [one for kind in kinds for one in at.get(kind) if isinstance(one, Widget)]
    return {str(one.key) for one in widgets if one.key and part_of(at, one)}


@pytest.mark.parametrize("page", CHOICES)
def test_what_is_chosen_in_a_part_changes_nothing_outside_of_it(
    monkeypatch: pytest.MonkeyPatch, path: Path, page: str
) -> None:
    assert of_parts(open_page(monkeypatch, path, page)) == set(CHOICES[page])
    for key, other in CHOICES[page].items():
        at = open_page(monkeypatch, path, page)
        whole = seen(at)
        outside = whole - seen(run_part(at, at.get_by_key(key)))
        at = open_page(monkeypatch, path, page)
        widget = at.get_by_key(key).set_value(other)
        part = seen(run_part(at, widget))
        assert not at.exception, key
        now = seen(at.run())
        assert now != whole, key
        assert now - part == outside, key
