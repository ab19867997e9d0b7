"""Rows and samples: matched by id or by place, with labels, texts and small images."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from backend.data.images import image_digest
from backend.errors import InputError
from backend.store import Store
from backend.types import LayerRef

Vectors = dict[LayerRef, np.ndarray]
Npz = Callable[..., Path]
NAMED = ["a", "b", "c", "d"]


def _rows(ids: list[str] | None = None, **changes: np.ndarray) -> dict[str, np.ndarray]:
    arrays = {"text-0-cls": np.arange(8, dtype=np.float32).reshape(4, 2), **changes}
    return arrays if ids is None else arrays | {"ids": np.array(ids)}


def test_without_ids_and_table_the_ids_are_row_numbers_and_that_is_said(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    run = store.add_run(_rows())
    assert run.sample_ids().tolist() == ["0", "1", "2", "3"]
    assert "row numbers" in caplog.text and "called cls" not in caplog.text


@pytest.mark.parametrize("form", ["npz", "compressed", "parquet"])
def test_rows_are_put_into_the_order_of_the_table_by_their_ids(
    form: str, store: Store, tmp_path: Path, vectors: Vectors, ids: list[str]
) -> None:
    shuffled = np.random.default_rng(0).permutation(len(ids))
    array = vectors[LayerRef("text", 0)]
    if form == "parquet":
        columns = {"id": np.array(ids)[shuffled], "text-0-cls": array[shuffled].tolist()}
        pq.write_table(pa.table(columns), tmp_path / "a.parquet")
        path = tmp_path / "a.parquet"
    else:
        save = np.savez if form == "npz" else np.savez_compressed
        path = tmp_path / "a.npz"
        stack = np.stack([array, 2 * array], axis=1)
        save(
            path,
            **{"text-0-cls": array[shuffled], "ids": np.array(ids)[shuffled]},
            vision=stack[shuffled],
        )
    run = store.add_run(path, samples=pd.DataFrame({"id": ids}))
    assert run.sample_ids().tolist() == ids
    np.testing.assert_array_equal(run.vectors("text", 0), array)
    if form != "parquet":
        np.testing.assert_array_equal(run.vectors("vision", 1), 2 * array)


def test_ids_that_differ_are_refused_with_those_of_both_sides(store: Store) -> None:
    table = pd.DataFrame({"id": ["a", "b", "x", "y"]})
    with pytest.raises(
        InputError, match=r"2 only in the samples \('x', 'y'\), 2 only in the arrays \('c', 'd'\)"
    ):
        store.add_run(_rows(NAMED), samples=table)


def test_a_table_of_another_length_than_rows_without_ids_is_refused(store: Store) -> None:
    with pytest.raises(InputError, match="3 samples, the arrays have 4 rows and no ids"):
        store.add_run(_rows(), samples=pd.DataFrame({"id": ["a", "b", "c"]}))


@pytest.mark.parametrize("where", ["arrays", "table"])
def test_an_id_that_occurs_twice_is_refused_and_named(where: str, store: Store) -> None:
    twice = ["a", "b", "b", "c"]
    arrays = _rows(twice if where == "arrays" else None)
    table = pd.DataFrame({"id": twice}) if where == "table" else None
    with pytest.raises(InputError, match="1 id occurs more than once: 'b'"):
        store.add_run(arrays, samples=table)


def _folder(tmp_path: Path, ending: str) -> Path:
    """A table of four samples with labels of three kinds and an image each, in a folder."""
    folder = tmp_path / "memes"
    (folder / "img").mkdir(parents=True)
    rows = []
    for at, name in enumerate(NAMED):
        Image.new("RGB", (200, 100), (50 * at, 0, 0)).save(folder / "img" / f"{name}.png")
        rows.append(
            {
                "id": name,
                "text": f"text {name}",
                "split": "test",
                "image": f"img/{name}.png",
                "label": at % 2,
                "label_object": ["cat", "dog", "cow", None][at],
                "label_topics": [["food", "work"], ["food"], [], None][at],
            }
        )
    path = folder / f"samples.{ending}"
    if ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif ending == "csv":
        texts = [{**row, "label_topics": "|".join(row["label_topics"] or [])} for row in rows]
        pd.DataFrame(texts).to_csv(path, index=False)
    else:
        pd.DataFrame(rows).to_parquet(path)
    return path


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_table_gives_texts_splits_labels_and_thumbnails(
    ending: str, store: Store, tmp_path: Path
) -> None:
    run = store.add_run(_rows(), samples=_folder(tmp_path, ending))
    assert run.manifest.dataset.name == "memes" and run.manifest.dataset.split == "test"
    kinds = {task.name: task.kind for task in run.manifest.tasks}
    assert kinds["label"] == "binary" and kinds["object"] == "multiclass"
    rows = run.samples()
    assert rows["text"].tolist() == [f"text {name}" for name in NAMED]
    assert rows["label_label"].tolist() == [0, 1, 0, 1]
    assert rows["label_object"].tolist()[:3] == ["cat", "dog", "cow"]
    assert rows["label_object"].isna().tolist()[3]
    assert list(rows["label_topics"][0]) == ["food", "work"]
    image = Image.open(io.BytesIO(run.sample("c")["thumbnail"]))
    assert image.format == "WEBP" and image.size == (96, 48)


@pytest.mark.parametrize("image", ["../secret.png", "/etc/hostname", "link.png", "gone.png"])
def test_an_image_outside_the_tables_folder_or_missing_is_refused(
    image: str, store: Store, tmp_path: Path
) -> None:
    path = _folder(tmp_path, "jsonl")
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    (path.parent / "link.png").symlink_to(tmp_path / "secret.png")
    path.write_text(path.read_text().replace("img/b.png", image))
    with pytest.raises(InputError, match=r"samples\.jsonl row 2.*(leaves|missing)"):
        store.add_run(_rows(), samples=path)
    assert not list(store.path.rglob("*"))


def test_an_image_that_cannot_be_decoded_costs_its_thumbnail_and_is_said(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = _folder(tmp_path, "csv")
    (path.parent / "img" / "b.png").write_bytes(b"no image")
    run = store.add_run(_rows(), samples=path)
    assert run.sample("b")["thumbnail"] is None and run.sample("c")["thumbnail"]
    assert "no thumbnail: samples.csv row 3" in caplog.text


def test_samples_like_those_of_a_captured_run_have_its_fingerprint(
    store: Store, tmp_path: Path
) -> None:
    """So that pages know both runs to be of the same samples."""
    from backend.data.folder import Folder

    path = _folder(tmp_path, "csv")
    run = store.add_run(_rows(), samples=path)
    path.rename(path.with_name("captions.csv"))
    assert run.manifest.dataset.fingerprint == Folder(path.parent).fingerprint("test")


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"text": ["t"] * 4}, "no column 'id' or 'sample_id'.*'text'"),
        ({"id": NAMED, "label": ["a", 1.5, "b", "c"]}, "neither text nor a whole number"),
        ({"id": ["a", "b", None, "d"]}, "row 2.*no id"),
        ({"id": NAMED, "image": ["x.png"] * 4}, "Give `images`"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_line(
    table: dict[str, list[object]], problem: str, store: Store
) -> None:
    with pytest.raises(InputError, match=problem):
        store.add_run(_rows(), samples=pd.DataFrame(table))


def test_scores_come_with_the_run_and_need_their_columns(store: Store) -> None:
    scores = pd.DataFrame(
        [("irony", "auroc", "test", 0.75)], columns=["task", "metric", "split", "value"]
    )
    run = store.add_run(_rows(), scores=scores, run_id="a")
    assert run.scores()["value"].tolist() == [0.75]
    with pytest.raises(InputError, match="no column 'value'"):
        store.add_run(_rows(), scores=scores.drop(columns="value"), run_id="b")


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_table_says_which_samples_belong_together(
    ending: str, store: Store, tmp_path: Path
) -> None:
    path = _folder(tmp_path, "jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    frame = pd.DataFrame([row | {"group": g} for row, g in zip(rows, "xx y", strict=True)])
    frame = frame.drop(columns=["label_topics"])
    path = path.with_suffix(f".{ending}")
    if ending == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    elif ending == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path)
    run = store.add_run(_rows(), samples=path)
    assert run.groups().tolist() == ["x", "x", "c", "y"]
    assert run.grouping().holes == ("c",)
    images = [Image.open(path.parent / "img" / f"{name}.png") for name in NAMED]
    digests = [image_digest([image.convert("RGB")]) for image in images]
    assert run.samples(["image_digest"])["image_digest"].tolist() == digests


def test_images_that_are_the_same_are_found_in_an_import(store: Store, tmp_path: Path) -> None:
    path = _folder(tmp_path, "csv")
    path.write_text(path.read_text().replace("img/d.png", "img/a.png"))
    assert store.add_run(_rows(), samples=path).groups().tolist() == ["a", "b", "c", "a"]


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("group", 1.5, "group is neither text nor a whole number"),
        ("image_digest", "../x", "image_digest is not 16 hex digits"),
        ("image_digest", 7, "image_digest is not 16 hex digits"),
    ],
)
def test_a_group_or_a_digest_that_is_none_is_refused(
    column: str, value: object, problem: str, store: Store
) -> None:
    table = pd.DataFrame({"id": NAMED, column: [value] * 4})
    with pytest.raises(InputError, match=problem):
        store.add_run(_rows(), samples=table)
