"""Linear probes: separable and hopeless labels, no leaks, folds, undefined cases."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from backend.errors import InputError
from backend.measures import linear_probe
from backend.measures.chance.seeds import Bounds, t_interval
from backend.measures.core.groups import as_groups
from backend.measures.families import probes
from backend.measures.families.probes import _folds, fit_linear_probe

RNG = np.random.default_rng(0)
X = RNG.normal(size=(240, 12))
NOISY = X + 2 * RNG.normal(size=X.shape)
LABELS = {
    "binary": (X[:, 0] > 0.3).astype(int),
    "multiclass": X[:, :4].argmax(axis=1),
    "multilabel": (X[:, :3] > [0, 0.5, 1.2]).astype(int),
}


@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_scores_are_near_those_of_logistic_regression(task):
    metric = {"binary": "roc_auc", "multiclass": "accuracy"}[task]
    logistic = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    for x in (X, NOISY):
        expected = cross_val_score(logistic, x, LABELS[task], cv=5, scoring=metric).mean()
        result = linear_probe(x, LABELS[task], task=task)
        assert float(result) == pytest.approx(expected, abs=0.05)
        assert result.ci_low < float(result) < result.ci_high


@pytest.mark.parametrize("task", list(LABELS))
def test_readable_labels_score_high_and_shuffled_ones_at_chance(task):
    labels = LABELS[task]
    good = linear_probe(X, labels, task=task)
    shuffled = np.random.default_rng(1).permutation(labels)
    lost = linear_probe(X, shuffled, task=task)
    assert float(good) > float(lost) + 0.25
    if task != "multilabel":
        assert float(good) > good.null_mean + 0.25
        assert float(lost) == pytest.approx(lost.null_mean, abs=0.12)
    assert good.params["metric"] == {"binary": "AUROC", "multiclass": "accuracy"}.get(
        task, "macro-F1"
    )


def test_each_fold_is_standardised_by_its_training_samples_alone():
    labels, x = LABELS["multiclass"], NOISY.copy()
    x[0] *= 40  # one sample that would stretch the scale of the folds it is held out of
    of = _folds(labels, 5, 0)
    scores = []
    for k in range(5):
        train, test = of != k, of == k
        logistic = LogisticRegression(C=1 / (0.03 * train.sum()), tol=1e-3)
        model = make_pipeline(StandardScaler(), logistic).fit(x[train], labels[train])
        scores.append(model.score(x[test], labels[test]))
    assert float(linear_probe(x, labels, task="multiclass")) == pytest.approx(np.mean(scores))


def test_chance_is_the_largest_class_or_a_half():
    labels = np.repeat(["a", "b", "c"], [120, 80, 40])
    assert linear_probe(X, labels, task="multiclass").null_mean == 0.5
    labels = np.repeat(["a", "b", "c"], [160, 60, 20])
    assert linear_probe(X, labels, task="multiclass").null_mean == pytest.approx(2 / 3)
    assert linear_probe(X, labels == "c", task="binary").null_mean == 0.5
    assert math.isnan(linear_probe(X, LABELS["multilabel"], task="multilabel").null_mean)


def test_the_larger_class_is_the_positive_one():
    labels = np.where(X[:, 0] > 0, "yes", "no")
    assert float(linear_probe(X, labels, task="binary")) > 0.95


def test_held_out_samples_do_not_leak_into_training():
    # With many more dimensions than samples any labels can be learnt by heart.
    wide = np.random.default_rng(2).normal(size=(100, 800))
    labels = np.random.default_rng(3).integers(0, 2, 100)
    assert 0.3 < float(linear_probe(wide, labels, task="binary")) < 0.7


def test_rare_labels_are_found_too():
    rare = (X[:, [0, 1]] > 1.5).astype(int)
    assert 10 < rare.sum(axis=0).min() < 24
    assert float(linear_probe(X, rare, task="multilabel", seed=1)) > 0.6


def test_shifts_and_scales_of_single_coordinates_do_not_matter():
    rng = np.random.default_rng(4)
    moved = NOISY * rng.uniform(1e-5, 1e3, 12) + 1000 * rng.normal(size=12)
    for task, labels in LABELS.items():
        before = float(linear_probe(NOISY, labels, task=task))
        assert float(linear_probe(moved, labels, task=task)) == pytest.approx(before, abs=1e-9)


def test_the_seed_decides_the_folds_and_nothing_else_does():
    one = linear_probe(NOISY, LABELS["multiclass"], task="multiclass")
    assert one == linear_probe(NOISY, LABELS["multiclass"], task="multiclass")
    other = linear_probe(NOISY, LABELS["multiclass"], task="multiclass", seed=1)
    assert float(one) != float(other)


def test_interval_keeps_to_the_range_and_allows_for_training_sets_that_overlap(monkeypatch):
    scores = [0.91, 0.99, 0.97, 0.95, 1.0]
    monkeypatch.setattr(probes, "_fits", lambda *_: [(score, True) for score in scores])
    result = linear_probe(NOISY, LABELS["binary"], task="binary", folds=5)
    assert float(result) == pytest.approx(np.mean(scores))
    sd = np.std(scores, ddof=1) * np.sqrt(1 / 5 + 1 / 4)  # Nadeau & Bengio (2003)
    expected = t_interval(np.mean(scores), sd * np.sqrt(5), 5, bounds=Bounds(0, 1))
    assert (result.ci_low, result.ci_high) == pytest.approx(expected)
    assert 0 < result.ci_low < np.mean(scores) < result.ci_high < 1


def near_copies(task, groups=40, each=5, seed=0):
    """Groups of near copies whose labels are the group's own, at random: nothing to be learned."""
    rng = np.random.default_rng(seed)
    group = rng.permutation(np.repeat(np.arange(groups), each))
    x = (rng.normal(size=(groups, 20)) * 3)[group] + 0.1 * rng.normal(size=(len(group), 20))
    if task == "multilabel":
        return x, (rng.random((groups, 3)) < 0.5)[group].astype(int), group
    return x, rng.permutation(np.arange(groups) % (2 if task == "binary" else 3))[group], group


