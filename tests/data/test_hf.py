from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pytest
from huggingface_hub import constants
from PIL import Image
from pyarrow import parquet

from backend.data import arrowfile, check_all, open_source
from backend.errors import InputError
from tests.models.fake_hub import NAME, fake_hub, use_cache

Columns = dict[str, list[object]]
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(colour: int = 0) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 6), (colour % 256, 0, 0)).save(out, "PNG")
    return out.getvalue()


def pictures(numbers: range) -> list[object]:
    return [{"bytes": picture(n), "path": f"{n}.png"} for n in numbers]


def columns(numbers: range = range(4), **more: list[object]) -> Columns:
    return {"image": pictures(numbers), "text": [f"text {n}" for n in numbers], **more}


def table(columns: Columns, features: dict[str, object] | None = None) -> pa.Table:
    """As the library writes it: pictures as structs, and what columns are in the metadata."""
    arrays = {}
    for name, values in columns.items():
        first = next((v for v in values if v is not None), None)
        listed = isinstance(first, list) and first and isinstance(first[0], dict)
        kind = IMAGE if isinstance(first, dict) else pa.list_(IMAGE) if listed else None
        arrays[name] = pa.array(values, kind)
    made = pa.table(arrays)
    if features is None:
        return made
    return made.replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )


