"""Where and in which precision a training computes: device, autocast, loss scaling.

Nothing here is shared by a process, so that one can run trainings of different precisions and on
different devices after each other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

log = logging.getLogger(__name__)

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Compute:
    """A device and a precision: ``no`` (full), ``bf16`` or ``fp16``.

    float16 gradients underflow, so the loss is scaled up, and a step whose gradients overflow is
    left out (Micikevicius et al. 2018); the other two need neither.
    """

    def __init__(self, device: torch.device, precision: str) -> None:
        self.device = device
        self.precision = _resolved(precision, device)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "fp16")
        if device.type == "cpu" and self.precision == "bf16" and not _has_bfloat16():
            log.warning(
                "this processor has no bfloat16 arithmetic and imitates it, many times slower than "
                "full precision, which `precision` no or auto computes in"
            )

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of forward passes."""
        if self.precision == "no":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=_DTYPES[self.precision])

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of ``loss``."""
        self._scaler.scale(loss).backward()

    def step(self, optimizer: Optimizer, parameters: Iterable[nn.Parameter], most: float) -> bool:
        """Clip the gradients' norm to ``most`` and step; False where they overflowed."""
        self._scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(parameters, most)
        before = self._scaler.get_scale()
        self._scaler.step(optimizer)
        self._scaler.update()
        return self._scaler.get_scale() >= before

    def state_dict(self) -> dict[str, Any]:
        """The scale, empty where there is none."""
        return self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with a scale."""
        if state:
            self._scaler.load_state_dict(state)


def _resolved(name: str, device: torch.device) -> str:
    """``auto`` is bfloat16 where the GPU has it, float16 on older ones, full precision on a CPU."""
    if name != "auto":
        return name
    if device.type != "cuda":
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def _has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself (AVX-512 BF16, AMX or Arm's)."""
    mkldnn = torch.backends.mkldnn.is_available()
    return mkldnn and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
