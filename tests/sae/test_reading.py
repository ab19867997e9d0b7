"""Layers read through autoencoders: right numbers, honest controls, rows in the store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.stats import t

from backend.capture.options import CaptureOptions
from backend.data.base import Pair
from backend.data.registry import open_source
from backend.errors import InputError
from backend.interventions.partners import derangement
from backend.jobs.capture import CaptureRequest, open_request, run_capture
from backend.measures.chance.ratios import ratio
from backend.models.families.image_tokens import ImageTokens
from backend.models.families.llava import Llava
from backend.models.registry import open_model
from backend.sae.content import content
from backend.sae.gathering import batches
from backend.sae.keeping import ask
from backend.sae.loading import load_sae
from backend.sae.opening import open_descriptions, open_saes
from backend.sae.over_layers import CHANCE, chance_cosine, matches, over_layers
from backend.sae.random_adapter import between, randomised
from backend.sae.reading import Read, read_layers
from backend.sae.splicing import says_words, word_losses
from backend.sae.table import Options
from backend.store import Store, kinds
from backend.types import LayerRef
from tests.command_line import Run, runner
from tests.models.saved import save_tiny
from tests.sae.saved import D, M, save_sae, save_saes

DATA = "macros:n=12,dev=8,test=16"
LAYERS = (1, 3)
OPTIONS = Options(samples=8, loss_samples=4, top=5, batch_size=3, device="cpu")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("llava"), "llava")


@pytest.fixture(scope="module")
def saes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_saes(tmp_path_factory.mktemp("saes"), LAYERS)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return list(open_source(DATA).pairs("test", 8))


@pytest.fixture(scope="module")
def read(checkpoint: Path, saes: Path, pairs: list[Pair]) -> Read:
    adapter = open_model(str(checkpoint))
    before = {name: value.clone() for name, value in adapter.module.state_dict().items()}
    samples = [pair.sample for pair in pairs]
    made = read_layers(adapter, samples, None, open_saes([str(saes)]), {}, OPTIONS)
    after = adapter.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    return made


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(monkeypatch, capsys)


def value(read: Read, measure: str, tokens: str, layer: int, **more: str) -> float:
    wanted = {"control": "", "coordinates": "all"} | more
    (row,) = [
        row
        for row in read.rows
        if (row.measure, row.tokens, row.layer) == (measure, tokens, layer)
        and all(getattr(row, name) == word for name, word in wanted.items())
    ]
    return row.value


def states(checkpoint: Path, pairs: list[Pair], layer: int) -> Iterator[np.ndarray]:
    """A layer's image tokens as transformers itself gives them, a sample at a time."""
    adapter = open_model(str(checkpoint))
    assert isinstance(adapter, Llava)
    for pair in pairs:
        inputs = adapter.encode([pair.sample])
        with torch.inference_mode():
            out = adapter.model(**inputs.tensors, output_hidden_states=True)
        at = inputs.tensors["input_ids"][0] == adapter.model.config.image_token_id
        yield out.hidden_states[layer][0, at].double().numpy()


