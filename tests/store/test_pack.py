"""A packed store answers as the directory that it was made from, and is not trusted."""

from __future__ import annotations

import os
import re
import signal
import struct
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from backend.errors import InputError
from backend.store import Store, assert_comparable, files, pack, query, verify
from backend.store.files import remove_leftovers
from backend.store.kinds import COMPARISONS, MEASURES, kinds_of
from backend.store.packed_file import COLUMNS, LATER
from backend.store.token_counts import token_counts
from backend.types import LayerRef


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, store_factory: ModuleType) -> Store:
    """Placements and released models, float32, with everything that a store may hold."""
    path = tmp_path_factory.mktemp("pack") / "store"
    store = store_factory.make_store(
        path, ("none", "late"), (0, 1), n=24, depth=4, training=lambda *_: ((0, 0), (1, 5))
    )
    store_factory.make_released_store(path, n=24)
    for a, b in (("late-seed0", "none-seed0"), ("none-seed1", "late-seed1")):
        rows = store.run(a).measures(["cka"]).drop(columns="key").head(5)
        store.pair(a, b).add(COMPARISONS, rows, "default-cka")
    return store


@pytest.fixture(scope="module")
def file(original: Store) -> Path:
    """The same as one file."""
    path = original.path.parent / "packed.duckdb"
    pack.pack([original], path)
    return path


def test_every_run_reads_as_before(original: Store, file: Path) -> None:
    packed = Store(file)
    assert packed.run_ids() == original.run_ids() and not packed.broken()
    columns = ["has_checkpoint"]  # checkpoints stay where they are
    pd.testing.assert_frame_equal(
        packed.runs().drop(columns=columns), original.runs().drop(columns=columns)
    )
    for run_id in original.run_ids():
        before, after = original.run(run_id), packed.run(run_id)
        assert after.manifest == before.manifest and after.checkpoint is None
        pd.testing.assert_frame_equal(after.samples(), before.samples())
        sample = str(before.sample_ids()[7])
        pd.testing.assert_series_equal(after.sample(sample), before.sample(sample))
        assert after.captured() == before.captured()
        rows = np.array([9, 2, 9, 23])
        for ref, pooling in before.captured():
            whole = before.vectors(ref.stream, ref, pooling)
            np.testing.assert_array_equal(after.vectors(ref.stream, ref, pooling), whole)
            some = after.vectors(ref.stream, ref, pooling, rows)
            np.testing.assert_array_equal(some, whole[rows])
        for kind in kinds_of("run"):
            assert after.keys(kind) == before.keys(kind)
            old, new = before.table(kind), after.table(kind)
            assert new.schema == old.schema
            pd.testing.assert_frame_equal(new.to_pandas(), old.to_pandas())
    assert_comparable([packed.run("late-seed0"), original.run("none-seed0")])
    for a, b in (("late-seed0", "none-seed0"), ("late-seed1", "none-seed1")):
        frame = original.pair(a, b).measures()
        assert len(frame) == 5
        pd.testing.assert_frame_equal(packed.pair(a, b).measures(), frame)


def test_every_question_has_the_same_answer(original: Store, file: Path) -> None:
    packed = Store(file)
    pair = LayerRef("vision", 1), LayerRef("text", 1)
    for kind in (*kinds_of("run"), *kinds_of("pair")):
        owners = original.source.owners(kind)
        old, new = (
            query.every_row(store.source, kind, query.every_part(store.source, kind, owners))
            for store in (original, packed)
        )
        assert new.table.schema.names == old.table.schema.names
        pd.testing.assert_frame_equal(new.table.to_pandas(), old.table.to_pandas())
        sql = f"SELECT * FROM {kind.name} ORDER BY ALL"  # noqa: S608
        pd.testing.assert_frame_equal(packed.query(sql), original.query(sql))
    runs = "SELECT * EXCLUDE has_checkpoint FROM runs JOIN samples USING (run_id) ORDER BY ALL"
    pd.testing.assert_frame_equal(packed.query(runs), original.query(runs))
    for entry in original.listing().entries:
        sample = str(original.run(entry.run_id).sample_ids()[3])
        assert query.sample(packed.source, entry, sample) == query.sample(
            original.source, entry, sample
        )
        parts = query.every_part(packed.source, MEASURES, [entry.run_id])
        assert query.drivers(packed.source, parts[:0], *pair, "cls").table.num_rows == 0


