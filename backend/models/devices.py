"""The one place that decides on which device a model runs."""

from __future__ import annotations

import torch

from backend.errors import InputError

CHOICES = ("auto", "cuda", "mps", "cpu")


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` takes cuda, then mps, then cpu; a device that is not there is an InputError."""
    available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    kind, _, index = name.partition(":")
    if name == "auto":
        kind = next(k for k, there in available.items() if there)
        return torch.device(kind)
    if kind not in available or (index and not index.isdecimal()):
        raise InputError(
            f"no such device; use one of {', '.join(CHOICES)}", where=f"device {name!r}"
        )
    if not available[kind]:
        here = ", ".join(k for k, there in available.items() if there)
        raise InputError(f"is not available here; there is {here}", where=f"device {name!r}")
    if index and kind == "cuda" and int(index) >= torch.cuda.device_count():
        raise InputError(f"there are {torch.cuda.device_count()} GPUs", where=f"device {name!r}")
    return torch.device(name)
