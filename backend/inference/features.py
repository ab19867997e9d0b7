"""Which features of sparse autoencoders a pair lights: its picture's tokens, and its words.

The pair goes through the model as a trace does; the tokens of every layer that has an autoencoder
go through that, one autoencoder in memory at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from backend.capture.sinks import TokenSink
from backend.data.sample import Sample
from backend.errors import InputError
from backend.inference.tracing import own_places, run
from backend.inference.values import Floats, LitFeatures
from backend.models.adapter import Adapter
from backend.models.roles import Role
from backend.pairing import TEXT, image_among_words
from backend.sae.autoencoder import SparseAutoencoder, check_fits
from backend.sae.shelf import opened_sae
from backend.types import LayerRef

MOST = 8
"""Features of each layer and stream."""


def lit_features(
    adapter: Adapter,
    sample: Sample,
    saes: Mapping[int, Path],
    digests: Mapping[int, str],
    most: int = MOST,
) -> dict[int, LitFeatures]:
    """{layer: features} of the layers of ``saes``, which lie where :class:`Shelf` found them.

    InputError for a model that puts no image tokens among words, and for an autoencoder that does
    not fit its layer or has changed since it was found.
    """
    image, text = image_among_words(adapter.streams), adapter.stream(TEXT)
    if image is None:
        raise InputError(
            f"{adapter.family} models put no image tokens among the words of a language model",
            where=f"model {adapter.name}",
        )
    inputs = adapter.encode([sample])
    places = {name: own_places(inputs)[name][0] for name in (image.name, text.name)}
    refs = [LayerRef(name, layer) for layer in saes for name in places]
    for ref in refs:
        if ref not in text.refs and ref not in image.refs:
            raise InputError(
                f"is of layer {ref.layer}; the language model has layers 0 to {text.depth}",
                where=f"autoencoder of layer {ref.layer}",
            )
    sink = TokenSink(refs)
    run(adapter, inputs, [sink])
    content = {
        name: inputs.roles[name][0].cpu().numpy()[at] & int(Role.CONTENT) != 0
        for name, at in places.items()
    }
    found = {}
    for layer, path in saes.items():
        tokens = {
            name: sink.tokens[LayerRef(name, layer)][0, torch.from_numpy(at)]
            for name, at in places.items()
        }
        with opened_sae(layer, path, digests[layer]) as sae:
            width = text.width_of(LayerRef(TEXT, layer))
            check_fits(sae, width, layer, f"layer {layer} of {adapter.name}")
            found[layer] = _lit(sae, tokens, content, most)
    return found


def _lit(
    sae: SparseAutoencoder,
    tokens: Mapping[str, Tensor],
    content: Mapping[str, np.ndarray],
    most: int,
) -> LitFeatures:
    """The strongest of each stream's content tokens (T, d), and what they are in all of them."""
    values: dict[str, Tensor] = {}
    best: dict[str, list[int]] = {}
    with torch.inference_mode():
        for name, own in tokens.items():
            rows = own[torch.from_numpy(content[name])].float()
            values[name] = sae.to(rows.device).encode(rows)
            if len(rows):
                mean = values[name].mean(dim=0)
                top = mean.topk(min(most, len(mean)))
                best[name] = top.indices[top.values > 0].tolist()
            else:
                best[name] = []
        features = list(dict.fromkeys(feature for own in best.values() for feature in own))
        activations: dict[str, Floats] = {}
        for name, own in values.items():
            filled = np.full((len(features), len(content[name])), np.nan, dtype=np.float32)
            filled[:, content[name]] = own[:, features].T.float().cpu().numpy()
            activations[name] = filled
    return LitFeatures(
        sae.count,
        np.array(features, dtype=np.int32),
        activations,
        {
            name: np.array([features.index(one) for one in own], dtype=np.int32)
            for name, own in best.items()
        },
    )
