"""What autoencoders make of a model's tokens, sample by sample, in one pass for all layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from backend.capture.sinks import TokenSink
from backend.capture.tap import Tap
from backend.data.sample import Sample
from backend.models.adapter import Adapter, Inputs
from backend.sae.autoencoder import SparseAutoencoder
from backend.sae.content import content
from backend.types import LayerRef

_HALF_MAX = 65_504.0


@dataclass(eq=False)
class Gathered:
    """Of S samples' tokens at one site through one autoencoder.

    A row a sample: ``tokens``, summed squared errors, summed squares and cosines, each also without
    the coordinate ``top``, the number of features on; ``sums`` (S, d) of the tokens. ``lit`` has
    each sample's features that are on in any token, as packed bits, and ``strongest`` its features
    by their mean over the tokens, as many as are asked for. ``used`` (m,) counts the tokens in
    which a feature is on, ``strength`` (m,) sums its means.

    With ``examples``, ``means`` and ``counts`` have of each sample's ``lit`` features the mean over
    its tokens and the number of tokens in which they are on; ``peak`` (S, m) is each feature's
    largest value, in float16 and at most its largest, ``where`` (S, m) at which of the sample's
    tokens, and ``places`` the origins of those.
    """

    top: int
    strongest_count: int
    examples: bool
    rows: dict[str, list[float]] = field(default_factory=dict)
    sums: list[np.ndarray] = field(default_factory=list)
    lit: list[np.ndarray] = field(default_factory=list)
    strongest: list[np.ndarray] = field(default_factory=list)
    means: list[np.ndarray] = field(default_factory=list)
    counts: list[np.ndarray] = field(default_factory=list)
    peak: list[np.ndarray] = field(default_factory=list)
    where: list[np.ndarray] = field(default_factory=list)
    places: list[np.ndarray] = field(default_factory=list)
    used: np.ndarray = field(default_factory=lambda: np.zeros(0))
    strength: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def take(self, sae: SparseAutoencoder, x: Tensor, places: np.ndarray) -> None:
        """One sample's tokens (t, d), and their origins (t, 2 or 4), NaN of no one place."""
        features, back = sae(x)
        left, rest = x - back, torch.arange(x.shape[1], device=x.device) != self.top
        on, mean = features > 0, features.mean(dim=0)
        told = {
            "tokens": len(x),
            "error": left.double().pow(2).sum(),
            "error_rest": left[:, rest].double().pow(2).sum(),
            "squares": x.double().pow(2).sum(),
            "squares_rest": x[:, rest].double().pow(2).sum(),
            "cosine": torch.cosine_similarity(x, back, dim=1).double().sum(),
            "cosine_rest": torch.cosine_similarity(x[:, rest], back[:, rest], dim=1).double().sum(),
            "on": on.sum(),
        }
        for name, value in told.items():
            self.rows.setdefault(name, []).append(float(value))
        self.sums.append(x.double().sum(dim=0).cpu().numpy())
        self.lit.append(np.packbits(on.any(dim=0).cpu().numpy()))
        best = mean.topk(min(self.strongest_count, len(mean)))
        self.strongest.append(best.indices[best.values > 0].cpu().numpy())
        self.used = _added(self.used, on.sum(dim=0))
        self.strength = _added(self.strength, mean)
        if self.examples:
            lit = on.any(dim=0)
            self.means.append(mean[lit].cpu().numpy())
            self.counts.append(on.sum(dim=0)[lit].cpu().numpy())
            peak, where = features.max(dim=0)
            self.peak.append(peak.clamp(max=_HALF_MAX).half().cpu().numpy())
            self.where.append(where.to(torch.int16).cpu().numpy())
            self.places.append(places)

    def on(self, sample: int) -> np.ndarray:
        """(m,) which features are on in any token of a sample."""
        return np.unpackbits(self.lit[sample], count=len(self.used)).astype(bool)

    def by_sample(self, features: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """(S, k) means over each sample's tokens, and numbers of tokens in which each is on."""
        means, counts = (np.zeros((len(self.lit), len(features))) for _ in range(2))
        for sample, (mean, count) in enumerate(zip(self.means, self.counts, strict=True)):
            lit = np.flatnonzero(self.on(sample))
            at = np.searchsorted(lit, features).clip(max=max(len(lit) - 1, 0))
            here = lit[at] == features if len(lit) else np.zeros(len(features), dtype=bool)
            means[sample, here], counts[sample, here] = mean[at[here]], count[at[here]]
        return means, counts

    def column(self, name: str) -> np.ndarray:
        """(S,) of one of the rows' numbers."""
        return np.array(self.rows[name])

    def distances(self, rest: bool) -> np.ndarray:
        """(S,) each sample's summed squared distances from the mean of all tokens here."""
        sums, tokens = np.stack(self.sums), self.column("tokens")
        squares = self.column("squares_rest" if rest else "squares")
        if rest:
            sums = np.delete(sums, self.top, axis=1)
        mean = sums.sum(axis=0) / tokens.sum()
        found: np.ndarray = squares - 2 * sums @ mean + tokens * float(mean @ mean)
        return found


@dataclass(frozen=True, eq=False)
class Reader:
    """A site read through an autoencoder; ``top`` is the site's largest coordinate.

    ``strongest`` features of a sample are kept, and with ``examples`` where each is largest.
    """

    ref: LayerRef
    sae: SparseAutoencoder
    top: int
    strongest: int
    examples: bool


def gather(
    adapter: Adapter, samples: Sequence[Sample], readers: Sequence[Reader], batch_size: int
) -> list[Gathered]:
    """Run the model once over the samples; content tokens only, on the device where it is."""
    found = [Gathered(reader.top, reader.strongest, reader.examples) for reader in readers]
    for inputs, tokens in batches(adapter, samples, [reader.ref for reader in readers], batch_size):
        for reader, own in zip(readers, found, strict=True):
            here = content(inputs, reader.ref.stream)
            origins = inputs.origins.get(reader.ref.stream)
            places = np.full((*here.shape, 4), np.nan) if origins is None else origins.values
            with torch.inference_mode():
                for row in range(len(inputs)):
                    x = tokens[reader.ref][row, here[row]].float()
                    own.take(reader.sae, x, places[row][here[row].cpu().numpy()])
    return found


def top_coordinates(
    adapter: Adapter, samples: Sequence[Sample], refs: Sequence[LayerRef], batch_size: int
) -> dict[LayerRef, int]:
    """The coordinate of each site whose mean size over content tokens is largest."""
    sizes: dict[LayerRef, Tensor] = {}
    for inputs, tokens in batches(adapter, samples, refs, batch_size):
        for ref in refs:
            own = tokens[ref][content(inputs, ref.stream)]
            sizes[ref] = sizes.get(ref, 0) + own.double().abs().sum(dim=0)
    return {ref: int(size.argmax()) for ref, size in sizes.items()}


def batches(
    adapter: Adapter, samples: Sequence[Sample], refs: Sequence[LayerRef], batch_size: int
) -> Iterator[tuple[Inputs, dict[LayerRef, Tensor]]]:
    """The tokens of every batch at the sites."""
    device = next(adapter.module.parameters()).device
    sink = TokenSink(list(dict.fromkeys(refs)))
    with Tap(adapter, sink) as tap:
        for start in range(0, len(samples), batch_size):
            inputs = adapter.encode(samples[start : start + batch_size]).to(device)
            tap(inputs)
            yield inputs, sink.tokens


def _added(sums: np.ndarray, more: Tensor) -> np.ndarray:
    values = more.double().cpu().numpy()
    return sums + values if len(sums) else values
