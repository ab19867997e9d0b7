"""The generated set: deterministic, balanced by construction, and ironic only in the pair."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from backend.data.macros import Macros
from backend.data.macros.grammar import OBJECTS, TOPIC_NAMES, Scene, compose, draw_scene
from backend.data.registry import open_source
from backend.errors import InputError
from backend.types import Record


def scenes(n: int) -> list[Scene]:
    return [draw_scene(np.random.default_rng([9, i])) for i in range(n)]


def test_the_same_seed_gives_the_same_samples_and_pixels() -> None:
    one, two = open_source("macros:seed=3"), open_source("macros:seed=3")
    for a, b in itertools.islice(zip(one.pairs("test"), two.pairs("test"), strict=True), 5):
        assert (a.record.text, a.record.labels) == (b.record.text, b.record.labels)
        assert a.sample.images[0].tobytes() == b.sample.images[0].tobytes()
    other = next(open_source("macros:seed=4").pairs("test"))
    (image,) = next(one.pairs("test")).sample.images
    assert other.sample.images[0].tobytes() != image.tobytes()


def test_a_smaller_set_is_a_prefix_of_a_larger_one_and_splits_differ() -> None:
    small, large = open_source("macros:n=5"), open_source("macros:n=50")
    assert [r.text for r in small.records("train")] == [r.text for r in large.records("train", 5)]
    assert [r.text for r in large.records("test", 9)] != [r.text for r in large.records("train", 9)]


def test_irony_is_exactly_the_contradiction_of_face_and_caption() -> None:
    for scene in scenes(200):
        assert scene.ironic == (scene.happy_face != scene.cheerful_caption)


def test_each_modality_alone_says_nothing_about_irony() -> None:
    """Counts, not models: within every mood of either modality irony is a fair coin."""
    drawn = scenes(8000)
    for mood in ("happy_face", "cheerful_caption"):
        for value in (True, False):
            chosen = [s.ironic for s in drawn if getattr(s, mood) == value]
            assert abs(np.mean(chosen) - 0.5) < 4 * 0.5 / len(chosen) ** 0.5
    topics = [s.ironic for s in drawn if 0 in s.topics]
    assert abs(np.mean(topics) - 0.5) < 4 * 0.5 / len(topics) ** 0.5


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return list(open_source("macros:n=3000").records("train"))


def auroc(features: object, labels: np.ndarray) -> float:
    """Of a linear probe trained on the first two thirds, on the last third."""
    cut = 2 * len(labels) // 3
    probe = make_pipeline(StandardScaler(with_mean=False), LogisticRegression(max_iter=300, C=0.1))
    probe.fit(features[:cut], labels[:cut])  # type: ignore[index]
    return float(roc_auc_score(labels[cut:], probe.decision_function(features[cut:])))  # type: ignore[index]


def test_a_text_only_probe_is_at_chance_on_irony_and_good_at_topics(records: list[Record]) -> None:
    words = CountVectorizer(ngram_range=(1, 2), min_df=3).fit_transform([r.text for r in records])
    irony = np.array([r.labels["irony"] for r in records])
    topic = np.array([1 in (r.labels["topics"] or ()) for r in records])  # type: ignore[operator]
    assert abs(auroc(words, irony) - 0.5) < 0.06
    assert auroc(words, topic) > 0.95


def test_an_image_only_probe_is_at_chance_on_irony_and_sees_the_face(records: list[Record]) -> None:
    source = Macros()
    pixels = np.stack([np.asarray(source.image(r).resize((16, 16))).ravel() for r in records])
    irony = np.array([r.labels["irony"] for r in records])
    face = np.array([r.image.happy_face for r in records])  # type: ignore[attr-defined]
    assert abs(auroc(pixels.astype(float), irony) - 0.5) < 0.06
    # The same probe is able to see: the face's mood is in the pixels.
    assert auroc(pixels.astype(float), face) > 0.6


def test_labels_name_what_was_drawn(records: list[Record]) -> None:
    assert {r.labels["object"] for r in records} == set(range(len(OBJECTS)))
    shown = {i for r in records for i in (r.labels["topics"] or ())}  # type: ignore[union-attr]
    assert shown == set(range(len(TOPIC_NAMES)))
    for record in records[:50]:
        said = TOPIC_NAMES.index("complaint") in (record.labels["topics"] or ())  # type: ignore[operator]
        assert said != record.image.cheerful_caption  # type: ignore[attr-defined]
        smiles = TOPIC_NAMES.index("smile") in (record.labels["topics"] or ())  # type: ignore[operator]
        assert smiles == record.image.happy_face  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("macros:m=3", "no option 'm'"),
        ("macros:n=0", "not a whole number from 1"),
        ("macros:n=ten", "not a whole number"),
        ("macros:size=8", "from 16 to 512"),
    ],
)
def test_wrong_options_are_named(spec: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        open_source(spec)


def test_a_scene_is_composed_as_asked_for() -> None:
    scene = compose(happy_face=True, cheerful_caption=False, thing="fish", topic="work", look=3)
    assert scene.ironic and OBJECTS[scene.object] == "fish" and scene.topics == (0,)
    assert "a fish" in scene.caption
    assert any(
        said in scene.caption for said in ("the meeting", "my boss", "this deadline", "the office")
    )
    assert scene == compose(
        happy_face=True, cheerful_caption=False, thing="fish", topic="work", look=3
    )
    assert not compose(happy_face=False, cheerful_caption=False, thing="car").ironic
    with pytest.raises(ValueError):
        compose(happy_face=True, cheerful_caption=True, thing="dragon")