@pytest.mark.parametrize(("task", "chance"), [("binary", 0.5), ("multiclass", 1 / 3)])
def test_random_labels_of_near_copies_are_read_across_groups_at_chance(task, chance):
    leaked, honest = [], []
    for seed in range(12):
        x, labels, group = near_copies(task, seed=seed)
        leaked.append(float(linear_probe(x, labels, task=task)))
        names = [f"photo {at}" for at in group]
        honest.append(float(linear_probe(x, labels, task=task, groups=names)))
    assert np.mean(leaked) > 0.75, "a copy of what is held out was trained on"
    assert abs(np.mean(honest) - chance) < 0.06


@pytest.mark.parametrize("task", list(LABELS))
def test_no_group_is_in_two_folds_and_classes_are_spread(task):
    _, labels, group = near_copies(task)
    of = probes._folds(labels, 5, 0, as_groups(group, len(group)))
    assert len({(g, k) for g, k in zip(group, of, strict=True)}) == 40
    assert np.bincount(of).min() > 25
    if task == "binary":
        share = [labels[of == k].mean() for k in range(5)]
        assert max(share) - min(share) < 0.3


def test_groups_that_leave_nothing_to_hold_out_are_a_reason():
    x, labels, group = near_copies("binary")
    few = np.minimum(group, 2)
    assert "folds of whole groups" in str(linear_probe(x, labels, task="binary", groups=few).reason)
    one = np.where(labels == 1, 99, group)
    assert "in 1 of 5 folds" in str(linear_probe(x, labels, task="binary", groups=one).reason)
    with pytest.raises(InputError, match="199 groups, but there are 200 samples"):
        linear_probe(x, labels, task="binary", groups=group[1:])


