"""Forward hooks that pool each layer as it passes, and are always taken off again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from backend.models.adapter import Adapter
from backend.types import LayerRef, Pooling

Vectors = dict[tuple[LayerRef, Pooling], np.ndarray]


class Recorder:
    """Captures every site of a model in one forward pass; use as a context manager.

    Inside the ``with`` block the model is in evaluation mode and hooked; on leaving, however that
    happens, the hooks are gone and the model is in the mode it was in. Tokens (B, T, d) are pooled
    to (B, d) inside the hook, so no layer's tokens outlive the next layer.
    """

    def __init__(
        self,
        adapter: Adapter,
        poolings: Sequence[Pooling] = ("cls", "mean"),
        dtype: str = "float32",
    ) -> None:
        self._adapter = adapter
        self._poolings = tuple(poolings)
        self._dtype = {"float32": torch.float32, "float16": torch.float16}[dtype]
        self._handles: list[RemovableHandle] = []
        self._weights: dict[str, Tensor | int] = {}
        self._pooled: dict[tuple[LayerRef, Pooling], Tensor] = {}
        self._training = False

    def __enter__(self) -> Self:
        self._training = self._adapter.module.training
        self._adapter.module.eval()
        try:
            for ref, point in self._adapter.points().items():
                self._handles.append(
                    point.module.register_forward_hook(self._hook(ref, point.select))
                )
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._remove()

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._pooled.clear()
        self._weights.clear()
        self._adapter.module.train(self._training)

    def __call__(self, batch: Mapping[str, Tensor]) -> tuple[Vectors, dict[str, Tensor]]:
        """Run a batch (already on the model's device): every pooled layer (B, d), and the logits.

        Raises RuntimeError if a site was not reached: a model that skips a layer is not described
        rightly by its adapter.
        """
        if not self._handles:
            raise RuntimeError("the recorder captures inside its with block only")
        self._pooled.clear()
        with torch.inference_mode():
            self._weights = {k: _weights(m) for k, m in self._adapter.counted(batch).items()}
            logits = self._adapter.forward(batch)
            wanted = [(ref, p) for ref in self._adapter.points() for p in self._poolings]
            missing = [
                f"{ref.stream} {ref.label}" for ref, p in wanted if (ref, p) not in self._pooled
            ]
            if missing:
                raise RuntimeError(f"the forward pass did not reach {', '.join(missing)}")
            return self._collect(wanted), logits

    def _collect(self, wanted: list[tuple[LayerRef, Pooling]]) -> Vectors:
        """Everything to the CPU in one copy a width, not one a layer."""
        out: Vectors = {}
        by_width: dict[int, list[tuple[LayerRef, Pooling]]] = {}
        for key in wanted:
            by_width.setdefault(self._pooled[key].shape[1], []).append(key)
        for keys in by_width.values():
            stacked = torch.stack([self._pooled[key] for key in keys]).to(self._dtype).cpu().numpy()
            out.update(zip(keys, stacked, strict=True))
        self._pooled.clear()
        return out

    def _hook(self, ref: LayerRef, select: Any) -> Any:
        def pool(module: torch.nn.Module, args: Any, output: Any) -> None:
            tokens = select(output)
            for pooling in self._poolings:
                # clone: the first token is a view that would keep all tokens alive
                vector = (
                    tokens[:, 0].clone()
                    if pooling == "cls"
                    else _mean(tokens, self._weights[ref.stream])
                )
                self._pooled[ref, pooling] = vector

        return pool


def _weights(counted: Tensor | int) -> Tensor | int:
    """A (B, T) mask as (B, 1, T) weights that sum to one in each row; a prefix stays a number."""
    if isinstance(counted, int):
        return counted
    mask = counted.float()
    # A text without a single counted token has no mean: 0 / 0 is NaN, which the measures name.
    return (mask / mask.sum(dim=1, keepdim=True)).unsqueeze(1)


def _mean(tokens: Tensor, weights: Tensor | int) -> Tensor:
    """(B, T, d) -> (B, d), over the counted tokens, accumulated in float32."""
    if isinstance(weights, int):
        return tokens[:, weights:].mean(dim=1, dtype=torch.float32)
    return torch.bmm(weights, tokens.float()).squeeze(1)
