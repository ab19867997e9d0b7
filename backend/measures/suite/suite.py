"""All default measures of one model under one pooling, as the tidy rows that the store keeps.

Pairs of sites: every two layers of a stream (each unordered pair once, the diagonal too), every
layer of one stream with every layer of another, each named site with its neighbours (k-1 with
k.fusion, k.fusion with k), and the named sites after a stream's last layer with those of the same
name in another stream (``projected`` with ``projected``). Linear CKA of each pair is given biased
and debiased with the exact null and the bootstrap interval of each, and of the debiased one the
p-value (up to the size that :func:`suite` names), corrected after Holm over all pairs of different
sites of the same two streams (``p_corrected``). Single layers: effective dimension and
participation ratio of every site.

:func:`drivers` says which samples carry the similarity of two streams.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, combinations_with_replacement, pairwise, product, takewhile
from typing import TYPE_CHECKING

import numpy as np

from backend.errors import InputError
from backend.measures.chance.bootstrap import LEVEL, Estimator
from backend.measures.chance.inference import Inference, infer
from backend.measures.chance.pvalues import holm
from backend.measures.chance.samples import SampleSums, sample_sums
from backend.measures.core.base import (
    Float64,
    LayerFacts,
    as_representation,
    constant_reason,
    prepare,
    same_samples,
)
from backend.measures.core.hsic import HsicStatistics, largest_for_grams
from backend.measures.core.parallel import map_pieces
from backend.measures.core.result import NAN, Result
from backend.measures.families.contributions import extremes, shares
from backend.measures.families.dimension import (
    check_threshold,
    effective_dimension_of,
    effective_rank_of,
    participation_ratio_of,
    spectra,
    stable_rank_of,
)
from backend.measures.families.kernel import EQUIDISTANT, cka_warnings, prepare_layers
from backend.types import BLOCK, LayerRef, Pooling

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: dict[str, str] = {
    "measure": "str",
    "stream_a": "str",
    "layer_a": "int32",
    "site_a": "str",
    "stream_b": "str",
    "layer_b": "int32",
    "site_b": "str",
    "pooling": "str",
    "estimator": "str",
    "value": "float64",
    "ci_low": "float64",
    "ci_high": "float64",
    "null_mean": "float64",
    "null_sd": "float64",
    "p_value": "float64",
    "p_corrected": "float64",
    "n": "int64",
    "params": "str",
    "reason": "str",
    "warnings": "str",
}

DRIVER_COLUMNS: dict[str, str] = {
    "stream_a": "str",
    "layer_a": "int32",
    "site_a": "str",
    "stream_b": "str",
    "layer_b": "int32",
    "site_b": "str",
    "rank": "int32",
    "sample": "int64",
    "share": "float64",
}

DRIVERS = 5
"""How many samples with the highest and the lowest shares are listed for each pair of layers."""

P_VALUE_WORK = 1e13
"""Multiply-adds of all Grams up to which p-values are computed: minutes on two cores."""

ESTIMATORS: tuple[Estimator, ...] = ("biased", "debiased")

_INPUTS = {"vision": "image", "text": "text", "audio": "recording"}


@dataclass(frozen=True, eq=False)
class SiteFacts:
    """A layer, what is known of its vectors and, where they are constant, why."""

    ref: LayerRef
    prepared: LayerFacts
    pooling: Pooling
    reason: str

    @property
    def name(self) -> str:
        """``"layer 4 of vision"``."""
        return site_name(self.ref)


def suite(
    layers: Mapping[LayerRef, object],
    pooling: Pooling,
    *,
    modalities: Mapping[str, str] | None = None,
    threshold: float = 0.95,
) -> pd.DataFrame:
    """Every default measure of ``layers``, {LayerRef: (n, d) array} over the same n >= 4 samples.

    The sites of a stream are given in the order of the computation, which says what is beside a
    named one. One row a value, columns as in ``COLUMNS``; of two streams the vision stream is
    ``stream_a``, else the one that was given first. ``modalities`` maps stream names to modalities
    and defaults to the names. InputError names the layer whose array cannot be used.
    Cost: ½n²Σd + L²n² multiply-adds for CKA, 1000 resamples of n numbers a pair and one
    eigen-decomposition a layer; memory the arrays again, centred, and 16n bytes a pair.

    p-values need the Grams: all pairs of samples. Where these would take more than ``P_VALUE_WORK``
    multiply-adds (n above about 37,000 for 50 layers of 768, 31,000 for 26) and covariances take
    fewer, CKA costs 2nΣ d_i d_j instead, p-values are NaN and a warning says so; values, nulls and
    intervals are there all the same.
    """
    return _both(layers, pooling, modalities, threshold, 0)[0]


def drivers(
    layers: Mapping[LayerRef, object],
    *,
    modalities: Mapping[str, str] | None = None,
    count: int = DRIVERS,
) -> pd.DataFrame:
    """The samples that drive each pair of sites of two streams, columns as in ``DRIVER_COLUMNS``.

    For every pair 2·``count`` rows: ``rank`` 1, 2, ... have the highest shares of debiased CKA
    (:func:`backend.measures.cka_contributions`), -1, -2, ... the lowest; ``sample`` is the row of
    the arrays. Pairs without a debiased CKA have no rows, and with fewer than 2·``count`` samples
    there are n/2 of either. Cost and errors: those of CKA in :func:`suite`.
    """
    modalities = modalities or {}
    at_ends = {ref for pair in end_pairs(list(layers), modalities) for ref in pair}
    refs = [ref for ref in layers if ref.site == BLOCK or ref in at_ends]
    prepared = prepare_layers(
        [layers[ref] for ref in refs], [site_name(ref) for ref in refs], min_samples=4
    )
    sums = sample_sums(prepared, _crossing(refs, pairs(refs, modalities)))
    return _driver_frame(refs, sums, count)


def suite_with_drivers(
    layers: Mapping[LayerRef, object],
    pooling: Pooling,
    *,
    modalities: Mapping[str, str] | None = None,
    threshold: float = 0.95,
    count: int = DRIVERS,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """:func:`suite` and :func:`drivers` from one pass over the layers."""
    return _both(layers, pooling, modalities, threshold, count)


def cka_with_drivers(
    layers: Mapping[LayerRef, object],
    pooling: Pooling,
    *,
    modalities: Mapping[str, str] | None = None,
    count: int = DRIVERS,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The CKA rows of :func:`suite`, and :func:`drivers`, from one pass over the layers."""
    return _both(layers, pooling, modalities, None, count)


