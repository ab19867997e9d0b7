from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from backend.data import check_all, open_source
from backend.data.tars import samples_in
from backend.errors import InputError

Members = list[tuple[str, object]]


def picture(colour: int = 0) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 6), (colour % 256, 0, 0)).save(out, "PNG")
    return out.getvalue()


def write_tar(path: Path, members: Members, kind: int = tarfile.PAX_FORMAT) -> Path:
    """A tar of (name, bytes, text or JSON value)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as archive:
        for name, value in members:
            if isinstance(value, tarfile.TarInfo):
                archive.addfile(value)
                continue
            plain = value if isinstance(value, str) else json.dumps(value, default=str)
            data = value if isinstance(value, bytes) else plain.encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def samples(numbers: range, **more: object) -> Members:
    return [
        member
        for n in numbers
        for member in [
            (f"{n:06d}.png", picture(n)),
            (f"{n:06d}.txt", f"text {n}"),
            (f"{n:06d}.json", {"caption": f"caption {n}", "n": n, **more}),
        ]
    ]


def records(source, *splits: str):
    return [record for split in splits or source.splits() for record in source.records(split)]


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_of_a_key_are_a_sample_and_splits_are_by_the_archives_names(tmp_path, kind):
    write_tar(tmp_path / "train-000000.tar", samples(range(3)), kind)
    write_tar(tmp_path / "train-000001.tar", samples(range(3, 5)), kind)
    write_tar(tmp_path / "val-000000.tar", samples(range(5, 6)), kind)
    source = open_source(f"webdataset:{tmp_path}")
    assert source.splits() == ("train", "dev")
    train = records(source, "train")
    assert [(r.sample_id, r.text) for r in train] == [(f"{n:06d}", f"text {n}") for n in range(5)]
    assert train[3].source == "train-000001.tar row 1"
    (pair,) = source.pairs("dev")
    assert pair.sample.images[0].getpixel((0, 0)) == (5, 0, 0)
    report = check_all(source)
    assert report.count == 0 and report.good == {"train": 5, "dev": 1}


@pytest.mark.parametrize(
    "spec", ["name-{000..002}.tar", "name-{0..2}{0..0}.tar", "name-00{0..2}.tar", ""]
)
def test_archives_are_named_by_a_range_or_all_of_a_folder(tmp_path: Path, spec):
    names = [f"name-{n}0.tar" for n in range(3)] if "}{" in spec else None
    names = names or [f"name-{n:03d}.tar" for n in range(3)]
    for n, name in enumerate(names):
        write_tar(tmp_path / name, samples(range(10 * n, 10 * n + 10)))
    source = open_source(f"webdataset:{tmp_path / spec}")
    assert source.splits() == ("train", "dev", "test") and len(records(source, "all")) == 30
    assert len(records(source)) == 30


def test_json_has_what_no_member_has(tmp_path: Path):
    members: Members = [
        ("a/1.jpg", picture()),
        ("a/1.json", {"caption": ["one", "two"], "label_mood": "sad", "group": "g"}),
        ("a/2.v1.seg.png", picture()),
        ("a/2.JPG", picture()),
        ("a/2.json", {"caption": "three", "label_mood": "glad", "key": "not this"}),
        ("a/2.cls", "7\n"),
    ]
    source = open_source(f"webdataset:{write_tar(tmp_path / 'test.tar', members)}")
    one, two, three = records(source)
    assert (one.sample_id, one.text, one.group) == ("a/1#0", "one", "g")
    assert (two.sample_id, two.labels["mood"]) == ("a/1#1", 1)
    assert (three.sample_id, three.text, three.labels["label"]) == ("a/2", "three", 0)


def test_members_may_lie_anywhere_and_keys_repeat_in_other_archives(tmp_path: Path):
    for shard in "ab":
        mixed = sorted(samples(range(4)), key=lambda member: member[0][::-1])
        write_tar(tmp_path / f"test-{shard}.tar", mixed)
    source = open_source(f"webdataset:{tmp_path}")
    assert {r.sample_id for r in records(source)} == {
        f"test-{shard}/{n:06d}" for shard in "ab" for n in range(4)
    }
    assert any("keys occur in several archives" in note for note in source.report.notes)


def test_the_text_among_several_is_named_or_asked_for(tmp_path: Path):
    members: Members = [
        ("1.png", picture()),
        ("1.json", {"alt": "an alternative", "poem": "a verse", "url": "http://x", "width": 3}),
    ]
    path = write_tar(tmp_path / "test.tar", members)
    with pytest.raises(InputError, match=r"test\.tar: text could be 'alt' and 'poem'.*text=alt"):
        open_source(f"webdataset:{path}")
    (record,) = records(open_source(f"webdataset:{path},text=poem"))
    assert record.text == "a verse"


def test_archives_without_pictures_say_what_is_in_them_and_texts_alone_are_asked_for(tmp_path):
    path = write_tar(tmp_path / "test.tar", [("1.txt", "a"), ("1.npy", b"x"), ("2.txt", "b")])
    with pytest.raises(InputError, match=r"no member is a picture \(they end in .npy and .txt\)"):
        open_source(f"webdataset:{path}")
    source = open_source(f"webdataset:{path},image=")
    assert [(r.text, r.image) for r in records(source)] == [("a", None), ("b", None)]


def test_samples_that_cannot_be_used_are_reported_one_by_one(tmp_path: Path):
    members: Members = [
        *samples(range(1)),
        ("two.png", picture()),
        ("two.jpg", picture()),
        ("two.txt", "x"),
        ("none.txt", "x"),
        ("mute.png", picture()),
        ("bad.png", b"not a picture"),
        ("bad.txt", "x"),
        ("odd.png", picture()),
        ("odd.json", "[1, 2"),
        ("list.png", picture()),
        ("list.json", [1, 2]),
        ("latin.png", picture()),
        ("latin.txt", "caf\u00e9".encode("latin-1")),
        ("code.png", picture()),
        ("code.pyd", pickle.dumps({"text": "never read"})),
    ]
    source = open_source(f"webdataset:{write_tar(tmp_path / 'test.tar', members)}")
    assert [pair.record.sample_id for pair in source.pairs("test")] == ["000000"]
    assert source.report.by_reason == {
        "2 pictures of one key, and one is read": 1,
        "no picture of the key": 1,
        "no text": 2,
        "unreadable image": 1,
        "broken JSON": 1,
        "list.json is no JSON object": 1,
        "text is not UTF-8": 1,
    }


def special(name: str, kind: bytes, target: str = "") -> tuple[str, tarfile.TarInfo]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return name, info


def test_links_devices_and_names_that_lead_outside_touch_nothing(tmp_path: Path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture(200))
    members: Members = [
        special("1.png", tarfile.SYMTYPE, str(secret)),
        special("2.png", tarfile.LNKTYPE, "../secret.png"),
        special("3.png", tarfile.CHRTYPE),
        special("4.png", tarfile.FIFOTYPE),
        special("dir.png", tarfile.DIRTYPE),
        ("../../5.png", picture(5)),
        ("../../5.txt", "outside only by name"),
        ("/6.png", picture(6)),
        ("/6.txt", "absolute only by name"),
        ("._7.png", b"resource fork"),
        *((f"{n}.txt", "x") for n in range(1, 5)),
    ]
    path = write_tar(tmp_path / "set" / "test.tar", members)
    source = open_source(f"webdataset:{path.parent}")
    pairs = list(source.pairs("test"))
    assert [p.record.text[:7] for p in pairs] == ["outside", "absolut"]
    assert [p.sample.images[0].getpixel((0, 0))[0] for p in pairs] == [5, 6]
    assert source.report.by_reason == {"no picture of the key": 4}
    assert any("2 members not read: links" in note for note in source.report.notes)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["secret.png", "set"]


def test_an_archive_behind_a_link_that_leads_out_is_not_read_unless_it_is_allowed(tmp_path: Path):
    write_tar(tmp_path / "elsewhere" / "test.tar", samples(range(2)))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "test.tar").symlink_to(tmp_path / "elsewhere" / "test.tar")
    with pytest.raises(InputError, match="archive path leaves the dataset's folder"):
        open_source(f"webdataset:{tmp_path / 'set'}")
    source = open_source(f"webdataset:{tmp_path / 'set'}", follow_links=True)
    assert len(records(source)) == 2


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def test_a_tar_that_is_cut_short_anywhere_is_one_line(tmp_path: Path):
    whole = write_tar(tmp_path / "test.tar", samples(range(4))).read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    for size in [*range(0, end + 1, 512), 100, 700, end - 1, end // 2 + 7]:
        path = tmp_path / "set" / "test.tar"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(whole[:size])
        with pytest.raises(InputError) as error:
            open_source(f"webdataset:{path.parent}")
        said = str(error.value)
        assert "test.tar: cut short or broken after" in said or "is no tar archive" in said
        assert "\n" not in said


def header(name: str, size: bytes, kind: bytes = b"0") -> bytes:
    """A ustar header with its size field as it is given."""
    raw = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    raw[124:136], raw[156:157] = size, kind
    raw[148:156] = b" " * 8
    raw[148:156] = f"{sum(raw):06o}\0 ".encode()
    return bytes(raw)


HOSTILE = {
    "negative": header("a.png", b"\xff" * 11 + b"\x00"),
    "minus one": header("a.png", b"\xff" * 12),
    "huge": header("a.png", b"\x80" + (2**60).to_bytes(11, "big")),
    "long name": header("x", b"77777777777\0", b"L"),
    "attributes": header("x", b"77777777777\0", b"x"),
    "chained": b"".join([header("x", b"00000000000\0", b"x")] * 5_000),
    "noise": bytes(range(256)) * 40,
    "empty": b"",
    "text": b"this is no archive\n" * 100,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_one_line(tmp_path: Path, name):
    good = write_tar(tmp_path / "good.tar", samples(range(1))).read_bytes()
    for front in (b"", good[: len(good.rstrip(b"\0")) // 512 * 512 + 512]):
        path = tmp_path / "set" / "test.tar"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(front + HOSTILE[name] + bytes(512 if name == "noise" else 0))
        with pytest.raises(InputError, match=r"test\.tar: (cut short or broken|is no tar)"):
            samples_in(path)


def test_a_compressed_archive_says_what_to_do(tmp_path: Path):
    path = write_tar(tmp_path / "test.tar", samples(range(2)))
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(InputError, match=r"compressed with gzip.*Unpack it"):
        open_source(f"webdataset:{tmp_path}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("name-{0..3}.tar", r"missing archive: name-1\.tar"),
        ("name-{3..0}.tar", r"is no range of archives"),
        ("name-{0..99999}{0..99999}.tar", r"is no range of archives"),
        ("../out.tar", "no such folder|missing archive|leaves"),
    ],
)
def test_a_range_that_names_no_archives_is_one_line(tmp_path: Path, name, message):
    write_tar(tmp_path / "set" / "name-0.tar", samples(range(2)))
    with pytest.raises(InputError, match=message):
        open_source(f"webdataset:{tmp_path / 'set'}/{name}")


def test_packed_archives_beside_others_are_named(tmp_path: Path):
    write_tar(tmp_path / "train-000000.tar", samples(range(3)))
    (tmp_path / "train-000001.tar.gz").write_bytes(b"\x1f\x8b")
    source = open_source(f"webdataset:{tmp_path}")
    assert any("train-000001.tar.gz is packed: unpack it" in note for note in source.report.notes)
