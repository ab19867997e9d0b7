"""The tokens of an image inside a language model, in words, layer by layer.

Three ways to read them. The logit lens: what the model would say next at that place
(nostalgebraist 2020). The nearest input embedding, by cosine. And the nearest token of a text in
its context, at whichever layer it is nearest: the texts go through the same blocks without an
image, and their tokens are compared as they are at every layer (LatentLens; Krojer et al. 2026,
arXiv 2602.00462).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from backend.capture.sinks import TokenSink
from backend.capture.tap import Tap
from backend.data.sample import Sample
from backend.errors import InputError
from backend.inference.values import (
    CONTEXT,
    INPUT,
    NEXT,
    WORDS_BYTES,
    WORDS_TEXTS,
    ImageWords,
    Reading,
)
from backend.models.adapter import Adapter, Inputs
from backend.models.roles import Role, has
from backend.pairing import TEXT, image_among_words
from backend.types import StreamSpec

MOST = 5
"""Words of each token and layer."""

MOST_CONTEXTS = 512
"""Tokens of texts that are compared with: what that takes grows with the square of the layers."""

Best = tuple[Tensor, Tensor]
"""Scores (T, k) of tokens, the highest first, and the numbers (T, k) of what has them."""

_CANDIDATES = 4 * MOST  # of which the same word is told once
_AROUND = 4  # tokens of a text shown on either side of a word


def image_words(adapter: Adapter, sample: Sample, texts: Sequence[str]) -> ImageWords:
    """Every content token of the image's stream in words, at layers 0..depth.

    InputError for a model that puts no image tokens among those of a language model.
    """
    spec = image_among_words(adapter.streams)
    vocabulary = adapter.vocabulary()
    if spec is None or vocabulary is None or adapter.tokenizer is None:
        raise InputError(
            f"{adapter.family} models put no image tokens among the words of a language model",
            where=f"model {adapter.name}",
            hint="Models whose language model reads image tokens among its words do.",
        )
    inputs = adapter.encode([sample]).to(vocabulary.device)
    sink = TokenSink(spec.layers)
    with Tap(adapter, sink) as tap:
        tap(inputs)
    at = torch.nonzero(has(inputs.roles[spec.name][0], Role.CONTENT))[:, 0]
    if not len(at):
        raise InputError("nothing of the image is among the words", where=f"model {adapter.name}")
    layers = [sink.tokens[ref][0, at] for ref in spec.layers]
    with torch.inference_mode():
        readings = dict(_readings(adapter, layers, vocabulary, texts))
    places = at.cpu().numpy()
    return ImageWords(
        adapter.name, spec, places.astype(np.int32), *_origins(inputs, spec, places), readings
    )


def _readings(
    adapter: Adapter, layers: Sequence[Tensor], vocabulary: Tensor, texts: Sequence[str]
) -> Iterator[tuple[str, Reading]]:
    head = adapter.unembedding()
    if head is not None and adapter.speaking == TEXT:
        yield NEXT, _of_vocabulary(adapter, _next(head, layers, len(vocabulary)))
    yield INPUT, _of_vocabulary(adapter, _nearest_inputs(layers, vocabulary))
    if texts and adapter.text_alone() is not None:
        yield CONTEXT, _in_context(adapter, layers, texts)


def _next(head: Callable[[Tensor], Tensor], layers: Sequence[Tensor], words: int) -> list[Best]:
    """The likeliest words of each layer, a few tokens at a time: a vocabulary is large."""
    rows = max(1, WORDS_BYTES // (12 * words))  # logits, the same as float32, and their softmax
    found = []
    for tokens in layers:
        best = [head(few).float().softmax(dim=-1).topk(MOST) for few in tokens.split(rows)]
        found.append((torch.cat([b.values for b in best]), torch.cat([b.indices for b in best])))
    return found


def _nearest_inputs(layers: Sequence[Tensor], vocabulary: Tensor) -> list[Best]:
    """The input embeddings of the highest cosine, a part of the vocabulary (words, d) at a time."""
    tokens, width = layers[0].shape
    rows = max(1, WORDS_BYTES // (8 * (tokens + width)))
    found = [_nothing(own) for own in layers]
    for first in range(0, len(vocabulary), rows):
        words = normalize(vocabulary[first : first + rows].float(), dim=-1)
        for layer, own in enumerate(layers):
            cosines = normalize(own.float(), dim=-1) @ words.T
            found[layer] = _higher(found[layer], cosines, first, MOST)
    return found


def _nothing(tokens: Tensor) -> Best:
    """Of tokens (T, d), before the first scores."""
    empty = tokens.new_zeros(len(tokens), 0, dtype=torch.float32)
    return empty, empty.long()


def _higher(best: Best, scores: Tensor, first: int, most: int) -> Best:
    """The ``most`` highest of ``best`` and of ``scores`` (T, n), numbered from ``first`` on."""
    values, places = scores.topk(min(most, scores.shape[1]), dim=1)
    values = torch.cat([best[0], values], dim=1)
    numbers = torch.cat([best[1], places + first], dim=1)
    values, places = values.topk(min(most, values.shape[1]), dim=1)
    return values, numbers.gather(1, places)


def _of_vocabulary(adapter: Adapter, found: Sequence[Best]) -> Reading:
    """``found`` are the best scores and ids (T, k) of each layer."""
    ids = torch.stack([numbers for _, numbers in found], dim=1).cpu().numpy()
    scores = torch.stack([values for values, _ in found], dim=1).cpu().numpy()
    distinct, words = np.unique(ids, return_inverse=True)
    tokenizer: Any = adapter.tokenizer
    said = tuple(str(tokenizer.decode([int(word)])) for word in distinct)
    return Reading(said, words.reshape(ids.shape).astype(np.int32), scores.astype(np.float32))


def _in_context(adapter: Adapter, layers: Sequence[Tensor], texts: Sequence[str]) -> Reading:
    """The nearest of the texts' tokens, at whichever layer; of one word the nearest place alone."""
    told = _contexts(adapter, texts)
    count = len(told.said)
    scores, where = [], []
    for tokens in layers:
        own, best = normalize(tokens.float(), dim=-1), _nothing(tokens)
        for layer, words in enumerate(told.layers):
            cosines = own @ normalize(words.float(), dim=-1).T
            best = _higher(best, cosines, layer * count, _CANDIDATES)
        scores.append(best[0].cpu().numpy())
        where.append(best[1].cpu().numpy())
    return _distinct(told, np.stack(scores), np.stack(where))


