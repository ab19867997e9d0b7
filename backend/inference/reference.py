"""The pairs of a run that a traced pair is compared with, read once and shared by all who look.

A pair stands somewhere only among others: :class:`Reference` holds the stored vectors of a run at
every site under one pooling and, of each, what the comparisons need. :mod:`.standing` draws its
curves from it, :mod:`.neighbours` its neighbours, :mod:`.placing` its path.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from threading import RLock
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from backend.errors import InputError
from backend.inference.values import Floats, Trace
from backend.measures.core.base import column_mean, is_constant, refuse_non_finite
from backend.measures.core.nearest import nearest_rows
from backend.measures.suite.layers import constant_layer_reason, site_name
from backend.store import Run
from backend.types import LayerRef, Pooling, StreamSpec

Float64 = NDArray[np.float64]
Rows = NDArray[np.int64]
T = TypeVar("T")

QUANTILES = {"p05": 0.05, "p25": 0.25, "p50": 0.50, "p75": 0.75, "p95": 0.95}
"""{column: share} of a reference band."""

PLACE = ("stream", "layer", "site", "position", "pooling")
"""The columns that say where a row of a table stands."""

NEIGHBOURS = 50
"""Neighbours that are kept of each drawn reference pair; none may ask for more."""

DRAWN = 1024
"""Reference pairs, evenly spaced, whose own neighbours make the bands of neighbourhoods."""

NOISE = 1e-4
"""What two forward passes of one input may differ by, relative to the vector, in float32.

