"""What runs and models are called, so that no name stands for two of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from backend.models.placement import NAMES
from backend.types import StreamSpec

_LISTS = re.compile(r"t[\d,]*-v[\d,]*")
_LONGEST = 80
_DIGEST_DIGITS = 8


def default_run_id(
    dataset: str, placement: str | None, seed: int | None, model: str, digest: str
) -> str:
    """The id of a run that was given none.

    ``<dataset>-<placement>-s<seed>`` for a model that was trained here,
    ``<dataset>-<model>-<first 8 of digest>`` for any other. What no id may hold becomes ``_``; a
    long id is cut before its last part.
    """
    if placement is not None and seed is not None:
        return _joined(f"{dataset}-{placement}", f"s{seed}")
    return _joined(f"{dataset}-{model}", digest[:_DIGEST_DIGITS])


def distinct_run_id(run_id: str, digest: str) -> str:
    """Another id for a run whose own is taken by a run of another model."""
    return _joined(run_id, digest[:_DIGEST_DIGITS])


def model_label(name: str) -> str:
    """A released model's name, made different from that of any placement: ``"late (model)"``."""
    plain = name.strip().casefold()
    like_placement = plain in NAMES or "=" in plain or _LISTS.fullmatch(plain) is not None
    return f"{name} (model)" if like_placement else name


def _joined(start: str, last: str) -> str:
    start, last = (re.sub(r"[^A-Za-z0-9._-]+", "_", part) for part in (start, last))
    end = f"-{last}" if last else ""
    return start.lstrip(".")[: _LONGEST - len(end)] + end


def model_name(name: str, streams: Sequence[StreamSpec]) -> str:
    """What tells models of one study apart: ``bert + vit (text 12x48 + vision 12x48)``."""
    depths = " + ".join(f"{spec.name} {spec.depth}x{spec.width}" for spec in streams)
    return f"{name} ({depths})" if name else depths
