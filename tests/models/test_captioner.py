"""Show, attend and tell: the paper's equations, where its cells lie, and what cutting does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.capture.sinks import AttentionSink, TokenSink
from backend.capture.tap import Tap
from backend.errors import InputError
from backend.models import edits
from backend.models.captioner.model import Captioner, CaptionerConfig
from backend.models.registry import open_model
from backend.types import LayerRef
from tests.models.families.captioner import ENCODER, tiny
from tests.models.saved import save_tiny

LOOK = LayerRef("text", 1, "fusion")


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def by_hand(model: Captioner, words: np.ndarray, grid: np.ndarray) -> dict[str, np.ndarray]:
    """One caption (T, width) on one grid (L, d): the equations of Xu et al., word by word."""
    value = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        return x @ value[f"{name}.weight"].T + value.get(f"{name}.bias", 0.0)

    h, c = np.split(np.tanh(linear("start.project", grid.mean(axis=0))), 2)
    said: dict[str, list[np.ndarray]] = {"looks": [], "weights": [], "states": [], "logits": []}
    cell = "recurrence.cell"
    for word in words:
        scores = linear(
            "look.step.score",
            np.tanh(linear("look.of_grid", grid) + linear("look.step.of_state", h)),
        )[:, 0]
        weights = np.exp(scores) / np.exp(scores).sum()
        look = sigmoid(linear("look.step.gate", h)) * (weights @ grid)
        gates = np.concatenate([word, look]) @ value[f"{cell}.weight_ih_l0"].T
        gates += h @ value[f"{cell}.weight_hh_l0"].T
        gates += value[f"{cell}.bias_ih_l0"] + value[f"{cell}.bias_hh_l0"]
        entering, forgetting, new, leaving = np.split(gates, 4)
        c = sigmoid(forgetting) * c + sigmoid(entering) * np.tanh(new)
        h = sigmoid(leaving) * np.tanh(c)
        told = word + linear("telling.of_state", h) + linear("telling.of_look", look)
        for name, part in zip(said, (look, weights, h, linear("output", told)), strict=True):
            said[name].append(part)
    return {name: np.stack(parts) for name, parts in said.items()}


def test_every_word_is_as_the_papers_equations_give_it() -> None:
    case = tiny()
    model = case.adapter.module.double()
    inputs = case.adapter.encode(case.samples)
    inputs.tensors["pixel_values"] = inputs.tensors["pixel_values"].double()
    refs = [ref for spec in case.adapter.streams for ref in spec.refs]
    sites, maps = TokenSink(refs), AttentionSink()
    with Tap(case.adapter, (sites, maps)) as tap:
        out = tap(inputs)
    (weights,) = maps.weights.values()
    grid = sites.tokens[case.adapter.stream("vision").refs[-1]]
    words = sites.tokens[LayerRef("text", 0)]
    for row, sample in enumerate(case.samples):
        length = 1 + len(sample.text.split())
        own = by_hand(model, words[row, :length].numpy(), grid[row].numpy())
        np.testing.assert_allclose(sites.tokens[LOOK][row, :length], own["looks"], atol=1e-10)
        states = sites.tokens[LayerRef("text", 1)][row, :length]
        np.testing.assert_allclose(states, own["states"], atol=1e-10)
        np.testing.assert_allclose(weights[row, 0, :length], own["weights"], atol=1e-10)
        np.testing.assert_allclose(out["next_token_logits"][row], own["logits"][-1], atol=1e-10)


def test_a_blind_caption_looks_on_but_takes_nothing_in() -> None:
    case = tiny()
    adapter, inputs = case.adapter, case.adapter.encode(case.samples)
    (look,) = (meet for meet in adapter.stream("text").meets if meet.how == "cross")
    sites, maps = TokenSink([LOOK]), AttentionSink()
    with Tap(adapter, (sites, maps), (edits.Cut("text", look),)) as tap:
        tap(inputs)
    (blind,) = maps.weights.values()
    assert not sites.tokens[LOOK].any()
    with Tap(adapter, seeing := AttentionSink()) as tap:
        tap(inputs)
    (weights,) = seeing.weights.values()
    torch.testing.assert_close(blind[:, :, 0], weights[:, :, 0])  # nothing was taken in before
    assert not torch.allclose(blind[:, :, 2], weights[:, :, 2], atol=1e-3)


@pytest.mark.parametrize(("name", "off"), [("resnet18", 3), ("resnetblur18", 3), ("resnet50d", 10)])
def test_a_cell_lies_where_it_sees_most(name: str, off: int) -> None:
    """The centre of its receptive field, within ``off`` pixels: gradients, all weights alike.

    Pooling takes the first of equal values, 2 pixels away; the D variants' shortcuts average pairs.
    """
    model = Captioner(CaptionerConfig({**ENCODER, "name": name}, 8, 8, 8)).eval()
    for weight in model.encoder.parameters():
        torch.nn.init.constant_(weight, 0.01 if weight.ndim > 1 else float(weight.ndim == 1))
    size, stride = 640, model.stride  # no field reaches the border
    pixels = torch.ones(1, 3, size, size, requires_grad=True)
    grid = model.encoder.forward_features(pixels)
    rows = grid.shape[2]
    assert rows == -(-size // stride)
    for row, column in ((10, 10), (9, 11)):
        (seen,) = torch.autograd.grad(grid[0, :, row, column].sum(), pixels, retain_graph=True)
        share = seen[0].sum(dim=0).double()
        share /= share.sum()
        places = torch.arange(size).double() + 0.5
        centre = float(places @ share.sum(dim=0)), float(share.sum(dim=1) @ places)
        assert centre == pytest.approx((column * stride + 0.5, row * stride + 0.5), abs=off)


def test_boxes_meet_half_way_between_the_centres_of_cells() -> None:
    case = tiny()
    origins = case.adapter.encode(case.samples[:1]).origins["vision"]
    assert case.samples[0].images[0].size == (40, 30)
    # centres at pixels 0 and 32 of 64, so the border lies at 16.5 of 64
    x, y = 16.5 / 64 * 40, 16.5 / 64 * 30
    expected = [[0, 0, x, y], [x, 0, 40, y], [0, y, x, 30], [x, y, 40, 30]]
    np.testing.assert_allclose(origins.values[0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("encoder", "reason"),
    [
        ({"name": "vit_tiny_patch16_224"}, "is no residual network of convolutions"),
        ({"name": "resnet18", "options": {"checkpoint_path": "x"}}, "checkpoint_path"),
        ({"name": "no-such-net"}, "timm has no model"),
    ],
)
def test_an_encoder_that_is_none_of_ours_is_refused(
    tmp_path: Path, encoder: dict, reason: str
) -> None:
    config = save_tiny(tmp_path / "model", "captioner") / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "encoder": encoder}))
    with pytest.raises(InputError, match=reason):
        open_model(str(config.parent))
