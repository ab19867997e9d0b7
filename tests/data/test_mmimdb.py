from __future__ import annotations

import json
from pathlib import Path

import pytest

from backend.data import open_source
from backend.data.mmimdb import GENRES
from backend.errors import InputError


def write(root: Path, sample_id: str, **film: object) -> None:
    content = {"plot": ["A plot."], "genres": ["Drama"], **film}
    (root / "dataset" / f"{sample_id}.json").write_text(json.dumps(content))


def read(root: Path, **options):
    source = open_source(f"mmimdb:{root}", **options)
    return list(source.records("train")), source


def test_the_text_is_the_longest_plot_and_the_labels_are_genre_indices(films: Path):
    records, source = read(films)
    assert [r.sample_id for r in records] == ["0000001", "0000002", "0000003"]
    assert records[0].text == "The longer plot of 0000001."
    assert records[0].labels == {"genres": (GENRES.index("Drama"), GENRES.index("War"))}
    assert source.splits() == ("train", "dev", "test") and source.canonical("val") == "dev"
    assert source.report.count == 0
    assert next(source.pairs("test")).sample.images[0].size == (8, 6)


def test_there_are_the_usual_23_genres():
    assert len(set(GENRES)) == 23 and "News" not in GENRES and list(GENRES) == sorted(GENRES)


def test_news_is_dropped_in_silence_and_other_genres_are_noted_once(films: Path):
    write(films, "0000001", genres=["News", "Drama"])
    write(films, "0000002", genres=["Adult", "News"])
    write(films, "0000003", genres=["Adult"])
    records, source = read(films)
    assert [r.labels["genres"] for r in records] == [(GENRES.index("Drama"),), (), ()]
    assert source.report.notes == ["the genre 'Adult' is not one of the 23 and is left out"]
    assert source.report.count == 0


def test_a_film_without_genres_has_no_label(films: Path):
    (films / "dataset/0000001.json").write_text('{"plot": "One plot, not a list."}')
    records, _ = read(films)
    assert records[0].labels == {} and records[0].text == "One plot, not a list."


@pytest.mark.parametrize(
    ("film", "reason"),
    [
        ({"plot": []}, "no plot"),
        ({"plot": [""]}, "no plot"),
        ({"plot": None}, "no plot"),
        ({"plot": 5}, "plot is not text: 5"),
        ({"genres": "Drama"}, "genres are not a list of names: Drama"),
        ({"genres": [1]}, "genres are not a list of names: [1]"),
    ],
)
def test_a_bad_film_is_reported_and_skipped(films: Path, film, reason):
    write(films, "0000002", **film)
    records, source = read(films)
    assert [r.sample_id for r in records] == ["0000001", "0000003"]
    (problem,) = source.report.problems
    assert (problem.file, problem.row) == ("split.json", "train 2")
    assert (problem.sample_id, problem.reason) == ("0000002", reason)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"{", "broken JSON"),
        (b"[1]", "not a JSON object"),
    ],
)
def test_a_broken_sample_file_is_reported_by_name(films: Path, content, reason):
    (films / "dataset/0000002.json").write_bytes(content)
    records, source = read(films)
    assert len(records) == 2
    assert source.report.problems[0].reason.startswith(
        f"unusable sample file: dataset/0000002.json: {reason}"
    )


def test_missing_sample_files_and_posters_are_reported_by_name(films: Path):
    (films / "dataset/0000001.json").unlink()
    (films / "dataset/0000002.jpeg").unlink()
    records, source = read(films)
    assert [r.sample_id for r in records] == ["0000003"]
    assert [p.reason for p in source.report.problems] == [
        "missing sample file: dataset/0000001.json",
        "missing image: dataset/0000002.jpeg",
    ]


@pytest.mark.parametrize(
    "evil", ["../../etc/passwd", "/etc/passwd", "", -7, True, None, ["a"], "a/b", "..", 1.5]
)
def test_an_id_that_is_no_file_name_is_reported_and_never_a_path(films: Path, evil):
    (films / "split.json").write_text(
        json.dumps({"train": [evil, "0000001"], "dev": [], "test": []})
    )
    records, source = read(films)
    assert [r.sample_id for r in records] == ["0000001"]
    assert source.report.problems[0].reason.startswith("id is not a file name")


def test_a_duplicate_id_is_reported(films: Path):
    (films / "split.json").write_text(json.dumps({"train": ["0000001", "0000001"]}))
    records, source = read(films)
    assert len(records) == 1
    assert [p.kind for p in source.report.problems] == ["duplicate id"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "missing file"),
        ("", "empty file"),
        ("{", "broken JSON"),
        ("[]", "not an object of id lists"),
        ('{"train": 3}', "not an object of id lists"),
    ],
)
def test_without_a_good_index_the_folder_is_refused(films: Path, content, message):
    (films / "split.json").unlink()
    if content is not None:
        (films / "split.json").write_text(content)
    with pytest.raises(InputError, match=rf"split\.json: {message}"):
        open_source(f"mmimdb:{films}")


def test_strict_stops_at_the_first_problem(films: Path):
    write(films, "0000002", plot=[])
    with pytest.raises(InputError, match=r"^split\.json row train 2 \(id 0000002\): no plot$"):
        read(films, strict=True)


def test_an_unreadable_poster_names_its_row(films: Path):
    (films / "dataset/0000002.jpeg").write_bytes(b"")
    source = open_source(f"mmimdb:{films}")
    assert len(list(source.pairs("train"))) == 2
    assert source.report.problems[0].row == "train 2"
