"""Partners: who is given whose, and what the streams then read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from backend.capture.sinks import TokenSink
from backend.capture.tap import Tap
from backend.data.sample import Sample
from backend.errors import InputError
from backend.interventions.partners import (
    Draw,
    check_partners,
    derangement,
    draw,
    held,
    paired,
    passes,
)
from backend.types import LayerRef
from tests.tiny import tiny_adapter

WORDS = ["the cat", "a dog on a red thing", "thing", "red cat and dog", "a the on", "dog cat the a"]


def samples(n: int = 6) -> list[Sample]:
    rng = np.random.default_rng(3)
    pictures = [Image.fromarray(p) for p in rng.integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)]
    return [Sample(WORDS[i % 6] + " red" * (i // 6), (pictures[i],)) for i in range(n)]


@pytest.mark.parametrize("n", [2, 3, 7, 64])
@pytest.mark.parametrize("seed", range(5))
def test_nobody_is_given_itself(n: int, seed: int) -> None:
    partners = derangement(n, seed)
    assert sorted(partners.tolist()) == list(range(n))
    assert not (partners == np.arange(n)).any()


@pytest.mark.parametrize("seed", range(20))
def test_nobody_is_given_one_of_its_own_group(seed: int) -> None:
    groups = ["a", "a", "b", "c", "c", "c", "c", "d", "d", "e"]
    partners = derangement(10, seed, groups)
    assert sorted(partners.tolist()) == list(range(10))
    assert not any(groups[i] == groups[p] for i, p in enumerate(partners))


def test_half_of_the_samples_in_one_group_is_the_most() -> None:
    partners = derangement(4, 0, ["a", "a", "b", "c"])
    assert {int(p) for p in partners[:2]} == {2, 3}
    with pytest.raises(InputError, match=r"5 samples cannot exchange.*3 of them belong together"):
        derangement(5, 0, ["a", "a", "a", "b", "c"])
    with pytest.raises(InputError, match="cannot exchange"):
        derangement(1, 0)


def test_all_derangements_of_four_by_one_cycle_occur() -> None:
    seen = {tuple(derangement(4, seed).tolist()) for seed in range(200)}
    assert len(seen) == 6  # the cycles through four


def test_a_shuffled_stream_is_that_of_its_own_sample_with_the_partners_text() -> None:
    adapter, given = tiny_adapter((2, 3), (2, 3)), samples()
    partners = derangement(6, 1)
    read = passes(
        adapter, given, "shuffled", poolings=("cls",), drawn=Draw(partners, 0), batch_size=4
    )
    for i in range(6):
        image_with = replace(given[i], text=given[partners[i]].text)
        whose = int(np.flatnonzero(partners == i)[0])
        text_with = replace(given[whose], text=given[i].text)
        for stream, sample in (("vision", image_with), ("text", text_with)):
            sites = [LayerRef(stream, 4)]
            sink = TokenSink(sites)
            with Tap(adapter, sink) as tap:
                logits = tap(adapter.encode([sample]))
            np.testing.assert_allclose(
                read.vectors[sites[0], "cls"][i], sink.tokens[sites[0]][0, 0], atol=1e-5
            )
            np.testing.assert_allclose(
                read.outputs[stream]["object"][i], logits["object"][0], atol=1e-5
            )


def test_the_true_partner_is_the_plain_forward_pass() -> None:
    adapter, given = tiny_adapter((2,), (2,)), samples()
    drawn = Draw(np.arange(6), 0)
    read = passes(adapter, given, "true", poolings=("cls",), drawn=drawn, batch_size=6)
    with torch.inference_mode():
        plain = adapter.model(**adapter.encode(given).tensors)
    np.testing.assert_allclose(
        read.vectors[LayerRef("text", 4), "cls"], plain.text[:, 0], atol=1e-6
    )


@pytest.mark.parametrize(("stream", "other"), [("vision", "text"), ("text", "vision")])
def test_a_constant_partner_is_the_same_wherever_the_stream_reads_it(
    stream: str, other: str
) -> None:
    adapter, given = tiny_adapter((1, 2, 4), (1, 2, 4)), samples()
    own, first = np.arange(6), np.zeros(6, dtype=int)
    images, texts = (own, first) if stream == "vision" else (first, own)
    refs = [ref for ref in adapter.stream(other).refs if ref != LayerRef(other, 0)]
    sink = TokenSink(refs)
    with Tap(adapter, sink, held(adapter, given[0], other)) as tap:
        tap(adapter.encode(paired(given, images, texts)))
    alone = TokenSink(refs)
    with Tap(adapter, alone) as tap:
        tap(adapter.encode([given[0]]))
    for ref in refs:
        torch.testing.assert_close(
            sink.tokens[ref], alone.tokens[ref].expand_as(sink.tokens[ref]), atol=1e-5, rtol=1e-4
        )
    loose = TokenSink(refs)
    with Tap(adapter, loose) as tap:
        tap(adapter.encode(paired(given, images, texts)))
    last = LayerRef(other, 4)  # without holding it the partner takes the stream in and varies
    assert float(loose.tokens[last].std(dim=0).max()) > 1e-3


@pytest.mark.parametrize("constant", [0, 4])
def test_a_stream_with_a_constant_partner_reads_that_samples_own_pass(constant: int) -> None:
    adapter, given = tiny_adapter((2,), (2,)), samples()
    drawn = Draw(derangement(6, 1), constant)
    read = passes(adapter, given, "constant", poolings=("cls",), drawn=drawn, batch_size=4)
    one = LayerRef("vision", 4)
    for i in range(6):  # one fusion: nothing that the partner took in comes back
        sink = TokenSink([one])
        with Tap(adapter, sink) as tap:
            tap(adapter.encode([replace(given[i], text=given[constant].text)]))
        np.testing.assert_allclose(
            read.vectors[one, "cls"][i], sink.tokens[one][0, 0], atol=1e-5, err_msg=str(i)
        )


def test_a_constant_partner_is_held_at_every_fusion_of_a_pass() -> None:
    adapter, given = tiny_adapter((1, 2, 4), (1, 2, 4)), samples()
    drawn = Draw(derangement(6, 1), 2)
    read = passes(adapter, given, "constant", poolings=("cls",), drawn=drawn)
    own, same, last = np.arange(6), np.full(6, 2), LayerRef("vision", 4)
    for edits, alike in ((held(adapter, given[2], "text"), True), ((), False)):
        sink = TokenSink([last])
        with Tap(adapter, sink, edits) as tap:
            tap(adapter.encode(paired(given, own, same)))
        plain = sink.tokens[last][:, 0].numpy()
        assert np.allclose(read.vectors[last, "cls"], plain, atol=1e-5) is alike


def test_each_seed_of_a_model_has_its_own_draw_and_placements_of_a_seed_share_theirs() -> None:
    groups = [row // 2 for row in range(20)]
    draws = [draw(20, 0, seed, groups) for seed in range(8)]
    assert len({tuple(one.partners.tolist()) for one in draws}) == 8
    assert len({one.constant for one in draws}) > 3
    again = draw(20, 0, 3, groups)
    assert (again.partners == draws[3].partners).all() and again.constant == draws[3].constant
    assert (draw(20, 1, 3, groups).partners != again.partners).any()
    assert not any(groups[i] == groups[p] for one in draws for i, p in enumerate(one.partners))
    assert (draw(20, 0, None).partners == draw(20, 0, 0).partners).all()


def test_models_without_a_partner_to_exchange_are_refused() -> None:
    with pytest.raises(InputError, match="no fusion"):
        check_partners(tiny_adapter())
    joint = tiny_adapter((2,), (2,))
    text = joint.stream("text")
    meets = tuple(replace(meet, how="joint") for meet in text.meets)
    joint.streams = (joint.stream("vision"), replace(text, meets=meets))
    with pytest.raises(InputError, match="share one sequence"):
        check_partners(joint)
    check_partners(tiny_adapter((2,), (2,)))