def dimension_rows(
    layers: Mapping[LayerRef, object],
    pooling: Pooling,
    *,
    modalities: Mapping[str, str] | None = None,
    threshold: float = 0.95,
) -> list[dict[str, object]]:
    """The four dimensions that follow from a layer's spectrum, of every site, as tidy rows.

    One eigen-decomposition a layer, in float64, which the effective rank needs; memory 8nd bytes
    of one layer a core, and its decomposition. InputError as of :func:`suite`, for n >= 2.
    """
    check_threshold(threshold)
    refs = list(layers)
    if not refs:
        raise InputError("no layers were given", where="layers")
    names = [site_name(ref) for ref in refs]
    arrays = [as_representation(layers[ref], name) for ref, name in zip(refs, names, strict=True)]
    same_samples(arrays, names)

    def of_one(at: int) -> list[dict[str, object]]:
        side = prepare(arrays[at], names[at])
        (site,) = site_facts([refs[at]], [side], pooling, modalities or {})
        (share,) = spectra([side])
        results = (
            effective_dimension_of(side, share, site.name, threshold),
            participation_ratio_of(side, share, site.name),
            effective_rank_of(side, share, site.name),
            stable_rank_of(side, share, site.name),
        )
        return [
            tidy_row(replace(result, reason=site.reason, pooling=pooling), site.ref)
            for result in results
        ]

    work = sum(float(x.size * min(x.shape)) for x in arrays)
    return [row for rows in map_pieces(of_one, range(len(refs)), work) for row in rows]


