"""One input of a model: what a loader, an upload or a notebook gives, before any processor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


@dataclass(frozen=True, eq=False)
class Audio:
    """A mono recording: float32 samples in -1..1, ``rate`` of them a second."""

    samples: np.ndarray
    rate: int


@dataclass(frozen=True, eq=False)
class Regions:
    """What a detector made of an image: (R, d) features and their (R, 4) boxes.

    Boxes are left, top, right, bottom in pixels of the original image.
    """

    features: np.ndarray
    boxes: np.ndarray


@dataclass(frozen=True, eq=False)
class Sample:
    """A text with any number of RGB images, a recording, or regions of the first image."""

    text: str = ""
    images: tuple[Image.Image, ...] = ()
    audio: Audio | None = None
    regions: Regions | None = None

    def blank(self, modality: str) -> Sample:
        """The same sample with nothing to see, read or hear in ``modality``.

        ``vision``: every image becomes mid-grey, features of regions become 0; ``text``: the text
        becomes empty; ``audio``: silence. ValueError for another word.
        """
        if modality == "text":
            return replace(self, text="")
        if modality == "vision":
            from PIL import Image

            grey = tuple(Image.new("RGB", image.size, (128, 128, 128)) for image in self.images)
            regions = self.regions
            if regions is not None:
                regions = replace(regions, features=_zeros(regions.features))
            return replace(self, images=grey, regions=regions)
        if modality == "audio":
            audio = self.audio
            if audio is not None:
                audio = replace(audio, samples=_zeros(audio.samples))
            return replace(self, audio=audio)
        raise ValueError(f"nothing is called {modality!r} that could be blanked")


def _zeros(values: np.ndarray) -> np.ndarray:
    import numpy as np

    return np.zeros_like(values)
