"""A kind of table is one entry: it is written, read, verified, asked for in SQL and packed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from backend.errors import InputError
from backend.store import Store, kinds, verify
from backend.store.kinds import Kind
from backend.types import LayerRef


def positive(table: pa.Table) -> None:
    if min(table["weight"].to_pylist(), default=1.0) <= 0:
        raise ValueError("column weight holds a number that is not positive")


TOY = Kind(
    "toys",
    pa.schema(
        [
            pa.field("stream", pa.string(), nullable=False),
            pa.field("layer", pa.int32(), nullable=False),
            pa.field("site", pa.string(), nullable=False),
            pa.field("sample_id", pa.string(), nullable=False),
            pa.field("weight", pa.float64(), nullable=False),
        ]
    ),
    "weights of samples in a layer",
    sides=("",),
    samples=("sample_id",),
    check=positive,
)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Rows of a kind that is one more entry of the table."""
    monkeypatch.setattr(kinds, "KINDS", (*kinds.KINDS, TOY))
    return pd.DataFrame(
        {
            "stream": "vision",
            "layer": [1, 4],
            "site": ["block", "fusion"],
            "sample_id": ["macro-00003", "macro-00005"],
            "weight": [0.5, 2.0],
        }
    )


def test_a_new_kind_is_written_read_and_asked_for_by_its_entry_alone(
    store: Store, toys: pd.DataFrame
) -> None:
    run = store.run("late-seed0")
    token = store.token("late-seed0")
    assert run.keys(TOY) == () and run.table(TOY).num_rows == 0
    run.add(TOY, toys, "first")
    run.add(TOY, toys.assign(weight=[1.0, 3.0]), "second")
    assert store.token("late-seed0") != token
    assert store.run("late-seed0").keys(TOY) == ("first", "second")
    heavy = run.table(TOY, ["second"], where=pa.compute.field("weight") > 2)
    assert heavy.to_pylist() == [
        {"key": "second", "stream": "vision", "layer": 4, "site": "fusion",
         "sample_id": "macro-00005", "weight": 3.0}
    ]  # fmt: skip
    asked = store.query(
        "SELECT run_id, key, sum(weight) AS total FROM toys GROUP BY ALL ORDER BY 2"
    )
    assert asked.to_dict("list") == {
        "run_id": ["late-seed0"] * 2,
        "key": ["first", "second"],
        "total": [2.5, 4.0],
    }
    with pytest.raises(InputError, match="toys 'first' exists and a store is never edited"):
        run.add(TOY, toys, "first")


def test_its_entry_says_what_is_refused(store: Store, toys: pd.DataFrame) -> None:
    run = store.run("late-seed0")
    for rows, said in (
        (toys.drop(columns="weight"), r"toys: missing columns \['weight'\]"),
        (toys.assign(site="Block"), "toys: column site holds 'Block'"),
        (toys.assign(weight=-1.0), "toys: column weight holds a number that is not positive"),
    ):
        with pytest.raises(ValueError, match=said):
            run.add(TOY, rows, "bad")
    assert run.keys(TOY) == ()


def test_its_entry_says_what_verify_looks_for(store: Store, toys: pd.DataFrame) -> None:
    run = store.run("late-seed0")
    run.add(TOY, toys, "good")
    assert verify(store) == []
    run.add(TOY, toys.assign(layer=9, site="block"), "deep")
    run.add(TOY, toys.assign(sample_id="stranger"), "strange")
    run.contents.file(TOY, "torn").write_bytes(b"PAR1")
    problems = {finding.file: finding.problem for finding in verify(store)}
    assert problems["toys/deep.parquet"] == "vision layer 9 is not a layer of this run"
    assert problems["toys/strange.parquet"] == "2 rows of samples that the run does not have"
    assert "corrupt" in problems["toys/torn.parquet"]
    assert len(problems) == 3


def test_a_writer_takes_it_and_a_resumed_one_does_not_keep_it(
    tmp_path: Path, toys: pd.DataFrame, store_factory
) -> None:
    store = Store.create(tmp_path)
    manifest = store_factory.make_manifest()
    with store.writer(manifest) as writer:
        writer.write_part(store_factory.make_samples(8), {})
        writer.add(TOY, toys, "early")
    with store.writer(manifest) as writer:
        assert writer.n_written == 8 and writer.keys(TOY) == ()
        writer.add(TOY, toys, "late")
        writer.commit()
    assert store.run("late-seed0").keys(TOY) == ("late",)


def test_the_table_is_sound() -> None:
    names = [kind.name for kind in kinds.KINDS]
    assert len(set(names)) == len(names)
    for kind in kinds.KINDS:
        columns = set(kind.schema.names)
        for side in kind.sides:
            assert set(kind.place_columns(side)) <= columns
        assert set(kind.optional) <= set(kind.sides)
        assert {*kind.samples, *kind.counts} <= columns
        assert kind.empty().column_names[0] == ("key" if kind.keyed else kind.schema.names[0])
        kind.check(kind.schema.empty_table())


def test_a_key_belongs_to_keyed_kinds_and_to_their_owner(read_only_store: Store) -> None:
    run = read_only_store.run("late-seed0")
    for kind, key in ((kinds.SCORES, "x"), (kinds.MEASURES, ""), (kinds.COMPARISONS, "x")):
        with pytest.raises(ValueError, match="a run holds no"):
            run.contents.file(kind, key)
    assert run.keys(kinds.SCORES) == ("",)
    assert LayerRef("vision", 1) in run.layers("vision")
