"""The rows that a capture without vectors can still give, from sums over its samples.

A subset of :mod:`backend.measures.suite` in the same form: CKA of consecutive layers, of each
fusion output with its neighbours, and of matching layers of every two streams; effective dimension
and participation ratio of every site.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

from backend.errors import InputError
from backend.measures.dimension import check_threshold
from backend.measures.stream import CKAStream
from backend.measures.suite import fusion_pairs, in_order, site_facts, tidy_frame
from backend.types import LayerRef, Pooling, StreamSpec, matched_layers

if TYPE_CHECKING:
    import pandas as pd

LEAST_SAMPLES = 4


def streamed_pairs(streams: Sequence[StreamSpec]) -> list[tuple[int, int]]:
    """The pairs that are summed, as indices into the sites of all ``streams`` one after another.

    In the order of the module's docstring; of two streams the vision stream comes first.
    """
    refs = [ref for spec in streams for ref in spec.sites]
    at = {ref: i for i, ref in enumerate(refs)}
    named = {spec.name: spec for spec in streams}
    ordered = [
        named[name] for name in in_order(named, {spec.name: spec.modality for spec in streams})
    ]
    found = [(at[a], at[b]) for spec in ordered for a, b in pairwise(spec.layers)]
    for one, other in combinations(ordered, 2):
        found += [(at[a], at[b]) for a, b in matched_layers(one, other)]
    return [*found, *fusion_pairs(refs)]


def stream_suite(
    stream: CKAStream,
    refs: Sequence[LayerRef],
    compared: Sequence[tuple[int, int]],
    pooling: Pooling,
    *,
    modalities: Mapping[str, str] | None = None,
    threshold: float = 0.95,
) -> pd.DataFrame:
    """The rows of ``compared`` pairs, which the stream must track, and of every layer's dimension.

    ``refs`` name the stream's layers in order; columns, reasons and nulls are those of
    :func:`backend.measures.suite`. No warning counts copies among the samples: they are gone.
    InputError for fewer than 4 samples. Cost: one eigen-decomposition a layer.
    """
    check_threshold(threshold)
    if stream.n < LEAST_SAMPLES:
        raise InputError(f"needs at least {LEAST_SAMPLES} samples, got {stream.n}", where="stream")
    shares = stream.spectra()
    sites = site_facts(refs, stream.layers(shares), pooling, modalities or {})
    return tidy_frame(sites, stream.statistics(), shares, compared, threshold)
