"""Every page of a packed store shows what it shows of the directory that it was packed from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType

import pytest

from backend.inference.models import Catalogue
from backend.models.encoders import FAMILY
from backend.store import Store
from backend.store.kinds import COMPARISONS
from backend.store.pack import pack
from backend.views.store_access import PACKED_FROM
from dashboard.navigation import PAGES
from tests.pages.harness import open_page

HOW = re.compile(r" This (store is packed|makes|adds|asks|computes).*", re.DOTALL)


@pytest.fixture(scope="module")
def stores(
    tmp_path_factory: pytest.TempPathFactory, store_factory: ModuleType
) -> tuple[Path, Path]:
    """A store with something for every page, and the same packed."""
    path = tmp_path_factory.mktemp("packed") / "store"
    store: Store = store_factory.make_store(
        path, ("none", "late"), (0, 1), n=24, depth=4, training=lambda *_: ((0, 0), (1, 5))
    )
    rows = store.run("late-seed0").measures(["cka"]).drop(columns="key")
    rows = rows[rows["stream_a"].eq("vision") & rows["stream_b"].eq("text")]
    store.pair("late-seed0", "none-seed0").add(COMPARISONS, rows, "default-cka")
    pack([store], path.with_suffix(".duckdb"))
    return path, path.with_suffix(".duckdb")


def shown(store: Path, page: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Kind and content of every element of a page, but for the store's name and how to add."""
    app = open_page(monkeypatch, store, page)
    assert not app.exception, [item.message for item in app.exception]
    contents = [(item.type, str(getattr(item, "value", ""))) for item in app.main]
    contents += [(chart.key, chart.proto.bytes.decode()) for chart in app.get("bidi_component")]
    assert len(contents) > 3, contents
    named = [(kind, value.replace(str(store), PACKED_FROM)) for kind, value in contents]
    return [(kind, HOW.sub("", value)) for kind, value in named]


@pytest.mark.parametrize("page", [entry.file for entry in PAGES])
def test_a_page_is_the_same_of_a_packed_store(
    stores: tuple[Path, Path], page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, packed = (shown(store, page, monkeypatch) for store in stores)
    # Checkpoints are not packed: there is none to trace with.
    if page in ("trace", "tokens"):
        assert [said for _, said in packed if said.startswith("No model can be traced here")]
        return
    if page == "runs":  # nor does its card say that they are missing
        told = ("caption", "code", "expander")
        directory, packed = (
            [(kind, said if "Stored" not in said else "") for kind, said in one if kind not in told]
            for one in (directory, packed)
        )
    assert packed == directory


@pytest.mark.parametrize(
    ("page", "verb"),
    [
        *(("runs", "measure"), ("runs", "project"), ("transitions", "measure")),
        *(("alignment", "measure"), ("dimensionality", "measure"), ("probes", "measure")),
        *(("projection", "project"), ("training", "capture"), ("compare", "measure")),
        *(("compare", "compare"), ("compare", "project"), ("study", "measure")),
        ("study", "intervene"),
    ],
)
def test_what_a_packed_store_lacks_is_made_in_the_store_that_it_was_packed_from(
    bare: Path, page: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page(monkeypatch, bare, page)
    assert not app.exception
    lines = [line for code in app.code for line in str(code.value).splitlines()]
    (command, *_) = [line for line in lines if line.startswith(f"fusionscope {verb} ")]
    assert PACKED_FROM in command.split()
    assert not [line for line in lines if str(bare) in line]
    texts = [str(one.value).replace("\\", "") for one in (*app.caption, *app.info)]
    assert any("packed and read-only" in text and f"({PACKED_FROM})" in text for text in texts)
    assert not [line for line in lines if "--replace" in line and page != "training"]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, store_factory: ModuleType) -> Path:
    """A packed store of runs of which nothing was computed."""
    path = tmp_path_factory.mktemp("bare") / "store"
    store: Store = store_factory.make_store(
        path, ("none", "late"), (0,), n=24, depth=4, measures=False, projections=False
    )
    pack([store], path.with_suffix(".duckdb"))
    return path.with_suffix(".duckdb")


def test_encoders_that_were_not_kept_are_not_asked_to_be_captured_into_a_packed_store(
    tmp_path: Path, store_factory: ModuleType
) -> None:
    store: Store = store_factory.make_store(
        tmp_path / "s", ("late",), (0,), n=12, depth=4, checkpoint=False
    )
    file = tmp_path / "s/runs/late-seed0/run.json"
    raw = json.loads(file.read_text())
    raw["model"]["family"] = FAMILY
    file.write_text(json.dumps(raw))
    pack([store], tmp_path / "s.duckdb")
    hints = [Catalogue(Store(tmp_path / name)).offers()[0].hint for name in ("s", "s.duckdb")]
    assert "fusionscope capture" in hints[0]
    assert "packed and read-only" in hints[1] and "fusionscope" not in hints[1]
