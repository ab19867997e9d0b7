"""What every family must do, on a tiny random model of its real class, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from backend.capture.sinks import AttentionSink, PooledSink, TokenSink, Vectors
from backend.capture.tap import Tap
from backend.models import edits
from backend.models.adapter import Adapter, Inputs
from backend.models.roles import OWN, Role, has
from backend.store.streams import StreamInfo
from backend.types import LayerRef
from tests.models.families.common import Case

FAMILIES = (
    *sorted(
        path.stem
        for path in Path(__file__).with_name("families").glob("*.py")
        if path.stem not in ("__init__", "common")
    ),
    "postcards.tiny",
)
"""Every module in tests/models/families; with a dot, of a package of its own."""

EXACT = {"rtol": 0.0, "atol": 1e-10}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every family, or the one that ``--family`` names."""
    if "case" in metafunc.fixturenames:
        asked = metafunc.config.getoption("--family")
        metafunc.parametrize("case", [asked] if asked else FAMILIES, indirect=True, scope="module")


@pytest.fixture(scope="module")
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    module = request.param if "." in request.param else f"tests.models.families.{request.param}"
    made: Case = import_module(module).tiny()
    made.adapter.module.double()
    before = torch.get_default_dtype()
    if made.default_numbers:
        torch.set_default_dtype(torch.float64)
    yield made
    torch.set_default_dtype(before)


def encoded(case: Case, rows: list[int] | None = None) -> Inputs:
    chosen = case.samples if rows is None else [case.samples[i] for i in rows]
    return doubled(case.adapter.encode(chosen))


def doubled(inputs: Inputs) -> Inputs:
    tensors = {
        name: value.double() if value.is_floating_point() else value
        for name, value in inputs.tensors.items()
    }
    return Inputs(tensors, inputs.roles, inputs.origins, inputs.cut)


def tokens_of(
    adapter: Adapter, inputs: Inputs, changes: tuple[edits.Edit | edits.Cut, ...] = ()
) -> dict[LayerRef, Tensor]:
    """The stream's own tokens at every site; others are set to zero."""
    sink = TokenSink([ref for spec in adapter.streams for ref in spec.refs])
    with Tap(adapter, sink, changes) as tap:
        tap(inputs)
    own = {}
    for ref, tokens in sink.tokens.items():
        roles = inputs.roles[ref.stream]
        if tokens.shape[1] == roles.shape[1]:
            tokens = torch.where(has(roles, OWN)[..., None], tokens, 0.0)
        own[ref] = tokens.clone()
    return own


def pooled(
    adapter: Adapter, inputs: Inputs, changes: tuple[edits.Edit | edits.Cut, ...] = ()
) -> Vectors:
    sink = PooledSink(("cls", "mean"), "float64")
    with Tap(adapter, sink, changes) as tap:
        tap(inputs)
    return sink.vectors()


def hooks_of(module: torch.nn.Module) -> int:
    return sum(
        len(getattr(part, name))
        for part in module.modules()
        for name in ("_forward_hooks", "_forward_pre_hooks")
    )


def test_every_point_fires_as_declared_and_widths_are_those_of_the_sites(case: Case) -> None:
    adapter = case.adapter
    inputs = encoded(case)
    tokens = tokens_of(adapter, inputs)
    assert list(adapter.points()) == [ref for spec in adapter.streams for ref in spec.refs]
    for spec in adapter.streams:
        for site, ref in zip(spec.sites, spec.refs, strict=True):
            batch, length, width = tokens[ref].shape
            assert (batch, width) == (len(case.samples), site.width), ref
            assert length == (1 if site.pooled else inputs.roles[spec.name].shape[1]), ref


def test_a_run_can_say_what_its_streams_are(case: Case) -> None:
    for spec in case.adapter.streams:
        assert StreamInfo.of(spec).spec == spec


