"""Read a vision-language model's layers through autoencoders: text alone, image, text after it.

The study of Venhoff et al. (2025), "How visual representations map to language feature space in
multimodal LLMs": autoencoders that know text alone rebuild image tokens worse in early layers and,
if vision becomes language there, nearly as well from some layer on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import hypergeom

from backend.data.sample import Sample
from backend.errors import InputError
from backend.measures.chance.ratios import Ratio, ratio
from backend.models.adapter import Adapter
from backend.models.families.text_alone import text_alone
from backend.progress import SILENT, Progress, Share
from backend.sae.autoencoder import SparseAutoencoder, check_fits
from backend.sae.convergence import converged, curve_of
from backend.sae.gathering import Gathered, Reader, batches, gather, top_coordinates
from backend.sae.matching import Descriptions, Matching
from backend.sae.random_adapter import between, randomised
from backend.sae.splicing import gone, says_words, splice, spliced
from backend.sae.table import (
    ALL,
    CONVERGENCE,
    COSINE,
    DEAD,
    FVU,
    L0,
    L0_SHARE,
    MSE,
    RECOVERED,
    REST,
    RISE,
    STREAM_OF,
    Control,
    Key,
    Options,
    Reading,
    Tokens,
    reading_of,
)
from backend.types import LayerRef

_FIRST = 16
"""Samples from which the top coordinate is found."""


@dataclass(frozen=True, eq=False)
class Read:
    """The rows, and what each autoencoder made of each kind of token under each control."""

    rows: tuple[Reading, ...]
    gathered: dict[Key, Gathered]
    top: dict[int, int]


def read_layers(
    adapter: Adapter,
    samples: Sequence[Sample],
    groups: np.ndarray | None,
    saes: Mapping[int, SparseAutoencoder],
    descriptions: Descriptions,
    options: Options,
    progress: Progress = SILENT,
) -> Read:
    """Every measure of every kind of token at each layer of ``saes``, and the controls.

    ``groups`` (n,) say which samples belong together. The model stays as it is. InputError for an
    autoencoder that does not fit its layer, and for a model without words and images in one
    sequence.
    """
    alone = text_alone(adapter)
    spec = adapter.stream("text")
    for layer, sae in saes.items():
        if not 0 <= layer <= spec.depth:
            raise InputError(
                f"is of layer {layer}; the language model has layers 0 to {spec.depth}",
                where=sae.source.name,
            )
        if sae.source.stream not in ("", "text"):
            raise InputError(
                f"was trained on the stream {sae.source.stream}, and does not know text",
                where=sae.source.name,
                hint="Train one with `--text-alone`.",
            )
        width = spec.width_of(LayerRef("text", layer))
        check_fits(sae, width, layer, f"layer {layer} of {adapter.name}")
    texts = [LayerRef("text", layer) for layer in saes]
    first = samples[:_FIRST]
    found = top_coordinates(alone, first, texts, options.batch_size)
    top = {ref.layer: at for ref, at in found.items()}
    gathered = _gathered(adapter, samples, saes, top, options, progress)
    rows: list[Reading] = []
    fewest = min(int(own.column("tokens").sum()) for own in gathered.values())
    for (layer, tokens, control), own in gathered.items():
        rows += _rebuilt(layer, tokens, control, own, saes[layer], groups)
        dead = Ratio(_dead(own, fewest), float("nan"), float("nan"), len(samples))
        rows.append(reading_of((layer, tokens, control), DEAD, dead, len(samples)))
    matching = Matching(samples, groups, gathered, descriptions, options)
    for layer, tokens, control in gathered:
        if control != "another layer's":
            rows += matching.rows(layer, tokens, control)
    rows += _convergence(gathered, "", groups) + _convergence(gathered, "random adapter", groups)
    rows += _losses(adapter, samples, groups, saes, options, Share(progress, 0.7, 0.3, "losses"))
    return Read(tuple(rows), gathered, top)


def _gathered(
    adapter: Adapter,
    samples: Sequence[Sample],
    saes: Mapping[int, SparseAutoencoder],
    top: Mapping[int, int],
    options: Options,
    progress: Progress,
) -> dict[Key, Gathered]:
    """Three passes: words alone, with the image, with the image through a random projector."""
    layers = sorted(saes)
    # Each layer is also read by the next one's, the last by the one before.
    other = dict(zip(layers, [*layers[1:], *layers[-2:-1]], strict=False))
    found: dict[Key, Gathered] = {}

    def read(model: Adapter, kinds: Sequence[tuple[Tokens, Control]]) -> None:
        keys, readers = [], []
        for layer in layers:
            for tokens, control in kinds:
                if control == "another layer's" and layer not in other:
                    continue
                by = other[layer] if control == "another layer's" else layer
                keys.append((layer, tokens, control))
                ref = LayerRef(STREAM_OF[tokens], layer)
                readers.append(Reader(ref, saes[by], top[layer], options.top, not control))
        for key, one in zip(keys, gather(model, samples, readers, options.batch_size), strict=True):
            found[key] = one

    alone = text_alone(adapter)
    projector = between(alone.whole)
    progress.advance(0.05, 1.0, "text alone")
    read(alone, [("text alone", ""), ("text alone", "another layer's")])
    progress.advance(0.2, 1.0, "image and text")
    read(adapter, [("image", ""), ("text after image", ""), ("image", "another layer's")])
    progress.advance(0.5, 1.0, "a random adapter")
    few = samples[: options.batch_size]
    with randomised(projector, options.seed, lambda: _run(adapter, few)):
        read(adapter, [("image", "random adapter"), ("text after image", "random adapter")])
    progress.advance(0.7, 1.0, "losses")
    return found


def _rebuilt(
    layer: int,
    tokens: Tokens,
    control: Control,
    own: Gathered,
    sae: SparseAutoencoder,
    groups: np.ndarray | None,
) -> list[Reading]:
    count = own.column("tokens")
    width = len(own.sums[0])
    n = len(count)

    def row(measure: str, made: Ratio, coordinates: str = ALL, reason: str = "") -> Reading:
        return reading_of((layer, tokens, control), measure, made, n, coordinates, reason)

    rows = []
    for coordinates, end, d in ((ALL, "", width), (REST, "_rest", width - 1)):
        error, total = own.column(f"error{end}"), own.distances(rest=bool(end))
        flat = not total.sum() > 0
        unexplained = ratio(error, total * (not flat), groups)
        rows += [
            row(MSE, ratio(error, count * d, groups), coordinates),
            row(FVU, unexplained, coordinates, "all tokens are equal" if flat else ""),
            row(COSINE, ratio(own.column(f"cosine{end}"), count, groups), coordinates),
        ]
    on = ratio(own.column("on"), count, groups)
    share = Ratio(on.value / sae.count, on.low / sae.count, on.high / sae.count, on.groups)
    return [*rows, row(L0, on), row(L0_SHARE, share)]


def _dead(own: Gathered, tokens: int) -> float:
    """The share of features that is on in none of ``tokens`` of these, drawn at random.

    Its expected value: a feature that k of all n tokens use stays off in a draw with the
    probability that the hypergeometric distribution has at 0.
    """
    total = int(own.column("tokens").sum())
    return float(hypergeom.pmf(0, total, own.used.round().astype(int), tokens).mean())


def _run(adapter: Adapter, samples: Sequence[Sample]) -> None:
    for _ in batches(adapter, samples, [LayerRef("image", 0)], len(samples)):
        pass


def _convergence(
    gathered: Mapping[Key, Gathered], control: Control, groups: np.ndarray | None
) -> list[Reading]:
    layers = sorted(at for at, tokens, name in gathered if (tokens, name) == ("image", control))
    rows = []
    for coordinates in (ALL, REST):
        rest = coordinates == REST
        image = curve_of([gathered[layer, "image", control] for layer in layers], rest)
        text = curve_of([gathered[layer, "text alone", ""] for layer in layers], rest)
        made = converged(layers, image, text, groups)
        reason = "not reached" if np.isnan(made.value) else ""
        key: Key = (layers[-1], "image", control)
        n = image[0].shape[1]
        rows.append(reading_of(key, CONVERGENCE, made, n, coordinates, reason))
    return rows


def _losses(
    adapter: Adapter,
    samples: Sequence[Sample],
    groups: np.ndarray | None,
    saes: Mapping[int, SparseAutoencoder],
    options: Options,
    progress: Progress,
) -> list[Reading]:
    few = samples[: options.loss_samples]
    own = None if groups is None else groups[: len(few)]
    rows: list[Reading] = []
    if not says_words(adapter):
        return rows
    alone = text_alone(adapter)
    for at, tokens in enumerate(STREAM_OF):
        model = alone if tokens == "text alone" else adapter
        device = next(model.module.parameters()).device
        parts = [
            model.encode(few[start : start + options.batch_size]).to(device)
            for start in range(0, len(few), options.batch_size)
        ]
        refs = [LayerRef(STREAM_OF[tokens], layer) for layer in saes]
        edits = [(spliced(saes[ref.layer], ref), gone(ref)) for ref in refs]
        progress.advance(at, len(STREAM_OF), f"losses of {tokens}")
        for ref, found in zip(refs, splice(model, parts, edits), strict=True):
            recovered = found.recovered(own)
            harmless = np.isnan(recovered.value)
            for measure, made, reason in (
                (RISE, found.rise(own), ""),
                (RECOVERED, recovered, "zeros in their place do no clear harm" if harmless else ""),
            ):
                rows.append(
                    reading_of((ref.layer, tokens, ""), measure, made, len(few), ALL, reason)
                )
    return rows
