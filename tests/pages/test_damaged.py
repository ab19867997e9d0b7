"""One damaged table of one run is a line on every page that asks it, and hides nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from backend.jobs.project import project_run
from backend.store import Store, kinds
from tests.interventions.frames import add_to, cka_table
from tests.pages.harness import alts, charts, open_page, tables
from tests.pages.test_sae import features, followed, readings

DAMAGED = "late-seed0"
KINDS = ("header", "subheader", "markdown", "caption", "text", "code", "info", "warning", "error")

Visit = Callable[..., AppTest]


def shared_rows(n: int) -> pd.DataFrame:
    """How often a pair is found with the images at each layer, in the model's space."""
    nothing = dict.fromkeys(("ci_low", "ci_high", "null_sd", "p_value", "p_corrected"), np.nan)
    rows = [
        {
            "measure": "recall_at_5", "stream_a": "vision", "layer_a": k, "site_a": "block",
            "stream_b": "text", "layer_b": 4, "site_b": "block", "pooling": "cls",
            "estimator": "image_to_text", "value": k / 4, "null_mean": 0.1, **nothing, "n": n,
            "params": '{"templates": ["a photo of {}"]}', "reason": "", "warnings": "",
            "space": "own",
        }
        for k in range(5)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, store_factory: ModuleType) -> Path:
    """Two placements of two seeds with tables of every kind."""
    path = tmp_path_factory.mktemp("damaged") / "whole"
    store: Store = store_factory.make_store(
        path, ("none", "late"), (0, 1), n=20, depth=4, projections=False, keep_activations="all",
        training=lambda *_: [(0, 0), (1, 5)],
    )  # fmt: skip
    streams = {"stream": ["text", "vision"], "tokens": [9, 50], "samples": [20, 20]}
    for run_id in store.run_ids():
        run = store.run(run_id)
        project_run(run, method="pca")
        run.add(kinds.TOKENS, pd.DataFrame(streams))
        run.add(kinds.SAE, readings(), "k")
        run.add(kinds.SAE_FEATURES, features(np.asarray(run.sample_ids())), "k")
        run.add(kinds.SAE_MATCHES, followed(), "k")
        run.add(kinds.SHARED_SPACE, shared_rows(20), "asked")
        run.add(kinds.TRAINING_SCORES, epochs())
    asked = cka_table(lambda *_: 0.5, seeds=(0, 1))
    add_to(store, asked[asked["run_id"].isin(store.run_ids())])
    return path


def epochs() -> pd.DataFrame:
    """Two epochs, of which the last was kept."""
    told = {"task": "irony", "metric": "auroc", "split": "dev"}
    rows = [{"epoch": k, **told, "value": 0.4 + 0.1 * k, "kept": k == 2} for k in (1, 2)]
    return pd.DataFrame(rows)


@pytest.fixture
def visit(monkeypatch: pytest.MonkeyPatch) -> Visit:
    return partial(open_page, monkeypatch)


def said(at: AppTest) -> str:
    texts = (str(item.value) for kind in KINDS for item in getattr(at, kind))
    return "\n".join(texts).replace("\\", "")


def damaged(whole: Path, folder: Path, kind: str, runs: str = DAMAGED) -> Path:
    """The store with half of every file of a kind, of the runs of a pattern."""
    shutil.copytree(whole, folder)
    files = [*folder.glob(f"runs/{runs}/{kind}.parquet"), *folder.glob(f"runs/{runs}/{kind}/*")]
    assert files
    for file in files:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    return folder


ASKED_BY = {
    "measures": ("transitions", "alignment", "dimensionality", "compare", "study"),
    "projections": ("projection", "compare"),
    "neighbours": ("projection", "compare"),
    "scores": ("runs",),
    "tokens": ("runs",),
    "training_measures": ("training",),
    "training_scores": ("study",),
    "interventions": ("study",),
    "shared_space": ("alignment",),
    "sae": ("sae", "study"),
    "sae_features": ("sae",),
    "samples": ("transitions", "alignment", "dimensionality", "projection", "training", "compare"),
}


@pytest.mark.parametrize(
    ("kind", "page"), [(kind, page) for kind, pages in ASKED_BY.items() for page in pages]
)
def test_a_damaged_table_is_named_and_what_is_of_other_runs_stays(
    visit: Visit, whole: Path, tmp_path: Path, kind: str, page: str
) -> None:
    shown = {"runs": "none,late"} if page != "sae" else {"runs": "late"}
    good = visit(whole, page, **shown)
    assert "could not be read" not in said(good)
    at = visit(damaged(whole, tmp_path / "s", kind), page, **shown)
    assert not at.exception and not at.error
    assert "corrupt Parquet" in said(at)
    assert "Without training measures" not in said(at), "they are there, and damaged"
    gone = set(charts(good)) - set(charts(at))
    gone |= {f"table {key}" for key in set(tables(good)) - set(tables(at))}
    own = {("projections", "compare"): {"map-1"}, ("neighbours", "compare"): {"table moved"}}
    own |= {(kind, "projection"): {"map", "table neighbours-changed"} for kind in ASKED_BY}
    assert gone <= own.get((kind, page), set())


@pytest.mark.parametrize(
    ("kind", "page"),
    [
        *(("measures", page) for page in ASKED_BY["measures"]),
        *(("neighbours", page) for page in ASKED_BY["neighbours"]),
        *(("training_measures", "training"), ("interventions", "study")),
        *(("shared_space", "alignment"), ("sae", "sae")),
    ],
)
def test_where_all_are_damaged_no_page_asks_to_make_what_is_there(
    visit: Visit, whole: Path, tmp_path: Path, kind: str, page: str
) -> None:
    at = visit(damaged(whole, tmp_path / "s", kind, "*"), page)
    assert not at.exception
    told = said(at)
    assert "corrupt Parquet" in told
    before = said(visit(whole, page))
    for words in ("This makes", "This adds", "This computes", "This asks", "cannot be compared"):
        assert told.count(words) <= before.count(words), words


def test_another_run_can_be_chosen_beside_a_damaged_one(
    visit: Visit, whole: Path, tmp_path: Path
) -> None:
    at = visit(damaged(whole, tmp_path / "s", "projections"), "projection", runs="none,late")
    assert "map" not in charts(at)
    at.get_by_key("view_seed").set_value(1).run()
    assert "map" in charts(at) and "late-seed1" in alts(at)["map"]


@pytest.mark.parametrize("page", ["projection", "compare"])
def test_a_damaged_picture_hides_neither_texts_nor_tables(
    visit: Visit, whole: Path, tmp_path: Path, page: str
) -> None:
    shutil.copytree(whole, tmp_path / "s")
    for file in (tmp_path / "s/runs" / DAMAGED / "samples").glob("*.parquet"):
        pictures = pq.ParquetFile(file).metadata.row_group(0)
        column = next(
            pictures.column(at)
            for at in range(pictures.num_columns)
            if pictures.column(at).path_in_schema == "thumbnail"
        )
        first = column.dictionary_page_offset or column.data_page_offset
        raw = bytearray(file.read_bytes())
        for at in range(first + 40, first + column.total_compressed_size):
            raw[at] ^= 0x5A
        file.write_bytes(bytes(raw))
    asked = {"runs": "none,late", "focus": "late~macros~tiny-late", "sample": "macro-00003"}
    page_at = visit(tmp_path / "s", page, **asked)
    assert not page_at.exception
    table = tables(page_at)["neighbours-changed" if page == "projection" else "moved"]
    assert all("number" in row[1] for row in table[1:])
    if page == "projection":
        assert "The stored picture cannot be read" in said(page_at)
