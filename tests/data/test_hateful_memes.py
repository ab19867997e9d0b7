from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from backend.data import UnreadableFile, check, open_source
from backend.errors import InputError


def meme(number: int | str, **changes: object) -> dict[str, object]:
    return {"id": number, "img": "img/00001.png", "label": 0, "text": "hello", **changes}


def reasons(source) -> list[str]:
    return [problem.reason for problem in source.report.problems]


@pytest.fixture
def bad(memes: Path, jsonl):
    """Records and source after train.jsonl got other rows."""

    def read(*rows: object, **options):
        jsonl(memes / "train.jsonl", rows)
        source = open_source(f"hateful_memes:{memes}", **options)
        return list(source.records("train")), source

    return read


def test_reads_ids_texts_labels_and_images(memes: Path):
    source = open_source(f"hateful_memes:{memes}")
    first, *_ = pairs = list(source.pairs("train"))
    assert (source.layout, source.name, source.strict) == ("hateful_memes", "hm", False)
    assert len(pairs) == 6 and source.report.count == 0
    assert (first.record.sample_id, first.record.text) == ("1", "meme number 1")
    assert first.record.labels == {"hateful": 1}
    assert first.record.source == "train.jsonl row 1" and first.record.split == "train"
    (image,) = first.sample.images
    assert (image.mode, image.size) == ("RGB", (8, 6)) and first.sample.text == "meme number 1"
    task = source.tasks["hateful"]
    assert (task.kind, task.classes) == ("binary", ("not hateful", "hateful"))


def test_splits_are_those_whose_files_are_there_and_aliases_prefer_seen(memes: Path):
    source = open_source(f"hateful_memes:{memes}")
    assert source.splits() == ("train", "dev_seen", "test_seen")
    assert [source.canonical(s) for s in ("train", "dev", "val", "test", "dev_seen")] == [
        "train",
        "dev_seen",
        "dev_seen",
        "test_seen",
        "dev_seen",
    ]


def test_dev_means_dev_unseen_only_where_there_is_no_dev_seen(memes: Path):
    (memes / "dev_seen.jsonl").rename(memes / "dev_unseen.jsonl")
    assert open_source(f"hateful_memes:{memes}").canonical("dev") == "dev_unseen"


@pytest.mark.parametrize("split", ["dev_unseen", "nonsense", "", "../train"])
def test_an_unknown_split_names_those_that_exist_at_once(memes: Path, split):
    source = open_source(f"hateful_memes:{memes}")
    for call in (source.records, source.pairs):
        with pytest.raises(InputError, match="There are: train, dev_seen, test_seen"):
            call(split)


def test_challenge_files_without_labels_give_records_without_the_task(memes: Path):
    assert [r.labels for r in open_source(f"hateful_memes:{memes}").records("test")] == [{}] * 3


def test_zero_padded_ids_stay_as_they_are_and_whole_numbers_become_text(bad):
    records, source = bad(meme("01235"), meme(1235))
    assert [record.sample_id for record in records] == ["01235", "1235"]
    assert source.report.count == 0


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"img": "img/none.png"}, "missing image: img/none.png"),
        ({"img": "img"}, "image is not a file: img"),
        ({"img": "../../etc/passwd"}, "image path leaves the dataset's folder: ../../etc/passwd"),
        ({"img": "img/../../x.png"}, "image path leaves the dataset's folder: img/../../x.png"),
        ({"img": "..\\x.png"}, "image path leaves the dataset's folder: ..\\x.png"),
        ({"img": "/etc/passwd"}, "image path leaves the dataset's folder: /etc/passwd"),
        ({"img": "C:\\x.png"}, "image path leaves the dataset's folder: C:\\x.png"),
        ({"img": None}, "no image path"),
        ({"img": 3}, "image path is not text: 3"),
        ({"img": "a\0.png"}, "NUL character in image path"),
        ({"img": "x" * 300}, f"image path cannot be used: {'x' * 80}: File name too long"),
        ({"text": ""}, "no text"),
        ({"text": "  "}, "no text"),
        ({"text": "a\0b"}, "NUL character in text"),
        ({"text": []}, "no text"),
        ({"text": {"raw": "a"}}, "text is not text: {'raw': 'a'}"),
        ({"id": ""}, "no id"),
        ({"id": None}, "no id"),
        ({"id": 1.5}, "id is neither text nor a whole number: 1.5"),
        ({"label": 2}, "label is neither 0 nor 1: 2"),
        ({"label": "yes"}, "label is neither 0 nor 1: yes"),
        ({"label": [1]}, "label is neither 0 nor 1: [1]"),
    ],
)
def test_a_bad_row_is_reported_with_file_row_and_reason_and_skipped(bad, row, reason):
    records, source = bad(meme(7), meme(8) | row, meme(9))
    assert [record.sample_id for record in records] == ["7", "9"]
    (problem,) = source.report.problems
    assert (problem.file, problem.row, problem.reason) == ("train.jsonl", 2, reason)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"id": 8, "img"\n', "broken JSON"),
        (b'{"id": 8, "img": "img/00001.png", "text": "caf\xe9"}\n', "text is not UTF-8"),
        ('{"id": 8, "img": "img/00001.png", "text": "\\ud800"}\n', "text is not Unicode"),
        ("[]\n", "not a JSON object"),
    ],
)
def test_a_broken_line_is_reported_and_skipped(bad, line, reason):
    records, source = bad(meme(7), line, meme(9))
    assert [record.sample_id for record in records] == ["7", "9"]
    assert source.report.problems[0].row == 2 and reasons(source)[0].startswith(reason)