@pytest.mark.parametrize("task", list(LABELS))
def test_folds_are_stratified(task):
    targets = LABELS[task]
    of = _folds(targets, 5, 0)
    assert np.bincount(of).tolist() == [48] * 5
    if task == "multilabel":
        rarest = targets.sum(axis=0).argmin()
        counts = np.array([targets[of == k][:, rarest].sum() for k in range(5)])
        assert np.ptp(counts) <= 1
    else:
        counts = np.array([np.bincount(targets[of == k]) for k in range(5)])
        assert (np.ptp(counts, axis=0) <= 1).all()


@pytest.mark.parametrize(
    ("labels", "task", "reason"),
    [
        (np.zeros(240, int), "binary", "all samples have class 0"),
        (np.arange(240) < 4, "binary", "class True has 4 samples, fewer than 5 folds"),
        (np.repeat([3, 7, 8], [100, 137, 3]), "multiclass", "class 8 has 3 samples"),
        (np.eye(240, 2, dtype=int), "multilabel", "label 0 has 1 samples"),
        (1 - np.eye(240, 1, dtype=int), "multilabel", "label 0 is missing in 1 samples"),
    ],
)
def test_tasks_without_enough_samples_are_nan_with_the_reason(labels, task, reason):
    result = linear_probe(X, labels, task=task)
    assert math.isnan(float(result)) and math.isnan(result.ci_low) and math.isnan(result.null_mean)
    assert str(result.reason).startswith(reason)


def test_constant_layer_is_nan_and_a_constant_coordinate_is_ignored():
    result = linear_probe(np.full((240, 3), 0.1), LABELS["binary"], task="binary")
    assert math.isnan(float(result)) and str(result.reason).startswith("x is constant")
    padded = np.column_stack([NOISY, np.full(240, 7.7)])
    assert float(linear_probe(padded, LABELS["binary"], task="binary")) == pytest.approx(
        float(linear_probe(NOISY, LABELS["binary"], task="binary")), abs=1e-9
    )


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (LABELS["binary"][:100], {"task": "binary"}, "labels: 100 labels, but x has 240 samples"),
        (LABELS["multiclass"], {"task": "binary"}, "labels: 4 classes in a binary task"),
        (LABELS["multilabel"], {"task": "binary"}, r"labels: expected shape \(samples,\)"),
        (LABELS["binary"], {"task": "multilabel"}, r"labels: expected shape \(samples, labels\)"),
        (2 * LABELS["multilabel"], {"task": "multilabel"}, "labels: expected 0 or 1"),
        (np.full(240, np.nan), {"task": "binary"}, "labels: some are NaN"),
        (LABELS["binary"], {"task": "regression"}, "task: unknown task 'regression'"),
        (LABELS["binary"], {"task": "binary", "folds": 1}, "folds: must be a whole number"),
        (LABELS["binary"], {"task": "binary", "folds": 2.5}, "folds: must be a whole number"),
        (LABELS["binary"], {"task": "binary", "penalty": 0}, "penalty: must be a positive"),
    ],
)
def test_unusable_labels_and_options_are_refused(labels, options, message):
    with pytest.raises(InputError, match=message):
        linear_probe(X, labels, **options)


def test_unusable_arrays_are_refused_and_tensors_accepted():
    x = NOISY.astype(np.float16)
    labels = LABELS["binary"]
    exact = float(linear_probe(x.astype(float), labels, task="binary"))
    tensors = linear_probe(torch.from_numpy(x), torch.from_numpy(labels), task="binary")
    assert float(tensors) == pytest.approx(exact, abs=1e-9)
    with pytest.raises(InputError, match="x: NaN in 240 of 240 rows"):
        linear_probe(np.full_like(x, np.nan), labels, task="binary")
    with pytest.raises(InputError, match="x: expected floating-point"):
        linear_probe(x.astype(int), labels, task="binary")


def pipeline(weight=None, **options):
    """The classifier in scikit-learn's own words."""
    logistic = LogisticRegression(C=1 / (0.03 * len(X)), class_weight=weight, **options)
    return make_pipeline(StandardScaler(), logistic)


OPTIONS = {"max_iter": 100, "tol": 1e-3}
OFFSET = NOISY * np.geomspace(1e-4, 1e3, 12) + 300 * np.arange(12)


