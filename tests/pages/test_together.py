"""Pages say which samples belong together, and what nobody has declared."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pyarrow as pa
import pytest

from backend.store import Store
from tests.pages.harness import open_page
from tests.pages.test_probes import add_probes

N = 30
GIVEN = "30 samples in 10 groups (given), the largest of 3."
UNDECLARED = "2 samples share an image with a sample of another group"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, store_factory: ModuleType) -> Path:
    """A run whose samples have groups of three; the first and the last share an image."""
    path: Path = tmp_path_factory.mktemp("together") / "store"
    manifest = store_factory.make_manifest("late-seed0", "late", 0, 4, 6, ("cls",), "float32")
    samples = store_factory.make_samples(N)
    vectors = store_factory.make_vectors(manifest, N)
    digests = [f"{i % (N - 1):016x}" for i in range(N)]
    samples = samples.append_column("group", pa.array([f"photo {i // 3}" for i in range(N)]))
    samples = samples.append_column("image_digest", pa.array(digests))
    with Store.create(path).writer(manifest) as writer:
        store_factory.write_parts(writer, samples, vectors)
        writer.add(
            store_factory.kinds.MEASURES, store_factory.make_measures(manifest, vectors), "default"
        )
        writer.commit()
    add_probes(Store(path), "late-seed0")
    return path


@pytest.mark.parametrize("page", ["runs", "probes", "alignment"])
def test_a_page_says_how_many_groups_there_are_and_what_is_not_declared(
    page: str, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = open_page(monkeypatch, store, page)
    assert not at.exception
    captions = [caption.value.replace("\\", "").replace("\u2060", "") for caption in at.caption]
    assert sum(GIVEN in caption for caption in captions) == 1
    assert sum(UNDECLARED in caption for caption in captions) == 1
