"""What ``fusionscope measure`` computes: a preset is a list of parts, each one file in the store.

``default`` uses the sounder conventions: centred arrays, debiased CKA with its null, interval and
p-value, normalised Procrustes distance. ``thesis`` repeats those that come with the published
layer-wise curves: rows of L2 norm 1, at most 1,024 samples, CLS only, layers 1 and up, biased CKA,
SVCCA of rank 10, 32 neighbours, Procrustes without centring or scaling.

Pairs of layers are those of :func:`backend.measures.suite.suite.pairs`. Parts that need all n²
pairs of samples at once in memory look at no more than ``SAMPLES_IN_MEMORY`` samples, evenly
spaced; n and a warning say so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
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
from backend.measures.core.base import as_representation, prepare
from backend.measures.core.result import NAN, MatrixResult, Result
from backend.measures.families.kernel import cka
from backend.measures.suite.layer_probes import FOLDS, probe_rows
from backend.measures.suite.parts import PARTS, gallery_names
from backend.measures.suite.suite import (
    COLUMNS,
    cka_with_drivers,
    constant_layer_reason,
    dimension_rows,
    end_pairs,
    pairs,
    site_name,
    tidy_row,
)
from backend.types import BLOCK, POOLINGS, LayerRef, Pooling, TaskSpec

if TYPE_CHECKING:
    import pandas as pd

SAMPLES_IN_MEMORY = 2_048
THESIS_SAMPLES = 1_024
NEIGHBOURS = 10
THESIS_NEIGHBOURS = 32

Array = np.ndarray
Row = dict[str, object]


@dataclass(frozen=True, eq=False)
class Layers:
    """All captured layers of a model under one pooling: {layer: (n, d)}, rows the same samples.

    ``labels`` are those of the same samples by task, where they have any: (n,) class indices, or
    (n, classes) of 0 and 1 if the task is multilabel; -1 where a sample has none.
    """

    arrays: Mapping[LayerRef, Array]
    pooling: Pooling
    modalities: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    labels: Mapping[TaskSpec, Array] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Samples; 0 without layers."""
        return len(next(iter(self.arrays.values()), ()))

    @property
    def refs(self) -> list[LayerRef]:
        """The layers in the model's order."""
        return list(self.arrays)

    @cached_property
    def constant(self) -> frozenset[LayerRef]:
        """The layers in which every sample has the same vector, up to rounding."""
        return frozenset(
            ref
            for ref, x in self.arrays.items()
            if prepare(as_representation(x, site_name(ref)), site_name(ref)).constant
        )

    @property
    def blocks(self) -> list[LayerRef]:
        """The layers without the named sites."""
        return [ref for ref in self.arrays if ref.site == BLOCK]

    @property
    def at_ends(self) -> list[LayerRef]:
        """The named sites that are compared with those of another stream, in the model's order."""
        compared = {ref for pair in end_pairs(self.refs, self.modalities) for ref in pair}
        return [ref for ref in self.arrays if ref in compared]

    @property
    def crossing(self) -> list[tuple[LayerRef, LayerRef]]:
        """Every pair of sites of two streams that is compared, the vision stream first."""
        refs = self.refs
        return [
            (refs[i], refs[j])
            for i, j in pairs(refs, self.modalities)
            if refs[i].stream != refs[j].stream
        ]

    def thinned(self, most: int) -> Layers:
        """At most ``most`` evenly spaced samples, with a note that says so."""
        n = self.n
        if n <= most:
            return self
        kept = np.linspace(0, n - 1, most).round().astype(int)
        note = f"of {most:,} of {n:,} samples, evenly spaced"
        return replace(
            self,
            arrays={ref: x[kept] for ref, x in self.arrays.items()},
            labels={task: labels[kept] for task, labels in self.labels.items()},
            note=note,
        )


Table = tuple["pd.DataFrame", "pd.DataFrame | None"]
"""A part's tidy rows, and the samples that drive its cells as row numbers where it finds them."""


@dataclass(frozen=True)
class Part:
    """Measures that are computed together and kept in one file a pooling.

    ``compute`` makes the table; ``parameters`` enter the file's name, so that other parameters are
    another file; ``weight`` is about how long it takes, for the progress bar. A ``labelled`` part
    needs labels, one with ``drivers`` also keeps the samples that drive its cells.
    """

    name: str
    compute: Callable[[Layers], Table]
    parameters: Mapping[str, object] = field(default_factory=dict)
    poolings: tuple[Pooling, ...] = POOLINGS
    weight: int = 1
    labelled: bool = False
    drivers: bool = False


