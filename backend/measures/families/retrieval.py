"""Find the partner of a sample: retrieval between two layers after an orthogonal map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.errors import InputError
from backend.measures.core.base import Float64, FloatArray, as_representation, prepare, same_samples
from backend.measures.core.distances import block_rows
from backend.measures.core.hsic import sum_of
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


def retrieval(x: object, y: object, *, ks: Sequence[int] = (1, 5, 10), seed: int = 0) -> Retrieval:
    """R@k of ``x`` (n, d_x) to ``y`` (n, d_y) and back, the widths may differ.

    Only for true pairs: that row a of ``x`` and row a of ``y`` belong together, and no other row
    does as well, is the caller's to know. A random half of the samples (``seed``) gives the means
    that are subtracted and the orthogonal map (the Procrustes solution U Vᵀ of Xᵀ Y = U S Vᵀ); the
    other half is the gallery and, in turn, the queries, compared by cosine in the space that the
    map shares: min(d_x, d_y) directions, or as many as the fitted half determines (then with a
    warning). Recall is the share of queries whose partner is among the ``k`` most similar; tied
    places are shared out, so a gallery of copies scores chance.
    Range 0..1. Invariant to shifts, scale and orthogonal maps of either side; a permutation of the
    rows draws other halves. The null under a random matching of the gallery, with the map as it is,
    is exact: mean k / n_gallery. ``n`` of a result counts the gallery.
    Cost: ½n·d_x·d_y + d³ for the map, ¼n²·d for the similarities, in blocks. NaN with a reason
    where the fitted half of a side is constant or the sides are uncorrelated. InputError naming
    ``ks`` unless 1 <= k < n_gallery, and for n < 4.
    """
    names = ("x", "y")
    arrays = [
        as_representation(a, name, min_samples=4) for a, name in zip((x, y), names, strict=True)
    ]
    n = same_samples(arrays, names)
    held = n // 2
    _check_ks(ks, held)
    order = np.random.default_rng(seed).permutation(n)
    gallery, fit = np.sort(order[:held]), np.sort(order[held:])
    x_held, y_held, reason, warnings = _shared_space(arrays, names, fit, gallery)
    dims = (int(arrays[0].shape[1]), int(arrays[1].shape[1]))

    def direction(name: str, queries: Float64, targets: Float64) -> dict[int, Result]:
        recalls = dict.fromkeys(ks, (NAN, NAN)) if reason else _recall(queries, targets, ks)
        return {
            k: Result(
                measure="retrieval",
                value=value,
                n=held,
                dims=dims,
                estimator=ESTIMATOR,
                params={"direction": name, "k": int(k), "seed": seed},
                null_mean=NAN if reason else k / held,
                null_sd=sd,
                warnings=warnings,
                reason=reason,
            )
            for k, (value, sd) in recalls.items()
        }

    return Retrieval(direction("x_to_y", x_held, y_held), direction("y_to_x", y_held, x_held))


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


def _shared_space(
    arrays: Sequence[FloatArray],
    names: Sequence[str],
    fit: NDArray[np.int64],
    gallery: NDArray[np.int64],
) -> tuple[Float64, Float64, Remarks, Remarks]:
    """Unit rows (n_gallery, r) of both sides in the directions that the fitted half matches."""
    fitted, held = [], []
    for array, name in zip(arrays, names, strict=True):
        prepared = prepare(array, name)
        empty = np.zeros((len(gallery), 0))
        rows = prepared.data[fit]
        mean = rows.mean(axis=0)
        rows = rows - mean
        # What is left of a unit norm after centring, if not rounding.
        if prepared.constant or np.linalg.norm(rows) <= 1e-13:
            return empty, empty, Remarks.of(remark("fitted_on_constant", name)), NOTHING
        fitted.append(rows)
        held.append(prepared.data[gallery] - mean)
    d_x, d_y = (rows.shape[1] for rows in fitted)
    work = float(d_x) * d_y * (len(fit) + 4 * min(d_x, d_y))
    left, values, right = map_pieces(_svd, [(fitted[0], fitted[1])], work)[0]
    floor = max(len(left), right.shape[1]) * np.finfo(np.float64).eps
    scale = np.linalg.norm(fitted[0]) * np.linalg.norm(fitted[1])
    rank = int((values > floor * scale).sum())
    if rank == 0:
        empty = np.zeros((len(gallery), 0))
        return empty, empty, Remarks.of(remark("uncorrelated", *names)), NOTHING
    warnings = NOTHING
    full = min(array.shape[1] for array in arrays)
    if rank < full:
        warnings = Remarks.of(remark("map_of_low_rank", n=len(fit), rank=rank, full=full))
    return _unit(held[0] @ left[:, :rank]), _unit(held[1] @ right[:rank].T), NOTHING, warnings


def _svd(sides: tuple[Float64, Float64]) -> tuple[Float64, Float64, Float64]:
    """U, S, Vᵀ of the (d_x, d_y) cross-product."""
    left, values, right = np.linalg.svd(sides[0].T @ sides[1], full_matrices=False)
    return left, values, right


def _unit(rows: Float64) -> Float64:
    """Rows at norm 1; a row that is zero stays zero, equally similar to everything."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Float64 = np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)
    return unit


def _recall(
    queries: Float64, targets: Float64, ks: Sequence[int]
) -> dict[int, tuple[float, float]]:
    """(recall, its null sd) at each k.

    With h[a, b] the share of the first k places of query a that goes to target b, recall is the
    mean of h[a, a], and over random matchings Σ h[a, π(a)] has the variance Σ h̃² / (m - 1), h̃ the
    doubly centred h (Hoeffding 1951).
    """
    m = len(queries)
    b = block_rows(m)

    def block(start: int) -> list[tuple[float, float, Float64]]:
        """At each k the sums of h[a, a] and h² and the column sums over a block of queries."""
        cosines = queries[start : start + b] @ targets.T
        own = np.arange(len(cosines))
        sums = []
        for k in ks:
            kth = np.partition(cosines, m - k, axis=1)[:, m - k, None]
            above = cosines > kth + _TIE
            tied = np.abs(cosines - kth) <= _TIE
            room = (k - above.sum(axis=1)) / tied.sum(axis=1)
            share = above + tied * room[:, None]
            hits = float(share[own, start + own].sum())
            sums.append((hits, float(np.einsum("ij,ij->", share, share)), share.sum(axis=0)))
        return sums

    work = float(m) * m * (queries.shape[1] + 30 * len(ks))
    blocks = map_pieces(block, range(0, m, b), work)
    recalls = {}
    for at, k in enumerate(ks):
        hits = sum(sums[at][0] for sums in blocks)
        squares = sum(sums[at][1] for sums in blocks)
        columns = sum_of([sums[at][2] for sums in blocks])
        recalls[k] = hits / m, _null_sd(m, k, squares, columns)
    return recalls


def _null_sd(m: int, k: int, squares: float, columns: Float64) -> float:
    # Every row of h sums to k, so only the columns differ from the grand mean.
    centred = squares - m * (k / m) ** 2 * m - float(((columns - k) ** 2).sum()) / m
    return float(np.sqrt(max(centred, 0.0) / (m - 1))) / m
