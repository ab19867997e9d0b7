"""A feature over the layers: of every other layer's autoencoder the feature that points its way.

Autoencoders of different layers are trained apart, so that their numbers have nothing in common.
They write into one residual stream: a feature's match at another layer is the one there whose
decoder direction has the highest cosine with its own (Laptev et al. 2025, "Analyze feature flow to
enhance interpretation and steering in language models", arXiv 2502.03032).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.stats import beta
from torch import Tensor
from torch.nn.functional import normalize

from backend.measures.chance.ratios import ratio
from backend.sae.autoencoder import SparseAutoencoder
from backend.sae.gathering import Gathered
from backend.sae.table import STREAM_OF, Key
from backend.types import BLOCK

CHANCE = 0.95


def over_layers(
    gathered: Mapping[Key, Gathered],
    saes: Mapping[int, SparseAutoencoder],
    features: Mapping[int, Sequence[int]],
    groups: np.ndarray | None,
) -> list[dict[str, object]]:
    """Rows of :data:`backend.store.kinds.SAE_MATCHES` of {layer: its features}.

    A row a feature, other layer (its own one included) and kind of token. ``activation`` is the
    match's mean activation (over samples, of each one's mean over tokens) times the length of its
    decoder direction: how far it moves a token, in units of the autoencoder's (scaled) input.
    ``share`` is the share of tokens in which it is on. Both have intervals over samples in their
    ``groups`` (S,): see :func:`backend.measures.chance.ratios.ratio`. Layers of another width have
    no match.
    """
    kinds = [tokens for tokens in STREAM_OF if (next(iter(saes)), tokens, "") in gathered]
    rows: list[dict[str, object]] = []
    for layer, chosen in features.items():
        own = saes[layer].W_dec[list(chosen)]
        for other, sae in saes.items():
            if sae.d != saes[layer].d or not chosen:
                continue
            cosines, at = matches(own, sae.W_dec)
            if other == layer:  # two features of one direction match each itself
                cosines, at = torch.ones(len(chosen)), torch.tensor(list(chosen))
            lengths = sae.W_dec[at.to(sae.W_dec.device)].norm(dim=1).tolist()
            seen = {
                tokens: _activity(gathered[other, tokens, ""], at.tolist(), lengths, groups)
                for tokens in kinds
            }
            told = zip(chosen, at.tolist(), cosines.tolist(), strict=True)
            rows += [
                {
                    "stream": "text",
                    "layer": layer,
                    "site": BLOCK,
                    "feature": feature,
                    "other_layer": other,
                    "other_feature": match,
                    "cosine": cosine,
                    "chance": chance_cosine(sae.count, sae.d),
                    "tokens": tokens,
                    **seen[tokens][place],
                }
                for place, (feature, match, cosine) in enumerate(told)
                for tokens in kinds
            ]
    return rows


def _activity(
    seen: Gathered, features: Sequence[int], lengths: Sequence[float], groups: np.ndarray | None
) -> list[dict[str, float]]:
    """Of each feature ``activation`` and ``share``, with the ends of their intervals."""
    tokens = seen.column("tokens")
    means, counts = seen.by_sample(features)
    rows = []
    for at, length in enumerate(lengths):
        made = {
            "activation": ratio(means[:, at] * length, np.ones(len(means)), groups),
            "share": ratio(counts[:, at], tokens, groups),
        }
        rows.append(
            {
                f"{name}{end}": value
                for name, one in made.items()
                for end, value in zip(("", "_low", "_high"), one[:3], strict=True)
            }
        )
    return rows


def matches(directions: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """(k,) highest cosine of each of ``directions`` (k, d) with ``others`` (m, d), and with which.

    A direction of length 0 has cosine 0 with all.
    """
    with torch.inference_mode():
        best = (normalize(directions, dim=1) @ normalize(others, dim=1).T).max(dim=1)
    return best.values.clamp(-1, 1).cpu(), best.indices.cpu()


def chance_cosine(m: int, d: int, level: float = CHANCE) -> float:
    """What the best of m directions drawn evenly in d dimensions stays below, ``level`` of times.

    (cosine + 1) / 2 of one of them with a given direction is Beta((d - 1) / 2, (d - 1) / 2).
    """
    half = (d - 1) / 2
    return float(2 * beta.ppf(level ** (1 / m), half, half) - 1)