def _of_rows(rows: Callable[[Layers], Iterator[Row]]) -> Callable[[Layers], Table]:
    """A part's ``compute`` from a function that yields its rows, columns as in ``COLUMNS``."""

    def compute(layers: Layers) -> Table:
        import pandas as pd

        return pd.DataFrame([*rows(layers)], columns=list(COLUMNS)).astype(COLUMNS), None

    return compute


def parts_of(preset: str) -> tuple[Part, ...]:
    """The parts of a preset; KeyError for an unknown one."""
    return {"default": DEFAULT, "thesis": THESIS}[preset]


Matrix = Callable[..., MatrixResult]
Pair = Callable[..., Result]


def _matrix_rows(layers: Layers, matrix: Matrix, pair: Pair, **options: Any) -> Iterator[Row]:
    """All pairs of layers from one matrix, and the named sites one by one."""
    blocks = layers.blocks
    names = [site_name(ref) for ref in blocks]
    result = (
        matrix([layers.arrays[ref] for ref in blocks], labels=names, **options) if blocks else None
    )
    widths = {ref: int(layers.arrays[ref].shape[1]) for ref in layers.arrays}
    at = {ref: i for i, ref in enumerate(blocks)}
    refs = layers.refs
    for i, j in pairs(refs, layers.modalities):
        a, b = refs[i], refs[j]
        if result is not None and a in at and b in at:
            cell = result.cell(at[a], at[b], (widths[a], widths[b]))
            own = {names[at[a]], names[at[b]]}
            told = [text for text in cell.warnings if mentioned(text, names) <= own]
            yield _row(layers, replace(cell, warnings=tuple(told)), a, b)
        else:
            yield _tidy(layers, pair(layers.arrays[a], layers.arrays[b], **options), a, b)


def mentioned(text: str, names: Sequence[str]) -> set[str]:
    """Which of ``names`` a text holds, whole: ``layer 1 of text_decoder`` is no ``... of text``."""
    # Of names that begin alike the longest comes first, and ends where no name can go on.
    longest = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return set(re.findall(rf"(?:{longest})(?![A-Za-z0-9_-])", text))


def _tidy(layers: Layers, result: Result, a: LayerRef, b: LayerRef | None = None) -> Row:
    """The row of a result that calls its layers x and y, with the layers' names."""
    names = {"x": site_name(a), "y": site_name(b) if b else "y"}
    warnings = tuple(_called(text, names) for text in result.warnings)
    named = replace(result, warnings=warnings, reason=_called(result.reason, names))
    return _row(layers, named, a, b)


def _row(layers: Layers, result: Result, a: LayerRef, b: LayerRef | None) -> Row:
    """A row, with the reason of constant layers and the note on left-out samples."""
    result = replace(result, pooling=layers.pooling)
    if result.reason:
        known = [
            constant_layer_reason(ref, layers.pooling, layers.modalities)
            for ref in (a, b)
            if ref is not None and ref in layers.constant
        ]
        result = replace(result, reason="; ".join(dict.fromkeys(known)) or result.reason)
    if layers.note:
        result = replace(result, warnings=(*result.warnings, layers.note))
    return tidy_row(result, a, b)


def _called(text: str, names: Mapping[str, str]) -> str:
    """What a function of ``x`` and ``y`` says, with the layers' names."""
    return re.sub(r"\b[xy]\b", lambda found: names[found[0]], text)


def _undefined(
    layers: Layers, measures: Sequence[str], reason: str, **params: object
) -> Iterator[Row]:
    """Rows of measures that these samples do not allow, for all pairs, with the reason."""
    refs = layers.refs
    n = layers.n
    for measure in measures:
        for i, j in pairs(refs, layers.modalities):
            dims = (int(layers.arrays[refs[i]].shape[1]), int(layers.arrays[refs[j]].shape[1]))
            result = Result(measure, NAN, n, dims, "sample", params=params, reason=reason)
            yield _tidy(layers, result, refs[i], refs[j])


def _cka(layers: Layers) -> Table:
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
        (_pwcca_both_ways_matrix, _pwcca_both_ways),
        (mean_cca_matrix, mean_cca),
    ):
        yield from _matrix_rows(layers, matrix, pair)


def _pwcca_both_ways(x: Array, y: Array) -> Result:
    """PWCCA weighs by its first side; a store keeps a pair once, so it keeps the mean of both."""
    there, back = pwcca(x, y), pwcca(y, x)
    return replace(
        there, value=(there.value + back.value) / 2, params={**there.params, "directions": "mean"}
    )


