"""Folders, layouts and pictures as people have them: read rightly, or refused with what to do."""

from __future__ import annotations

import csv
import io
import json
import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet
from scipy.sparse.csgraph import connected_components

from backend.data import check_all, open_source
from backend.data.base import PairSource
from backend.data.images import (
    KEPT_PIXELS,
    DecodeError,
    decode,
    decode_with_remarks,
    is_thumbnail,
    thumbnail,
    webp_size,
)
from backend.data.looks import TOLERANCE, look_of, looks_alike
from backend.data.spread import spread_order
from backend.data.texts import cut_in_words
from backend.errors import InputError

Make = Callable[..., Path]


@pytest.fixture
def captions(tmp_path: Path) -> Make:
    """A folder with one CSV of captions; rows are (id, image, text) or dicts."""

    def make(*rows: object, root: Path | None = None) -> Path:
        root = root or tmp_path / "set"
        root.mkdir(parents=True, exist_ok=True)
        whole = [
            row if isinstance(row, dict) else dict(zip(("id", "image", "text"), row, strict=True))
            for row in rows
        ]
        columns = list(dict.fromkeys(key for row in whole for key in row))
        with (root / "captions.csv").open("w", newline="", encoding="utf-8") as out:
            table = csv.DictWriter(out, columns)
            table.writeheader()
            table.writerows(whole)
        return root

    return make


def ids(source: PairSource, split: str = "all") -> list[str]:
    return [record.sample_id for record in source.records(split)]


def said(source: PairSource, *words: str) -> bool:
    return any(all(word in note for word in words) for note in source.report.notes)


# Paths: the file that lies there, the name that the table has.
SPELLED = [
    ("img/1.png", "img\\1.png"),
    ("a/b/1.png", "a\\b/1.png"),
    ("img/1.png", ".\\img\\1.png"),
    ("img/1.png", "img/1.PNG"),
    ("img/1.PNG", "img/1.png"),
    ("IMG/1.png", "img/1.png"),
    ("img/Cat.png", "img/cat.png"),
    ("img/caf\u00e9.png", "img/cafe\u0301.png"),
    ("img/cafe\u0301.png", "img/caf\u00e9.png"),
    ("img/\u00c9t\u00e9.png", normalize("NFD", "img/\u00e9t\u00e9.png")),
    ("img/stra\u00dfe.png", "img/STRASSE.png"),
    ("img/a b.png", "img/a%20b.png"),
    ("img/caf\u00e9.png", "img/caf%C3%A9.png"),
    ("img/100%.png", "img/100%25.png"),
    ("img/a b.png", "img%2Fa%20b.png"),
    ("img/1.png", "img/1"),
    ("img/1.jpg", "img/1"),
    ("img/v1.2.png", "img/v1.2"),
    ("img/1.jpeg", "img/1.jpg"),
    ("img/1.jpg", "img/1.jpeg"),
    ("img/1.JPG", "img/1.jpeg"),
    ("img/1.png", " img/1.png "),
    ("Img/A B.JPEG", "img\\a%20b.jpg"),
    ("img/1.png", "{root}/img/1.png"),
    ("img/1.png", "{link}/img/1.png"),
]


@pytest.mark.parametrize(("lies", "written"), SPELLED)
def test_a_file_under_another_spelling_is_found_where_one_fits_and_it_is_said(
    captions, draw, tmp_path, lies, written
):
    (tmp_path / "link").symlink_to(tmp_path / "set")
    name = written.format(root=tmp_path / "set", link=tmp_path / "link")
    draw(tmp_path / "set" / lies)
    source = open_source(f"folder:{captions((1, name, 'x'))}")
    (record,) = source.records("all")
    assert record.image == tmp_path / "set" / lies
    assert said(source, "1 file is found under another spelling", repr(lies)[1:-1])
    assert source.report.count == 0


