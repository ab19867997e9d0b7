"""What is printed and written of a table: contrasts, findings, and files that come back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from backend.errors import InputError
from backend.interventions.files import read_interventions, write_interventions
from backend.interventions.run import Interventions
from backend.interventions.summary import contrasts, over_seeds
from backend.study.report import as_json
from backend.views.interventions import findings_of_table
from tests.interventions.frames import FUSED, cka_table

DROP = {"early": 0.10, "late": 0.20}


def needs_any_partner(weights: str, partner: str, placement: str, seed: int, k: int) -> float:
    """A drop under every partner that varies, twice as large in the untrained model."""
    depth = 0.9 + 0.01 * k
    if k not in FUSED[placement] or partner == "constant":
        return depth
    return depth - DROP[placement] * (2 if weights == "untrained" else 1) - 0.01 * seed


def test_contrasts_are_crossing_minus_others() -> None:
    table = cka_table(needs_any_partner)
    rows = contrasts(table)
    own = rows[rows["placement"].eq("early") & rows["seed"].eq(1)]
    value = own.set_index(["weights", "partner"])["value"]
    others = np.mean([0.91, 0.93, 0.94])
    assert value["trained", "true"] == pytest.approx(0.92 - 0.11 - others)
    assert value["untrained", "shuffled"] == pytest.approx(0.92 - 0.21 - others)
    assert value["trained", "constant"] == pytest.approx(0.92 - others)
    means = over_seeds(rows)
    assert means["seeds"].eq(3).all() and len(means) == 2 * 2 * 3
    early = means[means["placement"].eq("early") & means["weights"].eq("trained")]
    assert early.set_index("partner")["value"]["true"] == pytest.approx(0.92 - 0.11 - others)


def test_the_findings_of_a_table_need_nothing_else() -> None:
    result = findings_of_table(cka_table(needs_any_partner))
    assert [one.subject for one in result.findings] == [
        "vision CKA: a partner that varies",
        "vision CKA: the right partner",
        "vision CKA: learning",
    ]
    assert result.findings[0].value == pytest.approx(-0.16)
    released = cka_table(needs_any_partner, seeds=(0,)).assign(seed=pd.NA)
    assert not findings_of_table(released.astype({"seed": "Int64"})).findings


def test_a_table_comes_back_from_its_file_with_what_it_was_made_from(tmp_path: Path) -> None:
    table = cka_table(needs_any_partner)
    made = Interventions(
        table, ("x: has no fusion",), ("y: is gone",), {"data": "macros", "samples": 64}
    )
    (claim,) = json.loads(as_json([findings_of_table(table)]))["claims"]
    write_interventions(made, claim, tmp_path / "out")
    read = read_interventions(tmp_path / "out" / "interventions.parquet")
    pd.testing.assert_frame_equal(read.table, table, check_dtype=False)
    assert (read.facts, read.failures) == (made.facts, made.failures)
    assert read.about["samples"] == 64
    assert read.about["versions"]["torch"]
    told = json.loads((tmp_path / "out" / "interventions.json").read_text())
    assert told["claim"]["findings"][0]["value"] == pytest.approx(-0.16)
    assert told["claim"]["findings"][1]["p"] is None  # all seeds alike: no spread
    assert told["contrasts"][0]["seeds"] == 3
    with pytest.raises(InputError, match="cannot be made"):
        write_interventions(made, claim, tmp_path / "out")
    with pytest.raises(InputError, match="not a table of interventions"):
        read_interventions(tmp_path / "out" / "contrasts.csv")