Other batches, paddings and libraries move a float32 vector by about 1e-6 of its length, deep models
with a few huge coordinates by some 1e-5.
"""

MAX_BYTES = 2**30
MIN_PAIRS = 8

_EPS = {"float16": 2.0**-10, "float32": 2.0**-23}


@dataclass(frozen=True, eq=False)
class SiteReference:
    """The n reference vectors of one site, of width d.

    ``rows`` (n, d) are centred, ``mean`` (d,) is what was taken off, ``squares`` (n,) are their
    squared norms; ``norms`` (n,) those of the vectors themselves. ``steps`` and ``angles`` (n,) are
    :func:`length_of_step` and :func:`angle_of_step` from the site before; NaN everywhere where
    ``no_step`` says why there is none. ``near`` (m, K) are the rows of the neighbours of the drawn
    pairs, nearest first, themselves left out, at the distances ``near_distances`` (m, K); both
    have no columns where the site is ``constant``.
    """

    ref: LayerRef
    position: float
    rows: Floats
    mean: Float64
    squares: Floats
    norms: Float64
    steps: Float64
    angles: Float64
    no_step: str
    constant: bool
    near: Rows
    near_distances: Float64

    def centred(self, vector: NDArray[np.floating[Any]]) -> Floats:
        """``vector`` (..., d) less the mean, rounded as the rows are."""
        rows: Floats = np.subtract(vector, self.mean, dtype=np.float64).astype(np.float32)
        return rows

    def nearest(self, vector: Floats, k: int, own: int | None = None) -> tuple[Rows, Float64]:
        """The ``k`` rows nearest to ``vector`` (d,), nearest first, and their distances (k,).

        ``own`` is a row that is left out. Euclidean; ties in the order of the samples.
        """
        left_out = np.array([-1 if own is None else own])
        rows, distances = nearest_rows(
            self.rows, self.squares, self.centred(vector)[None], k, left_out
        )
        return rows[0], distances[0]

    def same(
        self, vector: Floats, eps: float, least: float = 0.0, among: Rows | None = None
    ) -> Rows:
        """The rows (of ``among``) that ``vector`` (d,) equals, to the precision ``eps`` they have.

        Each coordinate may differ by its own rounding and by :data:`NOISE` of the vector's root
        mean square. ``least`` is a distance that no row is nearer than: where it is more than can
        be rounding, nobody is looked at.
        """
        at = np.arange(len(self.rows)) if among is None else among
        if not np.isfinite(vector).all():
            return at[:0]
        value = vector.astype(np.float64)
        allowed = eps / 2 * np.abs(value) + NOISE * np.sqrt(np.mean(value**2))
        if least > 2 * np.linalg.norm(allowed):
            return at[:0]
        gap = np.abs(self.rows[at] - self.centred(vector))
        equal: Rows = at[(gap <= allowed.astype(np.float32)).all(axis=1)]
        return equal


@dataclass(frozen=True, eq=False)
class Reference:
    """The stored pairs of a run under one pooling, in order of the computation.

    Built by :meth:`of`, not changed afterwards and safe to share between threads: what is derived
    later is made once, behind a lock (:meth:`once`).

    Memory: 4·n·Σd bytes of vectors over all sites (at most ``max_bytes``), about 32·n + 12·50·m
    bytes a site beside them (m = min(n, 1024)), and 8·n a site and stored map. Similarity adds,
    a pair of streams that is asked for, 8·(d_a + d_b)·min(d_a, d_b) bytes of maps and 8·n + 512 kB
    a matching layer.

    ``ids`` (n,) are the pairs, ``total`` those of the run; ``drawn`` (m,) are the rows of which
    neighbours are known, ``halves`` two disjoint random sets of rows. ``maps`` are the stored
    coordinates (n, 2) by (key, method) and site.
    """

    run_id: str
    digest: str
    pooling: Pooling
    streams: tuple[StreamSpec, ...]
    ids: NDArray[np.object_]
    total: int
    eps: float
    drawn: Rows
    halves: tuple[Rows, Rows]
    sites: Mapping[LayerRef, SiteReference]
    maps: Mapping[tuple[str, str], Mapping[LayerRef, Floats]]
    _made: dict[Hashable, object] = field(default_factory=dict, repr=False)
    _lock: Any = field(default_factory=RLock, repr=False)

    @classmethod
    def of(cls, run: Run, pooling: Pooling = "cls", *, max_bytes: int = MAX_BYTES) -> Reference:
        """Read the vectors and the maps of ``run``.

        Where all vectors take more than ``max_bytes``, evenly spaced pairs stand for the run.
        InputError where the run keeps no vectors of the pooling (with the command that makes them),
        has fewer than 8 pairs, or holds values that are not finite.
        """
        captured = [ref for ref, own in run.captured() if own == pooling]
        if not captured:
            declared = [ref for ref, own in run.manifest.captures if own == pooling]
            absent = declared[0] if declared else LayerRef(run.streams[0].name, 0)
            run.vectors(absent.stream, absent, pooling)  # raises: the run knows the command best
        rows = _rows_within(run, captured, max_bytes)
        n = run.n if rows is None else len(rows)
        if n < MIN_PAIRS:
            raise InputError(
                f"{n} reference pairs are too few: it takes {MIN_PAIRS}",
                where=f"run {run.run_id}",
            )
        drawn = _spaced(n, DRAWN)
        order = np.random.default_rng(0).permutation(n)
        ids = run.sample_ids()
        sites: dict[LayerRef, SiteReference] = {}
        for spec in run.streams:
            before: tuple[LayerRef, Floats] | None = None
            for ref in spec.refs:
                if ref not in captured:
                    before = None
                    continue
                vectors = run.vectors(ref.stream, ref, pooling, rows)
                refuse_non_finite(vectors, f"run {run.run_id}: {site_name(ref)}")
                sites[ref] = _site(spec, ref, vectors, before, drawn, _EPS[run.manifest.dtype])
                before = ref, vectors
        return cls(
            run_id=run.run_id,
            digest=run.manifest.model.digest,
            pooling=pooling,
            streams=run.streams,
            ids=ids if rows is None else ids[rows],
            total=run.n,
            eps=_EPS[run.manifest.dtype],
            drawn=drawn,
            halves=(order[: n // 2], order[n // 2 :]),
            sites=sites,
            maps=_maps(run, pooling, rows, tuple(sites)),
        )

    @property
    def n(self) -> int:
        """Reference pairs."""
        return len(self.ids)

    def stream(self, name: str) -> StreamSpec:
        """The stream of that name; InputError names those that there are."""
        for spec in self.streams:
            if spec.name == name:
                return spec
        names = ", ".join(spec.name for spec in self.streams)
        raise InputError(f"run {self.run_id} has no stream {name!r}", hint=f"It has: {names}")

    def vectors_of(self, trace: Trace) -> dict[LayerRef, Floats]:
        """{site: (d,)} of a trace, of the sites that the run holds as well, in their order.

        InputError where the trace is of another model: another digest, other widths, or no site
        in common.
        """
        if self.digest and trace.digest and self.digest != trace.digest:
            raise InputError(
                f"the pair went through {trace.model} ({trace.digest}), the reference pairs "
                f"through another model ({self.digest})",
                where=f"run {self.run_id}",
                hint="Compare with a run of the same model.",
            )
        vectors = {}
        for ref, site in self.sites.items():
            vector = trace.vectors.get((ref, self.pooling))
            if vector is None:
                continue
            if vector.shape != site.mean.shape:
                raise InputError(
                    f"{site_name(ref)} has width {vector.size} in the pair and "
                    f"{site.mean.size} in the reference pairs",
                    where=f"run {self.run_id}",
                    hint="Compare with a run of the same model.",
                )
            vectors[ref] = vector
        if not vectors:
            raise InputError(
                f"the pair and the reference pairs have no {self.pooling} vectors of a site in "
                "common",
                where=f"run {self.run_id}",
                hint="Compare with a run of the same model.",
            )
        return vectors

    def row_of(self, trace: Trace, sample_id: str | None = None) -> int | None:
        """The row of the reference pair that the trace is of, None where it is of none.

        ``sample_id`` names it, InputError for one that the reference does not hold. Otherwise it is
        the first pair whose vectors the trace has at every site, to the precision of the store: the
        same image beside another caption is another pair.
        """
        if sample_id is not None:
            if sample_id not in self._row_of_id:
                raise InputError(
                    f"{sample_id!r} is none of the {self.n} reference pairs",
                    where=f"run {self.run_id}",
                    field="sample_id",
                )
            return self._row_of_id[sample_id]
        candidates: Rows | None = None
        for ref, vector in reversed(self.vectors_of(trace).items()):
            candidates = self.sites[ref].same(vector, self.eps, among=candidates)
            if not len(candidates):
                return None
        return None if candidates is None else int(candidates[0])

    @cached_property
    def _row_of_id(self) -> dict[str, int]:
        return {str(name): row for row, name in enumerate(self.ids)}

    def drawn_row(self, row: int | None) -> int | None:
        """Where a row stands among the drawn ones; None where it is not drawn."""
        if row is None:
            return None
        at = int(np.searchsorted(self.drawn, row))
        return at if at < len(self.drawn) and self.drawn[at] == row else None

    def check_k(self, k: int) -> None:
        """InputError unless ``k`` neighbours are known of every drawn pair: 1..min(50, n - 1)."""
        most = min(NEIGHBOURS, self.n - 1)
        if not 1 <= k <= most:
            raise InputError(f"must lie in 1..{most}, got {k}", field="k")

    def constant(self, ref: LayerRef) -> str:
        """Why a constant site compares nothing, in a sentence."""
        modalities = {spec.name: spec.modality for spec in self.streams}
        return str(constant_layer_reason(ref, self.pooling, modalities))

    def band(self, key: Hashable, values: Float64, prefix: str = "") -> dict[str, float]:
        """:func:`band` of reference values, kept under ``key``, which says what they are."""
        return self.once(("band", key, prefix), lambda: band(values, prefix))

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` gives, made for the first who asks and kept for the others."""
        with self._lock:
            if key not in self._made:
                self._made[key] = make()
            return cast(T, self._made[key])


