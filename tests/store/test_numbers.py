"""A store's numbers alone: what a study may pass on, and that nothing else is in the file."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from backend.store import Store
from backend.store.kinds import DRIVERS, KINDS, PREDICTIONS, PROJECTIONS, SCORES
from backend.store.numbers import LEFT_OUT, significant
from backend.store.pack import pack
from backend.views.study import findings


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, store_factory: ModuleType) -> Store:
    path = tmp_path_factory.mktemp("numbers") / "store"
    store: Store = store_factory.make_store(path, ("none", "late"), (0, 1), n=24, depth=4)
    return store


@pytest.fixture(scope="module")
def numbers(original: Store) -> Store:
    file = original.path.parent / "numbers.duckdb"
    packed = pack([original], file, numbers=True)
    assert packed.vectors == 0 and packed.runs == 4 and packed.samples == 4 * 24
    return Store(file)


def test_no_sample_can_be_read_or_named(original: Store, numbers: Store) -> None:
    content = numbers.path.read_bytes()
    for run_id in original.run_ids():
        before, after = original.run(run_id), numbers.run(run_id)
        samples = after.samples(columns=["sample_id", "text", "thumbnail", "image_digest"])
        assert samples["sample_id"].tolist() == [f"s{at:06d}" for at in range(24)]
        assert samples["text"].eq("").all()
        assert samples["thumbnail"].isna().all() and samples["image_digest"].isna().all()
        assert not after.has_activations and after.checkpoint is None
        origin = after.manifest.origin
        assert (origin.model, origin.data, origin.train, origin.command) == ("", "", "", "")
        assert not set(before.sample_ids()) & set(after.sample_ids())
        for kind in (DRIVERS, PROJECTIONS):
            assert not after.keys(kind)
        for text in before.samples()["text"]:
            assert text and text.encode() not in content


def test_no_table_of_the_file_holds_a_name_of_a_sample(original: Store, numbers: Store) -> None:
    names = {
        str(name)
        for run_id in original.run_ids()
        for name in (
            *original.run(run_id).sample_ids(),
            *original.run(run_id).predictions()["sample_id"],
        )
    }
    for kind in KINDS:
        rows = numbers.query(f"SELECT * FROM {kind.name}")  # noqa: S608
        for column in rows.select_dtypes(exclude="number"):
            assert not names & set(rows[column].astype(str)), (kind.name, column)


def test_labels_scores_and_measures_are_those_of_the_store(original: Store, numbers: Store) -> None:
    for run_id in original.run_ids():
        before, after = original.run(run_id), numbers.run(run_id)
        assert before.labels().keys() == after.labels().keys()
        for task, labels in before.labels().items():
            np.testing.assert_array_equal(after.labels()[task], labels)
        wanted = before.measures()
        wanted = wanted[wanted["pooling"].eq("cls") & ~wanted["measure"].isin(LEFT_OUT)]
        mine = after.measures()
        assert len(mine) == len(wanted) > 0
        np.testing.assert_allclose(mine["value"], wanted["value"], rtol=1e-4)
        assert mine.drop(columns=_NUMBERS).equals(
            wanted.drop(columns=_NUMBERS).reset_index(drop=True)
        )
        scores = before.table(SCORES).to_pandas()
        pd.testing.assert_frame_equal(after.table(SCORES).to_pandas(), scores, rtol=1e-4)


_NUMBERS = ["value", "ci_low", "ci_high", "null_mean", "null_sd", "p_value", "p_corrected"]


def test_one_sample_has_one_number_in_samples_and_predictions_of_all_runs(
    original: Store, numbers: Store
) -> None:
    named: dict[str, set[str]] = {}
    for run_id in original.run_ids():
        before = original.run(run_id).table(PREDICTIONS).to_pandas()
        after = numbers.run(run_id).table(PREDICTIONS).to_pandas()
        assert len(before) == len(after) > 0
        assert after["sample_id"].str.fullmatch(r"s\d{6}").all()
        for name, number in zip(before["sample_id"], after["sample_id"], strict=True):
            named.setdefault(name, set()).add(number)
    assert all(len(given) == 1 for given in named.values())
    assert len(set.union(set(), *named.values())) == len(named)


def test_groups_stay_together_under_numbers(
    tmp_path: Path, original: Store, numbers: Store
) -> None:
    for run_id in original.run_ids():
        before, after = original.run(run_id).groups(), numbers.run(run_id).groups()
        if before is None:
            assert after is None
            continue
        assert after is not None
        pairs = set(zip(before, after, strict=True))
        assert len(pairs) == len(set(before)) == len(set(after))
        assert all(name.startswith("g") for name in after)


def test_the_study_page_says_the_same(original: Store, numbers: Store) -> None:
    asked, problems = findings(str(numbers.path))
    expected, _ = findings(str(original.path))
    assert not problems
    for mine, theirs in zip(asked, expected, strict=True):
        assert len(mine.findings) == len(theirs.findings)
        for a, b in zip(mine.findings, theirs.findings, strict=True):
            assert (a.subject, a.verdict) == (b.subject, b.verdict)
            if not math.isnan(b.value):
                assert a.value == pytest.approx(b.value, abs=2e-3)


def test_numbers_are_rounded_to_significant_digits() -> None:
    values = np.array([0.0, 1.23456, -0.00123456, 123456.0, np.nan, np.inf, 9.9999e-12])
    rounded = significant(values, 3)
    assert rounded[:4].tolist() == [0.0, 1.23, -0.00123, 123000.0]
    assert np.isnan(rounded[4]) and np.isinf(rounded[5])
    assert rounded[6] == pytest.approx(1e-11)