def _distinct(told: _Contexts, scores: np.ndarray, where: np.ndarray) -> Reading:
    """The first ``MOST`` different words of the candidates (L, T, c) of each token and layer."""
    said = told.said
    names = {word: at for at, word in enumerate(dict.fromkeys(w.strip().lower() for w in said))}
    same = np.array([names[word.strip().lower()] for word in said])
    depth, count, _ = scores.shape
    words = np.zeros((count, depth, MOST), dtype=np.int32)
    layers = np.zeros_like(words)
    found = np.full(words.shape, np.nan, dtype=np.float32)
    for layer in range(depth):
        for token in range(count):
            places = where[layer, token]
            kinds = same[places % len(said)]
            first = np.sort(np.unique(kinds, return_index=True)[1])[:MOST]
            k = len(first)
            words[token, layer, :k] = places[first] % len(said)
            layers[token, layer, :k] = places[first] // len(said)
            found[token, layer, :k] = scores[layer, token, first]
    return Reading(tuple(said), words, found, layers, tuple(told.within), told.texts)


@dataclass(frozen=True, eq=False)
class _Contexts:
    """Words, the text around each, their vectors (N, d) by layer, and of how many texts."""

    said: Sequence[str]
    within: Sequence[str]
    layers: Sequence[Tensor]
    texts: int