@pytest.mark.parametrize("rest", [False, True])
def test_errors_and_sparsity_of_image_tokens_are_those_of_the_formulas(
    read: Read, checkpoint: Path, saes: Path, pairs: list[Pair], rest: bool
) -> None:
    x = np.concatenate(list(states(checkpoint, pairs, 1)))
    sae = load_sae(saes / "text-1")
    pre = (x - sae.b_dec.numpy()) @ sae.W_enc.numpy() + sae.b_enc.numpy()
    features = np.maximum(pre, 0)
    features[features < np.sort(features, axis=1)[:, [-6]]] = 0
    back = features @ sae.W_dec.numpy() + sae.b_dec.numpy()
    on = (features > 0).sum()
    assert value(read, "l0", "image", 1) == pytest.approx(on / len(x))
    assert value(read, "l0_share", "image", 1) == pytest.approx(on / len(x) / M)
    fewest = min(own.column("tokens").sum() for own in read.gathered.values())
    g = np.random.default_rng(0)
    some = [features[g.choice(len(x), int(fewest), replace=False)] for _ in range(400)]
    dead = np.mean([(drawn > 0).sum(axis=0) == 0 for drawn in some])
    assert value(read, "dead", "image", 1) == pytest.approx(dead, abs=0.01)
    coordinates = "without the top one" if rest else "all"
    if rest:
        x, back = (np.delete(rows, read.top[1], axis=1) for rows in (x, back))
    error = ((x - back) ** 2).sum()
    more = {"coordinates": coordinates}
    assert value(read, "mse", "image", 1, **more) == pytest.approx(error / x.size, rel=1e-4)
    total = ((x - x.mean(axis=0)) ** 2).sum()
    assert value(read, "fvu", "image", 1, **more) == pytest.approx(error / total, rel=1e-4)
    cosines = (x * back).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(back, axis=1)
    assert value(read, "cosine", "image", 1, **more) == pytest.approx(cosines.mean(), rel=1e-4)


def test_every_kind_of_token_and_control_has_rows_with_intervals(read: Read) -> None:
    rows = pd.DataFrame(read.rows)
    kinds_read = set(zip(rows["tokens"], rows["control"], strict=True))
    assert kinds_read == {
        *((tokens, "") for tokens in ("text alone", "image", "text after image")),
        *((tokens, "another layer's") for tokens in ("text alone", "image")),
        *((tokens, "random adapter") for tokens in ("image", "text after image")),
        *((tokens, "shuffled captions") for tokens in ("image", "text after image")),
    }
    bounded = rows[rows["measure"].isin(["mse", "cosine", "l0", "overlap"])]
    assert (bounded["ci_low"] <= bounded["value"]).all()
    assert (bounded["value"] <= bounded["ci_high"]).all()
    own = rows[rows["tokens"].eq("image") & rows["measure"].eq("mse")].set_index(
        ["layer", "control", "coordinates"]
    )["value"]
    assert own[1, "", "all"] != own[1, "random adapter", "all"]
    assert own[1, "", "all"] != own[1, "another layer's", "all"]


def test_overlap_and_match_are_of_the_own_caption_or_of_anothers(
    read: Read, checkpoint: Path, saes: Path, pairs: list[Pair]
) -> None:
    text, sae = read.gathered[1, "text alone", ""], load_sae(saes / "text-1")
    images = [sae.encode(torch.from_numpy(x).float()).numpy() for x in states(checkpoint, pairs, 1)]
    captions = [set(np.flatnonzero(peak)) for peak in text.peak]
    assert captions == [set(np.flatnonzero(text.on(at))) for at in range(len(pairs))]
    partners = derangement(len(pairs), OPTIONS.seed)
    for control, whose in (("", np.arange(len(pairs))), ("shuffled captions", partners)):
        overlaps, rates = [], []
        for features, other in zip(images, whose.tolist(), strict=True):
            mine, theirs = set(np.flatnonzero(features.max(axis=0))), captions[other]
            overlaps.append(len(mine & theirs) / len(mine | theirs))
            top = np.argsort(-features.mean(axis=0))[:5].tolist()
            rates.append(len(set(top) & theirs) / len(top))
        for measure, wanted in (("overlap", overlaps), ("match_rate", rates)):
            told = value(read, measure, "image", 1, control=control)
            assert told == pytest.approx(np.mean(wanted), abs=1e-6)
    for measure in ("overlap", "match"):
        name = measure if measure == "overlap" else "match_rate"
        own, others = (
            value(read, name, "image", 1, control=control) for control in ("", "shuffled captions")
        )
        assert value(read, f"{measure}_gain", "image", 1) == pytest.approx(own - others)


