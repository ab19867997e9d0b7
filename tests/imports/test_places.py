"""Names, shapes and mappings become streams, layers and fusion layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.errors import InputError
from backend.store import Store
from backend.store.imports.mapping import read_mapping
from backend.store.imports.pattern import Pattern
from backend.types import LayerRef, Meet

ROOT = Path(__file__).resolve().parents[2]


def _a(n: int = 4, width: int = 2, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(n + width).standard_normal((n, width)).astype(dtype)


@pytest.mark.parametrize(
    ("pattern", "name", "fields"),
    [
        ("blocks.{layer}.{stream}", "x/acts/blocks.4.vision", {"layer": "4", "stream": "vision"}),
        ("{stream}/h{layer}", "x/vision/h04", {"stream": "vision", "layer": "04"}),
        ("{stream}-{site}-{pooling}", "text_decoder-12.norm-mean",
         {"stream": "text_decoder", "site": "12.norm", "pooling": "mean"}),
        ("*.{layer}.out", "enc.vision.7.out", {"layer": "7"}),
        ("blocks.{layer}", "blocks.x", None),
        ("blocks.{layer}", "blocksA4", None),
        ("h{layer}", "x/other/h4/more", None),
    ],
)  # fmt: skip
def test_a_pattern_takes_names_apart(
    pattern: str, name: str, fields: dict[str, str] | None
) -> None:
    assert Pattern(pattern).match(name) == fields


@pytest.mark.parametrize(
    "pattern", ["{block}", "{layer}{layer}", "{layer}.{site}", "{layer", "layer}"]
)
def test_a_pattern_that_means_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(InputError, match="pattern"):
        Pattern(pattern)


def test_layers_counted_from_the_first_blocks_output_need_an_offset_and_lack_layer_0(
    store: Store,
) -> None:
    arrays = {f"v.{k}": _a() for k in range(3)}
    run = store.add_run(arrays, pattern="v.{layer}", stream="vision", first_layer=1)
    (spec,) = run.streams
    assert [ref.layer for ref, _ in run.captured()] == [1, 2, 3] and spec.depth == 3
    np.testing.assert_array_equal(run.vectors("vision", 3), arrays["v.2"])
    with pytest.raises(InputError, match="no cls vectors of vision layer 0"):
        run.vectors("vision", 0)


def test_named_places_lie_where_fusion_and_norm_do(store: Store) -> None:
    names = ("0", "1.fusion", "1", "2", "2.norm")
    run = store.add_run({f"vision-{name}-cls": _a() for name in names}, fusion={"vision": [1]})
    (spec,) = run.streams
    assert tuple(ref.label for ref in spec.refs) == names
    assert spec.meets == (Meet(1, "cross", "", "1.fusion"),)


def test_fusion_layers_that_are_given_are_declared_and_others_are_said_to_be_unknown(
    store: Store,
) -> None:
    arrays = {f"{s}-{k}-cls": _a() for s in ("text", "vision") for k in range(4)}
    known = store.add_run(arrays, fusion={"vision": [2, 3]}, how="co", placement="mine", seed=3)
    text, vision = known.streams
    assert vision.meets == (Meet(2, "co", "text", "2"), Meet(3, "co", "text", "3"))
    assert (text.fusion_layers, text.note, vision.note) == ((), "", "")
    assert known.manifest.label == "mine" and known.manifest.seed == 3
    unknown = store.add_run(arrays)
    assert all("not given" in spec.note and not spec.meets for spec in unknown.streams)


def test_a_mapping_says_all_that_names_do_not(store: Store, tmp_path: Path) -> None:
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(
        """
        run_id = "mine"
        pooling = "mean"
        [model]
        name = "a model"
        [streams.image]
        modality = "vision"
        pattern = "enc/v{layer}"
        first_layer = 1
        sites = ["0-2", "2.head:7 pooled"]
        arrays = { head = "2.head cls" }
        space = "shared"
        [streams.text]
        arrays = { emb = "0", out = "1" }
        fusion = [1]
        how = "joint"
        """
    )
    arrays = {"enc/v0": _a(), "enc/v1": _a(), "head": _a(width=7), "emb": _a(), "out": _a()}
    run = store.add_run(arrays, mapping=mapping)
    image, text = run.streams
    assert run.run_id == "mine" and run.manifest.model.name == "a model"
    assert image.modality == "vision" and image.width_of(LayerRef("image", 2, "head")) == 7
    assert image.poolings_of(LayerRef("image", 2, "head")) == ("cls",)
    assert text.meets == (Meet(1, "joint", "image", "1"),)
    assert (image.space, text.space) == ("shared", "")
    assert '"space": "shared"' in run.manifest.to_json()
    run.export(tmp_path / "out")
    again = Store.create(tmp_path / "again").add_run([tmp_path / "out"], run_id="again")
    assert [spec.space for spec in again.streams] == ["shared", ""]
    np.testing.assert_array_equal(run.vectors("image", 2, "mean"), arrays["enc/v1"])
    np.testing.assert_array_equal(run.vectors("image", "2.head", "cls"), arrays["head"])


def test_half_precision_stays_and_mixed_becomes_float32(store: Store) -> None:
    half = {"text-0-cls": _a(dtype="float16")}
    assert store.add_run(half, run_id="a").manifest.dtype == "float16"
    mixed = store.add_run(half | {"text-1-cls": _a(dtype="float64")}, run_id="b")
    assert mixed.manifest.dtype == "float32"


@pytest.mark.parametrize(
    ("arrays", "options", "problem"),
    [
        ({"a": _a(), "b": _a()}, {}, r"no name matches '\{stream\}-\{site\}.*names are a, b"),
        ({"1.x": _a(), "01.y": _a()}, {"pattern": "{layer}.*", "stream": "text"},
         r"text layer 1 \(cls\) is in array '1.x' and in array '01.y'"),
        ({"text-0-cls": _a(4), "text-1-cls": _a(5)}, {}, "has 4 rows.*has 5"),
        ({"text-0-cls": _a(), "text-0-mean": _a(width=3)}, {}, "is 2 wide.* 3"),
        ({"text-0-cls": np.ones((4, 2), np.int64)}, {}, "holds int64, expected float"),
        ({"text-0-cls": np.ones((4, 3, 2), np.float32)}, {}, "Pool its tokens first"),
        ({"text": _a()}, {"pattern": "{stream}"}, "does not say which layer"),
        ({"h0": _a()}, {"pattern": "h{layer}"}, "does not say of which stream"),
        ({"text-0-cls": _a()}, {"fusion": {"vision": [1]}}, "no array is of stream 'vision'"),
        ({"text-0-cls": _a()}, {"fusion": {"text": [4]}}, r"fusion layer 4 lies outside"),
        ({"text-0-cls": _a()}, {"pooling": "max", "pattern": "text-{layer}-*"}, "pooling: 'max'"),
        ({"text-0-cls": _a()}, {"dtype": "int8"}, "dtype: 'int8' is unknown"),
        ({"text-0-cls": _a()}, {"run_id": "../x"}, "run id '../x' is not valid"),
        ({}, {}, "no arrays were given"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line_and_nothing_is_written(
    arrays: dict[str, np.ndarray], options: dict[str, object], problem: str, store: Store
) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        store.add_run(arrays, **options)
    assert "\n" not in str(caught.value)
    assert not list(store.path.rglob("*"))


def test_the_mapping_of_the_documentation_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "import-activations.md").read_text(encoding="utf-8")
    (tmp_path / "mapping.toml").write_text(page.split("```toml\n")[1].split("```")[0])
    form = read_mapping(tmp_path / "mapping.toml")
    assert list(form.streams) == ["image", "text"] and form.tasks[0].name == "irony"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("pattern = 3", "mapping.toml: pattern"),
        ("[streams.text]\nlayer = 3", "streams.text.layer: is no key of a mapping"),
        ("pattern = ", "not valid TOML"),
        ('samples = "../secret.csv"', "leaves the dataset's folder"),
    ],
)
def test_a_mapping_that_is_wrong_names_the_key(
    text: str, problem: str, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "mapping.toml").write_text(text)
    with pytest.raises(InputError, match=problem):
        store.add_run({"text-0-cls": _a()}, mapping=tmp_path / "mapping.toml")
