"""A kind of table is one entry: it is written, read, verified, asked for in SQL and packed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
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


def probe_rows(**changed: object) -> pd.DataFrame:
    """A probe of three labels on a layer of two numbers."""
    numbers = {"mean": "<f8", "scale": "<f8", "coefficients": "<f4"}
    row = {
        "stream": "text", "layer": 2, "site": "block", "pooling": "mean", "task": "topics",
        "kind": "multilabel", "class": ["weather", "work", "food"], "n": 12, "converged": True,
        "intercept": [0.0, -0.5, 2.0],
    }  # fmt: skip
    row |= {name: np.array([0.5, 2.0], dtype).tobytes() for name, dtype in numbers.items()}
    return pd.DataFrame(row | changed)


def test_the_numbers_of_a_probe_must_be_usable(store: Store) -> None:
    run = store.run("late-seed0")
    run.add(kinds.PROBES, probe_rows(), "good")
    for changed, said in (
        ({"mean": b""}, "row 0: column mean is not numbers of float64"),
        ({"scale": bytes(12)}, "row 0: column scale is not numbers of float64"),
        ({"coefficients": np.zeros(3, "<f4").tobytes()}, "row 0 holds vectors of .* widths: 2, 3"),
        ({"scale": np.array([1.0, 0.0]).tobytes()}, "row 0: column scale holds a number that is"),
        ({"mean": np.array([np.nan, 0.0]).tobytes()}, "row 0: column mean holds NaN or infinite"),
        ({"intercept": [0.0, np.inf, 0.0]}, "column intercept holds NaN or infinite"),
    ):
        with pytest.raises(ValueError, match=f"probes: {said}"):
            run.add(kinds.PROBES, probe_rows(**changed), "bad")
    assert run.keys(kinds.PROBES) == ("good",)


def test_verify_reads_the_probes(store: Store) -> None:
    run = store.run("late-seed0")
    wide = {name: np.ones(12, dtype).tobytes() for name, dtype in kinds.PROBE_NUMBERS.items()}
    run.add(kinds.PROBES, probe_rows(**wide), "good")
    run.add(kinds.PROBES, probe_rows(**wide, layer=9), "deep")
    run.add(kinds.PROBES, probe_rows(**wide, n=10_000), "many")
    run.add(kinds.PROBES, probe_rows(), "narrow")
    short = kinds.PROBES.schema.get_field_index("mean")
    table = run.contents.table(kinds.PROBES, "good")
    cut = table.set_column(short, table.schema.field(short), pa.array([bytes(88)] * 3))
    run.contents.add(kinds.PROBES, "cut", cut)
    assert {finding.file: finding.problem for finding in verify(store)} == {
        "probes/cut.parquet": "row 0 holds vectors of different widths: 11, 12",
        "probes/deep.parquet": "text layer 9 is not a layer of this run",
        "probes/many.parquet": "n = 10000, but the run has 48 samples",
        "probes/narrow.parquet": "mean of text layer 2 is not 12 numbers",
    }