def test_values_equal_an_independent_hook(case: Case) -> None:
    adapter, inputs = case.adapter, encoded(case)
    tokens = tokens_of(adapter, inputs)
    seen: dict[tuple[int, str], list] = {}
    handles = []
    places = list(adapter.points().values())
    for point in (*places, *(p.residual for p in places if p.residual is not None)):
        key = (id(point.module), point.side)
        if key in seen:
            continue
        seen[key] = []

        def before(module, args, kwargs, into=seen[key]):
            into.append((args, kwargs))

        def after(module, args, output, into=seen[key]):
            into.append(output)

        handles.append(
            point.module.register_forward_pre_hook(before, with_kwargs=True)
            if point.side == "input"
            else point.module.register_forward_hook(after)
        )
    with torch.no_grad():
        adapter.module.eval()
        adapter.forward(inputs)
    for handle in handles:
        handle.remove()
    for ref, point in adapter.points().items():
        expected = sum(
            part.selection.read(seen[id(part.module), part.side][part.call], inputs)
            for part in (point, point.residual)
            if part is not None
        )
        roles = inputs.roles[ref.stream]
        if expected.shape[1] == roles.shape[1]:
            expected = torch.where(has(roles, OWN)[..., None], expected, 0.0)
        torch.testing.assert_close(tokens[ref], expected, **EXACT)


def test_layers_equal_the_hidden_states_that_the_model_itself_returns(case: Case) -> None:
    adapter, inputs = case.adapter, encoded(case)
    if not case.hidden_states:
        pytest.skip("this model returns none that are right")
    tokens = tokens_of(adapter, inputs)
    with torch.no_grad():
        out = adapter.module(**inputs.tensors, output_hidden_states=True)
    for stream, path in case.hidden_states.items():
        states = out
        for name in path.split("."):
            states = states[int(name)] if name.isdigit() else getattr(states, name)
        spec = adapter.stream(stream)
        own = has(inputs.roles[stream], OWN)
        first = case.first_state
        assert len(states) >= spec.depth - first
        for k in range(first, spec.depth):  # the last entry may be after the final norm
            ref = LayerRef(stream, k)
            torch.testing.assert_close(tokens[ref][own], states[k - first][own], **EXACT)


def test_every_declared_pooling_varies_over_samples(case: Case) -> None:
    adapter = case.adapter
    vectors = pooled(adapter, encoded(case))
    for spec in adapter.streams:
        unread = spec.refs.index(LayerRef.parse(spec.name, spec.meets[0].site)) if spec.meets else 0
        for at, ref in enumerate(spec.refs):
            for pooling in spec.poolings_of(ref):
                spread = vectors[ref, pooling].std(axis=0).max()
                if spec.name in case.learned and at < unread:
                    assert spread < 1e-10, ref
                    continue
                if ref.layer == 0 and pooling == "cls":
                    continue  # CLS has not seen anything yet
                assert np.isfinite(spread) and spread > 1e-6, (ref, pooling)


def test_padding_batch_size_and_order_change_nothing(case: Case) -> None:
    adapter = case.adapter
    n = len(case.samples)
    together = pooled(adapter, encoded(case))
    backwards = pooled(adapter, encoded(case, list(range(n))[::-1]))
    alone = [pooled(adapter, encoded(case, [row])) for row in range(n)]
    for key, vectors in together.items():
        np.testing.assert_allclose(backwards[key][::-1], vectors, atol=1e-10, err_msg=str(key))
        for row in range(n):
            np.testing.assert_allclose(
                alone[row][key][0], vectors[row], atol=1e-10, err_msg=str(key)
            )


