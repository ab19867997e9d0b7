"""A study file is checked whole before anything trains, and says the line of what is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backend.errors import InputError
from backend.sweep.study import read_study, study_of
from backend.train.options import CacheOptions, MeasureOptions

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
    assert [cell.keep_activations for cell in cells[:6]] == [True] * 3 + [False] * 3
    assert study.folder == Path("cache/study-work")
    assert not (tmp_path / "cache").exists()


def test_what_a_result_depends_on_is_in_the_digest(tmp_path: Path) -> None:
    _, cells = read_study(write(tmp_path, WHOLE))
    one = cells[0]
    assert len({cell.digest() for cell in cells}) == len(cells)
    elsewhere = replace(one, cache=CacheOptions("off", cache_gib=1), keep_checkpoint=False)
    assert elsewhere.digest() == one.digest()
    for change in (
        {"presets": ()},
        {"measured": MeasureOptions("epoch")},
        {"seed": 5},
        {"capture": replace(one.capture, dtype="float16")},
        {"keep_activations": False},
    ):
        assert replace(one, **change).digest() != one.digest()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("old", "new", "at", "said"),
    [
        ("epochs = 2", "epochz = 2", "epochz", "unknown key 'epochz'. Did you mean 'epochs'?"),
        ("epochs = 7", "epoch = 7", "epoch = 7", "unknown key 'epoch'. Did you mean 'epochs'?"),
        ("seeds = [0, 1]", "seed = [0]", "seed =", "unknown key 'seed'. Did you mean 'seeds'?"),
        (
            "limit = 20",
            "layers = 20",
            "layers",
            "unknown key 'layers'. There are: act",
        ),
        ("epochs = 2", "data = 'x'", "data = 'x'", "unknown key 'data'"),
        ('"late",', '"sooner",', "sooner", "'sooner': no placement is called so"),
        ("vision=1,4", "vision=1,5", "1,5", "fusion layer 5 is outside the vision encoder"),
        ("vision=1,4", "vision=1", "text=2,3", "must be equally long"),
        ('"late",', '"text=4;vision=4",\n"late",', '"late"', "fuses at the same layers as"),
        ("epochs = 2", "epochs = 0", "epochs = 0", "train.epochs: 0 is less than 1"),
        ("epochs = 2", "epochs = 'two'", "'two'", "train.epochs: 'two' is not a whole number"),
        (
            "text=2;vision=1",
            "text=5",
            "freeze",
            "train.freeze: 'text=5' does not name",
        ),
        ('depth=4,width=16,heads=2"', 'depth=x"', "depth=x", "'depth=x' is not one of"),
        ("[0, 1]", "[0, 0]", "seeds", "a seed is given twice"),
        ("[0, 1]", "[0, -1]", "seeds", "seeds.1: -1 is less than 0"),
        ("[0, 1]", "[0, 4294967296]", "seeds", "seeds.1: 4294967296 is more than 4294967295"),
        ("macros:n=64", "imagenet:there", "imagenet", "unknown layout 'imagenet'. The layouts are"),
        ('"memes"', '"hm"', "hateful_memes", "two datasets are called 'hm'"),
        ("seeds =", "measure = ['all']\nseeds =", "measure", "unknown preset 'all'"),
        ("seeds =", "project = ['tsne']\nseeds =", "project", "unknown method 'tsne'"),
        ("seeds =", "frozen_cache = 'on'\nseeds =", "frozen", "'on' is not one of auto, off"),
        ("epochs = 2", "measure_every = 'often'", "often", "neither 'epoch' nor a number"),
        ("epochs = 2", "class_weights = 'some'", "some", "'some' is not one of balanced, none"),
        ("epochs = 2", "cka_loss = 0.2", "cka_loss", "a model without fusion has no fusion"),
        (
            'activations = "first"',
            'activations = "some"',
            "some",
            "'some' is not one of 'all', 'first' or 'none'",
        ),
        ("seeds = [0, 1]", "seeds = [0, 1", "datasets", "not valid TOML: "),
        ('store = "cache/study"', "", "", "store is missing"),
        ('store = "cache/study"', 'store = ""', "store", "'.' is not the name of a folder of"),
        ("seeds = [0, 1]", "seeds = 0", "seeds = 0", "seeds: 0 is not a list"),
        ("seeds = [0, 1]", "seeds = [true]", "seeds", "seeds.0: true is not a whole number"),
        ("seeds =", "work = 'cache/study/w'\nseeds =", "work", "lies in the store"),
        (
            "seeds =",
            "cache_gib = inf\nseeds =",
            "cache_gib",
            "inf is not a finite number",
        ),
        ("seeds =", "project = ['pca', 'pca']\nseeds =", "project", "'pca' is given twice"),
        ('"late",', '"late", "late",', "late", "placement 'late' is given twice"),
        ("epochs = 7", "batch = 7", "batch = 7", "unknown key 'batch'. Did you mean 'batch_size'?"),
        ("[datasets.train]", "[datasets.trian]", "[datasets.tr", "Did you mean 'train'?"),
        ('name = "memes"', "nome = 'memes'", "nome", "unknown key 'nome'. Did you mean 'name'?"),
        ("epochs = 2", "epochs = true", "true", "train.epochs: true is not a number"),
        ("epochs = 2", "warmup = 5", "warmup", "train.warmup: 5.0 is more than 1"),
        ("epochs = 2", "dropout = 1.0", "dropout", "train.dropout: 1.0 is not less than 1"),
        ("epochs = 2", "tasks = ['sarcasm']", "sarcasm", "no task 'sarcasm'. It has: irony"),
        ("epochs = 2", "image_size = 50", "image_size", "50 is not a multiple of the patch size"),
        ("epochs = 2", "head = {size = 1}", "head =", "unknown key 'size'. There are: width"),
        ("epochs = 2", "co_attention = {heads = 'x'}", "co_att", "heads: 'x' is not a number"),
        ("limit = 10", "split = 'valid_2'", "split", "no split 'valid_2' in macros. There are"),
        ("limit = 10", "pooling = ['cls', 'cls']", "pooling", "'cls' is given twice"),
        ("macros:n=64", "macros:m=64", "macros", "no option 'm'. The options are n, dev"),
        ("hateful_memes:DATA/hm", "folder: ", "folder", "no path. Write folder:PATH"),
        ('name = "memes"', f'name = "{"x" * 80}"', "[[datasets]]", "is not valid. Use 1 to 80"),
        ('"small:depth=4,width=16,heads=2"', '"/no/such"', "/no/such", "no such directory"),
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
    with pytest.raises(InputError, match=r"set: 'epochs' is not KEY=VALUE"):
        study_of(content, ["epochs"])
    with pytest.raises(InputError, match="unknown key 'epoch'"):
        study_of(content, ["train.epoch=3"])


def test_changes_are_stronger_than_the_file(tmp_path: Path) -> None:
    _, cells = read_study(write(tmp_path, WHOLE), ["seeds=[7]", "train.epochs=9"])
    assert {cell.seed for cell in cells} == {7}
    assert cells[0].plan.epochs == 9


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("train.epochs=two", "`set` train.epochs=two: train.epochs: 'two' is not a whole number"),
        ("train.epoch=2", "`set` train.epoch=2: unknown key 'epoch'. Did you mean 'epochs'?"),
        ("train=2", "`set` train=2: train: 2 is not a table"),
        ("seeds=0,1", "`set` seeds=0,1: seeds: '0,1' is not a list"),
        ("seeds.x=1", "`set` seeds.x=1: seeds is not a table"),
        ("placements=['sooner']", "`set` placements=['sooner']: 'sooner': no placement"),
        ("train.freeze=text=9", "`set` train.freeze=text=9: train.freeze: 'text=9' does not"),
        ("datasets.0.data=x", "set: 'datasets.0.data=x' is not KEY=VALUE"),
    ],
)
def test_what_is_wrong_with_a_change_is_said_of_the_change(
    tmp_path: Path, change: str, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        read_study(write(tmp_path, WHOLE), [change])
    assert str(caught.value).startswith(said)


def test_weights_are_opened_before_training(tmp_path: Path) -> None:
    vision = "small:depth=4,width=16,heads=2,patch=16"
    for file, said in (
        ("gone.safetensors", "no such file"),
        ("junk.safetensors", "junk.saf.* is cut short"),
    ):
        (tmp_path / "junk.safetensors").write_bytes(b"junk")
        text = WHOLE.replace(vision, f"vit_tiny_patch16_224:{tmp_path / file}")
        with pytest.raises(
            InputError, match=f"line 22: vision weights .*{file}: train.vision_encoder: {said}"
        ):
            read_study(write(tmp_path, text))


def test_a_dataset_that_is_not_there_is_left_to_its_cells(tmp_path: Path) -> None:
    _, cells = read_study(write(tmp_path, WHOLE), ["train.tasks=['irony']"])
    assert any(cell.plan.data == "hateful_memes:DATA/hm" for cell in cells)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"study .*gone.toml: cannot be read"):
        read_study(tmp_path / "gone.toml")


def test_an_encoder_that_is_not_there_is_refused_before_training(tmp_path: Path) -> None:
    text = WHOLE.replace("small:depth=4,width=16,heads=2,patch=16", "vit_huge_patch99", 1)
    where = "line 22: vision encoder: train.vision_encoder"
    with pytest.raises(InputError, match=f"{where}: timm has no model"):
        read_study(write(tmp_path, text))


@pytest.mark.parametrize("name", ["study.toml", "thesis.toml"])
def test_the_study_files_of_the_documentation_are_valid(name: str) -> None:
    folder = Path(__file__).parents[2] / "docs/study"
    small = ["train.text_encoder=small:depth=12", "train.vision_encoder=small:depth=12,patch=16"]
    study, cells = read_study(folder / name, small)
    assert len(cells) == len(study.datasets) * len(study.placements) * 3
