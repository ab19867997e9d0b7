"""Every page of a packed store shows what it shows of the directory that it was packed from."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from backend.store import Store
from backend.store.kinds import COMPARISONS
from backend.store.pack import pack
from dashboard.navigation import PAGES
from tests.pages.harness import open_page


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
    """Kind and content of every element of a page, but for the store's own name."""
    app = open_page(monkeypatch, store, page)
    assert not app.exception, [item.message for item in app.exception]
    contents = [(item.type, str(getattr(item, "value", ""))) for item in app.main]
    contents += [(chart.key, chart.proto.bytes.decode()) for chart in app.get("bidi_component")]
    assert len(contents) > 3, contents
    return [(kind, value.replace(str(store), "STORE")) for kind, value in contents]


@pytest.mark.parametrize("page", [entry.file for entry in PAGES])
def test_a_page_is_the_same_of_a_packed_store(
    stores: tuple[Path, Path], page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, packed = (shown(store, page, monkeypatch) for store in stores)
    # Checkpoints are not packed: the card of a run says so, and there is none to trace with.
    if page in ("trace", "tokens"):
        assert [said for _, said in packed if said.startswith("No model can be traced here")]
        return
    assert packed == directory or page == "runs"
    assert [kind for kind, _ in packed] == [kind for kind, _ in directory]
