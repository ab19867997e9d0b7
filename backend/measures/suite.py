"""All default measures of one model under one pooling, as the tidy rows that the store keeps.

Pairs of layers: every two layers of a stream (each unordered pair once, the diagonal too), every
layer of one stream with every layer of another, and each fusion output with its neighbours
(k-1 with k.fusion, k.fusion with k). Linear CKA of each pair is given biased and debiased with the
exact null and the bootstrap interval of each, and of the debiased one the p-value, corrected after
Holm over all pairs of different sites of the same two streams (``p_corrected``). Single layers:
effective dimension and participation ratio of every site.

:func:`drivers` says which samples carry the similarity of two streams.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, combinations_with_replacement, product
from typing import TYPE_CHECKING

import numpy as np

from backend.measures.base import Float64, LayerFacts, constant_reason, prepare_all
from backend.measures.bootstrap import LEVEL, Estimator
from backend.measures.contributions import extremes, shares
from backend.measures.dimension import (
    check_threshold,
    effective_dimension_of,
    effective_rank_of,
    participation_ratio_of,
    spectra,
    stable_rank_of,
)
from backend.measures.hsic import HsicStatistics
from backend.measures.inference import Inference, infer
from backend.measures.kernel import EQUIDISTANT, cka_warnings, prepare_layers
from backend.measures.pvalues import holm
from backend.measures.result import NAN, Result
from backend.measures.samples import SampleSums, sample_sums
from backend.types import LayerRef, Pooling

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
    "stream_b": "str",
    "layer_b": "int32",
    "rank": "int32",
    "sample": "int64",
    "share": "float64",
}

DRIVERS = 5
"""How many samples with the highest and the lowest shares are listed for each pair of layers."""

ESTIMATORS: tuple[Estimator, ...] = ("biased", "debiased")

_INPUTS = {"vision": "image", "text": "text"}


_RANK = {"vision": 0, "text": 1}


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

    One row a value, columns as in ``COLUMNS``; of two streams the vision stream is ``stream_a``.
    ``modalities`` maps stream names to modalities and defaults to the names. InputError names the
    layer whose array cannot be used.
    Cost: ½n²Σd + 1½L²n² multiply-adds for CKA, 1000 resamples of n numbers a pair and one
    eigen-decomposition a layer; memory the arrays again, centred, and 16n bytes a pair.
    """
    return _both(layers, pooling, modalities, threshold, 0)[0]


def drivers(
    layers: Mapping[LayerRef, object],
    *,
    modalities: Mapping[str, str] | None = None,
    count: int = DRIVERS,
) -> pd.DataFrame:
    """The samples that drive each pair of blocks of two streams, columns as in ``DRIVER_COLUMNS``.

    For every pair 2·``count`` rows: ``rank`` 1, 2, ... have the highest shares of debiased CKA
    (:func:`backend.measures.cka_contributions`), -1, -2, ... the lowest; ``sample`` is the row of
    the arrays. Pairs without a debiased CKA have no rows, and with fewer than 2·``count`` samples
    there are n/2 of either. Cost and errors: those of CKA in :func:`suite`.
    """
    modalities = modalities or {}
    refs = [ref for ref in layers if ref.site == "block"]
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

    One eigen-decomposition a layer, in float64, which the effective rank needs.
    """
    check_threshold(threshold)
    refs = list(layers)
    prepared = prepare_all(
        [layers[ref] for ref in refs], [site_name(ref) for ref in refs], np.float64
    )
    sites = site_facts(refs, prepared, pooling, modalities or {})
    rows = []
    for site, side, share in zip(sites, prepared, spectra(prepared), strict=True):
        for result in (
            effective_dimension_of(side, share, site.name, threshold),
            participation_ratio_of(side, share, site.name),
            effective_rank_of(side, share, site.name),
            stable_rank_of(side, share, site.name),
        ):
            rows.append(
                tidy_row(replace(result, reason=site.reason, pooling=site.pooling), site.ref)
            )
    return rows


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
    sums = sample_sums(prepared, compared, cubes=True)
    shares = spectra(prepared)
    cubed = np.array([float((share**3).sum()) for share in shares])  # tr W³: W has trace 1

    def uncertain(estimator: Estimator) -> Inference:
        return infer(sums, estimator, level=LEVEL, cubed_traces=cubed)

    rows = [*_cka_rows(sites, sums.statistics, compared, uncertain)]
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
    if ref.layer == 0 and pooling == "cls":
        source = _INPUTS.get(modalities.get(ref.stream, ref.stream), "input")
        return (
            f"layer 0 of {ref.stream} is constant: the CLS token does not depend on the "
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
            (i for i, ref in enumerate(refs) if ref.stream == name and ref.site == "block"),
            key=lambda i: refs[i].layer,
        )
        for name in streams
    }
    found = [p for name in streams for p in combinations_with_replacement(blocks[name], 2)]
    for a, b in combinations(streams, 2):
        found += product(blocks[a], blocks[b])
    return [*found, *fusion_pairs(refs)]


def in_order(streams: Iterable[str], modalities: Mapping[str, str]) -> list[str]:
    """Each stream once, vision first: of two streams the earlier one is ``stream_a``."""
    return sorted(
        dict.fromkeys(streams),
        key=lambda name: _RANK.get(modalities.get(name, name), len(_RANK)),
    )


def fusion_pairs(refs: Sequence[LayerRef]) -> list[tuple[int, int]]:
    """Indices of each fusion output with its neighbours: k-1 with k.fusion, k.fusion with k."""
    found: list[tuple[int, int]] = []
    at = {ref: i for i, ref in enumerate(refs)}
    for ref in sorted((r for r in refs if r.site == "fusion"), key=lambda r: (r.stream, r.layer)):
        before, after = LayerRef(ref.stream, ref.layer - 1), LayerRef(ref.stream, ref.layer)
        found += [(at[before], at[ref])] if before in at else []
        found += [(at[ref], at[after])] if after in at else []
    return found


def _cka_rows(
    sites: Sequence[SiteFacts],
    statistics: HsicStatistics,
    compared: Sequence[tuple[int, int]],
    uncertain: Callable[[Estimator], Inference] | None = None,
) -> Iterator[dict[str, object]]:
    """Rows of both estimators; without ``uncertain`` no intervals and p-values."""
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
                warnings=cka_warnings((a.prepared, b.prepared), (a.name, b.name), estimator, mean),
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
        (refs[i].stream, refs[i].layer, refs[j].stream, refs[j].layer, rank, sample, share[sample])
        for (i, j), share in (
            (sums.pairs[column], found)
            for column, found in zip(columns, shares(sums, columns).T, strict=True)
        )
        for rank, sample in extremes(share, count)
    ]
    return pd.DataFrame(rows, columns=list(DRIVER_COLUMNS)).astype(DRIVER_COLUMNS)


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
