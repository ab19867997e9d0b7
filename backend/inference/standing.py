"""Where a pair stands among reference pairs: its curves over the sites, each on a band.

``norm``        ‖x‖ of the vector as the model has it
``step``        ‖x - x'‖ from the site before, of the same width
``angle``       between x' and x about the origin, in degrees, 0..180
``distance``    mean Euclidean distance to the k nearest reference pairs
``similarity``  of the two streams' vectors at matching layers, -1..1

**Similarity** is the cosine in the space that an orthogonal map makes the two layers share: both
sides less their means, turned onto each other by the Procrustes solution U, V of Xᵀ Y = U S Vᵀ
(Schönemann 1966; as retrieval does it), which need not have equal widths. A map is always better on
the pairs that it was fitted on, so the band must not be of those: the reference pairs are cut into
two random halves, a map is fitted on each, and every reference pair is read with the map of the
half that it is not in. A new pair is read with the map of the first half. A reference pair, or what
was made of one by another caption or image (``sample_id``), is read with the map that has not seen
it, so that both lines of a counterfactual come from one map. Every value is then of a pair unseen
by a map fitted on n/2 pairs, which makes the percentiles fair. A mean over both maps would not:
it varies less than the values of the band.

**Chance** is the same cosine of *mis*matched reference pairs: within a half, each image with the
texts of others, all of them up to 65,536 a layer, evenly drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from backend.errors import InputError
from backend.inference.reference import (
    QUANTILES,
    Float64,
    Reference,
    Rows,
    angle_of_step,
    length_of_step,
    no_step,
    percentile,
    place_columns,
)
from backend.inference.values import Floats, Trace
from backend.measures.suite.layers import site_name
from backend.measures.suite.pairs import end_pairs
from backend.remarks import remark
from backend.store.kinds import NOWHERE
from backend.types import BLOCK, LayerRef, Pooling, StreamSpec, matched_layers

CURVES = ("norm", "step", "angle", "distance", "similarity")
CHANCE = "chance_"
"""Prefix of the columns that say the same of mismatched pairs."""

_MISMATCHED = 2**16
_NAN = float("nan")


@dataclass(frozen=True, eq=False)
class OrthogonalMap:
    """Brings a row of each side into the r directions that both share.

    ``x_mean`` (d_x,) and ``left`` (d_x, r) of the one, ``y_mean`` (d_y,) and ``right`` (d_y, r) of
    the other, in the centred coordinates of the reference's sites.
    """

    x_mean: Float64
    y_mean: Float64
    left: Floats
    right: Floats


@dataclass(frozen=True, eq=False)
class Matching:
    """Two matching layers of the reference pairs.

    ``maps`` are fitted on the first and on the second half. ``values`` (n,) are the cosines of the
    pairs, each by the map of the other half, ``mismatched`` those of mismatched pairs, sorted.
    """

    maps: tuple[OrthogonalMap, OrthogonalMap]
    values: Float64
    mismatched: Float64
    warning: str


def standing(
    reference: Reference,
    trace: Trace,
    pair: tuple[str, str] | None = None,
    *,
    k: int = 10,
    sample_id: str | None = None,
) -> pd.DataFrame:
    """The curves of a pair, a row a curve and site, in the order of :data:`CURVES`.

    ``pair`` are the streams whose similarity is wanted, None for no similarity; it stands at the
    first one's layer (``stream``, ``layer``, ``site``) with the second's beside it (``stream_b``,
    ``layer_b``, ``site_b``; ``""``, -1, ``""`` in the other curves), ``position`` being that on the
    deeper stream's axis. Matching layers are those of :func:`backend.types.matched_layers` and the
    named sites after the last layers that both have. ``sample_id`` names the reference pair that
    the trace is of, or was made from by another caption or image; left out, a trace that equals
    one is recognised. It is left out of its own neighbours and of its percentiles.

    Columns further: ``position``, ``pooling``, ``value``; ``percentile`` (0..100, ties half) among
    the other reference pairs and their quantiles ``p05`` .. ``p95``, of ``n`` pairs;
    ``chance_percentile``, ``chance_p05`` .. of mismatched pairs (NaN but for similarity);
    ``reason`` of a value that is NaN, and ``warning``. The quantiles are of all reference pairs;
    those of ``distance`` are of at most 1,024. The percentile alone is NaN for the norm of a
    constant layer, where pairs differ by rounding only.

    InputError for a trace of another model, streams that the run does not have, ``k`` outside
    1..min(50, n - 1), and a ``sample_id`` that is no reference pair.
    """
    reference.check_k(k)
    vectors = reference.vectors_of(trace)
    own = reference.row_of(trace, sample_id)
    points = [
        *_norms(reference, vectors, own),
        *_steps(reference, vectors, own),
        *_distances(reference, vectors, own, k),
        *(_similarities(reference, vectors, own, pair) if pair else ()),
    ]
    points.sort(key=lambda point: CURVES.index(point.curve))
    return pd.DataFrame([_row(reference, point) for point in points])


def alone(trace: Trace, pooling: Pooling) -> pd.DataFrame:
    """Norm, step and angle of a pair without reference pairs: the columns of :func:`standing`.

    Every percentile and quantile is NaN, and ``n`` is 0.
    """
    held: dict[LayerRef, Floats] = {
        ref: trace.vectors[ref, pooling]
        for spec in trace.streams
        for ref in spec.refs
        if (ref, pooling) in trace.vectors
    }
    rows: list[dict[str, object]] = []
    before: LayerRef | None = None
    for ref, vector in held.items():
        spec = trace.stream(ref.stream)
        last = before if before is not None and before.stream == ref.stream else None
        place = place_columns(spec, ref, pooling)
        for curve, value, reason in _by_itself(spec, held, ref, last, vector):
            row = {"curve": curve, **place}
            row |= zip(("stream_b", "layer_b", "site_b"), NOWHERE, strict=True)
            row |= {"value": value, "percentile": _NAN, **dict.fromkeys(QUANTILES, _NAN), "n": 0}
            row |= dict.fromkeys([f"{CHANCE}{name}" for name in ("percentile", *QUANTILES)], _NAN)
            rows.append(row | {"reason": reason if np.isnan(value) else "", "warning": ""})
        before = ref
    rows.sort(key=lambda row: CURVES.index(str(row["curve"])))
    return pd.DataFrame(rows)


def _by_itself(
    spec: StreamSpec,
    held: Mapping[LayerRef, Floats],
    ref: LayerRef,
    before: LayerRef | None,
    vector: Floats,
) -> Iterator[tuple[str, float, str]]:
    """(curve, value, why it is undefined) of the curves that need no other pair."""
    broken = _not_finite(held, ref)
    yield "norm", _NAN if broken else float(np.linalg.norm(vector.astype(np.float64))), broken
    reason = no_step(spec, ref, before) or (_not_finite(held, before, ref) if before else "")
    if reason or before is None:
        yield "step", _NAN, reason
        yield "angle", _NAN, reason
        return
    yield "step", float(length_of_step(held[before], vector)), ""
    no_angle = f"a zero vector at {site_name(ref)} or before it has no angle"
    yield "angle", float(angle_of_step(held[before], vector)), no_angle


@dataclass(frozen=True, eq=False)
class _Point:
    """A value of a curve at ``refs`` (two for similarity), beside the ``values`` of the reference.

    ``own`` is the pair's place among the values, ``reason`` why the value is NaN, if it is.
    ``ranked``: whether the values tell pairs apart. ``key`` tells apart the values that a curve can
    have at one site.
    """

    curve: str
    refs: tuple[LayerRef, ...]
    value: float
    values: Float64
    own: int | None
    reason: str = ""
    ranked: bool = True
    key: int = 0
    position: float | None = None
    mismatched: Float64 = field(default_factory=lambda: np.empty(0))
    warning: str = ""


def _norms(
    reference: Reference, vectors: Mapping[LayerRef, Floats], own: int | None
) -> Iterator[_Point]:
    for ref, vector in vectors.items():
        site = reference.sites[ref]
        value = float(np.linalg.norm(vector.astype(np.float64)))
        reason = _not_finite(vectors, ref)
        yield _Point("norm", (ref,), value, site.norms, own, reason, ranked=not site.constant)


def _steps(
    reference: Reference, vectors: Mapping[LayerRef, Floats], own: int | None
) -> Iterator[_Point]:
    before: LayerRef | None = None
    for ref, vector in vectors.items():
        spec, site = reference.stream(ref.stream), reference.sites[ref]
        held = before if before is not None and before.stream == ref.stream else None
        reason = site.no_step or no_step(spec, ref, held)
        length = angle = _NAN
        if held is not None and not reason:
            reason = _not_finite(vectors, held, ref)
            length = float(length_of_step(vectors[held], vector))
            angle = float(angle_of_step(vectors[held], vector))
        yield _Point("step", (ref,), length, site.steps, own, reason)
        no_angle = reason or f"a zero vector at {site_name(ref)} or before it has no angle"
        yield _Point("angle", (ref,), angle, site.angles, own, no_angle)
        before = ref


def _distances(
    reference: Reference, vectors: Mapping[LayerRef, Floats], own: int | None, k: int
) -> Iterator[_Point]:
    drawn = reference.drawn_row(own)
    for ref, vector in vectors.items():
        site = reference.sites[ref]
        value, values = _NAN, np.empty(0)
        reason = reference.constant(ref) if site.constant else _not_finite(vectors, ref)
        if not site.constant:
            values = site.near_distances[:, :k].mean(axis=1)
        if not reason:
            value = float(site.nearest(vector, k, own)[1].mean())
        yield _Point("distance", (ref,), value, values, drawn, reason, key=k)


def _similarities(
    reference: Reference,
    vectors: Mapping[LayerRef, Floats],
    own: int | None,
    pair: tuple[str, str],
) -> Iterator[_Point]:
    matchings = reference.once(("similarity", *pair), lambda: _matchings(reference, pair))
    unseen = 1 if own is not None and own in reference.halves[0] else 0
    deeper = 0 if reference.stream(pair[0]).depth >= reference.stream(pair[1]).depth else 1
    for at, (refs, matching) in enumerate(matchings):
        axis = refs[deeper]
        # A layer of the shallower stream can match several of the deeper one, whose axis counts.
        place = float(at) if axis.site == BLOCK else reference.stream(axis.stream).position(axis)
        reason = matching if isinstance(matching, str) else ""
        if not reason and (absent := [ref for ref in refs if ref not in vectors]):
            reason = f"the pair has no {reference.pooling} vector of {site_name(absent[0])}"
        reason = reason or _not_finite(vectors, *refs)
        point = _Point("similarity", refs, _NAN, np.empty(0), None, reason, position=place)
        if not isinstance(matching, str):
            value = _NAN
            if not reason:
                x, y = (reference.sites[ref].centred(vectors[ref])[None] for ref in refs)
                value = float(_cosines(*_mapped(matching.maps[unseen], x, y))[0])
            point = replace(
                point,
                value=value,
                values=matching.values,
                own=own,
                reason=reason
                or "nothing of the pair lies in the directions that both layers share",
                mismatched=matching.mismatched,
                warning=matching.warning,
            )
        yield point


def _not_finite(vectors: Mapping[LayerRef, Floats], *refs: LayerRef) -> str:
    """What is wrong with the pair's vectors at these sites; empty where nothing is."""
    for ref in refs:
        if not np.isfinite(vectors[ref]).all():
            return f"{site_name(ref)} of the pair is not finite"
    return ""


