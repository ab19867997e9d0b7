"""CKA as an auxiliary loss: training that pulls the two streams' CLS vectors into alignment.

The published run "late + CKA as a loss (0.2)" adds it with weight 0.2 at the fusion layers. What
is added is ``weight · (1 - CKA)``, so a higher CKA is a lower loss. The estimator is the biased
one of that work, over one batch: it is above 0 for unrelated data (the more so the smaller the
batch), which shifts the loss but leaves the direction of its gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from backend.errors import InputError
from backend.models.placement import Placement, parse_placement

LEAST_SAMPLES = 3
"""With one or two samples biased CKA is undefined or 1 whatever they are: such a batch has none."""


def linear_cka(x: Tensor, y: Tensor) -> Tensor:
    """Biased linear CKA of (n, d_x) and (n, d_y), differentiable, 0..1 (Kornblith et al. 2019).

    ‖Xᵀ Y‖² / (‖Xᵀ X‖ ‖Yᵀ Y‖) of the centred columns, from the n x n products. In float32 or better,
    also under autocast. NaN where all samples of a side are the same.
    """
    with torch.autocast(x.device.type, enabled=False):
        a, b = (z.to(torch.promote_types(z.dtype, torch.float32)) for z in (x, y))
        a, b = a - a.mean(dim=0), b - b.mean(dim=0)
        k, m = a @ a.T, b @ b.T
        out: Tensor = (k * m).sum() / (torch.linalg.norm(k) * torch.linalg.norm(m))
    return out


def mean_cka(pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor | None:
    """Mean :func:`linear_cka` over (text, vision) pairs of layers; None for too few samples."""
    if len(pairs[0][0]) < LEAST_SAMPLES:
        return None
    return torch.stack([linear_cka(text, vision) for text, vision in pairs]).mean()


def cka_layers(
    text: str, placement: Placement, depths: tuple[int, int]
) -> tuple[tuple[int, int], ...]:
    """(text layer, vision layer) pairs of the loss: those given, else the fusion layers.

    ``text`` is written like a placement; ``depths`` are (text, vision). InputError for layers that
    do not exist, and where there is no pair at all.
    """
    pairs = placement.pairs
    if text:
        try:
            pairs = parse_placement(text, text_depth=depths[0], vision_depth=depths[1]).pairs
        except InputError as error:
            raise InputError(error.problem, field="cka_layers", hint=error.hint) from error
    if not pairs:
        raise InputError(
            "a model without fusion has no fusion layers to align",
            field="cka_loss",
            hint="Name layers with `cka_layers`, e.g. 'text=12;vision=12'.",
        )
    return pairs
