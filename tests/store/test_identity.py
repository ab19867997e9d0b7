"""No two models share a run's id, and ours are what they always were."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from backend.store import Store
from backend.store.identity import default_run_id, distinct_run_id
from backend.store.paths import is_id

DIGEST = "0123456789abcdef"


def test_runs_of_models_trained_here_are_called_by_placement_and_seed() -> None:
    assert default_run_id("macros", "late", 2, "bert + vit", DIGEST) == "macros-late-s2"
    assert default_run_id("macros", "t7,8-v4,6", 0, "m", DIGEST) == "macros-t7_8-v4_6-s0"


def test_runs_of_released_models_are_called_by_name_and_digest() -> None:
    clip = default_run_id("macros", None, None, "openai/clip-vit-base-patch32", DIGEST)
    assert clip == "macros-openai_clip-vit-base-patch32-01234567"
    assert default_run_id("macros", None, None, "clip", "") == "macros-clip"
    # A placement without a seed could be that of any training.
    assert default_run_id("macros", "late", None, "thesis", DIGEST) == "macros-thesis-01234567"


def test_two_models_have_two_ids_also_where_the_names_are_long() -> None:
    long = "organisation/" + "a-very-long-name-" * 8
    ids = {default_run_id("d" * 60, None, None, long, f"{i:08d}") for i in range(5)}
    assert len(ids) == 5 and all(map(is_id, ids))
    assert is_id(default_run_id("..data", None, None, "модель", DIGEST))
    assert distinct_run_id("x" * 80, DIGEST) == "x" * 71 + "-01234567"
    assert distinct_run_id("macros-late-s0", DIGEST) == "macros-late-s0-01234567"


def test_a_store_says_whose_an_id_is(tmp_path: Path, store_factory: ModuleType) -> None:
    store = store_factory.make_released_store(tmp_path, ("one",), n=8)
    (finished,) = store.run_ids()
    made = store_factory.make_released_manifest("two", digest="feed" * 4)
    assert store.holder("free") is None
    assert store.holder(made.run_id) is None
    with store.writer(made) as writer:
        vectors = store_factory.make_vectors(made, 4)
        writer.write_part(store_factory.make_samples(4), vectors)
    assert store.holder(made.run_id) == "feed" * 4
    assert made.run_id not in store.run_ids()
    assert store.holder(finished) == store.run(finished).manifest.model.digest
    (store.path / "runs" / finished / "run.json").write_text("{")
    assert Store(store.path).holder(finished) == ""
