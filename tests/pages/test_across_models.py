"""Compare's questions on many models: growth with size, and whose neighbours differ."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors
from streamlit.testing.v1 import AppTest

from backend.jobs.project import NEIGHBOURS, project_run
from backend.store import Store
from tests.pages.harness import charts, open_page, tables

Visit = Callable[..., AppTest]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, store_factory: ModuleType) -> Store:
    """Two models of two streams and other sizes, and one with text alone."""
    made: Store = store_factory.make_released_store(
        tmp_path_factory.mktemp("across") / "store", n=24
    )
    return made


@pytest.fixture
def visit(monkeypatch: pytest.MonkeyPatch, store: Store) -> Visit:
    def go(**query: str) -> AppTest:
        return open_page(monkeypatch, store.path, "compare", **query)

    return go


def both(store: Store) -> list[str]:
    """The runs of the two models that have a text and a vision stream."""
    return [name for name in store.run_ids() if "tiny-one" not in name]


def said(at: AppTest) -> str:
    return "\n".join(str(item.value).replace("\\", "") for item in at.markdown)


def test_all_models_of_the_store_stand_by_size_beside_chance(visit: Visit, store: Store) -> None:
    at = visit(runs=",".join(both(store)))
    assert not at.exception
    assert "Does it grow with size?" in [header.value for header in at.header]
    drawn = charts(at)["growth"]
    models = [trace for trace in drawn["data"] if trace["name"] != "chance"]
    assert len(models) == 2, "a model of one stream has no pair of streams"
    assert drawn["layout"]["xaxis"]["type"] == "log"
    assert "takes 4 models or more" in said(at)


def test_neighbours_that_differ_are_counted_once_they_are_stored(
    visit: Visit, store: Store
) -> None:
    names = both(store)
    at = visit(runs=",".join(names), pooling="mean")
    assert not at.exception
    assert "What moved from one model to the other" in [header.value for header in at.header]
    command = next(code.value for code in at.code if "fusionscope project" in code.value)
    assert all(name in command for name in names)
    for name in names:
        project_run(store.run(name), method="pca")
    at = visit(runs=",".join(names), pooling="mean")
    assert not at.exception
    at.get_by_key("moved-stream").set_value("text").run()
    assert not at.exception
    changed = others(store, names)
    assert f"{np.median(changed):.3g} of a sample's {NEIGHBOURS} nearest" in said(at)
    head, *rows = tables(at)["moved"]
    assert head[:3] == ["sample", "text", "changed"]
    assert [row[2] for row in rows] == [
        f"{count} of {NEIGHBOURS}" for count in sorted(changed, reverse=True)[: len(rows)]
    ]


def others(store: Store, names: list[str]) -> list[int]:
    """How many neighbours of each sample differ between the last layers of the text."""
    sets = []
    for name in names:
        run = store.run(name)
        x = run.vectors("text", run.manifest.stream("text").depth, "mean")
        near = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(x).kneighbors(return_distance=False)
        sets.append([set(row) for row in near])
    return [NEIGHBOURS - len(a & b) for a, b in zip(*sets, strict=True)]