def _row(reference: Reference, point: _Point) -> dict[str, object]:
    ref, *others = point.refs
    spec = reference.stream(ref.stream)
    value = point.value if np.isfinite(point.value) else _NAN
    own = point.own if len(point.values) else None
    rank = percentile(point.values, value, own) if point.ranked else _NAN
    row = {"curve": point.curve, **place_columns(spec, ref, reference.pooling)}
    if point.position is not None:
        row["position"] = point.position
    other = (others[0].stream, others[0].layer, others[0].site) if others else NOWHERE
    row |= zip(("stream_b", "layer_b", "site_b"), other, strict=True)
    row |= {"value": value, "percentile": rank}
    row |= reference.band((point.curve, point.refs, point.key), point.values)
    row |= {"n": int((~np.isnan(point.values)).sum())}
    row |= {f"{CHANCE}percentile": percentile(point.mismatched, value)}
    row |= reference.band(("chance", point.refs), point.mismatched, CHANCE)
    return row | {"reason": point.reason if np.isnan(value) else "", "warning": point.warning}


def _matchings(
    reference: Reference, pair: tuple[str, str]
) -> list[tuple[tuple[LayerRef, LayerRef], Matching | str]]:
    """Matching layers in order, each with its maps or the reason why it has none."""
    if pair[0] == pair[1]:
        raise InputError(f"needs two streams, got {pair[0]!r} twice", field="pair")
    specs = [reference.stream(name) for name in pair]
    ends = [
        (a, b) if a.stream == pair[0] else (b, a)
        for a, b in end_pairs([ref for spec in specs for ref in spec.refs], {})
    ]
    return [(refs, _matching(reference, *refs)) for refs in (*matched_layers(*specs), *ends)]


