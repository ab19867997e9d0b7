"""run.json is read strictly, and what is wrong with it is said in one line."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from backend.errors import InputError
from backend.store import Manifest
from backend.store.manifest import utc_now
from backend.types import StreamSpec, TaskSpec


@pytest.fixture
def manifest(store_factory: ModuleType) -> Manifest:
    made: Manifest = store_factory.make_manifest()
    return made


def rewrite(manifest: Manifest, path: Path, **changes: Any) -> Path:
    raw = json.loads(manifest.to_json())
    for dotted, value in changes.items():
        target = raw
        *parents, last = dotted.split("__")
        for name in parents:
            target = target[name]
        if value is ...:
            del target[last]
        else:
            target[last] = value
    path.write_text(json.dumps(raw))
    return path


def test_what_is_written_is_what_is_read(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(manifest.to_json())
    assert Manifest.read(tmp_path / "run.json") == manifest


def test_streams_and_tasks_are_the_shared_types(manifest: Manifest) -> None:
    assert manifest.stream("text") == StreamSpec.of("text", "text", 4, 12, (4,), reads="vision")
    assert [spec.name for spec in manifest.streams] == ["vision", "text"]
    assert manifest.tasks[0] == TaskSpec("irony", "binary", ("sincere", "ironic"))


def test_an_unknown_stream_names_the_known_ones(manifest: Manifest) -> None:
    with pytest.raises(InputError, match=r"no stream 'audio'.*vision, text"):
        manifest.stream("audio")


def test_broken_json_is_said_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text('{"run_id": "x",\n  "model":')
    with pytest.raises(InputError, match=r"run\.json: not valid JSON .* at line 2"):
        Manifest.read(path)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"x"'])
def test_json_that_is_no_object_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(InputError, match="expected a JSON object"):
        Manifest.read(path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        Manifest.read(path)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.json is missing"):
        Manifest.read(tmp_path / "run.json")


@pytest.mark.parametrize("field", ["schema_version", "seed", "dataset__fingerprint", "origin"])
def test_a_missing_field_is_named(manifest: Manifest, tmp_path: Path, field: str) -> None:
    path = rewrite(manifest, tmp_path / "run.json", **{field: ...})
    with pytest.raises(InputError, match=rf"missing field {field.replace('__', '.')}"):
        Manifest.read(path)


def test_a_newer_schema_says_upgrade_whatever_else_changed(
    manifest: Manifest, tmp_path: Path
) -> None:
    path = rewrite(manifest, tmp_path / "run.json", schema_version=5, seed=..., extra=1)
    message = r"store written by a newer Fusionscope \(schema 5, this one reads 4\)\. Upgrade"
    with pytest.raises(InputError, match=message):
        Manifest.read(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema_version": 0}, "is not a version"),
        ({"schema_version": "1"}, "is not a version"),
        ({"run_id": "../x"}, "run_id"),
        ({"run_id": ".hidden"}, "run_id"),
        ({"run_id": "ok\n"}, "run_id"),
        ({"run_id": "x" * 81}, "run_id"),
        ({"seed": "0"}, "seed"),
        ({"seed": True}, "seed"),
        ({"dataset__n": -1}, r"dataset\.n"),
        ({"dataset__n": 1.5}, r"dataset\.n"),
        ({"dtype": "float64"}, "dtype"),
        ({"poolings": ["tokens"]}, "poolings"),
        ({"poolings": ["cls", "cls"]}, "twice"),
        ({"created": "yesterday"}, "created"),
        ({"created": "2026-01-31T12:00:00+02:00"}, "UTC"),
        ({"created": "2026-01-31T12:00:00"}, "UTC"),
        ({"surprise": 1}, "unknown field surprise"),
        ({"timesteps": [10_000]}, r"timesteps"),
        ({"timesteps": list(range(9))}, r"timesteps"),
        ({"placement__text": [3]}, r"placement\.text \[3\] differs"),
        ({"model__streams": []}, r"model\.streams"),
    ],
)
def test_a_bad_value_is_refused_in_one_line(
    manifest: Manifest, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    path = rewrite(manifest, tmp_path / "run.json", **changes)
    with pytest.raises(InputError, match=said) as caught:
        Manifest.read(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_fusion_outside_the_stream_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    raw = json.loads(manifest.to_json())
    raw["model"]["streams"][0]["meets"][0]["layer"] = 5
    raw["placement"]["vision"] = [5]
    path = tmp_path / "run.json"
    path.write_text(json.dumps(raw))
    with pytest.raises(InputError, match=r"streams\.0: .*layer 5 lies outside 1\.\.4") as caught:
        Manifest.read(path)
    assert "\n" not in str(caught.value)


def test_a_released_model_has_neither_placement_nor_seed(
    store_factory: ModuleType, tmp_path: Path
) -> None:
    made = store_factory.make_released_manifest("three")
    raw = json.loads(made.to_json())
    assert raw["placement"] is None and raw["seed"] is None
    (tmp_path / "run.json").write_text(made.to_json())
    read = Manifest.read(tmp_path / "run.json")
    assert read == made and read.streams == store_factory.released_streams("three")
    assert read.label == "tiny-three"


def test_a_released_model_is_never_called_like_a_placement(
    manifest: Manifest, store_factory: ModuleType
) -> None:
    assert manifest.label == "late"
    for name in ("late", "Late", "none", "t7,8-v4,6", "text=7;vision=7"):
        label = store_factory.make_released_manifest("one", name=name).label
        assert label == f"{name} (model)"


def test_captures_are_what_streams_and_sites_have_of_the_runs_poolings(
    store_factory: ModuleType,
) -> None:
    made = store_factory.make_released_manifest("three")
    of = {
        (stream, pooling): [ref.label for ref, own in made.captures
                            if (ref.stream, own) == (stream, pooling)]
        for stream in ("vision", "text", "text_decoder")
        for pooling in ("cls", "mean")
    }  # fmt: skip
    plain = ["0", "1", "2", "3", "4"]
    assert of["vision", "cls"] == ["4.projected"]
    assert of["vision", "mean"] == plain
    assert of["text", "cls"] == [*plain, "4.projected"]
    assert of["text", "mean"] == plain
    decoder = ["0", "1", "2.cross", "2", "3.cross", "3"]
    assert of["text_decoder", "cls"] == of["text_decoder", "mean"] == decoder
    only = store_factory.make_released_manifest("three", poolings=("cls",))
    assert {pooling for _, pooling in only.captures} == {"cls"}


def test_the_same_work_ignores_time_and_versions_and_nothing_else(
    manifest: Manifest, store_factory: ModuleType
) -> None:
    later = manifest.model_copy(update={"created": utc_now(), "versions": {"torch": "3"}})
    assert manifest.same_work(later)
    assert not manifest.same_work(store_factory.make_manifest(seed=1))
    assert not manifest.same_work(store_factory.make_manifest(dtype="float16"))


@pytest.mark.parametrize("model", ["/srv/work/late/seed-0", "../work/late/seed-0/", "late/seed-0"])
def test_another_spelling_of_a_checkpoint_s_path_is_the_same_work(
    manifest: Manifest, model: str
) -> None:
    def spelled(of: Manifest, **changes: str) -> Manifest:
        return of.model_copy(update={"origin": of.origin.model_copy(update=changes)})

    def digested(digest: str) -> Manifest:
        info = manifest.model.model_copy(update={"digest": digest})
        return manifest.model_copy(update={"model": info})

    known, nameless = digested("ab" * 8), digested("")
    train = f"fusionscope train --data macros --placement late --out {model}"
    assert known.same_work(spelled(known, model=model, train=train))
    # The digest says which model it is; where there is none, or nothing was captured, the words do.
    assert not known.same_work(digested("cd" * 8))
    assert not nameless.same_work(spelled(nameless, model=model))
    imported = spelled(known, kind="import")
    assert not imported.same_work(spelled(imported, model=model))
    assert not known.same_work(spelled(known, data="folder:elsewhere"))
