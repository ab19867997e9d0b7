"""The loaders on the real files, where they are at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.data import open_source

EXPECTED = [
    ("hateful_memes", "memotion_hm_layout", {"train": 5010, "dev_seen": 500, "test_seen": 1000}),
    ("mmimdb", "mmimdb_mini", {"train": 1198, "dev": 171, "test": 343}),
    ("food101", "food10_upmc_layout", {"train": 3345, "dev": 405, "test": 1250}),
    ("nlvr", "nlvr", {"train": 1548, "dev": 430, "test": 1980}),
]


@pytest.mark.parametrize(("layout", "folder", "counts"), EXPECTED)
def test_every_row_of_every_split_is_read(shared_dir: Path, layout, folder, counts):
    source = open_source(f"{layout}:{shared_dir / 'data' / folder}", strict=True)
    assert source.splits() == tuple(counts)
    for split, count in counts.items():
        records = list(source.records(split))
        assert len(records) == count
        assert all(set(record.labels) == set(source.tasks) for record in records)
        for pair in source.pairs(split, limit=4):
            (image,) = pair.sample.images
            assert image.mode == "RGB" and min(image.size) >= 16
    assert len({source.fingerprint(split, 200) for split in counts}) == len(counts)


def test_food_train_and_dev_are_the_file_between_them(shared_dir: Path):
    source = open_source(f"food101:{shared_dir / 'data' / 'food10_upmc_layout'}")
    train, dev = ({r.sample_id for r in source.records(s)} for s in ("train", "dev"))
    assert len(train | dev) == 3750 and not train & dev
    assert len(source.tasks["dish"].classes) == 10


def test_every_class_of_the_posters_is_in_use(shared_dir: Path):
    source = open_source(f"mmimdb:{shared_dir / 'data' / 'mmimdb_mini'}")
    used = {genre for record in source.records("train") for genre in record.labels["genres"]}
    assert used == set(range(23))