def _matching(reference: Reference, a: LayerRef, b: LayerRef) -> Matching | str:
    for ref in (a, b):
        if ref not in reference.sites:
            return f"{site_name(ref)} has no {reference.pooling} vectors"
        if reference.sites[ref].constant:
            return reference.constant(ref)
    x, y = reference.sites[a].rows, reference.sites[b].rows
    maps = [_fitted(x[half], y[half]) for half in reference.halves]
    for fitted in maps:
        if fitted is None:
            return f"{site_name(a)} and {site_name(b)} are uncorrelated"
    first, second = (fitted for fitted in maps if fitted is not None)
    values = np.empty(reference.n)
    mismatched = []
    for fitted, held in zip((first, second), reversed(reference.halves), strict=True):
        u, v = _mapped(fitted, x[held], y[held])
        values[held] = _cosines(u, v)
        mismatched.append(_shifted(u, v))
    rank, full = min(m.left.shape[1] for m in (first, second)), min(x.shape[1], y.shape[1])
    low = remark("map_of_low_rank", n=len(reference.halves[0]), rank=rank, full=full)
    chance = np.sort(np.concatenate(mismatched))
    for array in (values, chance):
        array.setflags(write=False)
    return Matching((first, second), values, chance, str(low) if rank < full else "")


def _fitted(x: Floats, y: Floats) -> OrthogonalMap | None:
    """The Procrustes solution of rows (m, d_x) and (m, d_y); None where they are uncorrelated."""
    x_mean, y_mean = (side.mean(axis=0, dtype=np.float64) for side in (x, y))
    x_wide, y_wide = x - x_mean, y - y_mean
    left, values, right = np.linalg.svd(x_wide.T @ y_wide, full_matrices=False)
    floor = max(len(left), right.shape[1]) * np.finfo(np.float64).eps
    rank = int((values > floor * np.linalg.norm(x_wide) * np.linalg.norm(y_wide)).sum())
    if rank == 0:
        return None
    return OrthogonalMap(
        x_mean, y_mean, left[:, :rank].astype(np.float32), right[:rank].T.astype(np.float32)
    )


def _mapped(fitted: OrthogonalMap, x: Floats, y: Floats) -> tuple[Float64, Float64]:
    """Rows (m, r) of both sides in the shared directions, at unit norm; NaN for a zero row."""
    u, v = (x - fitted.x_mean) @ fitted.left, (y - fitted.y_mean) @ fitted.right
    with np.errstate(invalid="ignore"):
        return (
            u / np.linalg.norm(u, axis=1, keepdims=True),
            v / np.linalg.norm(v, axis=1, keepdims=True),
        )


def _cosines(u: Float64, v: Float64) -> Float64:
    cosines: Float64 = np.einsum("ij,ij->i", u, v)
    return cosines


def _shifted(u: Float64, v: Float64) -> Float64:
    """Cosines of each row of ``u`` (m, r) with other rows of ``v``: those 1, 2, ... places on.

    The rows are in random order, so the shifts are a random choice in which each row is met equally
    often; all m - 1 where they are few enough.
    """
    m = len(u)
    shifts: Rows = np.arange(1, 1 + int(np.clip(_MISMATCHED // (2 * m), 1, m - 1)))
    return np.concatenate([_cosines(u, np.roll(v, -int(shift), axis=0)) for shift in shifts])
