"""One sample of our own through what a checkpoint says of texts, images and sounds.

So that settings which no library looks at before they are used are told when a model is opened.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from torch import nn

from backend.data.sample import Audio, Sample
from backend.errors import InputError
from backend.models.adapter import Adapter
from backend.models.roles import Role, has

_SIDES = (64, 48)
_RATE = 16_000
_MOST_NUMBERS = 2**27  # of one sample's tensors


def take_sample(adapter: Adapter) -> None:
    """InputError where a picture and a word become more than a model can take, or no numbers, or
    have no token by which they are read.

    Models of regions are left out: which regions they take is not known here.
    """
    if "regions" in adapter.needs:
        return
    noise = np.random.default_rng(0).integers(0, 256, (*_SIDES[::-1], 3), dtype=np.uint8)
    images = (Image.fromarray(noise),) if "image" in adapter.needs else ()
    audio = None
    if "audio" in adapter.needs:
        audio = Audio(np.sin(np.arange(_RATE // 4, dtype=np.float32)), _RATE)
    batch = adapter.encode([Sample("a", images, audio)])
    for name, tensor in batch.tensors.items():
        if tensor.numel() > _MOST_NUMBERS:
            raise InputError(f"makes {tensor.numel():,} numbers of {name} of one sample")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise InputError(f"makes {name} that are not finite of a sample that is")
    for spec in adapter.streams:
        summed_up = any(
            "cls" in spec.poolings_of(ref) and not site.pooled
            for ref, site in zip(spec.refs, spec.sites, strict=True)
        )
        if summed_up:
            count = int(has(batch.roles[spec.name], Role.SUMMARY).sum())
            if count != 1:
                raise InputError(
                    f"stream {spec.name} has {count} tokens by which a sample is read, not one",
                    hint="The tokenizer's special tokens are not those that the model reads by.",
                )
    ids, words = batch.tensors.get(adapter.text_ids), _words(adapter.module)
    if ids is not None and words is not None and int(ids.max()) >= words:
        raise InputError(f"its tokenizer gives id {int(ids.max()):,}, its weights know {words:,}")


def _words(module: nn.Module) -> int | None:
    """How many tokens have a vector, where the model says which module holds them."""
    try:
        table = getattr(module, "get_input_embeddings", lambda: None)()
    except (NotImplementedError, AttributeError):
        return None
    return table.num_embeddings if isinstance(table, nn.Embedding) else None
