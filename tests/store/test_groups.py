"""The groups of a run's samples, as files, as a packed store, and before the commit."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from backend.store import Store, verify
from backend.store.export import export_run
from backend.store.pack import pack
from backend.store.run import Run

N = 12
IDS = [f"macro-{i:05d}" for i in range(N)]
DIGESTS = [f"{i:016x}" for i in range(N)]


@pytest.fixture
def written(tmp_path: Path, store_factory: ModuleType):
    """A run whose samples have these columns in place of the usual ones, in parts of 5 rows."""

    def write(run_id: str = "late-seed0", **columns: list[Any]) -> Run:
        store = Store.create(tmp_path / "store")
        manifest = store_factory.make_manifest(run_id, "late", 0, 4, 6, ("cls",), "float32")
        samples = store_factory.make_samples(N)
        for name, values in columns.items():
            kind = pa.binary() if name == "thumbnail" else pa.string()
            if name in samples.column_names:
                samples = samples.drop_columns([name])
            samples = samples.append_column(name, pa.array(values, kind))
        with store.writer(manifest) as writer:
            store_factory.write_parts(writer, samples, store_factory.make_vectors(manifest, N), 5)
            before = writer.grouping()
            groups = writer.groups()
            writer.commit()
        run = store.run(run_id)
        assert same(run.grouping(), before) and np.array_equal(run.groups(), groups)
        assert verify(store) == []
        return run

    return write


def same(a: Any, b: Any) -> bool:
    own, other = (vars(item) | {"names": None} for item in (a, b))
    return own == other and np.array_equal(a.names, b.names)


def test_groups_that_are_given_are_those_of_the_column(written) -> None:
    given = [None if i == 3 else f"photo {i // 4}" for i in range(N)]
    run = written(group=given, image_digest=[DIGESTS[i % 6] for i in range(N)])
    assert run.groups().tolist() == [g or IDS[3] for g in given]
    grouping = run.grouping()
    assert (grouping.how, grouping.count, grouping.holes) == ("given", 4, (IDS[3],))
    # i and i + 6 share an image and never a group.
    assert grouping.repeats.images == N
    assert run.samples(["group"])["group"].isna().tolist() == [g is None for g in given]


def test_equal_images_and_equal_texts_are_found_across_parts(written) -> None:
    digests = [None if i == 5 else DIGESTS[min(i, 10)] for i in range(N)]
    texts = ["" if i in (1, 2) else f"text {i % 8}" for i in range(N)]
    run = written(image_digest=digests, text=texts)
    # 10 and 11 share an image, 0 and 8, 3 and 11 a text: 2 and 10 do not, an empty text is none.
    expected = list(IDS)
    for at, first in ((8, 0), (10, 3), (11, 3)):
        expected[at] = IDS[first]
    assert run.groups().tolist() == expected
    assert run.grouping().how == "found" and run.grouping().count == N - 3


def test_thumbnails_count_only_where_no_image_has_a_digest(written) -> None:
    one = [b"RIFF0000WEBP"] * 2 + [None] * (N - 2)
    assert written("late-a", thumbnail=one).groups().tolist() == [IDS[0], IDS[0], *IDS[2:]]
    assert written("late-b", thumbnail=one, image_digest=DIGESTS).groups() is None


def test_samples_that_share_nothing_are_alone(written) -> None:
    run = written()
    assert run.groups() is None and run.grouping().how == "none"
    assert run.samples()[["group", "image_digest"]].isna().all().all()


@pytest.mark.parametrize("columns", [{"text": ["meme"] * N}, {"group": ["all"] * N}])
def test_labels_that_stand_for_texts_are_one_group(written, columns: dict[str, list[str]]) -> None:
    run = written(**columns)
    assert set(run.groups()) == {IDS[0] if "text" in columns else "all"}
    assert run.grouping().count == 1


def test_a_packed_store_and_sql_know_groups_and_digests(written, tmp_path: Path) -> None:
    run = written(group=["g"] * 6 + [None] * 6, image_digest=DIGESTS)
    store = Store(tmp_path / "store")
    pack([store], tmp_path / "packed.duckdb")
    packed = Store(tmp_path / "packed.duckdb")
    sql = (
        'SELECT "group", count(*) AS n, min(image_digest) AS first FROM samples '
        'GROUP BY "group" ORDER BY "group" NULLS LAST'
    )
    for opened in (store, packed):
        rows = opened.query(sql)
        assert rows["n"].tolist() == [6, 6] and rows["first"].tolist() == [DIGESTS[0], DIGESTS[6]]
        assert rows["group"].tolist()[0] == "g" and rows["group"].isna().tolist() == [False, True]
    again = packed.run(run.run_id)
    assert same(again.grouping(), run.grouping())
    assert again.samples().equals(run.samples())


def test_an_export_brings_groups_and_digests_back(written, tmp_path: Path) -> None:
    run = written(group=["g", None] * 6, image_digest=[None, *DIGESTS[1:]])
    folder = export_run(run, tmp_path / "out")
    back = Store.create(tmp_path / "target").add_run(folder)
    columns = ["sample_id", "group", "image_digest", "thumbnail"]
    assert back.samples(columns).equals(run.samples(columns))


def test_a_run_of_the_present_version_that_lacks_the_columns_is_named(
    written, tmp_path: Path
) -> None:
    run = written()
    (path,) = [p for p in run.contents.sample_files() if "000000005" in p.name]
    table = pq.read_table(path)
    path.chmod(0o644)
    pq.write_table(table.drop_columns(["group"]), path, write_page_checksum=True)
    store = Store(tmp_path / "store")
    assert any("lacks the column group" in finding.problem for finding in verify(store))
    with pytest.warns(UserWarning, match="lacks the column group"):
        rows = store.query("SELECT sample_id FROM samples")
    assert len(rows) == N - 5
