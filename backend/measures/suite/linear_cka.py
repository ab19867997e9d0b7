"""Linear CKA of all pairs of a model's layers in one pass, with all that is known of its chance.

Biased and debiased, with the exact null and the bootstrap interval of each, and of the debiased one
the p-value (up to the size that :func:`cka_rows` names), corrected after Holm over all pairs of
different sites of the same two streams (``p_corrected``); and the samples that carry the similarity
of two streams. Where samples belong together, all of it is by group.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from backend.measures.chance.bootstrap import LEVEL, RESAMPLES, Estimator
from backend.measures.chance.grams import LinearGrams
from backend.measures.chance.grouped import by_group, groups_reason
from backend.measures.chance.inference import Inference, infer
from backend.measures.chance.pvalues import holm
from backend.measures.chance.samples import SampleSums, sample_sums
from backend.measures.core.base import Float64
from backend.measures.core.groups import as_groups
from backend.measures.core.hsic import HsicStatistics, largest_for_grams
from backend.measures.core.result import NAN, Result
from backend.measures.families.contributions import extremes, shares
from backend.measures.families.dimension import spectra
from backend.measures.families.kernel import EQUIDISTANT, cka_warnings, prepare_layers
from backend.measures.registry import Arguments
from backend.measures.suite.layers import Layers, place, site_name
from backend.measures.suite.rows import Row, Table, tidy_row
from backend.measures.suite.sites import SiteFacts, site_facts
from backend.remarks import NOTHING, Remark, Remarks, remark
from backend.types import LayerRef

if TYPE_CHECKING:
    import pandas as pd

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


def cka_rows(layers: Layers, asked: Mapping[str, Arguments] | None = None) -> Table:
    """CKA of the pairs of ``layers`` (n >= 4 samples), and what drives those of two streams.

    With groups, debiased CKA counts no pair of samples inside a group, whole groups are drawn for
    the intervals, and exchanged for the null and the p-values.

    ``asked`` may hold ``resamples`` of the bootstrap under ``"cka"``. InputError names the layer
    whose array cannot be used. Cost: ½n²Σd + L²n² multiply-adds, 1000 resamples of n numbers a pair
    and one eigen-decomposition a layer; memory the arrays again, centred, and 16n bytes a pair.

    p-values need the Grams: all pairs of samples. Where these would take more than ``P_VALUE_WORK``
    multiply-adds (n above about 37,000 for 50 layers of 768, 31,000 for 26) and covariances take
    fewer, CKA costs 2nΣ d_i d_j instead, p-values are NaN and a warning says so; values, nulls and
    intervals are there all the same.

    ``drivers`` (columns ``DRIVER_COLUMNS``) has 2·``DRIVERS`` rows a pair of two streams: ``rank``
    1, 2, ... have the highest shares of debiased CKA
    (:func:`backend.measures.cka_contributions`), -1, -2, ... the lowest; ``sample`` is the row of
    the arrays. Pairs without a debiased CKA have none, and with fewer samples there are n/2 of
    either.
    """
    resamples = (asked or {}).get("cka", {}).get("resamples", RESAMPLES)
    refs = layers.refs
    prepared = prepare_layers(
        list(layers.arrays.values()), [site_name(ref) for ref in refs], min_samples=4
    )
    sites = site_facts(refs, prepared, layers.pooling, layers.modalities)
    compared = layers.compared
    groups = as_groups(layers.groups, layers.n)
    largest = largest_for_grams([layer.d for layer in prepared], P_VALUE_WORK)
    tested = prepared[0].n <= largest
    untested = None if tested else remark("no_p_values", largest=largest)
    grams = LinearGrams([layer.data for layer in prepared])
    analytic = tested and groups is None
    sums = sample_sums(prepared, compared, cubes=analytic)
    if groups is not None:
        sums = by_group(sums, grams, groups)
    # tr W³: W has trace 1.
    cubed = np.array([float((s**3).sum()) for s in spectra(prepared)]) if analytic else None

    def uncertain(estimator: Estimator) -> Inference:
        return infer(
            sums,
            estimator,
            level=LEVEL,
            grams=grams if tested else None,
            cubed_traces=cubed,
            resamples=resamples,
        )

    of_groups = groups_reason(groups) if groups is not None else None
    rows = [*pair_rows(sites, sums.statistics, compared, uncertain, untested, of_groups)]
    return Table(rows, _drivers(refs, sums))


def pair_rows(
    sites: Sequence[SiteFacts],
    statistics: HsicStatistics,
    compared: Sequence[tuple[int, int]],
    uncertain: Callable[[Estimator], Inference] | None = None,
    untested: Remark | None = None,
    of_groups: Remark | None = None,
) -> Iterator[Row]:
    """Rows of both estimators; without ``uncertain`` no intervals and p-values.

    ``untested`` is the warning of each row that lacks a p-value it would otherwise have;
    ``of_groups`` why the samples' groups leave no debiased CKA.
    """
    for estimator in ESTIMATORS:
        values = statistics.cka(estimator)
        chance = uncertain(estimator) if uncertain else Inference.of(statistics, estimator)
        corrected = _corrected([site.ref for site in sites], chance.p, compared)
        for i, j in compared:
            a, b = sites[i], sites[j]
            value, mean = float(values[i, j]), float(chance.means[i, j])
            defined = not math.isnan(value)
            named = {site.name: (place(site.ref),) for site in (a, b)}
            warnings = cka_warnings((a.facts, b.facts), (a.name, b.name), estimator, mean)
            lacks_p = defined and i != j and estimator == "debiased"
            result = Result(
                measure="cka",
                value=value,
                n=statistics.n,
                dims=(a.facts.d, b.facts.d),
                estimator=estimator,
                pooling=a.pooling,
                params={"kernel": "linear"},
                ci_low=float(chance.low[i, j]),
                ci_high=float(chance.high[i, j]),
                null_mean=mean if defined else NAN,
                null_sd=float(chance.sds[i, j]) if defined else NAN,
                p_value=float(chance.p[i, j]),
                p_corrected=float(corrected[i, j]),
                warnings=Remarks.of(
                    warnings.at(named), chance.of_pair(i, j), untested if lacks_p else None
                ),
                reason=NOTHING if defined else _undefined(a, b, of_groups),
            )
            yield tidy_row(result, a.ref, b.ref)


def _undefined(a: SiteFacts, b: SiteFacts, of_groups: Remark | None) -> Remarks:
    return Remarks.of(a.reason, b.reason) or Remarks.of(of_groups or EQUIDISTANT)


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


def _drivers(refs: Sequence[LayerRef], sums: SampleSums) -> pd.DataFrame:
    import pandas as pd

    # The first pairs are the layers with themselves.
    columns = [k for k, (i, j) in enumerate(sums.pairs) if refs[i].stream != refs[j].stream]
    rows = [
        (*_place(refs[i]), *_place(refs[j]), rank, sample, share[sample])
        for (i, j), share in zip(
            (sums.pairs[column] for column in columns), shares(sums, columns).T, strict=True
        )
        for rank, sample in extremes(share, DRIVERS)
    ]
    return pd.DataFrame(rows, columns=list(DRIVER_COLUMNS)).astype(DRIVER_COLUMNS)


def _place(ref: LayerRef) -> tuple[str, int, str]:
    return ref.stream, ref.layer, ref.site