def test_stores_of_several_machines_become_one(
    original: Store, file: Path, tmp_path: Path, store_factory: ModuleType
) -> None:
    other = store_factory.make_store(tmp_path / "other", ("early",), (0,), n=12, depth=4)
    both = tmp_path / "both.duckdb"
    packed = pack.pack([Store(file), other], both)
    assert packed.runs == len(original.run_ids()) + 1
    assert Store(both).run_ids() == tuple(sorted((*original.run_ids(), *other.run_ids())))
    (run_id,) = other.run_ids()
    for stream in ("text", "vision"):
        np.testing.assert_array_equal(
            Store(both).run(run_id).vectors(stream, 4), other.run(run_id).vectors(stream, 4)
        )
    with pytest.raises(InputError, match=f"run {run_id} is also in .*both"):
        pack.pack([Store(both), other], tmp_path / "twice.duckdb")


def test_samples_without_names_are_not_taken_for_others_of_that_number(
    original: Store, tmp_path: Path, store_factory: ModuleType
) -> None:
    other = store_factory.make_store(tmp_path / "other", ("early",), (0,), n=12, depth=4)
    pack.pack([other], tmp_path / "numbers.duckdb", numbers=True)
    with pytest.raises(InputError, match=r"numbers.duckdb: the samples .* lost their names"):
        pack.pack([original, Store(tmp_path / "numbers.duckdb")], tmp_path / "both.duckdb")


def test_half_precision_and_no_vectors(tmp_path: Path, store_factory: ModuleType) -> None:
    store = store_factory.make_store(tmp_path / "s", ("late",), (0,), n=9, dtype="float16")
    whole = pack.pack([store], tmp_path / "whole.duckdb")
    light = pack.pack([store], tmp_path / "light.duckdb", activations=False)
    assert whole.vectors == 9 * len(store.run("late-seed0").captured()) and light.vectors == 0
    run = Store(tmp_path / "whole.duckdb").run("late-seed0")
    np.testing.assert_array_equal(
        run.vectors("vision", 2), store.run("late-seed0").vectors("vision", 2)
    )
    run = Store(tmp_path / "light.duckdb").run("late-seed0")
    assert not run.has_activations and len(run.measures()) and len(run.projections())
    with pytest.raises(InputError, match="keeps no activations"):
        run.vectors("vision", 2)


def test_a_packed_store_cannot_be_changed(file: Path, store_factory: ModuleType) -> None:
    packed = Store(file)
    before = file.read_bytes()
    run = packed.run("late-seed0")
    for change in (
        lambda: packed.delete("late-seed0"),
        lambda: packed.writer(store_factory.make_manifest("new")).__enter__(),
        lambda: run.add(MEASURES, run.measures().drop(columns="key"), "more"),
        lambda: verify(packed),
    ):
        with pytest.raises(InputError, match="is packed and read-only"):
            change()
    assert file.read_bytes() == before


def test_a_file_of_that_name_is_kept_unless_it_is_to_be_replaced(
    original: Store, tmp_path: Path
) -> None:
    out = tmp_path / "out.duckdb"
    out.write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        pack.pack([original], out)
    assert out.read_text() == "mine"
    pack.pack([original], out, activations=False, replace=True)
    assert len(Store(out).run_ids()) == 7
    assert [path.name for path in tmp_path.iterdir()] == ["out.duckdb"]


class CleansUp:
    """Does as a second writer in the folder, whenever the first one lets it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.removed = folder, []

    def look(self, *_: object, **__: object) -> None:
        self.removed += remove_leftovers(self.folder)

    advance = look


def test_what_is_being_packed_is_never_taken_for_left_over(
    original: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = CleansUp(tmp_path)
    flush = files.fsync_file

    def flushed(path: Path) -> None:  # the file has the temporary name, and not yet its own
        other.look()
        flush(path)

    monkeypatch.setattr(files, "fsync_file", flushed)
    for replace in (False, True):
        pack.pack(
            [original], tmp_path / "o.duckdb", activations=False, replace=replace, progress=other
        )
    assert other.removed == []
    assert [path.name for path in tmp_path.iterdir()] == ["o.duckdb"]
    assert len(Store(tmp_path / "o.duckdb").run_ids()) == 7


def test_a_packed_store_that_is_open_stays_as_it_is_and_one_that_is_written_is_kept(
    original: Store, tmp_path: Path, store_factory: ModuleType
) -> None:
    out = tmp_path / "o.duckdb"
    pack.pack([original], out, activations=False)
    before = Store(out).run("late-seed0").measures()
    small = store_factory.make_store(tmp_path / "small", ("none",), (5,))
    script = f"""
        import duckdb
        connection = duckdb.connect({str(out)!r})
        print("open", flush=True)
        input()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )
    try:
        held = out.stat().st_ino
        assert process.stdout is not None and process.stdout.readline()
        with pytest.raises(InputError, match="is being written by another process"):
            pack.pack([small], out, replace=True)
        assert out.stat().st_ino == held
    finally:
        process.communicate(b"\n")
    reader = Store(out)
    pack.pack([small], out, replace=True)
    assert Store(out).run_ids() == ("none-seed5",)
    assert reader.run("late-seed0").measures().equals(before)


