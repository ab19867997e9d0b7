"""What ``fusionscope measure`` computes: a preset is a list of parts, each one file in the store.

``default`` uses the sounder conventions: centred arrays, debiased CKA with its null, interval and
p-value, normalised Procrustes distance. ``thesis`` repeats those of the published layer-wise curves
exactly: rows of L2 norm 1, at most 1,024 samples, CLS only, layers 1 and up, biased CKA, SVCCA of
rank 10, 32 neighbours, Procrustes without centring or scaling.

Pairs of layers are those of :func:`backend.measures.suite.pairs`. Parts that need all n² pairs of
samples at once in memory look at no more than ``SAMPLES_IN_MEMORY`` samples, evenly spaced; n and a
warning say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.measures import (
    alignment,
    cka_matrix,
    cknna,
    cknna_matrix,
    jaccard_knn,
    jaccard_knn_matrix,
    mean_cca,
    mean_cca_matrix,
    modality_gap,
    mutual_knn,
    mutual_knn_matrix,
    procrustes,
    procrustes_matrix,
    pwcca,
    pwcca_matrix,
    retrieval,
    rsa,
    rsa_matrix,
    svcca,
    svcca_matrix,
    two_nn,
    uniformity,
)
from backend.measures.base import as_representation
from backend.measures.kernel import cka
from backend.measures.result import MatrixResult, Result
from backend.measures.suite import (
    COLUMNS,
    cka_with_drivers,
    constant_layer_reason,
    dimension_rows,
    pairs,
    site_name,
    tidy_row,
)
from backend.types import POOLINGS, LayerRef, Pooling

if TYPE_CHECKING:
    import pandas as pd

SAMPLES_IN_MEMORY = 2_048
THESIS_SAMPLES = 1_024

Array = np.ndarray
Row = dict[str, object]


@dataclass(frozen=True, eq=False)
class Layers:
    """All captured layers of a model under one pooling: {layer: (n, d)}, rows the same samples."""

    arrays: Mapping[LayerRef, Array]
    pooling: Pooling
    modalities: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    @property
    def refs(self) -> list[LayerRef]:
        """The layers in the model's order."""
        return list(self.arrays)

    @property
    def blocks(self) -> list[LayerRef]:
        """Without the fusion outputs."""
        return [ref for ref in self.arrays if ref.site == "block"]

    @property
    def crossing(self) -> list[tuple[LayerRef, LayerRef]]:
        """Every block of a stream with every block of another, the vision stream first."""
        refs = self.blocks
        return [
            (refs[i], refs[j])
            for i, j in pairs(refs, self.modalities)
            if refs[i].stream != refs[j].stream
        ]

    def thinned(self, most: int) -> Layers:
        """At most ``most`` evenly spaced samples, with a note that says so."""
        n = len(next(iter(self.arrays.values())))
        if n <= most:
            return self
        kept = np.linspace(0, n - 1, most).round().astype(int)
        note = f"of {most:,} of {n:,} samples, evenly spaced"
        return replace(self, arrays={ref: x[kept] for ref, x in self.arrays.items()}, note=note)


@dataclass(frozen=True)
class Part:
    """Measures that are computed together and kept in one file a pooling.

    ``rows`` makes the tidy rows; ``parameters`` enter the file's name, so that other parameters
    are another file; ``weight`` is about how long it takes, for the progress bar.
    """

    name: str
    rows: Callable[[Layers], Iterator[Row]]
    parameters: Mapping[str, object] = field(default_factory=dict)
    poolings: tuple[Pooling, ...] = POOLINGS
    weight: int = 1

    def frame(self, layers: Layers) -> pd.DataFrame:
        """The part's rows, columns as in ``COLUMNS``."""
        import pandas as pd

        rows = [*self.rows(layers)]
        return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def parts_of(preset: str) -> tuple[Part, ...]:
    """The parts of a preset; KeyError for an unknown one."""
    return {"default": DEFAULT, "thesis": THESIS}[preset]


Matrix = Callable[..., MatrixResult]
Pair = Callable[..., Result]


def _matrix_rows(layers: Layers, matrix: Matrix, pair: Pair, **options: Any) -> Iterator[Row]:
    """All pairs of blocks from one matrix, and each fusion output with its neighbours."""
    blocks = layers.blocks
    result = matrix(
        [layers.arrays[ref] for ref in blocks], labels=[site_name(ref) for ref in blocks], **options
    )
    widths = {ref: int(layers.arrays[ref].shape[1]) for ref in layers.arrays}
    at = {ref: i for i, ref in enumerate(blocks)}
    refs = layers.refs
    for i, j in pairs(refs, layers.modalities):
        a, b = refs[i], refs[j]
        if a in at and b in at:
            cell = result.cell(at[a], at[b], (widths[a], widths[b]))
        else:
            cell = pair(layers.arrays[a], layers.arrays[b], **options)
        yield _tidy(layers, cell, a, b)


def _tidy(layers: Layers, result: Result, a: LayerRef, b: LayerRef | None = None) -> Row:
    """A row, with the words for a constant layer and the note on left-out samples."""
    if result.reason:
        known = [
            constant_layer_reason(ref, layers.pooling, layers.modalities)
            for ref in (a, b)
            if ref is not None and _is_constant(layers.arrays[ref])
        ]
        result = replace(result, reason="; ".join(dict.fromkeys(known)) or result.reason)
    result = replace(result, pooling=layers.pooling)
    if layers.note:
        result = replace(result, warnings=(*result.warnings, layers.note))
    return tidy_row(result, a, b)


def _is_constant(x: Array) -> bool:
    return bool((x == x[:1]).all())


def _cka(layers: Layers) -> Iterator[Row]:
    raise NotImplementedError("computed together with the driving samples, see cka_part")