NOT_FOUND = [
    (["img/a.png", "img/A.PNG"], "img/a.Png", "image is not clear: img/a.Png: "),
    (["img/1.png", "img/1.jpg"], "img/1", "image is not clear: img/1: "),
    (["img/1.png"], "img/2.png", "missing image: img/2.png"),
    (["img/1.json"], "img/1", "missing image: img/1"),
    (["img/1.jpg"], "img/1.png", "missing image: img/1.png (there is img/1.jpg)"),
    (["img/1.png"], "1.png", "missing image: 1.png (there is img/1.png)"),
    (["a/1.png", "b/1.png"], "1.png", "missing image: 1.png"),
    (["img/1.png"], "..\\set\\img\\1.png", "image path leaves the dataset's folder"),
    (["img/1.png"], "%2e%2e/set/img/1.png", "missing image"),
    (["img/1.png"], "C:\\data\\set\\img\\1.png", "image path leaves the dataset's folder"),
    (
        ["img/1.png"],
        "/else/1.png",
        "image path leaves the dataset's folder: /else/1.png (there is ",
    ),
    (["img/1.png"], "{root}/../set/img/1.png", "image path leaves the dataset's folder"),
    (["img/1.png"], "img%00", "missing image"),
    (["img/1.png"], "https://host/2.png", "missing image: https://host/2.png: a web address"),
]


@pytest.mark.parametrize(("lie", "written", "reason"), NOT_FOUND)
def test_a_name_that_no_file_or_several_fit_is_refused(
    captions, draw, tmp_path, lie, written, reason
):
    for name in lie:
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(tmp_path / "drawn.png").rename(path)
    root = captions((1, written.format(root=tmp_path / "set"), "x"))
    source = open_source(f"folder:{root}")
    assert ids(source) == [] and source.report.problems[0].reason.startswith(reason)


def test_the_very_name_wins_over_other_spellings_and_nothing_is_said(captions, draw, tmp_path):
    for name in ("img/a.png", "img/A.png"):
        draw(tmp_path / "set" / name)
    source = open_source(f"folder:{captions((1, 'img/A.png', 'x'))}")
    assert [r.image.name for r in source.records("all")] == ["A.png"]
    assert not said(source, "spelling")


def test_files_under_other_spellings_are_counted_once_however_often_they_are_read(
    captions, draw, tmp_path
):
    for number in (1, 2):
        draw(tmp_path / "set" / f"{number}.png")
    source = open_source(f"folder:{captions((1, '1.PNG', 'x'), (2, '2.PNG', 'y'))}")
    assert ids(source) == ids(source) == ["1", "2"]
    assert [note for note in source.report.notes if "spelling" in note] == [
        "2 files are found under another spelling, such as '1.PNG' as '1.png'"
    ]


@pytest.mark.parametrize("linked", ["file", "folder", "relative"])
def test_a_link_out_of_the_folder_is_followed_only_where_that_is_said(
    captions, draw, tmp_path, linked
):
    draw(tmp_path / "scratch" / "1.png")
    root = captions((1, "img/1.png", "x"))
    if linked == "file":
        (root / "img").mkdir()
        (root / "img/1.png").symlink_to(tmp_path / "scratch/1.png")
    else:
        target = tmp_path / "scratch" if linked == "folder" else Path("../scratch")
        (root / "img").symlink_to(target)
    refused = open_source(f"folder:{root}")
    assert ids(refused) == []
    assert "--follow-links allows" in refused.report.problems[0].reason
    assert ids(open_source(f"folder:{root}", follow_links=True)) == ["1"]


def test_following_links_opens_no_other_way_out(captions, draw, tmp_path):
    draw(tmp_path / "scratch" / "1.png")
    root = captions((1, str(tmp_path / "scratch/1.png"), "x"), (2, "../scratch/1.png", "y"))
    source = open_source(f"folder:{root}", follow_links=True)
    assert ids(source) == [] and source.report.by_reason.total() == 2


# Layouts: one or two folders deeper, and other names for the parts.
@pytest.mark.parametrize("layout", ["memes", "films", "food", "scenes"])
@pytest.mark.parametrize("inner", ["data", "archive/data"])
def test_a_layout_that_lies_deeper_is_read_there_and_it_is_said(request, tmp_path, layout, inner):
    made = request.getfixturevalue(layout)
    outer = tmp_path / "download"
    (outer / inner).parent.mkdir(parents=True)
    (outer / "__MACOSX" / "set").mkdir(parents=True)
    made.rename(outer / inner)
    names = {"memes": "hateful_memes", "films": "mmimdb", "food": "food101", "scenes": "nlvr"}
    source = open_source(f"{names[layout]}:{outer}")
    assert ids(source, "test") and source.name == "download"
    assert said(source, "lies deeper", inner)


