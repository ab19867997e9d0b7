"""What a model believes of a pair by layer: a run's kept probes, on the vectors of one trace."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from backend.errors import InputError
from backend.inference.values import Vectors
from backend.measures.families.probes import LinearProbe
from backend.measures.suite.parts import is_current
from backend.store import Run
from backend.store.kinds import PLACE_COLUMNS, PROBE_NUMBERS, PROBES
from backend.types import LayerRef, Pooling

Row = dict[str, Any]

_PROBE = ("pooling", "task", *PLACE_COLUMNS)

COLUMNS: dict[str, str] = {
    "stream": "str",
    "layer": "int32",
    "site": "str",
    "position": "float64",
    "pooling": "str",
    "task": "str",
    "class": "str",
    "probability": "float64",
}


@dataclass(frozen=True, eq=False)
class KeptProbe:
    """A fitted probe of a run, where it belongs and what its outputs are called, in order."""

    ref: LayerRef
    pooling: Pooling
    task: str
    classes: tuple[str, ...]
    probe: LinearProbe


def kept_probes(run: Run) -> tuple[KeptProbe, ...]:
    """The probes that a run keeps, pooling by pooling, task by task, layer by layer.

    Of several versions of a pooling's probes those that this version of the program writes. Empty
    where there are none: ``fusionscope measure`` makes them. InputError names a file that is
    missing or corrupt.
    """
    ranked = sorted(run.keys(PROBES), key=lambda key: (not is_current(key), key))
    first: dict[str, str] = {}
    rows: dict[tuple[object, ...], list[Row]] = {}
    for row in run.table(PROBES, ranked).to_pylist():
        if first.setdefault(row["pooling"], row["key"]) == row["key"]:
            rows.setdefault(tuple(row[name] for name in _PROBE), []).append(row)
    return tuple(map(_kept, rows.values()))


def beliefs(run: Run, vectors: Vectors, probes: Sequence[KeptProbe] | None = None) -> pd.DataFrame:
    """What each kept probe of ``run`` gives for one pair, a row a class (or label).

    ``vectors`` are those of a trace of the run's model, ``probes`` the :func:`kept_probes` where
    they have been read already. Columns: stream, layer, site, position (on
    the layer axis, :meth:`backend.types.StreamSpec.position`), pooling, task, class, probability in
    0..1, which sums to 1 over the classes of a task but not over the labels of a multilabel one;
    NaN where a vector is not finite. Rows are those of the probes whose site and pooling the trace
    has; none where the run keeps no probes. A probe has been fitted to the run's own samples: for
    one of them it is surer than it would be of a new pair.

    InputError where a vector is not as wide as its site's probe.
    """
    rows = _rows(run, kept_probes(run) if probes is None else probes, vectors)
    return pd.DataFrame([*rows], columns=list(COLUMNS)).astype(COLUMNS)


def _rows(
    run: Run, probes: Iterable[KeptProbe], vectors: Vectors
) -> Iterator[tuple[str, int, str, float, str, str, str, float]]:
    for kept in probes:
        ref, pooling = kept.ref, kept.pooling
        vector = vectors.get((ref, pooling))
        if vector is None:
            continue
        expected = kept.probe.mean.shape
        if vector.shape != expected:
            raise InputError(
                f"the {pooling} vector has shape {vector.shape}, the probe of {kept.task} in run "
                f"{run.run_id} expects {expected}",
                where=f"layer {ref.label} of {ref.stream}",
                hint="Trace the model that the run was captured from",
            )
        position = run.manifest.stream(ref.stream).position(ref)
        (probabilities,) = kept.probe.probabilities(vector[np.newaxis])
        for name, probability in zip(kept.classes, probabilities, strict=True):
            yield (
                ref.stream, ref.layer, ref.site, position, pooling, kept.task, name, probability,
            )  # fmt: skip


def _kept(rows: Sequence[Row]) -> KeptProbe:
    """One probe from its rows, a row an output."""
    numbers = {
        name: [np.frombuffer(row[name], dtype) for row in rows]
        for name, dtype in PROBE_NUMBERS.items()
    }
    one = rows[0]
    return KeptProbe(
        LayerRef(one["stream"], one["layer"], one["site"]),
        one["pooling"],
        one["task"],
        tuple(row["class"] for row in rows),
        LinearProbe(
            mean=numbers["mean"][0],
            scale=numbers["scale"][0],
            coefficients=np.stack(numbers["coefficients"]),
            intercepts=np.array([row["intercept"] for row in rows]),
            exclusive=one["kind"] != "multilabel",
            n=one["n"],
            converged=np.array([row["converged"] for row in rows]),
        ),
    )
