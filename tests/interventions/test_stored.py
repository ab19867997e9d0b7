"""What runs of a store were asked: kept, read back, not asked again, and shown to the study."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from backend.capture.options import CaptureOptions
from backend.data.registry import open_source
from backend.errors import InputError
from backend.interventions.question import Options, Question
from backend.interventions.run import Subject, add_interventions, intervene, subjects_of
from backend.jobs.capture import CaptureRequest, open_request, run_capture
from backend.models.adapter import Adapter
from backend.store import Run, Store, kinds
from backend.store.verify import verify
from backend.types import TaskSpec
from tests.tiny import tiny_adapter, tiny_checkpoint

DATA = "macros:n=120"
ASKED = Options(samples=8, device="cpu")
REASON = "which weights it began with is not known (its checkpoint has no training.json)"
UNKNOWN = f"fused: untrained: {REASON}"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of one run that fuses and keeps its checkpoint, and one that does not fuse."""
    folder = tmp_path_factory.mktemp("interventions")
    for name, layers in (("fused", (2, 3)), ("plain", ())):
        model = tiny_checkpoint(folder / name, layers, layers)
        options = CaptureOptions(limit=6, device="cpu", with_checkpoint=name == "fused")
        request = CaptureRequest(
            model=str(model), data=DATA, store=str(folder / "store"), run_id=name, options=options
        )
        run_capture(request, open_request(request))
    return folder / "store"


def test_a_run_keeps_what_it_was_asked_and_is_not_asked_again(path: Path) -> None:
    source = open_source(DATA)
    first = intervene(list(subjects_of([path])), source, ASKED)
    assert first.facts == (UNKNOWN,)
    assert first.failures == (
        "plain: its checkpoint was not kept, and no directory that was named holds it (digest "
        f"{Store(path).run('plain').manifest.model.digest}). Give the directory that holds it as "
        "`models`.",
    )
    run = Store(path).run("fused")
    key = Question.of(source, ASKED).key
    assert run.keys(kinds.INTERVENTIONS) == (key,)
    assert not verify(Store(path))

    def closed() -> Adapter:
        raise AssertionError("was opened again")

    again = intervene([Subject("fused", closed, run)], source, ASKED)
    pd.testing.assert_frame_equal(again.table, first.table, check_dtype=False)
    assert again.about == first.about and not again.facts and not again.failures
    other = intervene(list(subjects_of([path])), source, Options(**vars(ASKED) | {"samples": 10}))
    assert set(other.table["n"]) == {10}
    assert len(Store(path).run("fused").keys(kinds.INTERVENTIONS)) == 2


def test_a_run_of_other_data_or_another_seed_is_left_out(path: Path) -> None:
    run = Store(path).run("fused")
    source = open_source(DATA)
    source.name = "elsewhere"
    with pytest.raises(InputError, match="fused: is a run on macros, not elsewhere"):
        intervene(list(subjects_of([path]))[:1], source, ASKED)
    with pytest.raises(InputError, match="no model could be asked"):
        options = Options(samples=8, seeds=(7,))
        intervene([Subject("fused", tiny_adapter, run)], open_source(DATA), options)


def test_what_cannot_be_kept_is_said_and_shown_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise InputError("the disk is full")

    monkeypatch.setattr(Run, "add", full)
    options = Options(**vars(ASKED) | {"samples": 12})
    made = intervene(list(subjects_of([path]))[:1], open_source(DATA), options)
    assert made.facts == (UNKNOWN,)
    assert made.failures == ("fused: asked, but not kept: the disk is full",)
    assert set(made.table["n"]) == {12}


def test_a_run_is_asked_while_it_is_made(path: Path) -> None:
    class Unfinished:
        rows: pd.DataFrame | None = None

        def keys(self, kind: kinds.Kind) -> tuple[str, ...]:
            return ()

        def add(self, kind: kinds.Kind, rows: pd.DataFrame, key: str = "") -> None:
            assert kind is kinds.INTERVENTIONS and key == Question.of(source, Options()).key
            self.rows = rows

    source = open_source(DATA)
    adapter = tiny_adapter((2,), (2,))
    adapter.model.config.trained_on["from_scratch"] = True
    unfinished = Unfinished()
    add_interventions(unfinished, adapter, source)
    assert unfinished.rows is not None
    assert list(unfinished.rows.columns) == kinds.INTERVENTIONS.schema.names
    assert set(unfinished.rows["weights"]) == {"trained", "untrained", "fresh fusion"}
    plain = Unfinished()
    add_interventions(plain, tiny_adapter(), source)
    assert plain.rows is None
    del adapter.model.config.trained_on["from_scratch"]
    with pytest.raises(InputError, match="untrained"):
        add_interventions(Unfinished(), adapter, source)


class Grouped:
    """The generated set as if every three samples were of one photo."""

    def __init__(self) -> None:
        self._source = open_source(DATA)

    def __getattr__(self, name: str) -> object:
        return getattr(self._source, name)

    def pairs(self, split: str, limit: int) -> Iterator[object]:
        for at, pair in enumerate(self._source.pairs(split, limit)):
            yield replace(pair, record=replace(pair.record, group=f"photo {at // 3}"))


def test_partners_are_exchanged_among_other_groups() -> None:
    question = Question.of(Grouped(), Options(samples=24))  # type: ignore[arg-type]
    assert question.params["groups"] == 8
    for seed in range(5):
        drawn = question.drawn(seed)
        assert all(at // 3 != int(other) // 3 for at, other in enumerate(drawn.partners))
    alone = Question.of(open_source(DATA), Options(samples=24))
    assert alone.key != question.key  # other groups, other partners


def test_samples_with_the_same_text_are_not_given_each_other() -> None:
    class Same(Grouped):
        def pairs(self, split: str, limit: int) -> Iterator[object]:
            for at, pair in enumerate(self._source.pairs(split, limit)):
                text = "same words" if at < 4 else f"{pair.record.text} {at}"
                record = replace(pair.record, text=text)
                yield replace(pair, record=record, sample=replace(pair.sample, text=text))

    question = Question.of(Same(), Options(samples=12))  # type: ignore[arg-type]
    assert question.params["groups"] == 9
    for seed in range(10):
        assert not set(question.drawn(seed).partners[:4].tolist()) & set(range(4))


def test_labels_are_read_as_the_tasks_of_each_model_were(tmp_path: Path) -> None:
    rows = ["id,text,mood"] + [f"{i},text {i},{'rude' if i % 3 else 'calm'}" for i in range(12)]
    (tmp_path / "captions.csv").write_text("\n".join(rows))
    source = open_source(f"folder:{tmp_path},label=mood")
    asked = Question.of(source, Options(split="all", samples=8))
    assert asked.tasks["mood"].kind == "binary"
    several = TaskSpec("mood", "multiclass", ("calm", "rude"))
    turned = TaskSpec("mood", "binary", ("rude", "calm"))

    def read(question: Question) -> dict[str, object]:
        return {p.record.sample_id: p.record.labels["mood"] for p in question.pairs}

    plain, other = read(asked), asked.read_as([turned])
    # The same samples: "a limit takes every class in its share" of the first reading.
    assert {name: 1 - label for name, label in read(other).items()} == plain  # type: ignore[operator]
    assert other.key == asked.key  # by their names the labels are the same
    for _ in range(2):
        other = other.read_as([several])
        assert other.tasks == {"mood": several} and read(other) == plain
    assert other.read_as([several]) is other
    assert [p.record.sample_id for p in other.pairs] == [p.record.sample_id for p in asked.pairs]