def cka_part(layers: Layers) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows of linear CKA and the samples that drive each pair of two streams' layers."""
    return cka_with_drivers(layers.arrays, layers.pooling, modalities=layers.modalities)


def _rbf(layers: Layers) -> Iterator[Row]:
    for row in _matrix_rows(
        layers.thinned(SAMPLES_IN_MEMORY), cka_matrix, cka, kernel="rbf", bandwidth=1.0
    ):
        yield {**row, "measure": "cka_rbf"}


def _shape(layers: Layers) -> Iterator[Row]:
    yield from _matrix_rows(layers, procrustes_matrix, procrustes)


def _cca(layers: Layers) -> Iterator[Row]:
    for matrix, pair in (
        (svcca_matrix, svcca),
        (pwcca_matrix, pwcca),
        (mean_cca_matrix, mean_cca),
    ):
        yield from _matrix_rows(layers, matrix, pair)


def _neighbours(layers: Layers) -> Iterator[Row]:
    k = min(10, len(next(iter(layers.arrays.values()))) - 1)
    for matrix, pair in (
        (mutual_knn_matrix, mutual_knn),
        (jaccard_knn_matrix, jaccard_knn),
        (cknna_matrix, cknna),
    ):
        yield from _matrix_rows(layers, matrix, pair, k=k)


def _rsa(layers: Layers) -> Iterator[Row]:
    yield from _matrix_rows(layers.thinned(SAMPLES_IN_MEMORY), rsa_matrix, rsa)


RECALLS = (1, 5, 10)


def _retrieval(layers: Layers) -> Iterator[Row]:
    n = len(next(iter(layers.arrays.values())))
    ks = [k for k in RECALLS if k < n // 2]
    for a, b in layers.crossing:
        found = retrieval(layers.arrays[a], layers.arrays[b], ks=ks)
        for direction, results in (
            ("image_to_text", found.x_to_y),
            ("text_to_image", found.y_to_x),
        ):
            for k, result in results.items():
                named = replace(result, measure=f"recall_at_{k}", estimator=direction)
                yield _tidy(layers, named, a, b)


def _gap(layers: Layers) -> Iterator[Row]:
    for a, b in layers.crossing:
        for measure in (modality_gap, alignment):
            yield _tidy(layers, measure(layers.arrays[a], layers.arrays[b]), a, b)
    for ref in layers.blocks:
        yield _tidy(layers, uniformity(layers.arrays[ref]), ref)


def _dimension(layers: Layers) -> Iterator[Row]:
    yield from dimension_rows(layers.arrays, layers.pooling, modalities=layers.modalities)
    for ref in layers.refs:
        yield _tidy(layers, two_nn(layers.arrays[ref]), ref)


def thesis_layers(layers: Layers) -> Layers:
    """The first 1,024 samples of every block from layer 1 on, rows scaled to norm 1."""
    arrays = {}
    for ref in layers.blocks:
        if ref.layer:
            x = as_representation(layers.arrays[ref], site_name(ref))[:THESIS_SAMPLES]
            norms = np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
            arrays[ref] = (x / np.where(norms > 0, norms, 1.0)).astype(np.float32)
    return replace(layers, arrays=arrays)


def _thesis_cka(layers: Layers) -> Iterator[Row]:
    yield from _matrix_rows(thesis_layers(layers), cka_matrix, cka, estimator="biased")


def _thesis_shape(layers: Layers) -> Iterator[Row]:
    yield from _matrix_rows(
        thesis_layers(layers), procrustes_matrix, procrustes, normalise=False, centre=False
    )


def _thesis_cca(layers: Layers) -> Iterator[Row]:
    yield from _matrix_rows(thesis_layers(layers), svcca_matrix, svcca, rank=10)


def _thesis_neighbours(layers: Layers) -> Iterator[Row]:
    unit = thesis_layers(layers)
    k = min(32, len(next(iter(unit.arrays.values()))) - 1)
    yield from _matrix_rows(unit, mutual_knn_matrix, mutual_knn, k=k)


def _thesis_dimension(layers: Layers) -> Iterator[Row]:
    unit = thesis_layers(layers)
    yield from dimension_rows(unit.arrays, unit.pooling, modalities=unit.modalities)


DEFAULT: tuple[Part, ...] = (
    Part("cka", _cka, {"resamples": 1000}, weight=4),
    Part("dimension", _dimension, {"threshold": 0.95, "discard": 0.1}),
    Part("shape", _shape, {"normalise": True, "centre": True}, weight=4),
    Part("cca", _cca, {"variance": 0.99}, weight=6),
    Part("neighbours", _neighbours, {"k": 10, "metric": "euclidean"}, weight=2),
    Part("rsa", _rsa, {"comparison": "spearman", "samples": SAMPLES_IN_MEMORY}, weight=2),
    Part("rbf", _rbf, {"bandwidth": 1.0, "samples": SAMPLES_IN_MEMORY}, weight=2),
    Part("retrieval", _retrieval, {"ks": list(RECALLS), "seed": 0}, weight=2),
    Part("gap", _gap),
)

_THESIS = {"samples": THESIS_SAMPLES, "rows": "unit"}

THESIS: tuple[Part, ...] = tuple(
    Part(name, rows, {**_THESIS, **parameters}, poolings=("cls",))
    for name, rows, parameters in (
        ("cka", _thesis_cka, {"estimator": "biased"}),
        ("shape", _thesis_shape, {"normalise": False, "centre": False}),
        ("cca", _thesis_cca, {"rank": 10}),
        ("neighbours", _thesis_neighbours, {"k": 32}),
        ("dimension", _thesis_dimension, {"threshold": 0.95}),
    )
)