def write_arrow(path: Path, made: pa.Table, rows: int = 2, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    given = pa.ipc.IpcWriteOptions(**options)
    with pa.ipc.new_stream(str(path), made.schema, options=given) as out:
        out.write_table(made, max_chunksize=rows)
    return path


def write_parquet(path: Path, made: pa.Table) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(made, path, row_group_size=3)
    return path


def save(folder: Path, made: pa.Table, split: str | None = "train", shards: int = 2) -> Path:
    """What save_to_disk of a Dataset leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data-{n:05d}-of-{shards:05d}.arrow" for n in range(shards)]
    each = -(-made.num_rows // shards)
    for n, name in enumerate(names):
        write_arrow(folder / name, made.slice(n * each, each))
    state = {"_data_files": [{"filename": name} for name in names], "_split": split}
    (folder / "state.json").write_text(json.dumps(state | {"_fingerprint": "x"}))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def save_dict(folder: Path, **splits: pa.Table) -> Path:
    """What save_to_disk of a DatasetDict leaves."""
    for split, made in splits.items():
        save(folder / split, made, split)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
    return folder


def records(source, *splits: str):
    return [record for split in splits or source.splits() for record in source.records(split)]


FEATURES = {
    "image": {"_type": "Image"},
    "text": {"dtype": "string", "_type": "Value"},
    "animal": {"names": ["owl", "cat", "dog"], "_type": "ClassLabel"},
    "mood": {"names": ["glad", "sad"], "_type": "ClassLabel"},
    "tags": {"feature": {"names": ["a", "b"], "_type": "ClassLabel"}, "_type": "List"},
}
LABELS = {"animal": [2, 0, -1, None], "mood": [1, 0, 1, 0], "tags": [[0, 1], [], [1], [0]]}


def as_saved(root: Path, train: pa.Table, test: pa.Table) -> Path:
    return save_dict(root, train=train, test=test)


def as_shards(root: Path, train: pa.Table, test: pa.Table) -> Path:
    for n in range(2):
        write_parquet(root / f"data/train-{n:05d}-of-00002.parquet", train.slice(2 * n, 2))
    write_parquet(root / "data/test-00000-of-00001-0123456789abcdef.parquet", test)
    return root


def as_converted(root: Path, train: pa.Table, test: pa.Table) -> Path:
    write_parquet(root / "default/train/0000.parquet", train.slice(0, 2))
    write_parquet(root / "default/train/0001.parquet", train.slice(2))
    write_parquet(root / "default/test/0000.parquet", test)
    return root


def as_cached(root: Path, train: pa.Table, test: pa.Table) -> Path:
    write_arrow(root / "memes-train-00000-of-00002.arrow", train.slice(0, 2))
    write_arrow(root / "memes-train-00001-of-00002.arrow", train.slice(2))
    write_arrow(root / "memes-test.arrow", test)
    return root


@pytest.mark.parametrize("form", [as_saved, as_shards, as_converted, as_cached])
def test_every_form_gives_the_same_samples_with_their_classes_by_name(tmp_path: Path, form):
    made = table(columns(**LABELS), FEATURES)
    source = open_source(f"hf:{form(tmp_path / 'set', made, made.slice(0, 2))}")
    assert source.splits() == ("train", "test", "dev")
    kinds = {name: (task.kind, task.classes) for name, task in source.tasks.items()}
    assert kinds == {
        "animal": ("multiclass", ("owl", "cat", "dog")),
        "mood": ("binary", ("glad", "sad")),
        "tags": ("multilabel", ("a", "b")),
    }
    train = sorted(records(source, "train", "dev"), key=lambda r: r.sample_id)
    assert [(r.sample_id, r.text) for r in train] == [
        (f"train-{n + 1}", f"text {n}") for n in range(4)
    ]
    assert [r.labels for r in train] == [
        {"animal": 2, "mood": 1, "tags": (0, 1)},
        {"animal": 0, "mood": 0, "tags": ()},
        {"mood": 1, "tags": (1,)},
        {"mood": 0, "tags": (0,)},
    ]
    seen = {p.record.sample_id: p.sample.images[0].getpixel((0, 0)) for p in source.pairs("test")}
    assert seen == {"test-1": (0, 0, 0), "test-2": (1, 0, 0)}
    assert check_all(source, ["test"]).count == 0
    assert "-0000" in train[3].source or "/0001" in train[3].source


def test_a_table_saved_without_a_split_is_divided(tmp_path: Path):
    save(tmp_path / "set", table(columns(range(60))), split=None)
    source = open_source(f"hf:{tmp_path / 'set'}")
    assert source.splits() == ("train", "dev", "test")
    assert len(records(source)) == len(records(source, "all")) == 60


def test_a_split_column_divides_a_single_file_and_captions_are_groups(tmp_path: Path):
    made = table(
        {
            "image": pictures(range(3)),
            "caption": [[f"{n}.{k}" for k in range(5)] for n in range(3)],
            "split": ["train", "val", "test"],
            "filename": [f"{n}.jpg" for n in range(3)],
        }
    )
    write_parquet(tmp_path / "data/test-00000-of-00001.parquet", made)
    source = open_source(f"hf:{tmp_path}")
    assert source.splits() == ("train", "dev", "test")
    dev = records(source, "dev")
    assert [r.text for r in dev] == [f"1.{k}" for k in range(5)]
    assert len({r.group for r in dev}) == 1 and len({str(r.image) for r in dev}) == 1


def test_columns_are_found_by_what_they_hold_whatever_they_are_called(tmp_path: Path):
    features = {"photo_of": {"_type": "Image"}, "sound": {"_type": "Audio"}}
    odd = {"photo_of": pictures(range(4)), "sound": pictures(range(4)), "path": list("abcd")}
    made = table({**odd, "alt": [f"word {n}" for n in range(4)], "width": [1, 2, 3, 4]}, features)
    write_parquet(tmp_path / "test.parquet", made)
    source = open_source(f"hf:{tmp_path}")
    assert [r.text for r in records(source)] == [f"word {n}" for n in range(4)]
    assert all(r.image.column == "photo_of" for r in records(source))
    assert any("'alt' is read as text" in note for note in source.report.notes)


def test_a_column_of_classes_is_no_candidate_for_the_text(tmp_path: Path):
    said = {"style": {"names": ["oil paint", "ink wash"], "_type": "ClassLabel"}}
    made = table({"image": pictures(range(4)), "alt": list("abcd"), "style": [0, 1, 1, 0]})
    metadata = {"huggingface": json.dumps({"info": {"features": said}})}
    write_parquet(tmp_path / "test.parquet", made.replace_schema_metadata(metadata))
    source = open_source(f"hf:{tmp_path}")
    assert [r.text for r in records(source)] == list("abcd")
    assert source.tasks["style"].classes == ("oil paint", "ink wash")


BAD = [
    ({"text": ["a"]}, r"no column holds pictures.*'text'.*image="),
    ({"a": pictures(range(1)), "b": pictures(range(1))}, r"image could be 'a' and 'b'.*,image=a"),
    (
        {"image": pictures(range(1)), "alt": ["some words"], "poem": ["a verse"]},
        r"text could be 'alt' and 'poem'.*,text=alt",
    ),
    (
        {"image": pictures(range(1)), "caption": ["some words"], "captions": ["a verse"]},
        r"text could be 'caption' and 'captions'.*,text=caption",
    ),
    (
        {"images": [pictures(range(2))], "text": ["a"]},
        r"'images' holds lists of pictures, and one a sample is read",
    ),
]


@pytest.mark.parametrize(("made", "message"), BAD, ids=lambda value: str(value)[-40:])
def test_columns_that_are_missing_or_unclear_are_one_line_that_says_what_decides(
    tmp_path: Path, made, message
):
    write_parquet(tmp_path / "test.parquet", table(made))
    with pytest.raises(InputError, match=rf"test\.parquet: .*{message}") as error:
        open_source(f"hf:{tmp_path}")
    assert "\n" not in str(error.value)


def test_the_user_decides_behind_the_path(tmp_path: Path):
    made = table(columns(alt=list("abcd"), key=list("wxyz"), image_2=pictures(range(4, 8))))
    write_parquet(tmp_path / "test.parquet", made)
    source = open_source(f"hf:{tmp_path},text=alt,id=key,image=image_2")
    assert [(r.sample_id, r.text, r.image.column) for r in records(source)][:1] == [
        ("w", "a", "image_2")
    ]
    source = open_source(f"hf:{tmp_path},image=")
    assert records(source)[0].image is None


def test_configurations_are_named_or_asked_for(tmp_path: Path):
    for config in ("de", "en"):
        made = table(columns(range(2)) | {"text": [f"{config} {n}" for n in range(2)]})
        write_parquet(tmp_path / f"{config}/test-00000-of-00001.parquet", made)
    with pytest.raises(InputError, match=r"2 configurations: 'de' and 'en'.*config=de"):
        open_source(f"hf:{tmp_path}")
    assert records(open_source(f"hf:{tmp_path},config=en"))[0].text == "en 0"
    with pytest.raises(InputError, match=r"no configuration 'fr'.*'de' and 'en'"):
        open_source(f"hf:{tmp_path},config=fr")


def test_rows_without_a_picture_are_problems_of_their_own(tmp_path: Path):
    broken = [None, {"bytes": None, "path": "../../etc/passwd"}, {"bytes": b"x", "path": None}]
    made = table({"image": [*broken, *pictures(range(1))], "text": list("abcd")})
    for path in (tmp_path / "a", tmp_path / "b"):
        write_parquet(path / "test.parquet", made) if path.name == "a" else save(path, made, "test")
        source = open_source(f"hf:{path}")
        assert [p.record.sample_id for p in source.pairs("test")] == ["test-4"]
        assert source.report.by_reason == {"unreadable image": 3}


def test_a_shard_that_is_missing_or_cut_short_is_one_line(tmp_path: Path):
    made = table(columns(range(40)))
    root = as_shards(tmp_path / "parts", made, made)
    (root / "data/train-00000-of-00002.parquet").unlink()
    with pytest.raises(InputError, match="1 of the 2 files of data/train are there: number 0 is"):
        open_source(f"hf:{root}")
    saved = save(tmp_path / "saved", made, "test", shards=1)
    path = saved / "data-00000-of-00001.arrow"
    whole = path.read_bytes()
    for size in (0, 5, 100, len(whole) // 2, len(whole) - 100):
        path.write_bytes(whole[:size])
        arrowfile._places.cache_clear()
        arrowfile._batch.cache_clear()
        with pytest.raises(InputError, match=r"arrow: (not an Arrow stream|cut short or broken)"):
            open_source(f"hf:{saved}")


def test_files_of_a_saved_table_lie_in_its_folder(tmp_path: Path):
    outside = write_arrow(tmp_path / "outside.arrow", table(columns()))
    saved = save(tmp_path / "saved", table(columns()), "test")
    for name in ("../outside.arrow", str(outside), "link.arrow"):
        (saved / "link.arrow").unlink(missing_ok=True)
        (saved / "link.arrow").symlink_to(outside)
        (saved / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
        with pytest.raises(InputError, match="leaves the dataset's folder"):
            open_source(f"hf:{saved}")
    (saved / "state.json").unlink()
    (saved / "dataset_dict.json").write_text(json.dumps({"splits": ["../saved", "x"]}))
    with pytest.raises(InputError, match="leaves the dataset's folder"):
        open_source(f"hf:{saved}")


STATES = [
    ("{", "broken JSON"),
    ("[]", "is no JSON object"),
    ("{}", "names no files of data"),
    ('{"_data_files": [3]}', "names no files of data"),
    ('{"_data_files": [{"filename": "none.arrow"}]}', "missing file: none.arrow"),
    (
        '{"_data_files": [{"filename": "a.arrow"}], "_indices_files": [{"filename": "b"}]}',
        "picks rows by a file of indices",
    ),
]


@pytest.mark.parametrize(("state", "message"), STATES)
def test_a_broken_description_of_a_saved_table_is_one_line(tmp_path: Path, state, message):
    (tmp_path / "state.json").write_text(state)
    with pytest.raises(InputError, match=message):
        open_source(f"hf:{tmp_path}")


def hostile_tables() -> dict[str, pa.Table]:
    few = columns(range(2))
    nulls = pa.nulls(10_000_000)
    many = pa.table({"image": pa.array([None], IMAGE).take(pa.array([0])), "text": ["a"]})
    views = pa.array(["a", "b"], pa.string_view())
    return {
        "rows": pa.table({"image": nulls, "text": nulls}),
        "dictionary": pa.table(
            {"image": pictures(range(2)), "text": pa.array(["a", "b"]).dictionary_encode()}
        ),
        "views": table(few).set_column(1, "text", views),
        "many": many,
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rows", "says that .* bytes hold 10,000,000 rows"),
        ("dictionary", "holds a dictionary"),
        ("views", None),
    ],
)
def test_tables_that_would_grow_are_refused(tmp_path: Path, name, message):
    write_arrow(tmp_path / "test.arrow", hostile_tables()[name], rows=20_000_000)
    if message is None:
        source = open_source(f"hf:{tmp_path}")
        assert {r.text for r in records(source)} == {""}
        assert any("no text column" in note for note in source.report.notes)
        return
    with pytest.raises(InputError, match=rf"test\.arrow: {message}"):
        open_source(f"hf:{tmp_path}")


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_a_compressed_stream_is_refused(tmp_path: Path, compression):
    write_arrow(tmp_path / "test.arrow", table(columns()), compression=compression)
    with pytest.raises(InputError, match="holds a compressed record batch"):
        open_source(f"hf:{tmp_path}")


def test_damaged_offsets_and_texts_are_one_line_and_never_read(tmp_path: Path):
    """Every byte of the file's values in turn set to 255: read or refused, nothing else."""
    path = write_arrow(tmp_path / "test.arrow", table(columns(range(2))))
    whole = path.read_bytes()
    refused = 0
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
        arrowfile._places.cache_clear()
        arrowfile._batch.cache_clear()
        try:
            list(open_source(f"hf:{tmp_path}").pairs("test"))
        except InputError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 10


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    made = table(columns(**LABELS), FEATURES)
    as_shards(root, made, made.slice(0, 2))
    (root / "script.py").write_text("raise SystemExit('never run')")
    return root


def test_a_data_set_of_the_hub_is_read_from_its_parquet_files_alone(
    repository, tmp_path, monkeypatch
):
    with fake_hub(repository, tmp_path / "cache", monkeypatch) as asked:
        source = open_source(f"hf:{NAME}")
        assert source.name == NAME.rpartition("/")[2]
        assert source.splits() == ("train", "test", "dev")
        assert source.tasks["animal"].classes == ("owl", "cat", "dog")
        assert len(list(source.pairs("test"))) == 2
        assert not any("script.py" in path for path in asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = open_source(f"hf:{NAME}")
    assert again.fingerprint("train") == source.fingerprint("train")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("lab/nothing", "neither a local directory nor a data set on the hub that may be read"),
        ("lab/gated", "is gated on the hub.*datasets/lab/gated"),
        (f"{NAME},revision=other", "has no revision 'other'"),
        (f"{NAME},revision=../x", "is no revision"),
        (f"{NAME},config=fr", "no configuration 'fr'"),
    ],
)
def test_what_the_hub_refuses_is_one_line(repository, tmp_path, monkeypatch, spec, message):
    with (
        fake_hub(repository, tmp_path / "cache", monkeypatch),
        pytest.raises(InputError, match=message) as error,
    ):
        open_source(f"hf:{spec}")
    assert "\n" not in str(error.value)


def test_without_parquet_files_the_branch_that_has_them_is_named(tmp_path, monkeypatch):
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "train.csv").write_text("a,b\n")
    with (
        fake_hub(tmp_path / "repository", tmp_path / "cache", monkeypatch),
        pytest.raises(InputError, match=f"no Parquet files.*hf:{NAME},revision=refs/convert/parq"),
    ):
        open_source(f"hf:{NAME}")


def test_offline_and_unreachable_are_one_line_at_once(tmp_path, monkeypatch):
    use_cache(tmp_path / "cache", monkeypatch)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"data set lab/x: .*hub cannot be reached"):
        open_source("hf:lab/x")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"data set lab/x: .*HF_HUB_OFFLINE"):
        open_source("hf:lab/x")