def _pwcca_both_ways_matrix(layers: Sequence[Array], *, labels: Sequence[str]) -> MatrixResult:
    found = pwcca_matrix(layers, labels=labels)
    return replace(
        found,
        values=(found.values + found.values.T) / 2,
        params={**found.params, "directions": "mean"},
    )


def _neighbours(layers: Layers) -> Iterator[Row]:
    k = NEIGHBOURS
    if layers.n <= k:
        yield from _undefined(layers, PARTS["neighbours"], too_few(layers.n, k), k=k)
        return
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
    gallery = layers.n // 2
    ks = [k for k in RECALLS if k < gallery]
    missing = [k for k in RECALLS if k >= gallery]
    for a, b in layers.crossing:
        x, y = layers.arrays[a], layers.arrays[b]
        found = retrieval(x, y, ks=ks) if ks else None
        dims = (int(x.shape[1]), int(y.shape[1]))
        one, other = gallery_names(a.stream, b.stream)
        for direction, results in (
            (f"{one}_to_{other}", found.x_to_y if found else {}),
            (f"{other}_to_{one}", found.y_to_x if found else {}),
        ):
            for k, result in results.items():
                named = replace(result, measure=f"recall_at_{k}", estimator=direction)
                yield _tidy(layers, named, a, b)
            for k in missing:
                reason = f"a gallery of {gallery} samples is too small for recall at {k}"
                none = Result(f"recall_at_{k}", NAN, gallery, dims, direction, reason=reason)
                yield _tidy(layers, none, a, b)


def _gap(layers: Layers) -> Iterator[Row]:
    for a, b in layers.crossing:
        for measure in (modality_gap, alignment):
            yield _tidy(layers, measure(layers.arrays[a], layers.arrays[b]), a, b)
    for ref in [*layers.blocks, *layers.at_ends]:
        yield _tidy(layers, uniformity(layers.arrays[ref]), ref)


def _probes(layers: Layers) -> Iterator[Row]:
    yield from probe_rows(layers.thinned(SAMPLES_IN_MEMORY))


def too_few(n: int, k: int) -> str:
    """Why neighbours are undefined."""
    return f"n = {n} samples are too few for {k} neighbours"


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
    k = THESIS_NEIGHBOURS
    if unit.n <= k:
        yield from _undefined(unit, ["mutual_knn"], too_few(unit.n, k), k=k)
        return
    yield from _matrix_rows(unit, mutual_knn_matrix, mutual_knn, k=k)


def _thesis_dimension(layers: Layers) -> Iterator[Row]:
    unit = thesis_layers(layers)
    if unit.arrays:
        yield from dimension_rows(unit.arrays, unit.pooling, modalities=unit.modalities)


DEFAULT: tuple[Part, ...] = (
    Part("cka", _cka, {"resamples": 1000}, weight=4, drivers=True),
    Part("dimension", _of_rows(_dimension), {"threshold": 0.95, "discard": 0.1}),
    Part("shape", _of_rows(_shape), {"normalise": True, "centre": True}, weight=4),
    Part("cca", _of_rows(_cca), {"variance": 0.99, "pwcca": "both ways"}, weight=6),
    Part("neighbours", _of_rows(_neighbours), {"k": NEIGHBOURS, "metric": "euclidean"}, weight=2),
    Part("rsa", _of_rows(_rsa), {"comparison": "spearman", "samples": SAMPLES_IN_MEMORY}, weight=2),
    Part("rbf", _of_rows(_rbf), {"bandwidth": 1.0, "samples": SAMPLES_IN_MEMORY}, weight=2),
    Part("retrieval", _of_rows(_retrieval), {"ks": list(RECALLS), "seed": 0}, weight=2),
    Part("gap", _of_rows(_gap)),
    Part(
        "probes",
        _of_rows(_probes),
        {"folds": FOLDS, "penalty": 0.03, "seed": 0, "samples": SAMPLES_IN_MEMORY},
        weight=6,
        labelled=True,
    ),
)

_THESIS = {"samples": THESIS_SAMPLES, "rows": "unit"}

THESIS: tuple[Part, ...] = tuple(
    Part(name, _of_rows(rows), {**_THESIS, **parameters}, poolings=("cls",))
    for name, rows, parameters in (
        ("cka", _thesis_cka, {"estimator": "biased"}),
        ("shape", _thesis_shape, {"normalise": False, "centre": False}),
        ("cca", _thesis_cca, {"rank": 10}),
        ("neighbours", _thesis_neighbours, {"k": THESIS_NEIGHBOURS}),
        ("dimension", _thesis_dimension, {"threshold": 0.95}),
    )
)
