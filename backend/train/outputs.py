"""Outputs of frozen layers as batches read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class FrozenOutputs:
    """One layer of one stream over all samples of a split: rows ``offsets[i]:offsets[i + 1]``."""

    stream: str
    layer: int
    rows: np.ndarray  # (tokens of all samples, d), memory-mapped
    offsets: np.ndarray

    def batch(self, indices: Sequence[int], mask: Tensor | None) -> Tensor:
        """(B, T, d) float32 of some samples; text goes where ``mask`` (B, T) is 1, else zeros."""
        parts = [np.asarray(self.rows[self.offsets[i] : self.offsets[i + 1]]) for i in indices]
        if mask is None:
            return torch.from_numpy(np.stack(parts)).float()
        out = torch.zeros(*mask.shape, self.rows.shape[1])
        out[mask.bool()] = torch.from_numpy(np.concatenate(parts)).float()
        return out
