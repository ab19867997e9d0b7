"""Find the partner of a sample: retrieval between two layers after an orthogonal map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from backend.errors import InputError
from backend.measures.core.base import Float64, FloatArray, as_representation, prepare, same_samples
from backend.measures.core.distances import block_rows
from backend.measures.core.groups import Groups, as_groups, half_of_groups
from backend.measures.core.parallel import map_pieces
from backend.measures.core.result import NAN, Result
from backend.measures.families.neighbours import check_k
from backend.remarks import NOTHING, Remarks, remark

ESTIMATOR = "held-out half"

_TIE = 1e-12  # difference of cosines that is rounding


@dataclass(frozen=True)
class Retrieval:
    """Recall at each k, in both directions: ``x_to_y[5]`` finds the row of y for a row of x.

    With images in x and texts in y, ``x_to_y`` is image->text and ``y_to_x`` text->image.
    """

    x_to_y: Mapping[int, Result]
    y_to_x: Mapping[int, Result]


def retrieval(
    x: object,
    y: object,
    *,
    ks: Sequence[int] = (1, 5, 10),
    seed: int = 0,
    groups: object = None,
) -> Retrieval:
    """R@k of ``x`` (n, d_x) to ``y`` (n, d_y) and back, the widths may differ.

    Only for true pairs: row a of ``x`` and row a of ``y`` belong together. Where other rows do as
    well, as five captions of a photo, ``groups`` (n names) say so: rows of one group are each
    other's partners, finding any of them counts, and no group is in both halves. A random half of
    the samples (``seed``) gives the means that are subtracted and the orthogonal map (the
    Procrustes solution U Vᵀ of Xᵀ Y = U S Vᵀ); the other half is the gallery and, in turn, the
    queries, compared by cosine in the space that the map shares: min(d_x, d_y) directions, or as
    many as the fitted half determines (then with a warning). Recall is the share of queries of
    which a partner is among the ``k`` most similar; tied places are shared out, so a gallery of
    copies scores chance. Range 0..1. Invariant to shifts, scale and orthogonal maps of either side;
    a permutation of the rows draws other halves. The null under a random matching of the gallery,
    with the map as it is, is exact: mean k / n_gallery; with groups it is a random matching of the
    groups of one size, those of a size of their own among each other. ``n`` of a result counts the
    gallery.
    Cost: ½n·d_x·d_y + d³ for the map, ¼n²·d for the similarities, in blocks. NaN with a reason
    where the fitted half of a side is constant, the sides are uncorrelated, or there is one group.
    InputError naming ``ks`` unless 1 <= k < n_gallery, and for n < 4.
    """
    names = ("x", "y")
    arrays = [
        as_representation(a, name, min_samples=4) for a, name in zip((x, y), names, strict=True)
    ]
    n = same_samples(arrays, names)
    held = held_half(groups, n, seed)
    shared = NO_MAP
    if not held.reason:
        _check_ks(ks, len(held.gallery))
        shared = shared_map(arrays, names, held)
    reason = Remarks.of(held.reason, shared.reason)
    dims = (int(arrays[0].shape[1]), int(arrays[1].shape[1]))

    def direction(name: str, queries: Float64, targets: Float64) -> dict[int, Result]:
        recalls = {} if reason else recall(queries, targets, held.own, ks)
        return {
            k: Result(
                measure="retrieval",
                value=recalls[k].value if recalls else NAN,
                n=len(held.gallery),
                dims=dims,
                estimator=ESTIMATOR,
                params={"direction": name, "k": int(k), "seed": seed},
                null_mean=recalls[k].null_mean if recalls else NAN,
                null_sd=recalls[k].null_sd if recalls else NAN,
                warnings=shared.warnings,
                reason=reason,
            )
            for k in ks
        }

    return Retrieval(
        direction("x_to_y", shared.x, shared.y), direction("y_to_x", shared.y, shared.x)
    )


@dataclass(frozen=True, eq=False)
class Held:
    """The samples that a map is fitted on, ``fit``, and those that it is told of, ``gallery``.

    ``own`` (m,) are the gallery's groups, numbered from 0; ``reason`` says why nothing can be told.
    """

    gallery: Groups
    fit: Groups
    own: Groups
    reason: Remarks


def held_half(groups: object, n: int, seed: int) -> Held:
    """A random half of n samples, by whole groups where some belong together, and the others."""
    together = as_groups(groups, n)
    gallery, fit = half_of_groups(together, n, seed)
    names = gallery if together is None else together[gallery]
    own = np.unique(names, return_inverse=True)[1]
    enough = len(own) and own.max() > 0 and len(fit) > 1
    return Held(gallery, fit, own, Remarks.of(None if enough else remark("one_group")))


def _check_ks(ks: Sequence[int], held: int) -> None:
    if not len(ks):
        raise InputError("no k was given", where="ks")
    for k in ks:
        try:
            check_k(k, held)
        except InputError as error:
            raise InputError(
                f"R@{k} in a gallery of {held} samples",
                where="ks",
                hint="Each k is a whole number from 1 to below the gallery, half of the samples.",
            ) from error


@dataclass(frozen=True, eq=False)
class SharedMap:
    """Two layers in the directions that a fitted half of the samples matches.

    ``x`` and ``y`` (m, r) are the unit rows of the gallery. :meth:`place_x` and :meth:`place_y`
    bring other rows there. ``reason`` says why there is no such space.
    """

    x: Float64
    y: Float64
    means: tuple[Float64, Float64]
    left: Float64
    right: Float64
    warnings: Remarks = NOTHING
    reason: Remarks = NOTHING

    def place_x(self, rows: NDArray[np.floating]) -> Float64:
        """Rows (m, d_x) as unit rows (m, r) of the shared directions."""
        return unit(_centred(rows, self.means[0]) @ self.left)

    def place_y(self, rows: NDArray[np.floating]) -> Float64:
        """The same of rows (m, d_y)."""
        return unit(_centred(rows, self.means[1]) @ self.right)


_EMPTY = np.zeros((0, 0))
NO_MAP = SharedMap(_EMPTY, _EMPTY, (np.zeros(0), np.zeros(0)), _EMPTY, _EMPTY)


def shared_map(arrays: Sequence[FloatArray], names: Sequence[str], held: Held) -> SharedMap:
    """The orthogonal map of two layers (n, d_x) and (n, d_y) that is fitted on ``held.fit``."""
    fitted, means = [], []
    for array, name in zip(arrays, names, strict=True):
        prepared = prepare(array, name)
        rows = prepared.data[held.fit]
        rows = rows - rows.mean(axis=0)
        # What is left of a unit norm after centring, if not rounding.
        if prepared.constant or np.linalg.norm(rows) <= 1e-13:
            return replace(NO_MAP, reason=Remarks.of(remark("fitted_on_constant", name)))
        fitted.append(rows)
        means.append(array[held.fit].mean(axis=0, dtype=np.float64))
    d_x, d_y = (rows.shape[1] for rows in fitted)
    work = float(d_x) * d_y * (len(held.fit) + 4 * min(d_x, d_y))
    left, values, right = map_pieces(_svd, [(fitted[0], fitted[1])], work)[0]
    floor = max(len(left), right.shape[1]) * np.finfo(np.float64).eps
    scale = np.linalg.norm(fitted[0]) * np.linalg.norm(fitted[1])
    rank = int((values > floor * scale).sum())
    if rank == 0:
        return replace(NO_MAP, reason=Remarks.of(remark("uncorrelated", *names)))
    full = min(array.shape[1] for array in arrays)
    low = remark("map_of_low_rank", n=len(held.fit), rank=rank, full=full)
    warnings = Remarks.of(low if rank < full else None)
    both = (means[0], means[1])
    made = SharedMap(_EMPTY, _EMPTY, both, left[:, :rank], right[:rank].T, warnings)
    x, y = (array[held.gallery] for array in arrays)
    return replace(made, x=made.place_x(x), y=made.place_y(y))


def _centred(rows: NDArray[np.floating], mean: Float64) -> Float64:
    centred: Float64 = rows.astype(np.float64) - mean
    return centred


def _svd(sides: tuple[Float64, Float64]) -> tuple[Float64, Float64, Float64]:
    """U, S, Vᵀ of the (d_x, d_y) cross-product."""
    left, values, right = np.linalg.svd(sides[0].T @ sides[1], full_matrices=False)
    return left, values, right


def unit(rows: NDArray[np.floating]) -> Float64:
    """Rows at norm 1; a row that is zero stays zero, equally similar to everything."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Float64 = np.divide(rows, norms, out=np.zeros(rows.shape), where=norms > 0)
    return scaled


