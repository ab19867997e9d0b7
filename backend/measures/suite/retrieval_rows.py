"""Retrieval between the layers of two streams: a row a direction and number of places."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from backend.measures.core.groups import as_groups, half_of_groups
from backend.measures.core.result import NAN, Result
from backend.measures.families.retrieval import retrieval
from backend.measures.registry import Arguments
from backend.measures.suite.layers import Layers
from backend.measures.suite.parts import gallery_names
from backend.measures.suite.rows import Row, Table, row_of
from backend.remarks import Remarks, remark


def recall_rows(layers: Layers, asked: Mapping[str, Arguments]) -> Table:
    """Recall at each of ``ks`` of every pair of two streams; ``estimator`` is the direction."""
    ((ks, seed),) = {(args["ks"], args["seed"]) for args in asked.values()}
    return Table(_rows(layers, ks, seed))


def _rows(layers: Layers, ks: Sequence[int], seed: int) -> Iterator[Row]:
    together = as_groups(layers.groups, layers.n)
    gallery = len(half_of_groups(together, layers.n, seed)[0])
    possible = [k for k in ks if k < gallery]
    for a, b in layers.crossing:
        both = (
            retrieval(
                layers.arrays[a], layers.arrays[b], ks=possible, seed=seed, groups=layers.groups
            )
            if possible
            else None
        )
        one, other = gallery_names(a.stream, b.stream)
        for direction, results in (
            (f"{one}_to_{other}", both.x_to_y if both else {}),
            (f"{other}_to_{one}", both.y_to_x if both else {}),
        ):
            for k, result in results.items():
                named = replace(result, measure=f"recall_at_{k}", estimator=direction)
                yield row_of(layers, named, a, b)
            for k in ks:
                if k not in possible:
                    too_small = Remarks.of(remark("small_gallery", n=gallery, k=k))
                    name, dims = f"recall_at_{k}", layers.dims(a, b)
                    nothing = Result(name, NAN, gallery, dims, direction, reason=too_small)
                    yield row_of(layers, nothing, a, b)