def test_what_cannot_be_read_is_named_and_nothing_is_left(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out" / "p.duckdb"
    out.parent.mkdir()
    file = store.run("none-seed1").contents.file(MEASURES, "default")
    whole = file.read_bytes()
    file.write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"default\.parquet: corrupt"):
        pack.pack([store], out)
    file.write_bytes(whole)
    (store.path / "runs/late-seed0/run.json").write_text("{")
    with pytest.raises(InputError, match="late-seed0 cannot be read"):
        pack.pack([store], out)
    assert not list(out.parent.iterdir())


@pytest.mark.parametrize("text", ["Grüße, 你好", "C:\\x41 \\z", "", "'; --"])
def test_texts_and_labels_of_any_language_read_as_before(
    tmp_path: Path, store_factory: ModuleType, text: str
) -> None:
    store = store_factory.make_store(tmp_path / "s", placements=[], seeds=[])
    manifest = store_factory.make_manifest(depth=2, width=4, placement="none")
    samples = store_factory.make_samples(6)
    at = samples.schema.get_field_index("text")
    samples = samples.set_column(at, samples.schema.field(at), pa.array([text] * 6))
    with store.writer(manifest) as writer:
        store_factory.write_parts(writer, samples, store_factory.make_vectors(manifest, 6), 7)
        writer.commit()
    pack.pack([store], tmp_path / "p.duckdb")
    packed = Store(tmp_path / "p.duckdb")
    assert packed.run(manifest.run_id).samples().equals(store.run(manifest.run_id).samples())
    assert query.samples(packed.source, packed.listing().entries[0]).problems == ()


