"""A study file is checked whole before anything trains, and says the line of what is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backend.errors import InputError
from backend.sweep.study import read_study, study_of

SMALL = """
text_encoder = "small:depth=4,width=16,heads=2"
vision_encoder = "small:depth=4,width=16,heads=2,patch=16"
"""

WHOLE = f"""\
store = "cache/study"
placements = [
    "none",  # nothing
    "late",
    "text=2,3;vision=1,4",
]
seeds = [0, 1]

[[datasets]]
data = "macros:n=64"
name = "memes"

[[datasets]]
data = "hateful_memes:DATA/hm"
[datasets.train]
epochs = 7
[datasets.capture]
limit = 20

[train]{SMALL}
epochs = 2
freeze = "text=2;vision=1"

[capture]
limit = 10
activations = "first"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(text)
    return path


def test_cells_are_datasets_by_seeds_by_placements(tmp_path: Path) -> None:
    study, cells = read_study(write(tmp_path, WHOLE))
    assert [cell.run_id for cell in cells[:6]] == [
        *("memes-none-s0", "memes-late-s0", "memes-t2_3-v1_4-s0"),
        *("memes-none-s1", "memes-late-s1", "memes-t2_3-v1_4-s1"),
    ]
    assert len(cells) == 12
    assert {cell.dataset for cell in cells} == {"memes", "hm"}
    assert (cells[0].plan.epochs, cells[-1].plan.epochs) == (2, 7)
    assert (cells[0].capture.limit, cells[-1].capture.limit) == (10, 20)
    assert {cell.plan.freeze for cell in cells} == {"text=2;vision=1"}
    assert [cell.capture.keep_activations for cell in cells[:6]] == [True] * 3 + [False] * 3
    assert study.folder == Path("cache/study-work")
    assert not (tmp_path / "cache").exists()


def test_what_a_result_depends_on_is_in_the_digest(tmp_path: Path) -> None:
    _, cells = read_study(write(tmp_path, WHOLE))
    one = cells[0]
    assert len({cell.digest() for cell in cells}) == len(cells)
    assert replace(one, frozen_cache="off", cache_bytes=1, keep_checkpoint=False).digest() == (
        one.digest()
    )
    for change in ({"presets": ()}, {"measure_every": "epoch"}, {"seed": 5}):
        assert replace(one, **change).digest() != one.digest()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "at", "said"),
    [
        ("epochs = 2", "epochz = 2", "epochz", "unknown key 'epochz'. Did you mean 'epochs'?"),
        ("epochs = 7", "epoch = 7", "epoch = 7", "unknown key 'epoch'. Did you mean 'epochs'?"),
        ("seeds = [0, 1]", "seed = [0]", "seed =", "unknown key 'seed'. Did you mean 'seeds'?"),
        ("limit = 20", "layers = 20", "layers", "unknown key 'layers'. Known: split, pooling"),
        ("epochs = 2", "data = 'x'", "data = 'x'", "unknown key 'data'"),
        ('"late",', '"sooner",', "sooner", "no placement is called 'sooner'"),
        ("vision=1,4", "vision=1,5", "1,5", "fusion layer 5 is outside the vision encoder"),
        ("vision=1,4", "vision=1", "text=2,3", "must be equally long"),
        ('"late",', '"text=4;vision=4",\n"late",', '"late"', "fuses at the same layers as"),
        ("epochs = 2", "epochs = 0", "epochs = 0", "greater than or equal to 1"),
        ("epochs = 2", "epochs = 'two'", "'two'", "valid integer"),
        ("text=2;vision=1", "text=5", "freeze", "does not name a layer of a stream"),
        ('depth=4,width=16,heads=2"', 'depth=x"', "depth=x", "'depth=x' is not one of"),
        ("[0, 1]", "[0, 0]", "seeds", "a seed is given twice"),
        ("[0, 1]", "[0, -1]", "seeds", "greater than or equal to 0"),
        ("macros:n=64", "coco:there", "coco", "unknown layout 'coco'. The layouts are"),
        ('"memes"', '"hm"', "hateful_memes", "two datasets are called 'hm'"),
        ("seeds =", "measure = ['all']\nseeds =", "measure", "unknown preset 'all'"),
        ("seeds =", "project = ['tsne']\nseeds =", "project", "unknown method 'tsne'"),
        ("seeds =", "frozen_cache = 'on'\nseeds =", "frozen", "'on' is not one of auto, off"),
        ("epochs = 2", "measure_every = 'often'", "often", "neither 'epoch' nor a number"),
        ("epochs = 2", "class_weights = 'some'", "some", "'some' is not one of balanced, none"),
        ("epochs = 2", "cka_loss = 0.2", "cka_loss", "a model without fusion has no fusion"),
        ('activations = "first"', 'activations = "some"', "some", "Input should be 'all'"),
        ("seeds = [0, 1]", "seeds = [0, 1", "", "not valid TOML"),
        ('store = "cache/study"', "", "", "store is missing"),
    ],
)
def test_what_is_wrong_is_one_line_with_its_line(
    tmp_path: Path, old: str, new: str, at: str, said: str
) -> None:
    assert old in WHOLE
    changed = WHOLE.replace(old, new, 1)
    with pytest.raises(InputError) as caught:
        read_study(write(tmp_path, changed))
    text = str(caught.value)
    assert said in text
    assert "\n" not in text
    if at:
        line = changed[: changed.index(at)].count("\n") + 1
        if said.startswith("two datasets"):
            line -= 1  # the table's own line
        assert f"line {line}:" in text


def test_flags_and_changes_make_a_study_as_well() -> None:
    content = {
        "store": "s",
        "placements": ["late"],
        "datasets": [{"data": "macros:n=9"}],
    }
    changes = ["train.epochs=3", "train.text_encoder=small:depth=3", "seeds=[4]", "project=[]"]
    _, cells = study_of(content, changes)
    assert [cell.run_id for cell in cells] == ["macros-late-s4"]
    assert (cells[0].plan.epochs, cells[0].plan.text_encoder) == (3, "small:depth=3")
    assert cells[0].methods == ()
    with pytest.raises(InputError, match=r"--set: 'epochs' is not KEY=VALUE"):
        study_of(content, ["epochs"])
    with pytest.raises(InputError, match="unknown key 'epoch'"):
        study_of(content, ["train.epoch=3"])


def test_changes_are_stronger_than_the_file(tmp_path: Path) -> None:
    _, cells = read_study(write(tmp_path, WHOLE), ["seeds=[7]", "train.epochs=9"])
    assert {cell.seed for cell in cells} == {7}
    assert cells[0].plan.epochs == 9


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"study .*gone.toml: cannot be read"):
        read_study(tmp_path / "gone.toml")


def test_an_encoder_that_is_not_there_is_refused_before_training(tmp_path: Path) -> None:
    text = WHOLE.replace("small:depth=4,width=16,heads=2,patch=16", "vit_huge_patch99", 1)
    with pytest.raises(InputError, match="line 22: vision encoder: timm has no model"):
        read_study(write(tmp_path, text))


@pytest.mark.parametrize("name", ["study.toml", "thesis.toml"])
def test_the_study_files_of_the_documentation_are_valid(name: str) -> None:
    folder = Path(__file__).parents[2] / "docs/study"
    small = ["train.text_encoder=small:depth=12", "train.vision_encoder=small:depth=12"]
    study, cells = read_study(folder / name, small)
    assert len(cells) == len(study.datasets) * len(study.placements) * 3
