"""The rows of a part of a preset.

``default`` uses the sounder conventions: centred arrays, debiased CKA with its null, interval and
p-value, normalised Procrustes distance. ``thesis`` repeats those that come with the published
layer-wise curves: rows of L2 norm 1, at most 1,024 samples, CLS only, layers 1 and up, biased CKA,
SVCCA of rank 10, 32 neighbours, Procrustes without centring or scaling.

Pairs of layers are those of :mod:`.pairs`. Of a measure that is not symmetric both directions have
a row, (a, b) and (b, a).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from itertools import chain

import numpy as np

from backend.measures.core.base import as_representation
from backend.measures.core.result import NAN, Result
from backend.measures.registry import Arguments, Measure
from backend.measures.suite.finite import explained_table, with_finite
from backend.measures.suite.layers import Layers, site_name
from backend.measures.suite.pairs import in_shared_space
from backend.measures.suite.parts import THESIS_SAMPLES, Part
from backend.measures.suite.rows import Row, Table, row_of
from backend.remarks import Remark, Remarks, remark
from backend.types import LayerRef

Asked = dict[str, Arguments]
"""{measure: the arguments that it is called with}."""


def compute(part: Part, layers: Layers) -> Table:
    """The rows of a part, what drives them, and the probes that it fits.

    Where a layer is not finite, the rows that it is in say so and hold nothing else. InputError
    names the layer whose array cannot be used at all.
    """
    finite, why = with_finite(layers)
    return explained_table(_computed(part, finite), why)


def _computed(part: Part, layers: Layers) -> Table:
    prepared = thesis_layers(layers) if part.preset == "thesis" else layers
    if not prepared.arrays:
        return Table([])
    prepared = prepared.thinned(part.max_samples)
    passes: dict[str, Asked] = {}
    alone: list[Iterator[Row]] = []
    for one in part.measures_of(layers.pooling):
        use = one.presets[part.preset]
        if use.together:
            passes.setdefault(use.together, {})[one.name] = use.arguments
        else:
            alone.append(measure_rows(one, use.arguments, prepared))
    tables = [_pass(name)(prepared, asked) for name, asked in passes.items()]
    drivers = next((table.drivers for table in tables if table.drivers is not None), None)
    return Table(
        chain(*(table.rows for table in tables), *alone),
        drivers,
        chain(*(table.probes for table in tables)),
    )


def measure_rows(measure: Measure, arguments: Arguments, layers: Layers) -> Iterator[Row]:
    """A measure at every place that it is for; too few samples are the reason of every row."""
    least = measure.least_samples(arguments)
    if measure.kind == "single":
        every = [*layers.blocks, *layers.at_ends] if measure.places == "across" else layers.refs
        places: list[tuple[LayerRef, ...]] = [(ref,) for ref in every]
    else:
        compared = layers.crossing if measure.places == "across" else layers.pairs
        places = [*chain.from_iterable(_directions(measure, a, b) for a, b in compared)]
    if layers.n < least:
        k = arguments.get("k")
        too_few = (
            remark("too_few_for_neighbours", n=layers.n, k=k)
            if isinstance(k, int)
            else remark("too_few", n=layers.n, least=least)
        )
        yield from (_undefined(measure, arguments, layers, refs, too_few) for refs in places)
        return
    groups = {"groups": layers.groups} if measure.grouped and layers.groups is not None else {}
    cell = _cells(measure, {**arguments, **groups}, layers)
    for refs in places:
        if measure.shared_space and not in_shared_space(*refs, spaces=layers.spaces):
            yield _undefined(measure, arguments, layers, refs, remark("not_shared"))
            continue
        result = cell(refs)
        if result is None:
            result = measure.of(*(layers.arrays[ref] for ref in refs), **arguments, **groups)
        yield row_of(layers, result, *refs)


def thesis_layers(layers: Layers) -> Layers:
    """The first 1,024 samples of every block from layer 1 on, rows scaled to norm 1."""
    arrays = {}
    for ref in layers.blocks:
        if ref.layer:
            x = as_representation(layers.arrays[ref], site_name(ref))[:THESIS_SAMPLES]
            norms = np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
            arrays[ref] = (x / np.where(norms > 0, norms, 1.0)).astype(np.float32)
    return replace(layers, arrays=arrays)


def _directions(measure: Measure, a: LayerRef, b: LayerRef) -> list[tuple[LayerRef, LayerRef]]:
    return [(a, b)] if measure.symmetric or a == b else [(a, b), (b, a)]


def _cells(
    measure: Measure, arguments: Arguments, layers: Layers
) -> Callable[[tuple[LayerRef, ...]], Result | None]:
    """What gives the result of two blocks from one matrix of all; None for other places."""
    blocks = layers.blocks if measure.kind == "pairwise" and measure.places == "all" else []
    matrix = (
        measure.of_all(
            [layers.arrays[ref] for ref in blocks],
            labels=[site_name(ref) for ref in blocks],
            **arguments,
        )
        if blocks
        else None
    )
    at = {ref: i for i, ref in enumerate(blocks)}

    def cell(refs: tuple[LayerRef, ...]) -> Result | None:
        if matrix is None or not all(ref in at for ref in refs):
            return None
        a, b = refs
        d_a, d_b = layers.dims(a, b)
        return matrix.cell(at[a], at[b], (d_a, d_b))

    return cell


def _undefined(
    measure: Measure, arguments: Arguments, layers: Layers, refs: tuple[LayerRef, ...], why: Remark
) -> Row:
    estimator = str(arguments.get("estimator", measure.estimators[0]))
    nothing = Result(
        measure.name,
        NAN,
        layers.n,
        layers.dims(*refs),
        estimator,
        params=arguments,
        reason=Remarks.of(why),
    )
    return row_of(layers, nothing, *refs)


def _pass(name: str) -> Callable[[Layers, Asked], Table]:
    module, function = name.split(":")
    called: Callable[[Layers, Asked], Table] = getattr(
        import_module(f"{__package__}.{module}"), function
    )
    return called