def percentile(values: Float64, value: float, own: int | None = None) -> float:
    """Share of ``values`` below ``value`` in percent, equal ones counted half: 0..100.

    ``own`` is an index of ``values`` that is left out, as are NaNs. NaN where nothing is left or
    the value itself is NaN.
    """
    others = values if own is None else np.delete(values, own)
    others = others[~np.isnan(others)]
    if not len(others) or np.isnan(value):
        return float("nan")
    below = np.count_nonzero(others < value) + np.count_nonzero(others == value) / 2
    return float(100 * below / len(others))


def band(values: Float64, prefix: str = "") -> dict[str, float]:
    """The :data:`QUANTILES` of ``values`` without NaNs, NaN where nothing is left."""
    names = [f"{prefix}{name}" for name in QUANTILES]
    values = values[~np.isnan(values)]
    if not len(values):
        return dict.fromkeys(names, float("nan"))
    return dict(zip(names, map(float, np.quantile(values, [*QUANTILES.values()])), strict=True))


def place_columns(spec: StreamSpec, ref: LayerRef, pooling: Pooling) -> dict[str, object]:
    """The values of :data:`PLACE`."""
    values = (ref.stream, ref.layer, ref.site, spec.position(ref), pooling)
    return dict(zip(PLACE, values, strict=True))


def length_of_step(before: NDArray[np.floating], after: NDArray[np.floating]) -> Float64:
    """‖after - before‖ of vectors (..., d)."""
    step: Float64 = np.linalg.norm(np.subtract(after, before, dtype=np.float64), axis=-1)
    return step


