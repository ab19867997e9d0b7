"""Agreement with independent libraries, where one of them is right."""

import numpy as np
import pytest

from backend.measures import (
    cka,
    effective_dimension,
    participation_ratio,
    procrustes,
    rsa,
)

rsatoolbox = pytest.importorskip("rsatoolbox")
skdim = pytest.importorskip("skdim")


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(3)
    latent = rng.normal(size=(40, 6))
    return [latent @ rng.normal(size=(6, d)) + rng.normal(size=(40, d)) for d in (12, 9)]


def compared(pair, method):
    rdms = [rsatoolbox.rdm.calc_rdm(rsatoolbox.data.Dataset(x), method="euclidean") for x in pair]
    return float(rsatoolbox.rdm.compare(*rdms, method=method)[0, 0])


def test_rsatoolboxs_whitened_cosine_is_biased_cka(pair):
    expected = compared(pair, "cosine_cov")
    assert float(cka(*pair, estimator="biased")) == pytest.approx(expected, abs=1e-6)
    assert float(rsa(*pair, comparison="cosine_cov")) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("comparison", "theirs"), [("spearman", "spearman"), ("cosine", "cosine"), ("pearson", "corr")]
)
def test_rsa_is_rsatoolboxs(pair, comparison, theirs):
    assert float(rsa(*pair, comparison=comparison)) == pytest.approx(
        compared(pair, theirs), abs=1e-9
    )


def test_the_procrustes_distance_follows_from_rsatoolboxs_bures_similarity(pair):
    # Bures similarity is the normalised nuclear norm; d² = 2 - 2 of it.
    expected = np.sqrt(2 - 2 * compared(pair, "bures"))
    assert float(procrustes(*pair)) == pytest.approx(expected, abs=1e-6)


def test_dimensions_are_those_of_scikit_dimension(pair):
    for x in pair:
        by_share = skdim.id.lPCA(ver="ratio", alphaRatio=0.95).fit(x).dimension_
        assert float(effective_dimension(x, 0.95)) == by_share
        by_participation = skdim.id.lPCA(ver="participation_ratio").fit(x).dimension_
        assert float(participation_ratio(x)) == pytest.approx(by_participation, rel=1e-6)


def test_two_nn_is_near_scikit_dimensions_on_a_plane_in_many_dimensions():
    from backend.measures import two_nn

    rng = np.random.default_rng(0)
    x = rng.uniform(size=(600, 2)) @ rng.normal(size=(2, 20))
    theirs = skdim.id.TwoNN(discard_fraction=0.1).fit(x).dimension_
    assert float(two_nn(x, discard=0.1)) == pytest.approx(theirs, rel=0.02)
