"""What a tap's readings become: pooled vectors, tokens, attention maps."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from backend.models.adapter import Adapter, AttentionKey, Inputs
from backend.models.roles import Role, has
from backend.types import LayerRef, Pooling

_DTYPES = {"float16": torch.float16, "float32": torch.float32, "float64": torch.float64}

Vectors = dict[tuple[LayerRef, Pooling], np.ndarray]


class _Nothing:
    """A sink that wants nothing; the base of those that want something."""

    def sites(self, adapter: Adapter) -> Iterable[LayerRef]:
        """None."""
        return ()

    def maps(self, adapter: Adapter) -> Iterable[AttentionKey]:
        """None."""
        return ()

    def begin(self, adapter: Adapter, inputs: Inputs) -> None:
        """Nothing to prepare."""

    def take(self, ref: LayerRef, tokens: Tensor) -> None:
        """Nothing was wanted."""

    def take_map(self, key: AttentionKey, weights: Tensor) -> None:
        """Nothing was wanted."""


class PooledSink(_Nothing):
    """Every site of every stream as one vector a sample, pooled as it passes.

    ``cls`` is the summary token, ``mean`` the mean of the content tokens, in float32; a stream has
    those that it declares. No layer's tokens outlive the next layer, and the vectors' memory is
    taken before the pass: between a model's large tensors, small ones that stay break up the heap.
    With ``refs`` these sites alone.
    """

    def __init__(
        self,
        poolings: Sequence[Pooling],
        dtype: str = "float32",
        refs: Collection[LayerRef] | None = None,
    ) -> None:
        self._poolings = tuple(poolings)
        self._refs = refs
        self._dtype = _DTYPES[dtype]
        self._own: dict[LayerRef, tuple[Pooling, ...]] = {}
        self._by_width: dict[int, list[tuple[LayerRef, Pooling]]] = {}
        self._pooled_by_model: set[LayerRef] = set()
        self._weights: dict[str, Tensor] = {}
        self._summary: dict[str, Tensor | int] = {}
        self._pooled: dict[int, Tensor] = {}
        self._rows: dict[tuple[LayerRef, Pooling], Tensor] = {}

    def sites(self, adapter: Adapter) -> tuple[LayerRef, ...]:
        """All that have a pooling that is wanted."""
        self._own, self._by_width, self._pooled_by_model = {}, {}, set()
        for spec in adapter.streams:
            for site, ref in zip(spec.sites, spec.refs, strict=True):
                if self._refs is not None and ref not in self._refs:
                    continue
                poolings = tuple(p for p in self._poolings if p in spec.poolings_of(ref))
                if poolings:
                    self._own[ref] = poolings
                    keys = self._by_width.setdefault(site.width, [])
                    keys += [(ref, pooling) for pooling in poolings]
                if site.pooled:
                    self._pooled_by_model.add(ref)
        return tuple(self._own)

    def begin(self, adapter: Adapter, inputs: Inputs) -> None:
        """Work out the weights of tokens, once a batch; room for the vectors."""
        self._weights, self._summary, self._pooled, self._rows = {}, {}, {}, {}
        accumulate = _accumulating(adapter.dtype, self._dtype)
        for ref, poolings in self._own.items():
            stream, roles = ref.stream, inputs.roles[ref.stream]
            if "mean" in poolings and stream not in self._weights:
                content = has(roles, Role.CONTENT).to(accumulate)
                # Without a content token there is no mean: 0 / 0 is NaN, which measures name.
                self._weights[stream] = (content / content.sum(dim=1, keepdim=True)).unsqueeze(1)
            if (
                "cls" in poolings
                and ref not in self._pooled_by_model
                and stream not in self._summary
            ):
                self._summary[stream] = _summary(roles, stream)
        device = next(iter(inputs.roles.values())).device
        for width, keys in self._by_width.items():
            room = torch.empty(len(keys), len(inputs), width, dtype=self._dtype, device=device)
            self._pooled[width] = room
            self._rows.update(zip(keys, room, strict=True))

    def take(self, ref: LayerRef, tokens: Tensor) -> None:
        """Pool one site."""
        for pooling in self._own[ref]:
            if pooling == "mean":
                weights = self._weights[ref.stream]
                pooled = torch.bmm(weights, tokens.to(weights.dtype)).squeeze(1)
            else:
                at = 0 if ref in self._pooled_by_model else self._summary[ref.stream]
                pooled = (
                    tokens[:, at]
                    if isinstance(at, int)
                    else tokens[torch.arange(len(tokens), device=tokens.device), at]
                )
            self._rows[ref, pooling].copy_(pooled)

    def vectors(self) -> Vectors:
        """{(site, pooling): (B, d)} of the last pass; one copy to the CPU a width, not a layer."""
        out: Vectors = {}
        for width, room in self._pooled.items():
            out.update(zip(self._by_width[width], room.cpu().numpy(), strict=True))
        self._pooled, self._rows = {}, {}
        return out


class TokenSink(_Nothing):
    """The tokens of chosen sites, (B, T, d), as they pass; with gradients where a pass keeps any.

    T is that of the stream's roles, which tell padding and other streams' tokens apart.
    """

    def __init__(self, refs: Sequence[LayerRef]) -> None:
        self._refs = tuple(refs)
        self.tokens: dict[LayerRef, Tensor] = {}

    def sites(self, adapter: Adapter) -> tuple[LayerRef, ...]:
        """Those that were asked for."""
        return self._refs

    def begin(self, adapter: Adapter, inputs: Inputs) -> None:
        """Forget the pass before."""
        self.tokens = {}

    def take(self, ref: LayerRef, tokens: Tensor) -> None:
        """Keep them."""
        self.tokens[ref] = tokens


class AttentionSink(_Nothing):
    """Attention maps (B, heads, query tokens, key tokens), by :class:`AttentionKey`.

    ``keys`` None: those of all meets.
    """

    def __init__(self, keys: Sequence[AttentionKey] | None = None) -> None:
        self._keys = keys
        self.weights: dict[AttentionKey, Tensor] = {}

    def maps(self, adapter: Adapter) -> tuple[AttentionKey, ...]:
        """Those that were asked for."""
        if self._keys is not None:
            return tuple(self._keys)
        return tuple(key for key in adapter.attention() if key.reads != key.ref.stream)

    def begin(self, adapter: Adapter, inputs: Inputs) -> None:
        """Forget the pass before."""
        self.weights = {}

    def take_map(self, key: AttentionKey, weights: Tensor) -> None:
        """Keep it."""
        self.weights[key] = weights


def _accumulating(model: torch.dtype, stored: torch.dtype) -> torch.dtype:
    """Means are summed in float32, in float64 where the model or the vectors are."""
    return torch.float64 if torch.float64 in (model, stored) else torch.float32


def _summary(roles: Tensor, stream: str) -> Tensor | int:
    """(B,) place of the summary token, or one number where it is the same for all."""
    is_summary = has(roles, Role.SUMMARY)
    counts = is_summary.sum(dim=1)
    if not bool((counts == 1).all()):
        raise RuntimeError(f"stream {stream} has {counts.tolist()} summary tokens, not one each")
    places = is_summary.int().argmax(dim=1)
    first = int(places[0])
    return first if bool((places == first).all()) else places