@dataclass(frozen=True, eq=False)
class Recall:
    """A share of queries that find a partner, chance, and ``found`` (g,): how many of a group."""

    value: float
    null_mean: float
    null_sd: float
    found: Float64


def recall(queries: Float64, targets: Float64, own: Groups, ks: Sequence[int]) -> dict[int, Recall]:
    """{k: recall} among unit rows (m, r) by cosine; ``own`` (m,) are the groups, from 0.

    With h[a, B] the chance that a row of group B is among the first k of query a, and s[A, B] its
    sum over the queries of A, recall is Σ s[A, A] / m. Over random matchings π of g groups of one
    size, Σ s[A, π(A)] has the mean Σ s / g and the variance Σ s̃² / (g - 1), s̃ the doubly centred s
    (Hoeffding 1951). Sizes are independent of each other.
    """
    m, sizes = len(own), np.bincount(own)
    gallery = _Gallery(targets, np.argsort(own, kind="stable"), np.cumsum(sizes) - sizes)
    alone = np.bincount(sizes)[sizes] == 1
    kinds = np.where(alone, 0, sizes)
    totals = np.zeros((2, len(ks)))
    found = np.zeros((len(ks), len(sizes)))
    for kind in np.unique(kinds):
        of = np.flatnonzero(kinds == kind)
        step = max(1, block_rows(m) // int(sizes[of].max()))
        pieces = [of[start : start + step] for start in range(0, len(of), step)]
        work = float(sizes[of].sum()) * m * (queries.shape[1] + 30 * len(ks))
        sums = map_pieces(partial(gallery.sums, queries, of, ks), pieces, work)
        for at in range(len(ks)):
            s = _Sums.of([of_piece[at] for of_piece in sums])
            totals[:, at] += s.total / len(of), s.variance
            found[at, of] = s.own
    return {
        k: Recall(
            float(found[at].sum()) / m,
            totals[0, at] / m,
            float(np.sqrt(totals[1, at])) / m,
            found[at],
        )
        for at, k in enumerate(ks)
    }


@dataclass(frozen=True)
class _Gallery:
    """Unit rows (m, r); ``by_group`` (m,) are their places group by group, from ``starts`` on."""

    targets: Float64
    by_group: Groups
    starts: Groups

    def sums(self, queries: Float64, of: Groups, ks: Sequence[int], piece: Groups) -> list[_Sums]:
        """Of s[A, B], A the groups of ``piece`` and B those of ``of``, which holds the piece."""
        ends = np.append(self.starts, len(self.by_group))
        rows = [self.by_group[ends[group] : ends[group + 1]] for group in piece]
        firsts = np.cumsum([0, *(len(row) for row in rows[:-1])])
        cosines = queries[np.concatenate(rows)] @ self.targets.T
        own = np.searchsorted(of, piece)
        made = []
        for k in ks:
            kth = np.partition(cosines, -k, axis=1)[:, -k, None]
            above = cosines > kth + _TIE
            tied = np.abs(cosines - kth) <= _TIE
            s = np.add.reduceat(self._found(above, tied, k)[:, of], firsts, axis=0)
            squares = float(np.einsum("ij,ij->", s, s))
            diagonal = s[np.arange(len(piece)), own]
            made.append(_Sums(diagonal, squares, s.sum(axis=1), s.sum(axis=0)))
        return made

    def _found(self, above: NDArray[np.bool_], tied: NDArray[np.bool_], k: int) -> Float64:
        """(queries, groups): the chance that a row of a group has one of the first k places.

        Of the places that are left, each of the tied rows is as likely to get one as any other:
        that none of t of them does is a hypergeometric probability.
        """
        from scipy.stats import hypergeom

        found = np.add.reduceat(above[:, self.by_group], self.starts, axis=1, dtype=np.float64)
        found = np.minimum(found, 1.0)
        ties = np.add.reduceat(tied[:, self.by_group], self.starts, axis=1, dtype=np.int64)
        query, group = np.nonzero((ties > 0) & (found == 0))
        room, everyone = k - above.sum(axis=1), tied.sum(axis=1)
        missed = hypergeom.pmf(0, everyone[query], ties[query, group], room[query])
        found[query, group] = 1 - missed
        return found


@dataclass(frozen=True)
class _Sums:
    """Of a table s, or some of its rows: its diagonal, the sum of its squares, of each row and of
    each column."""

    own: Float64
    squares: float
    rows: Float64
    columns: Float64

    @classmethod
    def of(cls, parts: Sequence[_Sums]) -> _Sums:
        """Those of all rows, from those of pieces."""
        return cls(
            np.concatenate([part.own for part in parts]),
            sum(part.squares for part in parts),
            np.concatenate([part.rows for part in parts]),
            np.sum([part.columns for part in parts], axis=0),
        )

    @property
    def total(self) -> float:
        """The sum of all."""
        return float(self.rows.sum())

    @property
    def variance(self) -> float:
        """Of the diagonal's sum when the columns are in random order; 0 for a table of one."""
        g = len(self.columns)
        if g < 2:
            return 0.0
        lines = float((self.rows**2).sum() + (self.columns**2).sum())
        return max(self.squares - lines / g + (self.total / g) ** 2, 0.0) / (g - 1)
