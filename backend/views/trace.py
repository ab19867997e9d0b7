"""What the Trace page shows of a pair: its panels' tables, from a reference and one trace or more.

``traces`` are {name: trace} in the order in which they are drawn: the pair itself first, then its
counterfactuals. All are of the reference's model. ``sample_id`` is the reference pair that they
are of, if they are of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backend.inference.difference import parting
from backend.inference.neighbours import Neighbourhoods, Turn, neighbours
from backend.inference.placing import placed
from backend.inference.reference import Reference
from backend.inference.standing import alone, standing
from backend.inference.values import Trace
from backend.pairing import Pair
from backend.pooling import of_stream
from backend.types import LayerRef, Pooling, StreamSpec
from backend.views.layers import nearest_ref

Traces = Mapping[str, Trace]

WORDS: dict[str, tuple[str, str]] = {
    "similarity": (
        "Image-text similarity",
        "Cosine of the two streams after one orthogonal map a layer, fitted on other pairs. "
        "Grey: the same for mismatched pairs, which is chance.",
    ),
    "norm": ("Norm", "Length of the pair's vector."),
    "step": ("Step", "How far the vector moves from the site before."),
    "angle": (
        "Turn of the vector, degrees",
        "Angle between the vector and that of the site before.",
    ),
    "distance": ("Distance to neighbours", "Mean distance to the 10 nearest reference pairs."),
}
"""Title and meaning of each curve, in the order of the page."""

NEIGHBOURS = 8

_PLACES = {
    "origins": "places of tokens in the picture",
    "origins of text": "places of tokens in the text",
}


@dataclass(frozen=True, eq=False)
class Path:
    """A stream's sites in order, where the reference pairs lie at each, and the traced pairs."""

    refs: tuple[LayerRef, ...]
    method: str
    reference: NDArray[np.float32]
    samples: tuple[str, ...]
    paths: dict[str, NDArray[np.float32]]

    def of(self, refs: Sequence[LayerRef]) -> Path:
        """The part at these of its sites."""
        at = [self.refs.index(ref) for ref in refs]
        paths = {name: points[at] for name, points in self.paths.items()}
        return replace(self, refs=tuple(refs), reference=self.reference[at], paths=paths)


@dataclass(frozen=True, eq=False)
class Among:
    """Traces of a pair among ``n`` reference pairs, of whose run they have the model.

    ``paths`` by stream, of those that have maps; ``curves`` as of
    :func:`backend.inference.standing.standing`, with the ``name`` of each trace; ``near`` are the
    neighbours of the pair itself.
    """

    n: int
    paths: Mapping[str, Path]
    curves: pd.DataFrame
    near: Neighbourhoods


def among(reference: Reference, traces: Traces, pair: Pair | None, sample_id: str | None) -> Among:
    """Where traces lie among the pairs of a run; ``pair`` are the streams that are compared."""
    trace = next(iter(traces.values()))
    rows = [
        standing(reference, one, pair, sample_id=sample_id).assign(name=name)
        for name, one in traces.items()
    ]
    return Among(
        n=reference.n,
        paths=paths(reference, traces, sample_id),
        curves=pd.concat(rows, ignore_index=True),
        near=neighbours(reference, trace, min(NEIGHBOURS, reference.n - 1), sample_id=sample_id),
    )


def curves_alone(traces: Traces, pooling: Pooling) -> pd.DataFrame:
    """:func:`backend.inference.standing.alone` of every trace, with its ``name``."""
    rows = [alone(one, pooling).assign(name=name) for name, one in traces.items()]
    return pd.concat(rows, ignore_index=True)


def paths(reference: Reference, traces: Traces, sample_id: str | None) -> dict[str, Path]:
    """{stream: the way of every trace over its maps}, of the streams that have maps.

    Those of UMAP where there are any. A trace has NaN at a site at which it has no place.
    """
    rows = {
        # A counterfactual is another pair, which lies nowhere in the store.
        name: placed(reference, one, sample_id=None if at else sample_id)
        for at, (name, one) in enumerate(traces.items())
    }
    ways = ((spec.name, _path(reference, rows, spec)) for spec in reference.streams)
    return {name: way for name, way in ways if way is not None}