def test_of_rows_with_one_id_the_first_good_one_counts(bad):
    records, source = bad(meme(7, text=""), meme(7, text="first"), meme("7", text="second"))
    assert [record.text for record in records] == ["first"]
    assert reasons(source) == ["no text", "duplicate id"]


def test_a_link_that_leads_out_of_the_folder_is_not_followed(memes: Path, bad, draw, tmp_path):
    outside = draw(tmp_path / "outside" / "secret.png")
    (memes / "img" / "link.png").symlink_to(outside)
    (memes / "door").symlink_to(outside.parent)
    (memes / "img" / "inner.png").symlink_to(memes / "img" / "00002.png")
    records, source = bad(
        meme(7, img="img/link.png"), meme(8, img="door/secret.png"), meme(9, img="img/inner.png")
    )
    assert [record.sample_id for record in records] == ["9"]
    assert all("leaves the dataset's folder" in reason for reason in reasons(source))


def test_an_empty_file_is_a_problem_of_the_file(bad):
    records, source = bad()
    assert records == [] and [str(p) for p in source.report.problems] == ["train.jsonl: empty file"]


def test_strict_stops_at_the_first_problem_naming_file_row_and_reason(bad):
    with pytest.raises(InputError, match=r"^train\.jsonl row 2 \(id 8\): no text$"):
        bad(meme(7), meme(8, text=""), strict=True)


def test_a_missing_split_file_is_said_and_stops_nobody(memes: Path):
    (memes / "train.jsonl").unlink()
    source = open_source(f"hateful_memes:{memes}", strict=True)
    assert source.report.notes == ["missing split file train.jsonl: no split 'train'"]
    assert len(list(source.records("dev"))) == 2


def test_an_unreadable_image_is_reported_and_made_up_for_by_the_next(memes: Path):
    (memes / "img/00002.png").write_bytes(b"not an image")
    source = open_source(f"hateful_memes:{memes}")
    assert [p.record.sample_id for p in source.pairs("train", limit=3)] == ["1", "3", "4"]
    (problem,) = source.report.problems
    assert (problem.file, problem.row, problem.sample_id) == ("train.jsonl", 2, "2")
    assert problem.reason.startswith("unreadable image: img/00002.png: not a JPEG")


def test_image_raises_unreadable_image_naming_row_and_file(memes: Path):
    (memes / "img/00001.png").write_bytes(b"")
    source = open_source(f"hateful_memes:{memes}")
    with pytest.raises(UnreadableFile, match=r"train\.jsonl row 1: .*img/00001\.png"):
        source.image(next(source.records("train")))


def test_strict_pairs_stop_at_an_unreadable_image(memes: Path):
    (memes / "img/00002.png").write_bytes(b"")
    source = open_source(f"hateful_memes:{memes}", strict=True)
    with pytest.raises(InputError, match=r"train\.jsonl row 2 \(id 2\): unreadable image"):
        list(source.pairs("train"))


def test_limit_counts_good_records_and_takes_every_class_in_its_share(bad):
    labelled = [meme(9, label=1), meme(8, text=""), meme(7, label=1), meme(6), meme(5)]
    _, source = bad(*labelled)
    assert [record.sample_id for record in source.records("train", limit=2)] == ["9", "6"]
    (note,) = source.report.notes
    assert note == "a limit takes every class of hateful in its share, not the head of the file"
    assert list(source.records("train", limit=0)) == []
    with pytest.raises(InputError, match="limit of -1"):
        source.records("train", limit=-1)


def test_reading_a_split_again_counts_its_problems_once(memes: Path, bad):
    (memes / "img/00002.png").write_bytes(b"")
    _, source = bad(meme(7), meme(8, text=""), "{\n", meme(9, img="img/00002.png"))
    for _ in range(3):
        source.fingerprint("train")
        list(source.pairs("train"))
    assert source.report.count == 3
    assert source.report.by_reason.total() == 3


def test_the_fingerprint_follows_ids_texts_labels_and_order_only(bad, memes: Path, draw):
    def of(*rows: object) -> str:
        return bad(*rows)[1].fingerprint("train")

    a, b = meme(7), meme(8)
    known = of(a, b)
    assert len(known) == 16 and of(a, b) == known
    draw(memes / "img/00001.png", colour=(0, 255, 0))
    assert of(a, b) == known
    changed = [of(b, a), of(a), of(a, b | {"text": "x"}), of(a, b | {"label": 1})]
    assert len({known, *changed}) == 5
    assert bad(a, b)[1].fingerprint("train", limit=1) == of(a)


def test_check_counts_the_good_and_names_the_bad(memes: Path):
    (memes / "img/00002.png").write_bytes(b"")
    source = open_source(f"hateful_memes:{memes}")
    assert check(source, "train", decode=False).good == {"train": 6}
    assert check(source, "dev").good == {"train": 6, "dev_seen": 2}
    report = check(source, "train")
    assert report is source.report and report.good["train"] == 5 and report.count == 1
    assert report.summary().startswith("train: 5 good\ndev_seen: 2 good\n1 problem in hm")


def test_ten_records_of_many_are_not_all_of_them_in_memory(memes: Path):
    with (memes / "train.jsonl").open("w") as out:
        out.writelines(json.dumps(meme(n, text="x" * 5000)) + "\n" for n in range(2_000))
    source = open_source(f"hateful_memes:{memes}")
    tracemalloc.start()
    assert len(list(source.records("train", limit=10))) == 10
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000  # a block of 256 records; the file has 10 MB


def test_a_folder_with_nothing_of_the_layout_says_what_it_expects(tmp_path: Path):
    with pytest.raises(InputError, match=r"nothing here in the layout hateful_memes.*train\.jsonl"):
        open_source(f"hateful_memes:{tmp_path}")