def _both(
    layers: Mapping[LayerRef, object],
    pooling: Pooling,
    modalities: Mapping[str, str] | None,
    threshold: float | None,
    count: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """CKA rows, with dimension rows unless ``threshold`` is None, and ``count`` drivers a side."""
    import pandas as pd

    if threshold is not None:
        check_threshold(threshold)
    modalities = modalities or {}
    refs = list(layers)
    prepared = prepare_layers(
        [layers[ref] for ref in refs], [site_name(ref) for ref in refs], min_samples=4
    )
    sites = site_facts(refs, prepared, pooling, modalities)
    compared = pairs(refs, modalities)
    largest = largest_for_grams([layer.d for layer in prepared], P_VALUE_WORK)
    tested = prepared[0].n <= largest
    untested = "" if tested else f"p-values need all pairs of samples: left out above n = {largest}"
    sums = sample_sums(prepared, compared, cubes=tested)
    shares = spectra(prepared) if tested or threshold is not None else []
    # tr W³: W has trace 1.
    cubed = np.array([float((share**3).sum()) for share in shares]) if tested else None

    def uncertain(estimator: Estimator) -> Inference:
        return infer(sums, estimator, level=LEVEL, cubed_traces=cubed)

    rows = [*_cka_rows(sites, sums.statistics, compared, uncertain, untested)]
    if threshold is not None:
        rows += _dimension_rows(sites, shares, threshold)
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.astype(COLUMNS), _driver_frame(refs, sums, count)


def site_facts(
    refs: Sequence[LayerRef],
    facts: Sequence[LayerFacts],
    pooling: Pooling,
    modalities: Mapping[str, str],
) -> list[SiteFacts]:
    """Each layer with what is known of it."""
    return [
        SiteFacts(
            ref,
            one,
            pooling,
            constant_layer_reason(ref, pooling, modalities) if one.constant else "",
        )
        for ref, one in zip(refs, facts, strict=True)
    ]


def tidy_frame(
    sites: Sequence[SiteFacts],
    statistics: HsicStatistics,
    shares: Sequence[Float64],
    compared: Sequence[tuple[int, int]],
    threshold: float,
) -> pd.DataFrame:
    """The rows of CKA between the ``compared`` sites and of the dimensions of every site."""
    import pandas as pd

    cka_rows = _cka_rows(sites, statistics, compared)
    rows = [*cka_rows, *_dimension_rows(sites, shares, threshold)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.astype(COLUMNS)


def constant_layer_reason(ref: LayerRef, pooling: Pooling, modalities: Mapping[str, str]) -> str:
    """Why a layer whose samples all have the same vector has no measures."""
    if (ref.layer, ref.site, pooling) == (0, BLOCK, "cls"):
        source = _INPUTS.get(modalities.get(ref.stream, ref.stream), "input")
        return (
            f"layer 0 of {ref.stream} is constant: the summary token does not depend on the "
            f"{source} yet"
        )
    return constant_reason(site_name(ref))


def site_name(ref: LayerRef) -> str:
    """``"layer 4 of vision"``, ``"layer 4.fusion of vision"``."""
    return f"layer {ref.label} of {ref.stream}"


def pairs(refs: Sequence[LayerRef], modalities: Mapping[str, str]) -> list[tuple[int, int]]:
    """Indices of the pairs of sites that are compared, in the order of the module's docstring."""
    streams = in_order((ref.stream for ref in refs), modalities)
    blocks = {
        name: sorted(
            (i for i, ref in enumerate(refs) if ref.stream == name and ref.site == BLOCK),
            key=lambda i: refs[i].layer,
        )
        for name in streams
    }
    compared = [p for name in streams for p in combinations_with_replacement(blocks[name], 2)]
    for a, b in combinations(streams, 2):
        compared += product(blocks[a], blocks[b])
    return [*compared, *named_pairs(refs, modalities)]


def in_order(streams: Iterable[str], modalities: Mapping[str, str]) -> list[str]:
    """Each stream once, vision first: of two streams the earlier one is ``stream_a``."""
    return sorted(dict.fromkeys(streams), key=lambda name: modalities.get(name, name) != "vision")


def named_pairs(refs: Sequence[LayerRef], modalities: Mapping[str, str]) -> list[tuple[int, int]]:
    """Indices of the pairs of named sites: with their neighbours, and with namesakes at the ends.

    Neighbours are beside each other among the ``refs`` of a stream and at most a layer apart: k-1
    with k.fusion, k.fusion with k. Namesakes are :func:`end_pairs`.
    """
    at = {ref: i for i, ref in enumerate(refs)}
    compared = []
    for stream in sorted({ref.stream for ref in refs}):
        own = [ref for ref in refs if ref.stream == stream]
        compared += [
            (at[a], at[b])
            for a, b in pairwise(own)
            if (a.site, b.site) != (BLOCK, BLOCK) and abs(b.layer - a.layer) <= 1
        ]
    return [*compared, *((at[a], at[b]) for a, b in end_pairs(refs, modalities))]


def end_pairs(
    refs: Sequence[LayerRef], modalities: Mapping[str, str]
) -> list[tuple[LayerRef, LayerRef]]:
    """The named sites after the last layers of two streams that have the same name.

    The model itself has brought them there to be compared: CLIP's ``projected`` of either stream.
    """
    streams = in_order((ref.stream for ref in refs), modalities)
    return [
        (a, b)
        for one, other in combinations(streams, 2)
        for a in ends(refs, one)
        for b in ends(refs, other)
        if a.site == b.site
    ]


def ends(refs: Sequence[LayerRef], stream: str) -> list[LayerRef]:
    """The named sites after a stream's last layer, such as ``12.norm`` and ``12.projected``."""
    own = [ref for ref in refs if ref.stream == stream]
    return list(takewhile(lambda ref: ref.site != BLOCK, reversed(own)))[::-1]


def _cka_rows(
    sites: Sequence[SiteFacts],
    statistics: HsicStatistics,
    compared: Sequence[tuple[int, int]],
    uncertain: Callable[[Estimator], Inference] | None = None,
    untested: str = "",
) -> Iterator[dict[str, object]]:
    """Rows of both estimators; without ``uncertain`` no intervals and p-values.

    ``untested`` is the warning of each row that lacks a p-value it would otherwise have.
    """
    for estimator in ESTIMATORS:
        values = statistics.cka(estimator)
        means, sds = statistics.null(estimator)
        unknown = np.full(values.shape, NAN)
        found = uncertain(estimator) if uncertain else Inference(unknown, unknown, unknown)
        corrected = _corrected([site.ref for site in sites], found.p, compared)
        for i, j in compared:
            a, b = sites[i], sites[j]
            value = float(values[i, j])
            known = not math.isnan(value)
            constant = "; ".join(dict.fromkeys(text for text in (a.reason, b.reason) if text))
            mean = float(means[i, j])
            warnings = cka_warnings((a.prepared, b.prepared), (a.name, b.name), estimator, mean)
            if untested and known and i != j and estimator == "debiased":
                warnings = (*warnings, untested)
            result = Result(
                measure="cka",
                value=value,
                n=statistics.n,
                dims=(a.prepared.d, b.prepared.d),
                estimator=estimator,
                pooling=a.pooling,
                params={"kernel": "linear"},
                ci_low=float(found.low[i, j]),
                ci_high=float(found.high[i, j]),
                null_mean=mean if known else NAN,
                null_sd=float(sds[i, j]) if known else NAN,
                p_value=float(found.p[i, j]),
                p_corrected=float(corrected[i, j]),
                warnings=warnings,
                reason="" if known else constant or EQUIDISTANT,
            )
            yield tidy_row(result, a.ref, b.ref)


def _corrected(
    refs: Sequence[LayerRef], p: Float64, compared: Sequence[tuple[int, int]]
) -> Float64:
    """Holm's correction (L, L) of the compared pairs, each two streams for themselves."""
    corrected = np.full(p.shape, NAN)
    families: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for i, j in compared:
        families.setdefault((refs[i].stream, refs[j].stream), []).append((i, j))
    for family in families.values():
        i, j = np.array(family).T
        corrected[i, j] = holm(p[i, j])
    return corrected


def _crossing(
    refs: Sequence[LayerRef], compared: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """The compared pairs of two streams."""
    return [(i, j) for i, j in compared if refs[i].stream != refs[j].stream]


def _driver_frame(refs: Sequence[LayerRef], sums: SampleSums, count: int) -> pd.DataFrame:
    import pandas as pd

    crossing = set(_crossing(refs, sums.pairs)) if count else set()
    columns = [column for column, pair in enumerate(sums.pairs) if pair in crossing]
    rows = [
        (*_place(refs[i]), *_place(refs[j]), rank, sample, share[sample])
        for (i, j), share in (
            (sums.pairs[column], found)
            for column, found in zip(columns, shares(sums, columns).T, strict=True)
        )
        for rank, sample in extremes(share, count)
    ]
    return pd.DataFrame(rows, columns=list(DRIVER_COLUMNS)).astype(DRIVER_COLUMNS)


def _place(ref: LayerRef) -> tuple[str, int, str]:
    return ref.stream, ref.layer, ref.site


def _dimension_rows(
    sites: Sequence[SiteFacts], shares: Sequence[Float64], threshold: float
) -> Iterator[dict[str, object]]:
    for site, share in zip(sites, shares, strict=True):
        for result in (
            effective_dimension_of(site.prepared, share, site.name, threshold),
            participation_ratio_of(site.prepared, share, site.name),
        ):
            yield tidy_row(replace(result, reason=site.reason, pooling=site.pooling), site.ref)


def tidy_row(result: Result, a: LayerRef, b: LayerRef | None = None) -> dict[str, object]:
    """A result between two layers, or of one, as a row of the store."""
    return {
        "measure": result.measure,
        "stream_a": a.stream,
        "layer_a": a.layer,
        "site_a": a.site,
        "stream_b": b.stream if b else "",
        "layer_b": b.layer if b else -1,
        "site_b": b.site if b else "",
        "pooling": result.pooling,
        "estimator": result.estimator,
        "value": result.value,
        "ci_low": result.ci_low,
        "ci_high": result.ci_high,
        "null_mean": result.null_mean,
        "null_sd": result.null_sd,
        "p_value": result.p_value,
        "p_corrected": result.p_corrected,
        "n": result.n,
        "params": json.dumps(dict(result.params), sort_keys=True),
        "reason": result.reason,
        "warnings": "; ".join(result.warnings),
    }
