"""What the study takes from manifests: names that tell datasets and models apart."""

from types import SimpleNamespace

from backend.study.runs import placement_order, study_runs
from backend.types import StreamSpec

STREAMS = (StreamSpec.of("vision", "vision", 4, 8), StreamSpec.of("text", "text", 2, 6))


def manifest(run_id="r", data=("macros", "test", "captioned"), model="m", placement="late", **more):
    name, split, layout = data
    settings = {
        "run_id": run_id,
        "dataset": SimpleNamespace(name=name, split=split, layout=layout, fingerprint="f1", n=12),
        "model": SimpleNamespace(name=model),
        "placement": None if placement is None else SimpleNamespace(name=placement),
        "label": placement or model,
        "seed": None if placement is None else 3,
        "streams": STREAMS,
    }
    return SimpleNamespace(**settings | more)


def datasets(*data):
    return [one.dataset for one in study_runs(manifest(data=each) for each in data)]


def test_a_run_is_told_as_its_manifest_says():
    (one,) = study_runs([manifest("a")])
    assert (one.run_id, one.dataset, one.setting, one.placement) == ("a", "macros", "", "late")
    assert (one.seed, one.samples, one.streams, one.released) == (3, "f1 12", STREAMS, False)
    (released,) = study_runs([manifest(placement=None, model="clip")])
    assert (released.placement, released.seed, released.released) == ("clip", None, True)
    (nameless,) = study_runs([manifest(label="")])
    assert nameless.placement == "no placement"


def test_a_dataset_is_called_by_as_much_as_tells_it_apart():
    assert datasets(("food", "test", "a"), ("food", "test", "a")) == ["food", "food"]
    assert datasets(("food", "test", "a"), ("memes", "test", "a")) == ["food", "memes"]
    assert datasets(("food", "test", "a"), ("food", "dev", "a"), ("memes", "dev", "a")) == [
        "food test", "food dev", "memes",
    ]  # fmt: skip
    assert datasets(("food", "test", "a"), ("food", "test", "b"), ("food", "dev", "b")) == [
        "food test a", "food test b", "food dev",
    ]  # fmt: skip
    assert datasets(("food", "", "a"), ("food", "", "b")) == ["food a", "food b"]
    assert datasets(("", "", "")) == ["no dataset"]


def settings(*manifests):
    return [one.setting for one in study_runs(manifests)]


def test_models_are_named_where_one_placement_was_run_with_several():
    small, large = manifest(model="s"), manifest(model="l")
    shape = "(vision 4x8 + text 2x6)"
    assert settings(small, small) == ["", ""]
    assert settings(small, large) == [f"s {shape}", f"l {shape}"]
    assert settings(small, manifest(model="l", placement="early")) == ["", ""]
    other = manifest(model="l", data=("food", "test", "captioned"))
    assert settings(small, other) == ["", ""]
    deeper = manifest(model="s", streams=STREAMS[:1])
    assert settings(small, deeper) == [f"s {shape}", "s (vision 4x8)"]
    nameless = manifest(model="")
    assert settings(nameless, large) == [shape[1:-1], f"l {shape}"]
    released = manifest(model="clip", placement=None)
    assert settings(small, released) == ["", ""]
    assert settings(small, large, released)[2] == ""


def test_placements_have_an_order():
    names = ["zebra", "late", "none", "asymmetric", "full", "alpha", "early"]
    assert sorted(names, key=placement_order) == [
        "none", "full", "early", "late", "asymmetric", "alpha", "zebra",
    ]  # fmt: skip
