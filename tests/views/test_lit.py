"""Features that a pair lights: what readings say of their autoencoders."""

from __future__ import annotations

import json

import pandas as pd

from backend.views.lit import digests_of


def test_a_reading_that_says_its_autoencoders_otherwise_says_none() -> None:
    good = json.dumps({"saes": {"3": "ab", "7": "cd"}})
    others = ("[]", "x", "{}", '{"saes": [1]}', '{"saes": {"a": "b"}}', "9" * 50, '{"saes": 1e999}')
    rows = pd.DataFrame(
        [{"key": f"k{at}", "params": params} for at, params in enumerate((good, *others))]
    )
    assert digests_of(rows) == {"k0": {3: "ab", 7: "cd"}}
