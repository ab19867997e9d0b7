"""What the pages say of samples that belong together."""

from __future__ import annotations

import numpy as np
import pytest

from backend.data.groups import grouping
from backend.views.together import Together, in_words

N = 12
IDS = [f"s{i}" for i in range(N)]
ALONE = np.arange(N)


def said(
    given: list[str | None], images: np.ndarray = ALONE, texts: np.ndarray = ALONE
) -> Together:
    return in_words(grouping(IDS, given, images, texts))


def test_samples_that_stand_alone_need_no_word() -> None:
    assert said([None] * N) == Together("", ())


def test_given_groups_are_counted() -> None:
    assert said([f"g{i // 4}" for i in range(N)]) == Together(
        "12 samples in 3 groups (given), the largest of 4.", ()
    )


def test_found_groups_say_what_they_were_found_by() -> None:
    assert said([None] * N, images=ALONE // 3, texts=ALONE).fact == (
        "12 samples share an image or a text with another: counted as 4 groups (found), the "
        "largest of 3."
    )
    one = said([None] * N, texts=np.array([0, 0, *range(2, N)]))
    assert one.fact.startswith("2 samples share an image or a text with another: counted as 11")


def test_what_nobody_declared_is_a_warning_with_examples() -> None:
    images = np.array([0, *range(1, N - 1), 0])
    (warning,) = said([f"g{i // 4}" for i in range(N)], images=images).warnings
    assert warning.startswith(
        "2 samples share an image with a sample of another group, such as s0 and s11. No group "
        "says that they belong together"
    )
    texts = np.array([0, 0, 2, 3, 0, *range(5, N)])
    (both,) = said([f"g{i // 4}" for i in range(N)], images, texts).warnings
    assert both.startswith("2 samples share an image and 3 samples share a text with a sample")


def test_samples_without_a_group_are_named() -> None:
    said_of = said([None, None, *["g"] * (N - 2)])
    assert said_of.fact == "12 samples in 3 groups (given), the largest of 10."
    assert said_of.warnings == (
        "2 samples without a group, such as s0: each counts as a group of its own. If it belongs "
        "to others, give it their group in the column `group` of the data.",
    )


@pytest.mark.parametrize(("given", "how"), [(["g"] * N, "given"), ([None] * N, "found")])
def test_one_group_for_all_says_what_cannot_be_asked_and_what_would_make_it_possible(
    given: list[str | None], how: str
) -> None:
    one = said(given, texts=np.zeros(N, dtype=int))
    assert one.fact == f"All 12 samples are one group ({how})."
    assert "nothing can be compared between groups" in one.warnings[0]
    assert "column `group`" in one.warnings[0]


@pytest.mark.parametrize(
    ("given", "texts", "splits", "said"),
    [
        # given: g0 (s0 to s3) in both, the others in one
        ([f"g{i // 4}" for i in range(N)], ALONE, ["train", *["test"] * 11],
         "1 group lies in more than one split, such as g0 (train and test)."),
        # found by equal texts, called like the first sample
        ([None] * N, ALONE // 2, ["train", "test"] * 6,
         "6 groups lie in more than one split, such as s0 (train and test)."),
        ([f"g{i // 4}" for i in range(N)], ALONE, ["train"] * 4 + ["test"] * 8, ""),
        ([f"g{i // 4}" for i in range(N)], ALONE, ["test"] * N, ""),
        ([None] * N, ALONE, ["train", "test"] * 6, ""),
    ],
)  # fmt: skip
def test_groups_that_cross_splits_are_named_with_what_to_do(
    given: list[str | None], texts: np.ndarray, splits: list[str], said: str
) -> None:
    warnings = in_words(grouping(IDS, given, ALONE, texts), splits).warnings
    if not said:
        assert not warnings
        return
    (warning,) = warnings
    assert warning.startswith(said)
    assert "scores are too high" in warning and "into one split" in warning
