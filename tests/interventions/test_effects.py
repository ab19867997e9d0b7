"""What is measured of a model's passes, against plain forwards and plain formulas."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.data.registry import open_source
from backend.errors import InputError
from backend.interventions.effects import effects, score_effects, transitions
from backend.interventions.partners import Draw, Passes, passes
from backend.interventions.question import Options, Question
from backend.interventions.run import Subject, intervene
from backend.interventions.table import COLUMNS, PARTNERS
from backend.interventions.weights import with_weights
from backend.models.dual_stream.adapter import DualStream
from backend.train.build import build
from backend.train.examples import MISSING
from backend.train.recipe import TrainPlan
from backend.types import LayerRef, StreamSpec, TaskSpec
from tests.tiny import tiny_adapter

SOURCE = open_source("macros:n=120")


def debiased_cka(x: np.ndarray, y: np.ndarray) -> float:
    """Song et al. 2012's unbiased HSIC, written out with n x n matrices."""
    n = len(x)

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
        one = np.ones(n)
        inner = np.trace(k @ m) + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
        return float((inner - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3)))

    k, m = x @ x.T, y @ y.T
    return hsic(k, m) / math.sqrt(hsic(k, k) * hsic(m, m))


def test_cka_at_a_fusion_is_that_of_a_plain_forward() -> None:
    adapter = tiny_adapter((2,), (2,))
    samples = [pair.sample for pair in SOURCE.pairs("test", 12)]
    read = passes(adapter, samples, "true", poolings=("cls",), drawn=Draw(np.arange(12), 0))
    caught = []
    model = adapter.model
    hooks = [
        model.vision.blocks[0].register_forward_hook(lambda m, a, out: caught.append(out)),
        model.co_attention[0].register_forward_hook(lambda m, a, out: caught.append(out[1])),
    ]
    with torch.inference_mode():
        model(**adapter.encode(samples).tensors)
    for hook in hooks:
        hook.remove()
    before, after = (tokens[:, 0].double().numpy() for tokens in caught)
    (cell,) = (
        one
        for one in effects(read, adapter.streams, "cls")
        if (one.stream, one.layer, one.transition) == ("vision", 2, "k-1 to k.fusion")
        and one.measure == "cka"
    )
    assert cell.crossing and cell.n == 12 and cell.estimator == "debiased"
    assert cell.value == pytest.approx(debiased_cka(before, after), abs=1e-5)


def test_the_change_of_dimension_is_that_after_over_that_before() -> None:
    rng = np.random.default_rng(0)
    sizes = {"0": 2, "1.fusion": 8, "1": 4}
    specs = [
        StreamSpec.of(name, name, 1, 8, (1,), reads=other)
        for name, other in (("vision", "text"), ("text", "vision"))
    ]
    vectors = {}
    for spec in specs:
        for ref in spec.refs:  # directions of equal variance: so many are 95 % of it
            own = rng.normal(size=(40, sizes[ref.label]))
            vectors[ref, "cls"] = np.linalg.qr(own - own.mean(axis=0))[0]
    changes = {
        (one.stream, one.transition): one.value
        for one in effects(Passes(vectors, {}), specs, "cls")
        if one.measure == "dimension_change"
    }
    for name in ("vision", "text"):
        assert changes[name, "k-1 to k.fusion"] == pytest.approx(math.log(8 / 2))
        assert changes[name, "k.fusion to k"] == pytest.approx(math.log(4 / 8))
        assert changes[name, "k-1 to k"] == pytest.approx(math.log(4 / 2))


