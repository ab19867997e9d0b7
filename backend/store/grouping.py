"""The groups of a run's samples, from the columns that say or show what belongs together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa

from backend.data.groups import Codes, Grouping, codes_of, grouping
from backend.store.contents import RunContents

GROUPING_COLUMNS = ("group", "text", "image_digest")
_THUMBNAILS_AT_ONCE = 65_536


def grouping_in(contents: RunContents, schema: pa.Schema, n: int) -> Grouping:
    """The groups of a finished run of ``n`` samples whose columns are those of ``schema``."""

    def thumbnails() -> Iterator[pa.ChunkedArray]:
        for start in range(0, n, _THUMBNAILS_AT_ONCE):
            rows = np.arange(start, min(start + _THUMBNAILS_AT_ONCE, n))
            yield contents.samples(schema, ["thumbnail"], rows).column(0)

    samples = contents.samples(schema, ["sample_id", *GROUPING_COLUMNS], None)
    return grouping_of(samples, thumbnails)


def grouping_of(samples: pa.Table, thumbnails: Callable[[], Iterable[pa.ChunkedArray]]) -> Grouping:
    """The groups of samples with the columns ``sample_id`` and :data:`GROUPING_COLUMNS`.

    Where no image has a digest (a run of an older version, an import of thumbnails) equal
    ``thumbnails`` stand for equal images; they are not read otherwise.
    """
    return grouping(
        samples["sample_id"].to_numpy(),
        samples["group"].to_pylist(),
        _images(samples["image_digest"], thumbnails),
        codes_of(samples["text"]),
    )


def _images(digests: pa.ChunkedArray, thumbnails: Callable[[], Iterable[pa.ChunkedArray]]) -> Codes:
    if digests.null_count < len(digests):
        return codes_of(digests)
    return codes_of([_digest(image) for part in thumbnails() for image in part.to_pylist()])


def _digest(thumbnail: bytes | None) -> bytes | None:
    if thumbnail is None:
        return None
    return hashlib.blake2b(thumbnail, digest_size=16).digest()
