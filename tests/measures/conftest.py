"""Arrays and slow, obvious reference computations for the measures' tests."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest


def centred(x):
    x = np.asarray(x, dtype=np.float64)
    return x - x.mean(axis=0)


def reference_cka(x, y, estimator):
    """Textbook CKA on explicit n x n Grams in float64."""
    grams = [a @ a.T for a in (centred(x), centred(y))]
    if estimator == "debiased":
        grams = [u_centred(g) for g in grams]
    k, m = grams
    return (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())


def u_centred(gram):
    """Székely & Rizzo's U-centring: zero diagonal and zero row sums."""
    n = len(gram)
    k = gram.copy()
    np.fill_diagonal(k, 0)
    rows = k.sum(axis=0) / (n - 2)
    k = k - rows[:, None] - rows[None, :] + k.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(k, 0)
    return k


def related(n, widths, seed=0, noise=1.0):
    """Layers of different widths that share some structure."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n, 5))
    return [latent @ rng.normal(size=(5, d)) + noise * rng.normal(size=(n, d)) for d in widths]


def orthogonal(d, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0]


def names(count, m):
    """The groups of ``count`` photos with ``m`` captions each."""
    return np.repeat([f"photo {g}" for g in range(count)], m)


def photos(count, m, d, seed, noise=0.0):
    """Each row ``m`` times, with ``noise`` of its own."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, d))[np.arange(count * m) // m] + noise * rng.normal(
        size=(count * m, d)
    )


@pytest.fixture(scope="session")
def arrays():
    """The functions of this file."""
    return SimpleNamespace(
        centred=centred,
        reference_cka=reference_cka,
        u_centred=u_centred,
        related=related,
        orthogonal=orthogonal,
        names=names,
        photos=photos,
    )