def test_samples_that_belong_together_do_not_make_layers_alike() -> None:
    rng = np.random.default_rng(0)
    specs = [
        StreamSpec.of(name, name, 1, 6, (1,), reads=other)
        for name, other in (("vision", "text"), ("text", "vision"))
    ]
    vectors = {  # 40 photos with 5 captions each; the layers have nothing to do with each other
        (ref, "cls"): np.repeat(rng.normal(size=(40, 6)), 5, axis=0)
        + 0.3 * rng.normal(size=(200, 6))
        for spec in specs
        for ref in spec.refs
    }
    groups = np.repeat(np.arange(40), 5).tolist()
    alone, together = (
        [
            one.value
            for one in effects(Passes(vectors, {}), specs, "cls", own)
            if "cka" in one.measure
        ]
        for own in (None, groups)
    )
    assert np.mean(alone) > 0.07 and np.abs(np.mean(together)) < 0.02


def test_fusion_that_lets_nothing_in_has_no_effect_of_the_partner() -> None:
    adapter = tiny_adapter((2, 3), (2, 3))
    for fuse in adapter.model.co_attention:
        for attention in (fuse.text_from_vision, fuse.vision_from_text):
            torch.nn.init.zeros_(attention.project.weight)
            torch.nn.init.zeros_(attention.project.bias)
    samples = [pair.sample for pair in SOURCE.pairs("test", 10)]
    drawn = Draw(np.roll(np.arange(10), 3), 0)
    tables = [
        list(
            effects(
                passes(adapter, samples, one, poolings=("cls", "mean"), drawn=drawn),
                adapter.streams,
                "cls",
            )
        )
        for one in PARTNERS
    ]
    assert len(tables[0]) == 2 * (2 * 8 + 1)  # 4 layers and 4 halves, twice; the ends
    for cells in zip(*tables, strict=True):
        values = [one.value for one in cells]
        if cells[0].reason:
            assert all(math.isnan(value) for value in values)
        else:
            assert values == pytest.approx([values[0]] * 3, abs=1e-5)


def test_a_change_of_partner_shows_where_fusion_lets_it_in_and_not_before() -> None:
    adapter = tiny_adapter((3,), (3,))
    for fuse in adapter.model.co_attention:
        for attention in (fuse.text_from_vision, fuse.vision_from_text):
            attention.project.weight.data *= 40
    samples = [pair.sample for pair in SOURCE.pairs("test", 10)]
    drawn = Draw(np.roll(np.arange(10), 3), 0)
    true, shuffled = (
        {
            (one.stream, one.layer, one.transition): one.value
            for one in effects(
                passes(adapter, samples, which, poolings=("cls",), drawn=drawn),
                adapter.streams,
                "cls",
            )
            if one.measure == "cka"
        }
        for which in ("true", "shuffled")
    )
    for stream in ("vision", "text"):
        before, at = (stream, 2, "k-1 to k"), (stream, 3, "k-1 to k.fusion")
        assert true[before] == pytest.approx(shuffled[before], abs=1e-5)
        assert abs(true[at] - shuffled[at]) > 1e-3


def test_transitions_are_halved_where_a_fusion_lies() -> None:
    spec = StreamSpec.of("text", "text", 2, 8, (2,), reads="vision")
    a, b, c = LayerRef("text", 0), LayerRef("text", 1), LayerRef("text", 2)
    fused = LayerRef("text", 2, "fusion")
    assert list(transitions(spec)) == [
        (1, "k-1 to k", a, b),
        (2, "k-1 to k.fusion", b, fused),
        (2, "k.fusion to k", fused, c),
        (2, "k-1 to k", b, c),
    ]


def test_a_score_is_by_the_labels_of_the_streams_own_samples() -> None:
    task = TaskSpec("irony", "binary", ("no", "yes"))
    right = np.array([[-1.0], [2.0], [-2.0], [1.0]])
    read = Passes({}, {"vision": {"irony": right}, "text": {"irony": -right}})
    streams = [StreamSpec.of(name, name, 1, 4) for name in ("vision", "text")]
    found = list(score_effects(read, streams, [task], {"irony": np.array([0, 1, 0, 1])}))
    assert [(one.stream, one.value, one.n) for one in found] == [("vision", 1, 4), ("text", 0, 4)]
    some = list(score_effects(read, streams, [task], {"irony": np.array([0, MISSING, 0, MISSING])}))
    assert math.isnan(some[0].value) and some[0].n == 2 and some[0].reason
    assert not list(score_effects(read, streams, [task], {}))


