"""Which columns of a Hugging Face table hold pictures, and which cannot be read."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from backend.data.arrowtypes import holds_lists_of_pictures, holds_pictures
from backend.data.class_names import features_in

_OTHER_MEDIA = ("Audio", "Video", "Pdf", "Nifti")  # kept as pictures are


@dataclass(frozen=True)
class Features:
    """``names`` are the columns that can be read, ``pictures`` those of one picture a row.

    ``lists`` are columns of several pictures a row, which are not read.
    """

    names: tuple[str, ...]
    pictures: tuple[str, ...]
    lists: tuple[str, ...]


def features_of(schema: pa.Schema) -> Features:
    """By what the library has written into the schema, and by the columns' types."""
    said = features_in(schema)
    kinds = {
        name: feature.get("_type") if isinstance(feature, dict) else None
        for name, feature in said.items()
    }
    held = [f.name for f in schema if holds_pictures(f.type)]
    images = [name for name in held if kinds.get(name) == "Image"]
    lists = [f.name for f in schema if holds_lists_of_pictures(f.type)]
    unread = {*lists, *(name for name, kind in kinds.items() if kind in _OTHER_MEDIA)}
    return Features(
        tuple(name for name in schema.names if name not in unread),
        tuple(images or (name for name in held if name not in unread)),
        tuple(lists),
    )