def test_two_folders_with_a_layout_are_named(captions, tmp_path):
    for name in ("a", "b"):
        captions((1, "1.png", "x"), root=tmp_path / "outer" / name)
    with pytest.raises(InputError, match=r"2 folders here have the layout folder: a, b.*outer/a"):
        open_source(f"folder:{tmp_path / 'outer'}")


def test_a_layout_behind_a_link_is_not_looked_for(captions, tmp_path):
    real = captions((1, "1.png", "x"), root=tmp_path / "real")
    (tmp_path / "outer").mkdir()
    (tmp_path / "outer/in").symlink_to(real)
    with pytest.raises(InputError, match="nothing here in the layout folder"):
        open_source(f"folder:{tmp_path / 'outer'}")


@pytest.mark.parametrize(
    ("file", "split"),
    [
        ("Train.jsonl", "train"),
        ("val.jsonl", "dev"),
        ("valid.JSONL", "dev"),
        ("validation.jsonl", "dev"),
        ("Test.jsonl", "test"),
        ("dev.jsonl", "dev"),
    ],
)
def test_memes_whose_splits_have_other_names(memes: Path, file, split):
    for old in memes.glob("*.jsonl"):
        if old.name != "train.jsonl":
            old.unlink()
    (memes / "train.jsonl").rename(memes / file)
    source = open_source(f"hateful_memes:{memes}")
    assert source.splits() == (split,) and len(ids(source, split)) == 6


def test_foods_titles_in_a_folder_texts(food: Path):
    (food / "texts").mkdir()
    for name in ("train_titles.csv", "test_titles.csv"):
        (food / name).rename(food / "texts" / name)
    source = open_source(f"food101:{food}")
    assert source.splits() == ("train", "dev", "test") and len(ids(source, "test")) == 4


def test_films_with_whole_numbers_as_ids_jpg_posters_and_other_split_names(films: Path):
    index = {"Train": [1, 2, 3], "val": [4], "TEST": [5]}
    (films / "split.json").write_text(json.dumps(index))
    for poster in list((films / "dataset").glob("*.jpeg")):
        poster.rename(poster.with_suffix(".jpg"))
    source = open_source(f"mmimdb:{films}")
    assert source.splits() == ("train", "dev", "test")
    assert ids(source, "train") == ["0000001", "0000002", "0000003"]
    assert said(source, "padded to 7 digits") and source.report.count == 0