@pytest.mark.parametrize("x", [NOISY, OFFSET, OFFSET.astype(np.float32)])
@pytest.mark.parametrize("task", list(LABELS))
def test_a_fitted_probe_gives_the_probabilities_of_scikit_learn(x, task):
    labels = LABELS[task]
    new = x[::7] + x.std(axis=0)
    probe = fit_linear_probe(x, labels, task=task)
    given = probe.probabilities(new)
    x, new = x.astype(np.float64), new.astype(np.float64)
    if task == "multilabel":
        fits = [pipeline("balanced", **OPTIONS).fit(x, column) for column in labels.T]
        expected = np.column_stack([fit.predict_proba(new)[:, 1] for fit in fits])
    else:
        expected = pipeline(**OPTIONS).fit(x, labels).predict_proba(new)
        np.testing.assert_allclose(expected.sum(axis=1), 1)
    assert probe.n == 240 and probe.converged.tolist() == [True] * expected.shape[1]
    assert probe.coefficients.dtype == np.float32
    assert np.ptp(expected) > 0.5
    np.testing.assert_allclose(given, expected, atol=1e-6)


def test_it_is_the_minimum_that_another_solver_finds():
    probe = fit_linear_probe(NOISY, LABELS["multiclass"], task="multiclass")
    exact = pipeline(solver="newton-cg", tol=1e-10, max_iter=1000).fit(NOISY, LABELS["multiclass"])
    np.testing.assert_allclose(probe.probabilities(NOISY), exact.predict_proba(NOISY), atol=5e-3)


def test_of_two_classes_the_first_is_the_reference():
    yes = LABELS["binary"]
    binary = fit_linear_probe(NOISY, yes, task="binary")
    named = fit_linear_probe(NOISY, np.array(["no", "yes"])[yes], task="multiclass")
    assert not binary.coefficients[0].any() and binary.intercepts[0] == 0
    np.testing.assert_array_equal(named.probabilities(X), binary.probabilities(X))
    assert ((binary.probabilities(NOISY)[:, 1] > 0.5) == yes).mean() > 0.65


def test_there_is_a_fitted_probe_exactly_where_there_is_a_value():
    for labels, task in (
        (np.zeros(240, int), "binary"),
        (np.arange(240) < 4, "binary"),
        (np.repeat([3, 7, 8], [100, 137, 3]), "multiclass"),
        (np.eye(240, 2, dtype=int), "multilabel"),
    ):
        assert fit_linear_probe(X, labels, task=task) is None
    assert fit_linear_probe(np.full((240, 3), 0.1), LABELS["binary"], task="binary") is None
    assert fit_linear_probe(X, np.arange(240) < 4, task="binary", folds=4) is not None
    with pytest.raises(InputError, match="labels: 4 classes in a binary task"):
        fit_linear_probe(X, LABELS["multiclass"], task="binary")
    with pytest.raises(InputError, match="penalty: must be a positive"):
        fit_linear_probe(X, LABELS["binary"], task="binary", penalty=-1)


def test_a_fit_that_was_cut_short_says_so(monkeypatch):
    monkeypatch.setattr(probes, "MAX_ITERATIONS", 2)
    rare = np.column_stack([NOISY[:, 0] > 0, RNG.permutation(240) < 6]).astype(int)
    assert not fit_linear_probe(NOISY, rare, task="multilabel").converged.any()
    probe = fit_linear_probe(NOISY, LABELS["multiclass"], task="multiclass")
    assert probe.converged.tolist() == [False] * 4


def test_far_and_broken_vectors_do_not_break_the_others():
    far = np.vstack([1e6 * X[:2], X[2:4], np.full((1, 12), np.nan), np.full((1, 12), np.inf)])
    for task, labels in LABELS.items():
        probe = fit_linear_probe(X, labels, task=task)
        with np.errstate(all="raise", under="ignore"):
            given = probe.probabilities(far)
        assert np.isin(given[:2], (0, 1)).all() and np.isnan(given[4]).all()
        np.testing.assert_array_equal(given[2:4], probe.probabilities(X[2:4]))