def angle_of_step(before: NDArray[np.floating], after: NDArray[np.floating]) -> Float64:
    """The angle between vectors (..., d), about the origin, in degrees: 0..180, NaN for a zero one.

    2·atan2(‖u - v‖, ‖u + v‖) of the unit vectors, exact for small angles where the arc cosine is
    not (Kahan 2006).
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        u, v = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (before, after))
        u, v = u.astype(np.float64), v.astype(np.float64)
    apart, along = np.linalg.norm(u - v, axis=-1), np.linalg.norm(u + v, axis=-1)
    angle: Float64 = np.degrees(2 * np.arctan2(apart, along))
    return angle


def no_step(spec: StreamSpec, ref: LayerRef, before: LayerRef | None) -> str:
    """Why there is no step to ``ref`` from the held site ``before`` it; empty where there is one.

    A step is from the site declared just before, of the same width.
    """
    at = spec.refs.index(ref)
    if at == 0:
        return f"{site_name(ref)} is the first site"
    if before != spec.refs[at - 1]:
        return f"{site_name(spec.refs[at - 1])} has no vectors of this pooling"
    if spec.width_of(before) != spec.width_of(ref):
        return (
            f"{site_name(before)} has {spec.width_of(before)} dimensions and "
            f"{site_name(ref)} {spec.width_of(ref)}"
        )
    return ""


def _site(
    spec: StreamSpec,
    ref: LayerRef,
    vectors: Floats,
    before: tuple[LayerRef, Floats] | None,
    drawn: Rows,
    eps: float,
) -> SiteReference:
    n = len(vectors)
    mean = column_mean(vectors)
    wide = np.subtract(vectors, mean, dtype=np.float64)
    constant = is_constant(np.sqrt(np.mean(wide**2, axis=0)), mean, eps)
    rows = wide.astype(np.float32)
    squares = np.einsum("ij,ij->i", wide, wide).astype(np.float32)
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    reason = no_step(spec, ref, before and before[0])
    steps = angles = np.full(n, np.nan)
    if before is not None and not reason:
        steps = length_of_step(before[1], vectors)
        angles = angle_of_step(before[1], vectors)
    near, distances = np.empty((len(drawn), 0), np.int64), np.empty((len(drawn), 0))
    if not constant:
        near, distances = nearest_rows(rows, squares, rows[drawn], min(NEIGHBOURS, n - 1), drawn)
    for array in (rows, mean, squares, norms, steps, angles, near, distances):
        array.setflags(write=False)
    return SiteReference(
        ref=ref,
        position=spec.position(ref),
        rows=rows,
        mean=mean,
        squares=squares,
        norms=norms,
        steps=steps,
        angles=angles,
        no_step=reason,
        constant=constant,
        near=near,
        near_distances=distances,
    )


def _spaced(n: int, most: int) -> Rows:
    """All of n rows, or ``most`` evenly spaced ones."""
    rows: Rows = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))
    return rows


def _rows_within(run: Run, captured: list[LayerRef], max_bytes: int) -> Rows | None:
    """The evenly spaced rows whose vectors fit; None for all."""
    row_bytes = 4 * sum(run.manifest.stream(ref.stream).width_of(ref) for ref in captured)
    fits = max(MIN_PAIRS, max_bytes // row_bytes)
    return None if run.n <= fits else _spaced(run.n, fits)


def _maps(
    run: Run, pooling: Pooling, rows: Rows | None, refs: tuple[LayerRef, ...]
) -> dict[tuple[str, str], dict[LayerRef, Floats]]:
    """The stored coordinates of the reference pairs, in their order, by map and site."""
    frame = run.projections(pooling=pooling)
    maps: dict[tuple[str, str], dict[LayerRef, Floats]] = {}
    columns = ["key", "method", "stream", "layer", "site"]
    for (key, method, stream, layer, site), part in frame.groupby(columns, sort=False):
        ref = LayerRef(str(stream), int(str(layer)), str(site))
        if ref not in refs:
            continue
        points = np.full((run.n, 2), np.nan, dtype=np.float32)
        points[run.positions(part["sample_id"].tolist())] = part[["x", "y"]].to_numpy(np.float32)
        if np.isnan(points).any():
            raise InputError(
                f"the map {key} lacks {int(np.isnan(points[:, 0]).sum())} of {run.n} samples at "
                f"{site_name(ref)}",
                where=f"run {run.run_id}",
                hint="Check the store with: fusionscope verify",
            )
        points = points if rows is None else points[rows]
        points.setflags(write=False)
        maps.setdefault((str(key), str(method)), {})[ref] = points
    return maps