def _contexts(adapter: Adapter, texts: Sequence[str]) -> _Contexts:
    """At most ``MOST_CONTEXTS`` words, as many of each text as can be; a few texts at a time."""
    alone, spec = adapter.text_alone(), adapter.stream(TEXT)
    if alone is None or adapter.tokenizer is None:
        raise RuntimeError(f"{adapter.family} models do not read a text alone")
    samples = [Sample(text) for text in texts]
    starts = range(0, len(samples), WORDS_TEXTS)
    batches = [alone.encode(samples[at : at + WORDS_TEXTS]) for at in starts]
    words = [[_words_of(roles) for roles in inputs.roles[TEXT]] for inputs in batches]
    shares = _shares([len(own) for rows in words for own in rows], MOST_CONTEXTS)
    if not sum(shares):
        raise InputError("no word of the texts can be read", where=f"model {adapter.name}")
    rest = iter(shares)
    said: list[str] = []
    within: list[str] = []
    parts = []
    for inputs, rows in zip(batches, words, strict=True):
        taken = [_spaced(own, next(rest)) for own in rows]
        sink = TokenSink(spec.layers)
        with Tap(adapter, sink, run=lambda given: {"tokens": alone.run(given)}) as tap:
            tap(inputs.to(_device(adapter)))
        at = torch.repeat_interleave(torch.tensor([len(own) for own in taken])), torch.cat(taken)
        parts.append([sink.tokens[ref][at] for ref in spec.layers])
        for row, own in enumerate(taken):
            ids = inputs.tensors["input_ids"][row]
            content = has(inputs.roles[TEXT][row], Role.CONTENT)
            for place in own.tolist():
                said.append(str(adapter.tokenizer.decode([int(ids[place])])))
                within.append(_around(adapter, ids, content, place))
    layers = [torch.cat(vectors) for vectors in zip(*parts, strict=True)]
    return _Contexts(said, within, layers, sum(share > 0 for share in shares))


def _words_of(roles: Tensor) -> Tensor:
    """Places of a text's content, without the first token that the model sees.

    Without a BOS that is a word, which then has what models leave at the first place whatever
    stands there (Xiao et al. 2024, "attention sinks").
    """
    first = int((roles != int(Role.PADDING)).int().argmax())
    places = torch.nonzero(has(roles, Role.CONTENT))[:, 0]
    return places[places != first]


def _shares(counts: Sequence[int], most: int) -> list[int]:
    """How many of each, as even as they can be, ``most`` in all."""
    shares = [0] * len(counts)
    left = most
    for place, at in enumerate(sorted(range(len(counts)), key=counts.__getitem__)):
        shares[at] = min(counts[at], left // (len(counts) - place))
        left -= shares[at]
    return shares


def _spaced(places: Tensor, count: int) -> Tensor:
    """So many of the places, evenly spaced."""
    return places[torch.linspace(0, max(len(places) - 1, 0), count).round().long()]


def _around(adapter: Adapter, ids: Tensor, content: Tensor, place: int) -> str:
    """A word of a text's content with a few on either side."""
    near = content.clone()
    near[: max(0, place - _AROUND)] = False
    near[place + _AROUND + 1 :] = False
    tokenizer: Any = adapter.tokenizer
    return str(tokenizer.decode(ids[near].tolist()))


def _origins(inputs: Inputs, spec: StreamSpec, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T, 4) boxes and (T,) which image; NaN and 0 where tokens are of no one place."""
    origins = inputs.origins.get(spec.name)
    if origins is None or origins.kind != "box":
        empty = np.full((len(places), 4), np.nan, dtype=np.float32)
        return empty, np.zeros(len(places), dtype=np.int32)
    boxes = origins.values[0, places].astype(np.float32)
    image = np.zeros(len(places)) if origins.image is None else origins.image[0, places]
    return boxes, image.astype(np.int32)


def _device(adapter: Adapter) -> torch.device:
    return next(adapter.module.parameters()).device