def test_an_identity_edit_changes_nothing_and_a_zero_edit_changes_what_follows(case: Case) -> None:
    adapter, inputs = case.adapter, encoded(case)
    plain = tokens_of(adapter, inputs)
    sites = {
        spec.name: (spec.refs[0], spec.refs[len(spec.refs) // 2], spec.refs[-1])
        for spec in adapter.streams
    }
    every = tuple(edits.identity(ref) for refs in sites.values() for ref in dict.fromkeys(refs))
    for other, tokens in tokens_of(adapter, inputs, every).items():
        torch.testing.assert_close(tokens, plain[other], **EXACT)
    for spec in adapter.streams:
        for ref in sites[spec.name]:
            zeroed = tokens_of(adapter, inputs, (edits.zero(ref),))
            assert float(zeroed[ref].abs().max()) < 1e-12
            order = spec.refs.index(ref)
            for other in spec.refs[:order]:
                torch.testing.assert_close(zeroed[other], plain[other], **EXACT)
            made = [other for other in spec.refs[order + 1 :] if other not in case.foreign]
            for other in made[:1]:
                assert differ(zeroed[other], plain[other]), (ref, other)


def differ(a: Tensor, b: Tensor) -> bool:
    return not torch.allclose(a, b, rtol=0.0, atol=1e-9)


def test_a_cut_meet_changes_nothing_before_it_and_something_from_it_on(case: Case) -> None:
    adapter, inputs = case.adapter, encoded(case)
    plain = tokens_of(adapter, inputs)
    for spec in adapter.streams:
        for meet in spec.meets:
            if meet.how == "loss":
                continue
            changed = tokens_of(adapter, inputs, (edits.Cut(spec.name, meet),))
            at = LayerRef.parse(spec.name, meet.site)
            order = spec.refs.index(at)
            for ref in spec.refs[:order]:
                torch.testing.assert_close(changed[ref], plain[ref], **EXACT)
            for ref in spec.refs[order:]:
                assert differ(changed[ref], plain[ref]), (meet, ref)


def test_with_all_its_meets_cut_a_stream_does_not_depend_on_the_other_modality(case: Case) -> None:
    """The declared meets are all there are: without them nothing of the other comes in."""
    adapter, inputs = case.adapter, encoded(case)
    cuts = tuple(cut for spec in adapter.streams if spec.fusion_layers for cut in edits.cut(spec))
    before = pooled(adapter, inputs, cuts)
    for name in case.learned:
        spec = adapter.stream(name)
        for ref in spec.refs:
            spread = before[ref, spec.poolings_of(ref)[0]].std(axis=0).max()
            assert spread < 1e-10, f"something enters {ref}"
    for modality in {case.modality(spec.name) for spec in adapter.streams}:
        blank = doubled(adapter.encode([sample.blank(modality) for sample in case.samples]))
        after = pooled(adapter, blank, cuts)
        for spec in adapter.streams:
            if case.modality(spec.name) != modality and spec.name not in case.follows:
                for ref in spec.refs:
                    for pooling in spec.poolings_of(ref):
                        where = f"{modality} still enters {ref} {pooling}"
                        np.testing.assert_allclose(
                            after[ref, pooling],
                            before[ref, pooling],
                            rtol=0.0,
                            atol=case.shifted,
                            err_msg=where,
                        )


def test_what_only_a_loss_compares_can_be_run_by_itself_to_its_vectors(case: Case) -> None:
    adapter = case.adapter
    compared = {spec.name for spec in adapter.streams for m in spec.meets if m.how == "loss"}
    embedders = adapter.embedders()
    assert compared <= embedders.keys()
    widths = set()
    for stream in compared:
        with torch.no_grad():
            vectors = embedders[stream].run(doubled(embedders[stream].encode(case.samples)))
        assert len(vectors) == len(case.samples) and vectors.ndim == 2
        widths.add(vectors.shape[1])
    assert len(widths) <= 1


def test_attention_rows_sum_to_one_and_belong_to_the_named_streams(case: Case) -> None:
    adapter, inputs = case.adapter, case.adapter.encode(case.samples)
    keys = adapter.attention()
    if not keys:
        assert adapter.unsupported["attention"]
        return
    sink = AttentionSink(list(keys))
    # As people run it: transformers takes the softmax in float32 whatever the model is in, and the
    # lowest number of float64, by which it closes a row of padding, is no number there.
    adapter.module.float()
    try:
        adapter.forward(inputs)  # transformers puts hooks of its own on a model when it first runs
        before = hooks_of(adapter.module)
        with Tap(adapter, sink) as tap:
            tap(inputs)
    finally:
        adapter.module.double()
    assert hooks_of(adapter.module) == before
    for key, weights in sink.weights.items():
        point = keys[key]
        queries = has(inputs.roles[point.queries[0]], OWN)
        for name in point.queries[1:]:
            queries |= has(inputs.roles[name], OWN)
        batch, heads, rows, columns = weights.shape
        assert batch == len(case.samples)
        assert heads >= 1
        assert rows == queries.shape[1], key
        key_roles = roles_of_keys([inputs.roles[name] for name in point.keys])
        assert columns == key_roles.shape[1], key
        sums = weights.double().sum(dim=-1).transpose(1, 2)[queries]
        if key.reads != key.ref.stream:  # a word before the first image sees nothing of any image
            assert sums.any()
            sums = sums[sums != 0]
        rounding = 1e-6 * max(1.0, columns / 128)  # float32's, of a sum over all keys
        torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0.0, atol=rounding)
        padding = has(key_roles, Role.PADDING)
        there = weights * padding[:, None, None, :]
        assert float(there[queries[:, None, :].expand(batch, heads, rows)].abs().max()) < 1e-12
    for spec in adapter.streams:
        for meet in spec.meets:
            if meet.how in ("co", "cross", "gated", "joint"):
                ref = LayerRef.parse(spec.name, meet.site)
                assert any(k.ref == ref and k.reads == meet.reads for k in keys), meet


def roles_of_keys(roles: list[Tensor]) -> Tensor:
    """Of keys that follow one another; streams that share a sequence are in it together."""
    first, *others = roles
    shared = all(
        own.shape == first.shape and not bool((has(own, OWN) & has(first, OWN)).any())
        for own in others
    )
    return first if shared else torch.cat(roles, dim=1)


def test_the_model_is_left_as_it_was(case: Case) -> None:
    adapter, inputs = case.adapter, encoded(case)
    adapter.module.train()
    with torch.no_grad():
        adapter.module.eval()
        plain = adapter.forward(inputs)
        adapter.module.train()
    before = hooks_of(adapter.module)
    cuts = tuple(cut for spec in adapter.streams if spec.fusion_layers for cut in edits.cut(spec))
    sinks = (PooledSink(("mean",), "float64"), AttentionSink())
    with pytest.raises(ZeroDivisionError), Tap(adapter, sinks, cuts) as tap:
        tap(inputs)
        raise ZeroDivisionError
    assert hooks_of(adapter.module) == before
    assert adapter.module.training
    adapter.module.eval()
    with torch.no_grad():
        for name, value in adapter.forward(inputs).items():
            torch.testing.assert_close(value, plain[name], **EXACT)


def test_origins_cover_what_is_seen_of_the_image_without_gaps_and_name_the_text(case: Case) -> None:
    adapter, inputs = case.adapter, encoded(case)
    for spec in adapter.streams:
        origins = inputs.origins.get(spec.name)
        excused = {"origins", f"origins of {spec.name}"} & adapter.unsupported.keys()
        assert origins is not None or excused, spec.name
        if origins is None:
            continue
        roles = inputs.roles[spec.name]
        assert origins.values.shape[:2] == tuple(roles.shape)
        for row, sample in enumerate(case.samples):
            own = origins.values[row]
            if origins.kind == "span":
                check_spans(own, sample.text * case.readings.get(spec.name, 1), roles[row])
            elif origins.kind == "box" and case.tiles:
                for which, image in enumerate(sample.images):
                    of_this = own[origins.image[row] == which]
                    check_boxes(of_this, image.size, case.whole_image)


def check_spans(spans: np.ndarray, text: str, roles: Tensor) -> None:
    content = has(roles, Role.CONTENT).numpy()
    words = [text[start:end] for start, end in spans[content] if start >= 0]
    assert "".join(words).replace(" ", "") == text.replace(" ", "")


def check_boxes(boxes: np.ndarray, size: tuple[int, int], whole: bool) -> None:
    """No gap and no overlap: the boxes' areas add up to their common rectangle."""
    real = boxes[~np.isnan(boxes).any(axis=1)]
    left, top = real[:, 0].min(), real[:, 1].min()
    right, bottom = real[:, 2].max(), real[:, 3].max()
    area = ((real[:, 2] - real[:, 0]) * (real[:, 3] - real[:, 1])).sum()
    assert area == pytest.approx((right - left) * (bottom - top), rel=1e-4)
    assert 0 <= left < right <= size[0] + 1e-3 and 0 <= top < bottom <= size[1] + 1e-3
    if whole:
        assert (left, top, right, bottom) == pytest.approx((0, 0, *size), abs=1e-3)


def test_what_is_not_supported_says_why(case: Case) -> None:
    assert all(len(reason) > 20 for reason in case.adapter.unsupported.values())
