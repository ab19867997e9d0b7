"""How a run is captured, said once: the command, study files and notebooks share it."""

from __future__ import annotations

from dataclasses import dataclass

from backend.data.images import THUMBNAIL_PX
from backend.settings import setting
from backend.types import POOLINGS

DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class CaptureOptions:
    """What of a split is captured, and how. ``limit`` counts usable samples.

    ``thumbnail_px`` is the longer side of the images that the run keeps for people.
    """

    split: str = setting("test", "train, dev, test or the dataset's own name.")
    pooling: tuple[str, ...] = setting(POOLINGS, "cls, mean or both.", choices=POOLINGS)
    limit: int | None = setting(None, "Samples.", at_least=1)
    batch_size: int = setting(32, "Samples a batch.", at_least=1)
    dtype: str = setting("float32", "float32 or float16.", choices=DTYPES)
    with_checkpoint: bool = setting(False, "Copy the checkpoint into the run.")
    device: str = setting("auto", "auto, cuda, mps or cpu.")
    thumbnail_px: int = THUMBNAIL_PX
