"""Text-conditioned denoisers of ``diffusers``, an optional extra: images that come out of noise."""

from __future__ import annotations