def _path(reference: Reference, rows: Mapping[str, pd.DataFrame], spec: StreamSpec) -> Path | None:
    kept = {
        key: {ref: points for ref, points in maps.items() if ref.stream == spec.name}
        for key, maps in reference.maps.items()
    }
    held = [key for key, maps in kept.items() if maps]
    if not held:
        return None
    chosen = next((key for key in held if key[1] == "umap"), held[0])
    refs = tuple(ref for ref in spec.refs if ref in kept[chosen])
    at = {(ref.layer, ref.site): row for row, ref in enumerate(refs)}
    ways: dict[str, NDArray[np.float32]] = {}
    for name, every in rows.items():
        mine = every[
            every["key"].eq(chosen[0])
            & every["method"].eq(chosen[1])
            & every["stream"].eq(spec.name)
        ]
        ways[name] = np.full((len(refs), 2), np.nan, dtype=np.float32)
        for layer, site, x, y in mine[["layer", "site", "x", "y"]].itertuples(index=False):
            ways[name][at[layer, site]] = x, y
    points = np.stack([kept[chosen][ref] for ref in refs])
    return Path(refs, chosen[1], points, tuple(map(str, reference.ids)), ways)


def beside(
    spec: StreamSpec, ref: LayerRef, others: Sequence[LayerRef], other: StreamSpec
) -> LayerRef:
    """Of the sites ``others`` of a stream that at the relative depth of ``ref`` of ``spec``."""
    if other == spec and ref in others:
        return ref
    depth = spec.position(ref) / max(spec.depth, 1) * other.depth
    return min(others, key=lambda one: abs(other.position(one) - depth))


def partings(traces: Traces) -> dict[str, dict[str, LayerRef | None]]:
    """{name: {stream: the first site at which it differs from the first trace}}."""
    (_, first), *others = traces.items()
    return {name: parting(first, one) for name, one in others}


def pooling_of(spec: StreamSpec, asked: str | None, kept: Sequence[Pooling]) -> Pooling:
    """That which is asked for, else the first that is ``kept`` of reference pairs, else the first.

    All of those that the stream has; of a pooling of two streams its own part counts.
    """
    own = of_stream(asked, spec.name) if asked else None
    ranked = sorted(spec.poolings, key=lambda one: (one != own, one not in kept))
    return ranked[0]


def next_words(trace: Trace) -> pd.DataFrame:
    """The likeliest next words by layer, a row each.

    Columns: stream, layer (its label), rank from 1, word, probability 0..1. Empty where the model
    does not go on with the text.
    """
    lens, rows = trace.next_words, []
    if lens is not None:
        for ref, words, chances in zip(lens.refs, lens.words, lens.probabilities, strict=True):
            for rank, (word, chance) in enumerate(zip(words, chances, strict=True), start=1):
                rows.append((ref.stream, ref.label, rank, word, float(chance)))
    return pd.DataFrame(rows, columns=["stream", "layer", "rank", "word", "probability"])


def unsupported_in_words(trace: Trace) -> str:
    """One line: what a trace of this model lacks, and why; empty where it lacks nothing."""
    reasons = [
        f"{_PLACES.get(what, what)} ({why[:1].lower()}{why[1:].rstrip('.')})"
        for what, why in trace.unsupported.items()
    ]
    return f"Not shown: {'; '.join(reasons)}." if reasons else ""


def turn_in_words(turn: Turn) -> str:
    """Where most neighbours change, against what the reference pairs do."""
    k = len(turn.ids)
    low, high = (f"{k * turn.usual[name]:.3g}" for name in ("p25", "p75"))
    usual = low if low == high else f"{low} to {high}"
    return (
        f"In {turn.stream} most neighbours change from layer {turn.before.label} to "
        f"{turn.ref.label}: {round(k * turn.change)} of {k} are others than before. At most "
        f"{usual} change for the middle half of the reference pairs; this one changes more than "
        f"{turn.percentile:.0f} % of them."
    )


def start_of(refs: Sequence[LayerRef], asked: str | None) -> LayerRef:
    """The site that the strip starts at: that of the address, else the last one."""
    return nearest_ref(refs, asked) if asked else refs[-1]


def ends_in(refs: Sequence[LayerRef], span: tuple[str, str] | None) -> bool:
    """Whether both ends of a span are among the sites."""
    return span is not None and set(span) <= {ref.label for ref in refs}


def within(refs: Sequence[LayerRef], span: tuple[str, str] | None) -> tuple[LayerRef, ...]:
    """The sites from one label to another; all where the span does not name two of them."""
    if span is None or not ends_in(refs, span):
        return tuple(refs)
    labels = [ref.label for ref in refs]
    first, last = sorted(map(labels.index, span))
    return tuple(refs[first : last + 1])


def changes(
    turns: Sequence[Turn], spec: StreamSpec, refs: Sequence[LayerRef]
) -> tuple[tuple[LayerRef, LayerRef], ...]:
    """The sites before and after at which neighbours are compared.

    Of the strip's stream ``spec`` the first and the last of ``refs`` where these are a part of its
    sites; else, of each stream, those of its largest change.
    """
    if 1 < len(refs) < len(spec.refs) and turns:
        return ((refs[0], refs[-1]),)
    return tuple((turn.before, turn.ref) for turn in turns)
