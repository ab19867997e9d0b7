"""Released encoders side by side: named in a word, opened as one model, each as it is alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

from backend.capture.sinks import TokenSink
from backend.capture.tap import Tap
from backend.data.sample import Sample
from backend.errors import InputError
from backend.models.adapter import Adapter
from backend.models.describe import describe
from backend.models.encoders import Encoders, model_or, named_encoders
from backend.models.registry import open_model
from backend.types import LayerRef
from tests.models.encoder_files import PIXELS, VISION, save_text, save_vision
from tests.models.families.common import samples


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Encoders:
    folder = tmp_path_factory.mktemp("encoders")
    text, vision = save_text(folder / "bert"), save_vision(folder / "vit.safetensors")
    return Encoders(str(text), vision, PIXELS)


@pytest.fixture(scope="module")
def both(encoders: Encoders) -> Adapter:
    return open_model(encoders.word)


def tokens_of(adapter: Adapter, given: list[Sample]) -> dict[LayerRef, torch.Tensor]:
    sink = TokenSink([ref for spec in adapter.streams for ref in spec.refs])
    with Tap(adapter, sink) as tap:
        tap(adapter.encode(given))
    return dict(sink.tokens)


def test_each_stream_is_what_its_encoder_gives_alone(both: Adapter, encoders: Encoders) -> None:
    given = samples(3)
    tokens = tokens_of(both, given)
    model = AutoModel.from_pretrained(encoders.text_encoder)
    words = AutoTokenizer.from_pretrained(encoders.text_encoder)(
        [sample.text for sample in given], return_tensors="pt", padding=True
    )
    with torch.no_grad():
        states = model(**words, output_hidden_states=True).hidden_states
    for k, state in enumerate(states):
        torch.testing.assert_close(tokens[LayerRef("text", k)], state, rtol=0, atol=1e-5)
    vision = timm.create_model(VISION, img_size=PIXELS, num_classes=0).eval()
    plain = timm.create_model(VISION, num_classes=0)
    plain.load_state_dict(load_file(encoders.vision_encoder.partition(":")[2]))
    from timm.models.vision_transformer import checkpoint_filter_fn

    vision.load_state_dict(checkpoint_filter_fn(plain.state_dict(), vision))
    pixels = both.encode(given).tensors["pixel_values"]
    with torch.no_grad():
        end = vision.forward_features(pixels)
    depth = both.stream("vision").depth
    torch.testing.assert_close(tokens[LayerRef("vision", depth, "norm")], end, rtol=0, atol=1e-5)


def test_nothing_joins_them_and_no_run_of_them_is_a_placement(both: Adapter) -> None:
    told = describe(both)
    assert told.family == "fusionscope-encoders" and told.name == f"bert + {VISION}"
    assert (told.placement, told.seed, told.tasks) == ("", None, ())
    assert told.needs == ("image", "text")
    assert [(s.name, s.depth, s.meets) for s in told.streams] == [
        ("vision", 6, ()),
        ("text", 3, ()),
    ]
    one, other = samples(2)
    mixed = Sample(one.text, other.images)
    alone, crossed = tokens_of(both, [one]), tokens_of(both, [mixed])
    for ref, tokens in alone.items():
        assert torch.equal(tokens, crossed[ref]) == (ref.stream == "text"), ref


def test_the_text_has_the_length_of_its_own_model(both: Adapter) -> None:
    batch = both.encode([Sample(" ".join(["cat"] * 40), samples(1)[0].images)])
    assert batch.tensors["input_ids"].shape == (1, 24)
    assert batch.cut["text"].tolist() == [18]


def test_the_same_encoders_have_the_same_digest_and_are_opened_again(
    both: Adapter, encoders: Encoders
) -> None:
    assert open_model(encoders.word).digest == both.digest
    again = open_model(str(both.folder))
    assert (again.digest, again.name) == (both.digest, both.name)
    given = samples(2)
    first, second = tokens_of(both, given), tokens_of(again, given)
    assert all(torch.equal(first[ref], second[ref]) for ref in first)
    other = open_model(Encoders(encoders.text_encoder).word)
    assert other.digest != both.digest


def test_the_common_checkpoint_goes_with_the_model(encoders: Encoders) -> None:
    adapter = open_model(Encoders(encoders.text_encoder).word)
    folder = Path(str(adapter.folder))
    assert folder.is_dir()
    del adapter
    assert not folder.exists()


@pytest.mark.parametrize("stream", ["text", "vision"])
def test_one_alone_needs_its_own_modality_and_is_the_same_as_beside_the_other(
    both: Adapter, encoders: Encoders, stream: str
) -> None:
    named = {
        "text": Encoders(encoders.text_encoder),
        "vision": Encoders("", encoders.vision_encoder, PIXELS),
    }[stream]
    alone = open_model(named.word)
    assert [spec.name for spec in alone.streams] == [stream]
    assert alone.needs == {{"vision": "image", "text": "text"}[stream]}
    given = samples(2)
    beside, own = tokens_of(both, given), tokens_of(alone, given)
    for ref, tokens in own.items():
        assert torch.equal(tokens, beside[ref]), ref
    if stream == "text":
        tokens_of(alone, [Sample("a cat")])
    else:
        with pytest.raises(InputError, match="has no image"):
            alone.encode([Sample("a cat")])


@pytest.mark.parametrize(
    "encoders",
    [
        Encoders("a/b", "vit:w.safetensors", 112),
        Encoders("a/b"),
        Encoders("", "vit"),
        Encoders("", "vit", 8),
    ],
)
def test_a_word_names_the_same_encoders(encoders: Encoders) -> None:
    assert named_encoders(encoders.word) == encoders


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("text=", "'text=' is not one of"),
        ("text=a;vision", "'vision' is not one of"),
        ("text=a;text=b", "'text=b' is not one of"),
        ("text=a;size=3", "'size=3' is not one of"),
        ("vision=a;pixels=-3", "'-3' is not a number of pixels"),
        ("vision=a;pixels=99999999", "is not a number of pixels"),
        ("vision=a;pixels=٣", "is not a number of pixels"),
        ("text=a;pixels=3", "no vision encoder"),
        ("pixels=3", "it names no encoder"),
    ],
)
def test_a_word_that_names_none_is_refused_by_its_part(word: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        named_encoders(word)


@pytest.mark.parametrize("word", ["cache/out", "org/model", "textmodel", "C:\\models"])
def test_other_names_are_no_encoders(word: str) -> None:
    assert named_encoders(word) is None


@pytest.mark.parametrize(
    ("encoders", "model", "said"),
    [
        (Encoders(), "", "name a model, or encoders"),
        (Encoders("a"), "b", "cannot be given with encoders"),
        (Encoders("a", "", 64), "", "no vision encoder"),
        (Encoders("a", "b", 2), "", "2 is less than 8"),
        (Encoders("a;b"), "", "cannot be read back"),
    ],
)
def test_a_model_or_encoders(encoders: Encoders, model: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        model_or(encoders, model)


@pytest.mark.parametrize(
    ("encoders", "said"),
    [
        (Encoders("gone/away"), "gone/away"),
        (Encoders("", "vit_of_nobody"), "timm has no model"),
        (Encoders("", f"{VISION}:gone.safetensors"), "gone.safetensors"),
    ],
)
def test_an_encoder_that_is_not_to_be_had_is_named(encoders: Encoders, said: str) -> None:
    with pytest.raises(InputError, match=said) as told:
        open_model(encoders.word)
    assert "\n" not in str(told.value)
