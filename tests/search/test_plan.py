"""The table [search] is checked before anything trains, and says the line of what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.errors import InputError
from backend.models.placement import Placement
from backend.search.plan import read_search
from backend.search.trial import Trial
from backend.sweep.study import read_study

WHOLE = """\
store = "cache/study"
seeds = [4, 5]

[[datasets]]
data = "macros:n=64"
name = "a"

[[datasets]]
data = "macros:n=99"
name = "b"
[datasets.train]
epochs = 7

[train]
text_encoder = "small:depth=3,width=16,heads=2"
vision_encoder = "small:depth=4,width=16,heads=2,patch=16"
freeze = "text=1;vision=2"

[capture]
activations = "first"

[search]
trials = 9
max_fusions = 2
seeds = [7, 8]
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(text)
    return path


def test_every_dataset_has_a_search_of_its_own(tmp_path: Path) -> None:
    one, other = read_search(write(tmp_path, WHOLE))
    assert (one.dataset, other.dataset) == ("a", "b")
    assert one.depths == (3, 4)
    assert one.space.text == (1, 2, 3)
    assert (one.space.fewest, one.space.most) == (1, 2)
    assert one.folder.parent == Path("cache/study-work/search")
    assert one.folder != other.folder
    (named,) = read_search(tmp_path / "study.toml", dataset="b")
    assert named.settings == other.settings
    assert not (tmp_path / "cache").exists()


def test_a_trial_is_the_cell_that_a_sweep_would_make(tmp_path: Path) -> None:
    (plan,) = read_search(write(tmp_path, WHOLE), dataset="b")
    placements = 'placements=["late", "text=1,3;vision=2,3"]'
    _, cells = read_study(tmp_path / "study.toml", [placements, "seeds=[7, 8]"])
    swept = {cell.run_id: cell for cell in cells}
    for placement in (Placement("late", (3,), (4,)), Placement("t1,3-v2,3", (1, 3), (2, 3))):
        for seed in (7, 8):
            cell = plan.cell(Trial(0, 0, placement, {}, "running"), seed)
            assert swept[cell.run_id] == cell
            assert swept[cell.run_id].digest() == cell.digest()


def test_what_trials_depend_on_makes_another_search(tmp_path: Path) -> None:
    path = write(tmp_path, WHOLE)

    def folder(*changes: str) -> Path:
        return read_search(path, changes, "a")[0].folder

    own = folder()
    for same in ("search.trials=30", "capture.limit=5", "measure=[]"):
        assert folder(same) == own
    for change in (
        *("search.seed=1", "search.pruner=none", "search.max_fusions=1", "search.seeds=[7]"),
        *("train.epochs=9", "search.symmetric=true", "search.sampler=random"),
    ):
        assert folder(change) != own


def test_above_frozen_leaves_out_what_lies_below(tmp_path: Path) -> None:
    (plan,) = read_search(write(tmp_path, WHOLE), ["search.above_frozen=true"], "a")
    assert (plan.space.text, plan.space.vision) == ((2, 3), (3, 4))


def test_without_a_table_there_are_defaults(tmp_path: Path) -> None:
    text = WHOLE[: WHOLE.index("[search]")]
    plan, _ = read_search(write(tmp_path, text))
    assert plan.seeds == (4,)  # the study's first
    assert (plan.options.trials, plan.space.most) == (20, 3)


def test_a_sweep_needs_placements(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="placements is missing"):
        read_study(write(tmp_path, WHOLE))


@pytest.mark.parametrize(
    ("old", "new", "at", "said"),
    [
        ("trials = 9", "trails = 9", "trails", "unknown key 'trails'. Did you mean 'trials'?"),
        ("trials = 9", "trials = 0", "trials = 0", "search.trials: 0 is less than 1"),
        ("max_fusions = 2", "max_fusions = 4", "max_fusions", "a: 4 fusions do not fit: there are"),
        ("trials = 9", "min_fusions = 3", "max_fusions", "at least 3 and at most 2 fusions"),
        (
            "trials = 9",
            "pruner = 'mean'",
            "pruner",
            "'mean' is not one of 'median', 'halving' or 'none'",
        ),
        ("trials = 9", "seed = 9999999999", "seed =", "search.seed: 9999999999 is more than 42949"),
        ("[7, 8]", "[7, 7]", "seeds = [7", "a seed is given twice"),
        ("text=1;", "text=9;", "freeze", "does not name a layer of a stream"),
        ("depth=3", "depth=x", "depth=x", "'depth=x' is not one of"),
        ("macros:n=64", "imagenet:there", "imagenet", "unknown layout 'imagenet'"),
        ("freeze =", "class_weights = 'some'\nfreeze =", "class_w", "'some' is not one of"),
        ("trials = 9", "above_frozen = true\nmax_fusions = 3 #", "", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_line(
    tmp_path: Path, old: str, new: str, at: str, said: str
) -> None:
    assert old in WHOLE
    changed = WHOLE.replace(old, new, 1)
    with pytest.raises(InputError) as caught:
        read_search(write(tmp_path, changed))
    text = str(caught.value)
    assert said in text
    assert "\n" not in text
    if at:
        assert f"line {changed[: changed.index(at)].count(chr(10)) + 1}:" in text


def test_a_dataset_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no dataset is called 'c'.*It has: a, b"):
        read_search(write(tmp_path, WHOLE), dataset="c")
