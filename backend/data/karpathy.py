"""The splits of Karpathy and Fei-Fei (2015), as COCO and Flickr have them: one JSON of images.

``{"images": [{"filename", "split", "sentences": [{"raw", "sentid"}, ...]}, ...], "dataset"}``
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from pathlib import Path
from typing import Any

from backend.data.jsonarrays import array_objects
from backend.data.parts import Row
from backend.data.rows import Bad
from backend.data.splits import split_names
from backend.errors import InputError

_MAX_SPLITS = 100


def karpathy_splits(path: Path) -> dict[str, str]:
    """{split as a file writes it: as it is called here}; restval is train."""
    written = dict.fromkeys(
        split
        for _, _, row in array_objects(path, {"images"})
        if isinstance(split := row.get("split"), str) and split.isprintable()
    )
    if not written or len(written) > _MAX_SPLITS:
        problem = f"over {_MAX_SPLITS} splits" if written else "no image with a split"
        raise InputError(problem, where=path.name)
    return split_names(written)


def karpathy_rows(
    path: Path, splits: Set[str], image_of: Callable[[dict[str, Any]], str]
) -> Iterator[Row | Bad]:
    """A row an image of these splits, with the list of its captions; ``image_of`` says the file.

    Its id is the image's name, so that captions are called ``<image>#0``, ``<image>#1``, ...
    """
    for _, number, row in array_objects(path, {"images"}):
        if str(row.get("split")) not in splits:
            continue
        sentences = row.get("sentences")
        if not isinstance(sentences, list):
            yield Bad(number, "no sentences", str(row.get("filename", "")))
            continue
        texts = [one.get("raw") if isinstance(one, dict) else None for one in sentences]
        yield Row(number, row.get("filename"), texts, image_of(row), text_name="sentence")