def from_scratch() -> DualStream:
    adapter = tiny_adapter((2,), (2,))
    adapter.model.config.trained_on["from_scratch"] = True
    return adapter


def test_untrained_is_the_very_model_before_the_first_step() -> None:
    plan = TrainPlan(data="macros", placement="late", dropout=0.0)
    made, preprocessor = build(plan, SOURCE, tuple(SOURCE.tasks.values()), 5)
    begin = {name: value.clone() for name, value in made.state_dict().items()}
    for parameter in made.parameters():
        parameter.data += 1.0
    trained = DualStream(made, preprocessor, "late")
    state = torch.get_rng_state()
    untrained = with_weights(trained, "untrained", SOURCE)
    assert torch.equal(state, torch.get_rng_state())
    assert isinstance(untrained, DualStream) and not untrained.model.training
    for name, value in untrained.model.state_dict().items():
        assert torch.equal(value, begin[name]), name
    fresh = with_weights(trained, "fresh fusion", SOURCE)
    assert isinstance(fresh, DualStream)
    for name, value in fresh.model.state_dict().items():
        if name.startswith(("text.", "vision.")):
            assert torch.equal(value, made.state_dict()[name]), name
    assert float(fresh.model.co_attention[0].norm_text.weight.detach().mean()) == 1.0


def test_weights_that_are_not_known_are_said_to_be() -> None:
    adapter = tiny_adapter((2,), (2,))
    with pytest.raises(InputError, match=r"no training\.json"):
        with_weights(adapter, "untrained", SOURCE)
    adapter.seed = None
    with pytest.raises(InputError, match="which seed"):
        with_weights(adapter, "fresh fusion", SOURCE)


def test_the_table_has_every_cell_and_what_failed_is_one_line_each() -> None:
    def lost() -> DualStream:
        raise InputError("its checkpoint was not kept", hint="Give it.")

    one, other = from_scratch(), tiny_adapter((2,), (2,))
    one.digest = "a"
    again = from_scratch()
    again.digest = "a"
    subjects = [
        Subject("early", lambda: one),
        Subject("again", lambda: again),
        Subject("none", tiny_adapter),
        Subject("lost", lost),
        Subject("half", lambda: other),
    ]
    made = intervene(subjects, SOURCE, Options(samples=8, device="cpu"))
    assert made.failures == ("lost: its checkpoint was not kept. Give it.",)
    assert made.facts == (
        "again: is the same model as early",
        "none: has no fusion: there is no partner to exchange",
        "half: untrained: which weights it began with is not known (its checkpoint has no "
        "training.json)",
    )
    table = made.table
    assert tuple(table.columns) == COLUMNS
    own = table[table["run_id"].eq("early")]
    cells = own[~own["measure"].str.startswith("score:")].groupby(["weights", "partner"]).size()
    assert len(cells) == 9 and cells.eq(2 * (2 * 6 + 1)).all()
    assert set(own[own["measure"].str.startswith("score:")]["weights"]) == {"trained"}
    assert set(table[table["run_id"].eq("half")]["weights"]) == {"trained", "fresh fusion"}
    question = Question.of(SOURCE, Options(samples=8))
    told = {json.loads(text)["constant_sample"] for text in table["params"]}
    assert told == {question.pairs[question.drawn(0).constant].record.sample_id}
    assert set(table["key"]) == {question.key} and made.about["samples"] == 8
    assert made.about["models"]["early"]["seed"] == 0
    only = intervene(subjects, SOURCE, replace(Options(samples=8), seeds=(0,)))
    assert len(only.table) == len(table)
    with pytest.raises(InputError, match="no model could be asked"):
        intervene(subjects[:1], SOURCE, Options(samples=8, seeds=(4,)))