def test_films_as_hdf5_are_refused_with_the_form_to_take(films: Path):
    (films / "split.json").unlink()
    (films / "multimodal_imdb.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(InputError, match=r"numbers of words.*mmimdb\.tar\.gz"):
        open_source(f"mmimdb:{films}")


@pytest.mark.parametrize("form", ["hidden.json", "hidden/hidden.json"])
def test_scenes_have_a_hidden_split(tmp_path: Path, draw, jsonl, form):
    row = {"sentence": "A tower.", "identifier": "5-1", "directory": "2"}
    jsonl(tmp_path / form, [row | {"label": "true"}])
    folder = "hidden/images/2" if "/" in form else "hidden"
    draw(tmp_path / folder / "hidden-5-1-0.png")
    source = open_source(f"nlvr:{tmp_path}")
    assert source.splits() == ("hidden",) and ids(source, "hidden") == ["5-1-0"]


def test_scenes_that_share_a_sentence_are_one_group_transitively(tmp_path: Path, draw, jsonl):
    sentences = {1: ["a", "b"], 2: ["B "], 3: ["c"], 4: ["b"], 5: ["d"], 7: ["c", "d"]}
    rows = [
        {"sentence": s, "label": "true", "identifier": f"{n}-{m}"}
        for n, own in sentences.items()
        for m, s in enumerate(own)
    ]
    jsonl(tmp_path / "dev.json", rows)
    for row in rows:
        draw(tmp_path / "dev" / f"dev-{row['identifier']}-0.png")
    source = open_source(f"nlvr:{tmp_path}")
    groups = {r.sample_id[0]: r.group for s in source.splits() for r in source.records(s)}
    assert groups == {"1": "1", "2": "1", "4": "1", "3": "3", "5": "3", "7": "3"}


# Several texts an image.
def table_with_lists(root: Path, rows: list[dict[str, object]], kind: str) -> Path:
    root.mkdir(exist_ok=True)
    if kind == "parquet":
        parquet.write_table(pa.Table.from_pylist(rows), root / "captions.parquet")
    else:
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (root / "captions.jsonl").write_text(lines)
    return root


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_list_of_captions_is_that_many_samples_of_one_group(tmp_path, draw, kind):
    rows = [{"id": n, "image": f"{n}.png", "text": [f"{n} a", f"{n} b", f"{n} c"]} for n in (1, 2)]
    root = table_with_lists(tmp_path / "set", rows, kind)
    for n in (1, 2):
        draw(root / f"{n}.png")
    source = open_source(f"folder:{root}")
    records = list(source.records("all"))
    assert [r.sample_id for r in records] == ["1#0", "1#1", "1#2", "2#0", "2#1", "2#2"]
    assert [r.group for r in records] == ["1"] * 3 + ["2"] * 3
    assert [r.text for r in records][:2] == ["1 a", "1 b"]
    assert len({r.split for r in records if r.group == "1"}) == 1


@pytest.mark.parametrize(
    ("row", "good", "reason"),
    [
        ({"text": []}, [], "no text"),
        ({"text": ["a", ""]}, ["1#0"], "no text"),
        ({"text": ["a", None]}, ["1#0"], "no text"),
        ({"text": ["a", ["b"]]}, ["1#0"], "text is not text: ['b']"),
        ({"text": ["a"], "id": None}, [], "no id"),
        ({"text": ["a"], "group": [1]}, [], "group is neither text nor a whole number: [1]"),
        ({"text": ["a", "b"], "group": "g"}, ["1#0", "1#1"], ""),
    ],
)
def test_a_list_of_captions_with_something_wrong(tmp_path, draw, row, good, reason):
    root = table_with_lists(tmp_path / "set", [{"id": 1, "image": "1.png"} | row], "jsonl")
    draw(root / "1.png")
    source = open_source(f"folder:{root}")
    records = list(source.records("all"))
    assert [r.sample_id for r in records] == good
    assert [p.reason for p in source.report.problems] == ([reason] if reason else [])
    assert {r.group for r in records} <= {"1", "g"}


# What belongs together is never parted.
def splits_by(source: PairSource, key: Callable[[object], object]) -> dict[object, set[str]]:
    where: dict[object, set[str]] = {}
    for split in source.splits():
        for record in source.records(split):
            where.setdefault(key(record), set()).add(split)
    return where


@pytest.mark.parametrize("how", ["same file", "same bytes", "same text", "group"])
def test_an_automatic_split_parts_no_image_no_text_and_no_group(captions, draw, tmp_path, how):
    rows = []
    for photo in range(80):
        for copy in range(4):
            own = f"{photo}-{copy}"
            name = f"{photo}.png" if how == "same file" else f"{own}.png"
            colour = (photo, 7, 9) if how != "same text" else (photo, copy, 3)
            if how == "group":
                colour = (photo, copy, 5)
            draw(tmp_path / "set" / name, colour=colour)
            text = f"a photo {own}"
            if how == "same text":
                text = f"A  Photo {photo}" if copy % 2 else f"a photo {photo}"
            row = {"id": own, "image": name, "text": text}
            rows.append(row | ({"group": f"g{photo}"} if how == "group" else {}))
    source = open_source(f"folder:{captions(*rows)}")

    def key(record):
        return record.sample_id.split("-")[0]

    where = splits_by(source, key)
    assert all(len(splits) == 1 for splits in where.values())
    sizes = {split: len(ids(source, split)) for split in source.splits()}
    assert sum(sizes.values()) == 320 and 4 <= sizes["test"] <= 80 and sizes["dev"] >= 4
    if how != "group":
        assert said(source, "never parted")
    for record in source.records("all"):
        assert record.split in where[key(record)]


def test_the_division_depends_on_no_order(captions, draw, tmp_path):
    rows = [(n, f"{n // 3}.png", f"text {n}") for n in range(90)]
    for n in range(30):
        draw(tmp_path / "set" / f"{n}.png", colour=(n, 1, 1))
    one = {s: set(ids(open_source(f"folder:{captions(*rows)}"), s)) for s in ("train", "test")}
    two = {s: set(ids(open_source(f"folder:{captions(*rows[::-1])}"), s)) for s in one}
    assert one == two


def test_a_text_of_many_samples_is_a_label_and_joins_nothing(captions, draw, tmp_path):
    rows = [(n, f"{n}.png", f"a photo of a {('cat', 'dog')[n % 2]}") for n in range(200)]
    for n in range(200):
        draw(tmp_path / "set" / f"{n}.png", colour=(n, 1, 1))
    source = open_source(f"folder:{captions(*rows)}")
    assert all(len(s) == 3 for s in splits_by(source, lambda r: r.text).values())


@pytest.mark.parametrize("label", [None, 2, 4])
@pytest.mark.parametrize(
    ("count", "copies"), [(9, 3), (20, 3), (45, 5), (59, 10), (60, 6), (200, 20)]
)
def test_a_text_that_comes_again_is_never_parted_however_small_the_set(
    captions, draw, tmp_path, count, copies, label
):
    for n in range(count):
        draw(tmp_path / "set" / f"{n}.png", colour=(n, 1, 1))
    rows = [
        {"id": n, "image": f"{n}.png", "text": f"text {n % (count // copies)}"}
        for n in range(count)
    ]
    source = open_source(
        f"folder:{captions(*[r | ({'label': r['id'] % label} if label else {}) for r in rows])}"
    )
    assert all(len(s) == 1 for s in splits_by(source, lambda r: r.text).values())
    assert said(source, "share a text with another: these are never parted")


@pytest.mark.parametrize("classes", [2, 4, 10])
def test_a_text_that_only_names_the_class_joins_nothing_and_it_is_said(
    captions, draw, tmp_path, classes
):
    for n in range(150):
        draw(tmp_path / "set" / f"{n}.png", colour=(n, 1, 1))
    rows = [
        {"id": n, "image": f"{n}.png", "text": f"a {n % classes}", "label": n % classes}
        for n in range(150)
    ]
    source = open_source(f"folder:{captions(*rows)}")
    assert all(len(s) > 1 for s in splits_by(source, lambda r: r.text).values())
    assert said(source, "150 samples have a text that only names their class")


@pytest.mark.parametrize("what", ["group", "image", "text"])
def test_an_id_that_comes_again_moves_nothing(captions, draw, tmp_path, what):
    for n in range(60):
        draw(tmp_path / "set" / f"{n}.png", colour=(n, 1, 1))

    def row(n: int, same: int) -> dict[str, object]:
        own = {"id": n, "image": f"{n}.png", "text": f"text {n}"}
        return own | {what: f"{same}.png" if what == "image" else f"of {same}"}

    rows = [row(n, n // 3) for n in range(60)]
    alone = splits_by(open_source(f"folder:{captions(*rows)}"), lambda r: r.sample_id)
    again = open_source(f"folder:{captions(*rows, *[row(n, (n + 7) % 20) for n in range(60)])}")
    assert splits_by(again, lambda r: r.sample_id) == alone
    assert again.report.by_reason == {"duplicate id": 60}


def test_the_tenth_of_train_that_is_dev_parts_no_image(captions, draw, tmp_path):
    rows = [
        {"id": n, "image": f"{n // 4}.png", "text": f"t {n}", "split": "train"} for n in range(400)
    ]
    for n in range(100):
        draw(tmp_path / "set" / f"{n}.png", colour=(n, 1, 1))
    source = open_source(f"folder:{captions(*rows)}")
    where = splits_by(source, lambda r: r.image)
    assert all(len(s) == 1 for s in where.values()) and 8 <= len(ids(source, "dev")) <= 80


def test_foods_dev_shares_no_title_and_no_photo_with_train(food: Path, draw):
    rows = [(f"x{n}.jpg", f"title {n // 2}", "baklava") for n in range(200)]
    with (food / "train_titles.csv").open("a", newline="") as out:
        csv.writer(out).writerows(rows)
    for name, *_ in rows:
        draw(food / "images/train/baklava" / name)
    where = splits_by(open_source(f"food101:{food}"), lambda r: r.text)
    own = [splits for title, splits in where.items() if str(title).startswith("title")]
    assert len(own) == 100 and all(len(splits) == 1 for splits in own)


# What check says of repeats and of long texts.
def photo(seed: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    return rough.resize((320, 240), Image.Resampling.BICUBIC).resize(size, Image.Resampling.BOX)


@pytest.mark.parametrize(
    "copy",
    [
        lambda i: _saved(i, "JPEG", quality=75),
        lambda i: _saved(i, "WEBP", quality=80),
        lambda i: _saved(i, "PNG"),
        lambda i: i.resize((160, 120), Image.Resampling.BICUBIC),
        lambda i: i.convert("RGB"),
    ],
)
def test_a_picture_saved_again_looks_the_same_and_others_do_not(copy):
    own, other = photo(1, (320, 240)), photo(2, (320, 240))
    codes = looks_alike([look_of([own]), look_of([other]), None, look_of([copy(own)])])
    assert codes[0] == codes[3] != codes[1] and codes[2] == -1


@pytest.mark.parametrize("seed", range(8))
def test_pictures_are_alike_by_steps_as_all_pairs_say(seed):
    rng = np.random.default_rng(seed)
    n, cells = int(rng.integers(1, 90)), int(rng.integers(1, 5))
    looks = rng.uniform(0, rng.choice([10, 60, 300]), (n, cells)).astype(np.float32)
    near = np.abs(looks[:, None] - looks).max(-1) <= TOLERANCE
    expected = connected_components(near, directed=False)[1]
    pairs = set(zip(looks_alike(list(looks)).tolist(), expected.tolist(), strict=True))
    assert len(pairs) == len(set(expected.tolist())) == len({code for code, _ in pairs})


@pytest.mark.parametrize("spread", [3.0, 5.0])  # all of them alike, and each like most of them
def test_thousands_of_pictures_that_look_alike_take_no_memory_of_their_pairs(spread):
    rng = np.random.default_rng(0)
    looks = list((100 + rng.uniform(-spread, spread, (2_000, 40))).astype(np.float32))
    looks_alike(looks[:2])  # imports what it needs
    tracemalloc.start()
    codes = looks_alike(looks)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(codes.tolist())) == 1 and peak < 4 * 2**20  # of pairs 30 MiB


def test_pictures_of_other_shapes_and_with_other_words_do_not_look_the_same():
    plain = Image.new("RGB", (64, 48), (9, 9, 9))
    words = plain.copy()
    words.paste((255, 255, 255), (4, 36, 60, 46))
    looks = [look_of([i]) for i in (plain, words, Image.new("RGB", (48, 64), (9, 9, 9)))]
    assert len(set(looks_alike(looks).tolist())) == 3


def _saved(image: Image.Image, kind: str, **options: object) -> Image.Image:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return decode(io.BytesIO(out.getvalue()))


def test_check_names_a_picture_that_was_saved_again_and_a_text_in_other_case(captions, tmp_path):
    root = captions(
        {"id": 1, "image": "1.png", "text": "A cat", "split": "train"},
        {"id": 2, "image": "2.jpg", "text": "a  CAT", "split": "test"},
        {"id": 3, "image": "3.png", "text": "a dog", "split": "test"},
    )
    photo(1).save(root / "1.png")
    photo(1).save(root / "2.jpg", quality=85)
    photo(3).save(root / "3.png")
    source = open_source(f"folder:{root}")
    check_all(source)
    assert said(source, "1 image occurs in more than one split", "such as 1 (train) and 2 (test)")
    assert said(source, "1 text occurs in more than one split")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([3, 62], ""),
        ([3, 63], "at least 1 of 2 texts (50%) have more than 64 tokens"),
        ([700] * 4, "at least 4 of 4 texts (100%)"),
        ([], ""),
    ],
)
def test_texts_that_are_cut_are_counted_by_their_words(words, says):
    told = cut_in_words(words)
    assert told.startswith(says) and bool(told) == bool(says)


# A limit takes every class.
@pytest.mark.parametrize(
    ("classes", "first"),
    [
        ("aaaabbbb", "abab"),
        ("aaaaaabb", "aaba"),
        ("aabb", "abab"),
        ("abcabc", "abca"),
        ("aaaa", "aaaa"),
    ],
)
def test_the_first_samples_are_of_all_classes_in_their_shares(classes, first):
    codes = np.array([sorted(set(classes)).index(c) for c in classes])
    order = spread_order(codes)
    assert sorted(order.tolist()) == list(range(len(classes)))
    assert "".join(classes[row] for row in order[: len(first)]) == first


@pytest.mark.parametrize("of", ["label", "label_tags"])
def test_a_folder_that_is_sorted_by_class_gives_all_classes_under_a_limit(
    captions, draw, tmp_path, of
):
    values = ["cat", "dog", "eel"] if of == "label" else ["cat|x", "dog|y", "eel|x"]
    rows = [
        {"id": n, "image": f"{n}.png", "text": f"t{n}", "split": "test", of: values[n // 20]}
        for n in range(60)
    ]
    for n in range(60):
        draw(tmp_path / "set" / f"{n}.png")
    source = open_source(f"folder:{captions(*rows)}")
    for read in (source.records("test", 6), (p.record for p in source.pairs("test", 6))):
        assert sorted(int(r.sample_id) // 20 for r in read) == [0, 0, 1, 1, 2, 2]
    assert said(source, "a limit takes every class of")
    assert ids(source, "test")[:3] == ["0", "1", "2"]  # without one: the file's order


# Pictures.
def png(rows: list[bytes], width: int, bits: int, colour: int, key: tuple[int, ...]) -> io.BytesIO:
    """A PNG with a transparent value (chunk tRNS), of unfiltered rows."""

    def chunk(name: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + crc

    head = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    trns = struct.pack(f">{len(key)}H", *key)
    parts = [(b"IHDR", head), (b"tRNS", trns), (b"IDAT", body), (b"IEND", b"")]
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))


@pytest.mark.parametrize("colour", [0, 2])
@pytest.mark.parametrize("key", [5, 0, 255, 0x0505, 40000])
def test_of_sixteen_bits_only_the_very_value_is_transparent(colour, key):
    values = np.array([5, 0, 255, 0x0505, 40000, 0x05FF], dtype=">u2")
    pixels = np.repeat(values, 3 if colour == 2 else 1)
    stream = png([pixels.tobytes()] * 2, len(values), 16, colour, (key,) * (3 if colour else 1))
    decoded = decode_with_remarks(stream)
    shown = [decoded.image.getpixel((x, 1)) for x in range(len(values))]
    expected = [(255,) * 3 if v == key else (int(v) >> 8,) * 3 for v in values]
    assert shown == expected and decoded.transparent


@pytest.mark.parametrize(
    ("bits", "row", "values"),
    [(4, b"\x0f\x1a", (0, 15, 1, 10)), (2, b"\x1b", (0, 1, 2, 3)), (1, b"\x50", (0, 1, 0, 1))],
)
def test_of_few_bits_only_the_very_value_is_transparent(bits, row, values):
    for key in values:
        image = decode(png([row], 4, bits, 0, (key,)))
        top = (1 << bits) - 1
        expected = [255 if v == key else v * 255 // top for v in values]
        assert [image.getpixel((x, 0))[0] for x in range(4)] == expected


def webp_header(kind: bytes, width: int, height: int) -> bytes:
    """The first bytes of a WebP file that claims a size, and no more."""
    if kind == b"VP8X":
        inner = b"\x0a\0\0\0\0\0\0\0" + struct.pack("<I", width - 1)[:3]
        inner += struct.pack("<I", height - 1)[:3]
    elif kind == b"VP8L":
        packed = struct.pack("<I", (width - 1) | (height - 1) << 14)
        inner = b"\x0d\0\0\0\x2f" + packed + b"\x88\x88\x08"
    else:
        inner = b"\x0a\0\0\0\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", width, height)
    return b"RIFF" + struct.pack("<I", len(inner) + 8) + b"WEBP" + kind + inner + b"\0\0"


@pytest.mark.parametrize("kind", [b"VP8 ", b"VP8L", b"VP8X"])
def test_a_small_webp_that_claims_much_is_refused_by_its_header(kind):
    raw = webp_header(kind, 13_000, 13_000)
    assert webp_size(raw) == (13_000, 13_000)
    assert not is_thumbnail(raw)
    with pytest.raises(DecodeError, match="13000 x 13000 pixels"):
        decode(io.BytesIO(raw))


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_size_of_a_webp_is_read_from_its_header(mode, lossless):
    out = io.BytesIO()
    Image.new(mode, (300, 200), "red").save(out, "WEBP", lossless=lossless)
    assert webp_size(out.getvalue()) == (300, 200)


@pytest.mark.parametrize(
    ("data", "is_one"),
    [
        (thumbnail(Image.new("RGB", (640, 480))), True),
        (thumbnail(Image.new("RGB", (640, 480)), 1024), True),
        (webp_header(b"VP8X", 1025, 1), False),
        (webp_header(b"VP8 ", 0, 5), False),
        (thumbnail(Image.new("RGB", (8, 8))) + b"\0" * 2**18, False),
        (b"RIFF\0\0\0\0WEBPVP8 ", False),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, False),
        (b"", False),
    ],
)
def test_a_stored_thumbnail_is_known_by_its_header(data, is_one):
    assert is_thumbnail(data) is is_one


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_of_too_many_pixels_is_averaged_while_it_is_decoded(monkeypatch, kind):
    monkeypatch.setattr("backend.data.images.KEPT_PIXELS", 5_000)
    image = photo(4, (161, 119))
    out = io.BytesIO()
    image.save(out, kind, **({"lossless": True} if kind == "WEBP" else {}))
    decoded = decode_with_remarks(io.BytesIO(out.getvalue()))
    assert decoded.image.size == (81, 60)
    off = np.asarray(decoded.image, float) - np.asarray(image.reduce(2), float)
    assert np.abs(off[1:-1, 1:-1]).mean() < 2.5
    if kind == "PNG":
        assert decoded.image.tobytes() == image.reduce(2).tobytes()


def test_an_ordinary_photo_is_decoded_pixel_by_pixel():
    assert KEPT_PIXELS > 4000 * 3000
    image = photo(5, (400, 300))
    out = io.BytesIO()
    image.save(out, "PNG")
    assert decode(io.BytesIO(out.getvalue())).tobytes() == image.tobytes()


def test_the_boxes_of_regions_follow_a_picture_that_was_made_smaller(
    captions, tmp_path, monkeypatch
):
    monkeypatch.setattr("backend.data.images.KEPT_PIXELS", 1_000)
    row = {"id": 1, "image": "1.png", "text": "x", "regions": "r.npz"}
    root = captions(row)
    Image.new("RGB", (60, 40)).save(root / "1.png")
    np.savez(root / "r.npz", features=np.ones((1, 2)), boxes=[[10.0, 20.0, 30.0, 40.0]])
    (pair,) = open_source(f"folder:{root}").pairs("all")
    assert pair.sample.images[0].size == (30, 20)
    assert pair.sample.regions.boxes.tolist() == [[5.0, 10.0, 15.0, 20.0]]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_is_no_picture_and_waits_for_nobody(captions, tmp_path):
    root = captions((1, "1.png", "x"))
    os.mkfifo(root / "1.png")
    source = open_source(f"folder:{root}")
    assert ids(source) == [] and source.report.problems[0].reason == "image is not a file: 1.png"