def test_a_feature_is_followed_to_the_one_that_points_its_way(
    read: Read, checkpoint: Path, saes: Path, pairs: list[Pair]
) -> None:
    loaded = open_saes([str(saes)])
    decoders = {layer: sae.W_dec.double().numpy() for layer, sae in loaded.items()}
    rows = pd.DataFrame(over_layers(read.gathered, loaded, {1: [7, 2], 3: []}, None))
    assert len(rows) == 2 * len(LAYERS) * 3
    own = rows[rows["other_layer"].eq(1)]
    assert own["other_feature"].equals(own["feature"]) and own["cosine"].eq(1).all()
    there = rows[rows["other_layer"].eq(3)]
    for feature in (7, 2):
        lengths = np.linalg.norm(decoders[3], axis=1) * np.linalg.norm(decoders[1][feature])
        cosines = decoders[3] @ decoders[1][feature] / lengths
        mine = there[there["feature"].eq(feature)]
        assert set(mine["other_feature"]) == {int(cosines.argmax())}
        assert mine["cosine"].to_numpy() == pytest.approx(cosines.max(), abs=1e-6)
    means, on = [], []
    for x in states(checkpoint, pairs, 1):
        features = loaded[1].encode(torch.from_numpy(x).float()).numpy()[:, 7]
        means.append(features.mean())
        on.append((features > 0).sum())
    (image,) = own[own["feature"].eq(7) & own["tokens"].eq("image")].to_dict("records")
    length = np.linalg.norm(decoders[1][7])
    assert image["activation"] == pytest.approx(np.mean(means) * length, rel=1e-4)
    assert image["share"] * read.gathered[1, "image", ""].column("tokens").sum() == sum(on)
    half = t.ppf(0.975, len(means) - 1) * np.std(means, ddof=1) / np.sqrt(len(means)) * length
    ends = (image["activation_low"], image["activation_high"])
    assert ends == pytest.approx((np.mean(means) * length - half, np.mean(means) * length + half))
    pairs_of = np.repeat(np.arange(len(means) // 2), 2)
    grouped = pd.DataFrame(over_layers(read.gathered, loaded, {1: [7]}, pairs_of))
    row = grouped[grouped["other_layer"].eq(1) & grouped["tokens"].eq("image")].iloc[0]
    tokens = read.gathered[1, "image", ""].column("tokens")
    summed = [np.bincount(pairs_of, of) for of in (np.array(on), tokens)]
    wanted = ratio(summed[0], summed[1])
    assert (row["share_low"], row["share_high"]) == pytest.approx((wanted.low, wanted.high))


def test_chance_is_what_the_best_of_random_directions_stays_below() -> None:
    g = torch.Generator().manual_seed(0)
    drawn = torch.stack(
        [matches(torch.eye(D)[:1], torch.randn(M, D, generator=g))[0][0] for _ in range(2000)]
    )
    assert float((drawn < chance_cosine(M, D)).double().mean()) == pytest.approx(CHANCE, abs=0.015)


def test_described_features_match_by_their_words(
    checkpoint: Path, saes: Path, pairs: list[Pair]
) -> None:
    adapter, opened = open_model(str(checkpoint)), open_saes([str(saes / "text-3")])
    samples = [pair.sample for pair in pairs]
    word = max(samples[0].text.split(), key=len)
    for text, rate in (("nothing of it with that and this", 0.0), (f"about {word}s", None)):
        described = {3: dict.fromkeys(range(M), text)}
        made = read_layers(adapter, samples, None, opened, described, OPTIONS)
        told = value(made, "match_rate", "image", 3)
        wanted = np.mean([word.casefold() in s.text.casefold().split() for s in samples])
        assert told == pytest.approx(wanted if rate is None else rate)
        assert value(made, "match_rate", "text alone", 3) == pytest.approx(told)
        assert not any(row.control == "another layer's" for row in made.rows)  # there is no other


def test_a_run_keeps_what_was_read_and_the_command_prints_it(
    checkpoint: Path, saes: Path, tmp_path: Path, run: Run
) -> None:
    request = CaptureRequest(
        model=str(checkpoint), data=DATA, store=str(tmp_path / "s"), run_id="tiny"
    )
    run_capture(request, open_request(request))
    given = {
        "--store": tmp_path / "s", "--run": "tiny", "--data": DATA, "--saes": saes,
        "--samples": 8, "--loss-samples": 4, "--models": checkpoint, "--device": "cpu",
    }  # fmt: skip
    words = ("read-saes", *(word for option in given.items() for word in option))
    code, said, err = run(*words)
    assert code == 0, err
    assert "image, random adapter" in said and "convergence, image" in said
    store = Store(tmp_path / "s")
    (key,) = store.run("tiny").keys(kinds.SAE)
    features = store.query("SELECT * FROM sae_features WHERE tokens = 'image'")
    assert set(features["layer"]) == set(LAYERS) and features["left"].notna().all()
    words_of = store.query("SELECT word FROM sae_features WHERE tokens = 'text alone'")
    assert (words_of["word"] != "").all()
    followed = store.query("SELECT DISTINCT layer, feature FROM sae_matches")
    kept = store.query("SELECT DISTINCT layer, feature FROM sae_features")
    assert set(followed.itertuples(index=False)) == set(kept.itertuples(index=False))
    assert run(*words)[0] == 0  # read from the store
    assert store.run("tiny").keys(kinds.SAE) == (key,)


def test_a_model_that_needs_a_picture_for_its_words_is_refused_in_one_line(
    saes: Path, pairs: list[Pair], tmp_path: Path
) -> None:
    adapter = open_model(str(save_tiny(tmp_path / "blip2", "blip2")))
    samples = [pair.sample for pair in pairs]
    with pytest.raises(InputError, match="no language model that could read text alone"):
        read_layers(adapter, samples, None, open_saes([str(saes)]), {}, OPTIONS)


@pytest.mark.parametrize("family", ["idefics3", "qwen3_vl"])
def test_what_lies_between_tower_and_words_is_drawn_anew_in_any_family(
    family: str, tmp_path: Path
) -> None:
    adapter = open_model(str(save_tiny(tmp_path / family, family)))
    assert isinstance(adapter, ImageTokens)
    before = {name: value.clone() for name, value in adapter.module.state_dict().items()}
    samples = [pair.sample for pair in open_source(DATA).pairs("test", 2)]

    def run() -> None:
        list(batches(adapter, samples, [LayerRef("image", 0)], 2))

    with randomised(between(adapter), 0, run):
        drawn = {name: value.clone() for name, value in adapter.module.state_dict().items()}
        changed = {name for name, value in before.items() if not torch.equal(value, drawn[name])}
        assert changed and all(name.startswith(adapter.parts.between) for name in changed)
    after = adapter.module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_what_cannot_be_read_is_one_line(
    checkpoint: Path, saes: Path, pairs: list[Pair], tmp_path: Path
) -> None:
    adapter, samples = open_model(str(checkpoint)), [pair.sample for pair in pairs]
    nowhere = save_sae(tmp_path / "nowhere", None)
    assert list(open_saes([f"2={nowhere}", str(saes)])) == [1, 2, 3]
    with pytest.raises(InputError, match="does not say of which layer"):
        open_saes([str(nowhere)])
    with pytest.raises(InputError, match="is a second one of layer 1"):
        open_saes([str(saes), f"1={nowhere}"])
    with pytest.raises(InputError, match="has layers 0 to 3"):
        read_layers(adapter, samples, None, open_saes([f"4={nowhere}"]), {}, OPTIONS)
    moved = open_saes([f"2={saes / 'text-1'}"])
    with pytest.raises(InputError, match=r"was trained on layer 1 \(blocks\.0"):
        read_layers(adapter, samples, None, moved, {}, OPTIONS)
    known = load_sae(saes / "text-1")
    image = replace(known.source, stream="image")
    known.source = image
    with pytest.raises(InputError, match="was trained on the stream image"):
        read_layers(adapter, samples, None, {1: known}, {}, OPTIONS)
    (tmp_path / "d.json").write_text(json.dumps([{"index": M, "description": "x"}]))
    opened = open_saes([str(saes)])
    with pytest.raises(InputError, match="describes feature 40; the autoencoder has 40"):
        open_descriptions([f"1={tmp_path / 'd.json'}"], opened)
    with pytest.raises(InputError, match="is of no layer that is read"):
        open_descriptions([f"2={tmp_path / 'd.json'}"], opened)
    for source, match in (
        ("12-gemmascope-res-16k", "the autoencoder is of blocks.0.hook_resid_post"),
        ("0-gemmascope-res-16k", "has 40 features"),
        ("0-res_fs1m-1m", "has 40 features"),
    ):
        entry = {"index": 1, "description": "x", "layer": source}
        (tmp_path / "d.json").write_text(json.dumps([entry]))
        with pytest.raises(InputError, match=match):
            open_descriptions([f"1={tmp_path / 'd.json'}"], opened)
    entry = {"index": 1, "description": "a\u2028b", "layer": "0-res-jb"}
    (tmp_path / "d.json").write_text(json.dumps(entry, ensure_ascii=False))
    assert open_descriptions([f"1={tmp_path / 'd.json'}"], opened) == {1: {1: "a b"}}


def test_a_random_adapter_gives_what_lies_where_the_trained_one_puts_it(
    checkpoint: Path, pairs: list[Pair]
) -> None:
    adapter, samples = open_model(str(checkpoint)), [pair.sample for pair in pairs]
    assert isinstance(adapter, ImageTokens)
    first = LayerRef("image", 0)

    def tokens() -> np.ndarray:
        return np.concatenate(
            [
                found[first][content(inputs, "image")].numpy()
                for inputs, found in batches(adapter, samples, [first], len(samples))
            ]
        )

    def run() -> None:
        tokens()

    trained = tokens()
    with randomised(between(adapter), 0, run):
        random = tokens()
    assert not np.allclose(random, trained, atol=0.01)
    np.testing.assert_allclose(random.mean(axis=0), trained.mean(axis=0), atol=1e-4)
    assert 0.3 < random.std(axis=0).mean() / trained.std(axis=0).mean() < 3
    np.testing.assert_array_equal(tokens(), trained)


def test_a_sorted_file_is_read_from_all_its_classes(tmp_path: Path, checkpoint: Path) -> None:
    lines = [f"{at},{at}.png,a thing {at},{'ab'[at // 20]}" for at in range(40)]
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "captions.csv").write_text("\n".join(["id,image,text,label", *lines]))
    for at in range(40):
        Image.new("RGB", (8, 8), (at, 0, 0)).save(tmp_path / "d" / f"{at}.png")
    data = f"folder:{tmp_path / 'd'}"
    request = CaptureRequest(
        str(checkpoint),
        data,
        str(tmp_path / "s"),
        run_id="r",
        options=CaptureOptions(split="all", device="cpu"),
    )
    run_capture(request, open_request(request))
    options = replace(OPTIONS, samples=16, loss_samples=8)
    asked = ask(Store(tmp_path / "s").run("r"), open_source(data), {}, {}, options)
    assert len(asked.pairs) == 16
    for part in (asked.pairs, asked.pairs[: options.loss_samples]):
        assert len({pair.record.labels["label"] for pair in part}) == 2


@pytest.mark.parametrize(("family", "says"), [("git", True), ("paligemma", False)])
def test_words_of_any_speaking_family_have_a_loss(
    family: str, says: bool, tmp_path: Path, pairs: list[Pair]
) -> None:
    adapter = open_model(str(save_tiny(tmp_path / family, family)))
    assert says_words(adapter) == says
    if says:
        samples = [pair.sample for pair in pairs]
        together = word_losses(adapter, adapter.encode(samples))
        alone = [word_losses(adapter, adapter.encode([one])) for one in samples]
        for at in (0, 1):
            np.testing.assert_allclose(
                together[at], np.concatenate([one[at] for one in alone]), rtol=1e-4
            )