def test_a_pack_that_is_killed_leaves_no_file_of_that_name(original: Store, tmp_path: Path) -> None:
    out = str(tmp_path / "o.duckdb")
    script = f"""
        from pathlib import Path
        from backend.store import Store, pack
        class Loud:
            def advance(self, done, total, what=""):
                print(done, flush=True)
                if done > total / 2:
                    import time; time.sleep(60)
        pack.pack([Store({str(original.path)!r})], Path({out!r}), progress=Loud())
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None and process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "o.duckdb").exists()
    pack.pack([original], tmp_path / "o.duckdb", activations=False)
    assert len(Store(tmp_path / "o.duckdb").run_ids()) == 7


# Files of others


@pytest.mark.parametrize("share", [0.0001, 0.3, 0.7, 0.999])
def test_a_file_that_is_cut_short_is_one_line(file: Path, tmp_path: Path, share: float) -> None:
    cut = tmp_path / "cut.duckdb"
    content = file.read_bytes()
    cut.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match="cut short") as caught:
        Store(cut)
    assert "\n" not in str(caught.value) and "cut.duckdb" in str(caught.value)


def test_a_flipped_bit_is_one_line(file: Path, tmp_path: Path) -> None:
    content = bytearray(file.read_bytes())
    for at in range(12 * 1024 + 100, len(content), 4096):
        content[at] ^= 0xFF
    (tmp_path / "flipped.duckdb").write_bytes(content)
    with pytest.raises(InputError) as caught:
        Store(tmp_path / "flipped.duckdb").run("late-seed0").vectors("vision", 1)
    assert "\n" not in str(caught.value)


def test_a_file_of_a_newer_duckdb_is_one_line(file: Path, tmp_path: Path) -> None:
    newer = tmp_path / "newer.duckdb"
    content = bytearray(file.read_bytes())
    content[12:20] = struct.pack("<Q", 9_999)
    newer.write_bytes(content)
    with pytest.raises(duckdb.Error) as wrong:  # which says the checksum that the header must have
        duckdb.connect(str(newer), read_only=True)
    checksum = re.search(r"computed checksum (\d+)", str(wrong.value))
    assert checksum is not None
    content[:8] = struct.pack("<Q", int(checksum[1]))
    newer.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot be opened.*newer DuckDB than this one") as caught:
        Store(newer)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"hello", b"PAR1" * 100])
def test_a_file_that_is_no_database_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError, match="neither the directory of a store nor a DuckDB file"):
        Store(tmp_path / "x")


FOREIGN = {
    "CREATE VIEW more AS SELECT 1": "view more",
    "CREATE MACRO avg(x) AS 42": "macro avg",
    "CREATE TYPE mood AS ENUM ('a')": "type mood",
    "CREATE TABLE t (a INTEGER, b INTEGER GENERATED ALWAYS AS (a + 1))": "computed column b",
    "ALTER TABLE scores ALTER value SET DEFAULT 1": "computed column value",
    "DROP TABLE measures": "table measures has not the columns",
    "ALTER TABLE runs RENAME n TO m": "table runs has not the columns",
    "DROP TABLE measures; CREATE VIEW measures AS SELECT 1": "view measures",
    "UPDATE fusionscope SET pack_version = 9": r"in a form \(version 9\)",
    "DROP TABLE fusionscope": "not a packed store",
    "UPDATE runs SET run_id = '../../etc'": "is not valid",
    "UPDATE runs SET run_json = '{'::BLOB": "not valid JSON",
}


@pytest.mark.parametrize("sql", FOREIGN)
def test_a_database_that_is_not_just_ours_is_refused(file: Path, tmp_path: Path, sql: str) -> None:
    changed = tmp_path / "changed.duckdb"
    changed.write_bytes(file.read_bytes())
    with duckdb.connect(str(changed)) as connection:
        connection.execute(sql)
    with pytest.raises(InputError, match=FOREIGN[sql]):
        store = Store(changed)
        for item in store.broken():
            raise InputError(item.reason)
        assert store.run("late-seed0").manifest


def test_a_file_that_was_packed_before_there_were_counts_of_tokens_has_none(
    file: Path, tmp_path: Path
) -> None:
    older, listed = tmp_path / "older.duckdb", tmp_path / "listed.duckdb"
    for path in (older, listed):
        path.write_bytes(file.read_bytes())
        with duckdb.connect(str(path)) as connection:
            for name in LATER:
                connection.execute(f"DROP TABLE {name}")
    with duckdb.connect(str(listed)) as connection:
        connection.execute("INSERT INTO parts VALUES (99, 'tokens', 'late-seed0', '')")
    assert token_counts(Store(older).run("late-seed0")) == ()
    for name in LATER:
        assert Store(older).query(f"SELECT * FROM {name}").empty  # noqa: S608 - ours
    with pytest.raises(InputError, match="table tokens has not the columns"):
        Store(listed)


def test_vectors_that_are_not_those_of_run_json_are_refused(file: Path, tmp_path: Path) -> None:
    for sql in (
        "UPDATE activations SET vector = vector[1:4]",
        "DELETE FROM activations WHERE row = 3",
        "UPDATE captures SET width = 7",
    ):
        changed = tmp_path / "changed.duckdb"
        changed.write_bytes(file.read_bytes())
        with duckdb.connect(str(changed)) as connection:
            connection.execute(sql)
        with pytest.raises(InputError, match="are not 24 of 12 numbers"):
            Store(changed).run("late-seed0").vectors("vision", 1)


def test_the_columns_of_a_packed_file_are_said_once(file: Path) -> None:
    with duckdb.connect(str(file), read_only=True) as connection:
        rows = connection.execute(
            "SELECT table_name, column_name, data_type FROM duckdb_columns() WHERE NOT internal"
        ).fetchall()
        (tags,) = connection.execute(
            "SELECT tags FROM duckdb_databases() WHERE NOT internal"
        ).fetchone()
    assert {(t, c, k) for t, c, k in rows} == {
        (table, column, kind)
        for table, columns in COLUMNS.items()
        for column, kind in columns.items()
    }
    assert tags["storage_version"].startswith(pack.STORAGE_VERSION)
