"""The rows that a capture without vectors can still give, from sums over its samples.

CKA of consecutive layers, of each named site with its neighbours and its namesakes, and of matching
layers of every two streams; of every site all measures that follow from its spectrum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import numpy as np

from backend.errors import InputError
from backend.measures.chance.bootstrap import Estimator
from backend.measures.chance.inference import Inference
from backend.measures.core.groups import as_groups
from backend.measures.core.hsic import HsicStatistics
from backend.measures.streaming.stream import CKAStream
from backend.measures.suite.dimensions import of_spectrum, spectrum_rows
from backend.measures.suite.linear_cka import pair_rows
from backend.measures.suite.pairs import in_order, named_pairs
from backend.measures.suite.rows import tidy_frame
from backend.measures.suite.sites import site_facts
from backend.remarks import Remarks, remark
from backend.types import LayerRef, Pooling, StreamSpec, matched_layers

if TYPE_CHECKING:
    import pandas as pd

LEAST_SAMPLES = 4


def streamed_pairs(streams: Sequence[StreamSpec], pooling: Pooling) -> list[tuple[int, int]]:
    """The pairs that are summed, as indices into :func:`streamed_refs`.

    In the order of the module's docstring; of two streams the vision stream comes first.
    """
    refs = streamed_refs(streams, pooling)
    at = {ref: i for i, ref in enumerate(refs)}
    modalities = {spec.name: spec.modality for spec in streams}
    by_name = {spec.name: spec for spec in streams}
    ordered = [by_name[name] for name in in_order(by_name, modalities)]
    compared = [pair for spec in ordered for pair in pairwise(spec.layers)]
    for one, other in combinations(ordered, 2):
        compared += matched_layers(one, other)
    indices = [(at[a], at[b]) for a, b in compared if a in at and b in at]
    return [*indices, *named_pairs(refs, modalities)]


def streamed_refs(streams: Sequence[StreamSpec], pooling: Pooling) -> tuple[LayerRef, ...]:
    """The sites that have a pooling, of all ``streams`` one after another."""
    return tuple(ref for spec in streams for ref in spec.refs if pooling in spec.poolings_of(ref))


def stream_suite(
    stream: CKAStream,
    refs: Sequence[LayerRef],
    compared: Sequence[tuple[int, int]],
    pooling: Pooling,
    *,
    modalities: Mapping[str, str] | None = None,
    groups: object = None,
) -> pd.DataFrame:
    """The rows of ``compared`` pairs, which the stream must track, and of every layer's dimension.

    ``refs`` name the stream's layers in order; columns, reasons and nulls are those of the measures
    of vectors. No warning counts copies among the samples: they are gone. ``groups`` (n names) say
    which of the samples belong together: what two of one group have in common is inside the sums
    and cannot be taken out, nor can groups be exchanged, so that CKA has no null and says so.
    InputError for fewer than 4 samples. Cost: one eigen-decomposition a layer.
    """
    if stream.n < LEAST_SAMPLES:
        raise InputError(f"needs at least {LEAST_SAMPLES} samples, got {stream.n}", where="stream")
    shares = stream.spectra()
    sites = site_facts(refs, stream.layers(shares), pooling, modalities or {})
    statistics = stream.statistics()
    together = as_groups(groups, stream.n)
    uncertain = None if together is None else partial(_in_groups, statistics)
    rows = [*pair_rows(sites, statistics, compared, uncertain)]
    for site, own in zip(sites, shares, strict=True):
        rows += spectrum_rows(site, own, of_spectrum())
    return tidy_frame(rows)


def _in_groups(statistics: HsicStatistics, estimator: Estimator) -> Inference:
    """No null, and why."""
    chance = Inference.of(statistics, estimator)
    unknown = np.full_like(chance.means, np.nan)
    said = Remarks.of(remark("stream_in_groups"))
    return replace(chance, means=unknown, sds=unknown, remarks=said)
