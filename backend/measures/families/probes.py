"""How much of a label a layer gives away to a linear classifier."""

from __future__ import annotations

import math
import operator
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from backend.errors import InputError
from backend.measures.chance.seeds import Bounds, t_interval
from backend.measures.core.base import (
    Float64,
    Prepared,
    as_representation,
    constant_reason,
    duplicate_warning,
    prepare,
)
from backend.measures.core.groups import Groups, as_groups
from backend.measures.core.parallel import map_pieces
from backend.measures.core.result import NAN, Result
from backend.measures.families.kernel import check_choice
from backend.remarks import Remark, Remarks, remark

Task = Literal["binary", "multiclass", "multilabel"]
Labels = NDArray[np.intp]

METRICS: dict[str, str] = {"binary": "AUROC", "multiclass": "accuracy", "multilabel": "macro-F1"}

MAX_ITERATIONS = 100


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """A fitted linear classifier of vectors of d numbers, in plain numbers.

    ``mean`` and ``scale`` (d,) standardise a vector; ``coefficients`` (k, d) and ``intercepts``
    (k,) then give a logit an output. ``exclusive``: the k outputs are classes of which a sample has
    one, and their probabilities the softmax of the logits (of two classes the first is the
    reference, all 0); else they are labels, and each has the logistic function of its own logit.
    ``n`` samples were fitted; ``converged`` (k,) is False where the iterations ran out.
    """

    mean: Float64
    scale: Float64
    coefficients: NDArray[np.float32]
    intercepts: Float64
    exclusive: bool
    n: int
    converged: NDArray[np.bool_]

    def probabilities(self, x: NDArray[np.floating]) -> Float64:
        """(n, k) in 0..1 for vectors ``x`` (n, d); NaN where a vector is not finite."""
        with np.errstate(invalid="ignore", over="ignore"):
            standardised = (x.astype(np.float64) - self.mean) / self.scale
            logits = standardised @ self.coefficients.T.astype(np.float64) + self.intercepts
            if not self.exclusive:
                labels: Float64 = np.exp(-np.logaddexp(0, -logits))
                return labels
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))
            classes: Float64 = powers / powers.sum(axis=1, keepdims=True)
            return classes


def fit_linear_probe(
    x: object, labels: object, *, task: Task, folds: int = 5, penalty: float = 0.03
) -> LinearProbe | None:
    """The classifier of :func:`linear_probe`, fitted once on all of ``x`` (n, d).

    Arguments, errors and the classifier are those of :func:`linear_probe`, whose value says how
    well it does on samples that it has not seen: this one has seen all of them. Outputs are the
    classes in sorted order (multilabel: the labels in theirs). Coefficients are float32, which
    moves a probability by less than 1e-6. None where the value would be NaN with a reason.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.preprocessing import StandardScaler

    check_choice(task, Task, "task")
    array = as_representation(x, "x")
    _check(folds, penalty)
    prepared = prepare(array, "x")
    targets, names = _targets(labels, task, len(array))
    if _undefined(prepared, targets, names, task, folds):
        return None
    scaler = StandardScaler().fit(array.astype(np.float64))
    train = scaler.transform(array.astype(np.float64))
    several = task == "multilabel"
    columns = list(targets.T) if several else [targets]
    weight = "balanced" if several else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # kept as ``converged`` instead
        fits = map_pieces(
            lambda column: _logistic(train, column, penalty, weight),
            columns,
            float(train.size) * MAX_ITERATIONS * len(columns),
        )
    coefficients = np.concatenate([model.coef_ for model, _ in fits])
    intercepts = np.concatenate([model.intercept_ for model, _ in fits])
    converged = np.array([done for _, done in fits])
    if not several:
        if len(names) == 2:  # one logit says it all
            coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
            intercepts = np.concatenate([np.zeros_like(intercepts), intercepts])
        converged = np.repeat(converged, len(names))
    return LinearProbe(
        mean=scaler.mean_,
        scale=scaler.scale_,
        coefficients=coefficients.astype(np.float32),
        intercepts=intercepts.astype(np.float64),
        exclusive=not several,
        n=len(array),
        converged=converged,
    )


def linear_probe(
    x: object,
    labels: object,
    *,
    task: Task,
    folds: int = 5,
    seed: int = 0,
    penalty: float = 0.03,
    groups: object = None,
) -> Result:
    """Cross-validated score of a linear classifier of ``labels`` on ``x`` (n, d).

    ``labels``: (n,) of two classes (``"binary"``: AUROC, the larger class value is positive) or of
    several (``"multiclass"``: accuracy), or (n, m) of 0/1 (``"multilabel"``: macro-F1 over the
    labels). Samples without a label are the caller's to leave out. Range 0..1.

    The classifier is logistic regression (multinomial; one for each label, with classes weighted
    equally so that rare labels are found) with the penalty ½ · ``penalty`` · ‖w‖² on the mean loss
    of standardised features, by scikit-learn's L-BFGS. The penalty, stronger than scikit-learn's
    default, keeps d > n well posed and lets 20 to 50 iterations do; 100 are the most, which bounds
    the cost at 200·folds·n·d multiply-adds a class or label (about a second for n = 2048, d = 768
    and 10 classes), and folds that reach them are counted in a warning. Ridge regression costs as
    much here and lost up to 8 points of accuracy on several classes.

    Features are standardised inside each fold by the training samples. Folds are stratified: the
    classes (of a multilabel sample, its rarest label) are dealt out in a random order (``seed``).
    Samples of one of the ``groups`` (n names) are in the same fold, or near copies of what is held
    out would be trained on: groups are dealt out, the most uneven ones first, each to the fold
    whose share of every class it brings nearest to that of the others (scikit-learn's
    StratifiedGroupKFold). The value is the mean over the folds and ``ci_low``..``ci_high`` the 95 %
    t-interval of that mean within 0..1. Training sets overlap, so folds differ less than
    independent experiments would: the variance of their mean is taken as (1/k + 1/(k - 1)) times
    that between folds (Nadeau & Bengio 2003).
    ``null_mean`` is the chance level: 0.5, the share of the largest class, or NaN (multilabel).
    Invariant to shifts and to scaling of single coordinates. NaN with a reason if ``x`` is
    constant, if there is one class, or if a class (a label, or its absence) has members in fewer
    than ``folds`` groups (each sample being one without ``groups``). InputError for labels that do
    not fit the task, ``folds`` < 2 or a ``penalty`` that is not positive. (Alain & Bengio 2017.)
    """
    check_choice(task, Task, "task")
    array = as_representation(x, "x")
    n, d = array.shape
    _check(folds, penalty)
    prepared = prepare(array, "x")
    targets, names = _targets(labels, task, n)
    together = as_groups(groups, n)
    of = None
    undefined = _undefined(prepared, targets, names, task, folds)
    if undefined is None:
        of = _folds(targets, folds, seed, together)
        undefined = _unheld(targets, names, of, task, folds) if together is not None else None
    reason = Remarks.of(undefined)
    remarks = Remarks.of(duplicate_warning(prepared, "x"))
    value = low = high = NAN
    if of is not None and not reason:
        data = array.astype(np.float64)
        fits = _fits(data, targets, of, task, penalty)
        scores = np.array([score for score, _ in fits])
        cut = sum(not converged for _, converged in fits)
        if cut:
            cut_short = remark("unconverged", cut=cut, folds=folds, iterations=MAX_ITERATIONS)
            remarks = Remarks.of(remarks, cut_short)
        value = float(scores.mean())
        sd = float(scores.std(ddof=1)) * math.sqrt(1 + folds / (folds - 1))
        low, high = t_interval(value, sd, folds, bounds=Bounds(0, 1))
    return Result(
        measure="linear_probe",
        value=value,
        n=n,
        dims=(d,),
        estimator="cross-validated",
        params={
            "task": task,
            "metric": METRICS[task],
            "folds": folds,
            "seed": seed,
            "penalty": penalty,
        },
        ci_low=low,
        ci_high=high,
        null_mean=NAN if reason else _chance(targets, task),
        warnings=remarks,
        reason=reason,
    )


def _check(folds: int, penalty: float) -> None:
    try:
        enough = operator.index(folds) >= 2
    except TypeError:
        enough = False
    if not enough:
        raise InputError(f"must be a whole number of at least 2, got {folds!r}", where="folds")
    if not (np.isfinite(penalty) and penalty > 0):
        raise InputError(f"must be a positive number, got {penalty}", where="penalty")


def _targets(labels: object, task: str, n: int) -> tuple[Labels, list[str]]:
    """Class indices (n,) or 0/1 (n, m), and the classes' or labels' names."""
    array = np.asarray(labels)
    if len(array.shape) == 0 or len(array) != n:
        count = len(array) if array.shape else "no"
        raise InputError(f"{count} labels, but x has {n} samples", where="labels")
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        raise InputError(
            "some are NaN or infinite", where="labels", hint="Leave those samples out of x too."
        )
    wanted = 2 if task == "multilabel" else 1
    if array.ndim != wanted or array.size == 0:
        shape = "(samples, labels)" if wanted == 2 else "(samples,)"
        raise InputError(f"expected shape {shape}, got {array.shape}", where="labels")
    if task == "multilabel":
        if not np.isin(array, (0, 1)).all():
            raise InputError("expected 0 or 1 for each label", where="labels")
        return array.astype(np.intp), [f"label {j}" for j in range(array.shape[1])]
    values, indices = np.unique(array, return_inverse=True)
    if task == "binary" and len(values) > 2:
        raise InputError(
            f"{len(values)} classes in a binary task", where="labels", hint="Use task='multiclass'."
        )
    return indices.astype(np.intp), [f"class {value}" for value in values]


def _undefined(
    prepared: Prepared, targets: Labels, names: list[str], task: str, folds: int
) -> Remark | None:
    """Why there is no probe; None where there is one."""
    return constant_reason("x") if prepared.constant else _too_few(targets, names, task, folds)


def _too_few(targets: Labels, names: list[str], task: str, folds: int) -> Remark | None:
    """Why the task cannot be cross-validated; None if it can."""
    if task != "multilabel" and len(names) == 1:
        return remark("one_class", name=names[0])
    counts = targets.sum(axis=0) if task == "multilabel" else np.bincount(targets)
    for name, count in zip(names, counts, strict=True):
        if count < folds:
            return remark("small_class", name=name, count=int(count), folds=folds)
        if task == "multilabel" and len(targets) - count < folds:
            rest = len(targets) - int(count)
            return remark("nearly_all", name=name, count=rest, folds=folds)
    return None


def _unheld(targets: Labels, names: list[str], of: Labels, task: str, folds: int) -> Remark | None:
    """Which class (label, or its absence) whole groups leave out of a fold; None for none.

    Of several classes one may be missing in a fold, but not in all that it is trained on.
    """
    columns = targets.T if task == "multilabel" else [targets == at for at in range(len(names))]
    for name, has in zip(names, columns, strict=True):
        held = [(has[of == k] > 0).any() for k in range(folds)]
        lacking = [(has[of == k] == 0).any() for k in range(folds)]
        least = 2 if task == "multiclass" else folds
        if sum(held) < least or sum(lacking) < least:
            return remark(
                "grouped_class", name=name, folds=folds, held=int(min(sum(held), sum(lacking)))
            )
    return None


def _folds(targets: Labels, folds: int, seed: int, groups: Groups | None = None) -> Labels:
    """The fold of each sample (n,): each class dealt out in turn, in random order."""
    classes = targets
    if targets.ndim == 2:
        rarest_first = np.argsort(targets.sum(axis=0), kind="stable")
        ordered = targets[:, rarest_first]
        classes = np.where(ordered.any(axis=1), ordered.argmax(axis=1), targets.shape[1])
    if groups is not None:
        return _folds_of_groups(classes, folds, seed, groups)
    shuffled = np.random.default_rng(seed).permutation(len(classes))
    order = shuffled[np.argsort(classes[shuffled], kind="stable")]
    of = np.empty(len(classes), dtype=np.intp)
    of[order] = np.arange(len(classes)) % folds
    return of


def _folds_of_groups(classes: Labels, folds: int, seed: int, groups: Groups) -> Labels:
    from sklearn.model_selection import StratifiedGroupKFold

    of = np.zeros(len(classes), dtype=np.intp)
    if len(np.unique(groups)) < folds:
        return of  # one fold, in which nothing is held out from
    dealt = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class of fewer samples than folds
        for k, (_, held) in enumerate(dealt.split(classes, classes, groups)):
            of[held] = k
    return of


def _fits(
    x: Float64, targets: Labels, of: Labels, task: str, penalty: float
) -> list[tuple[float, bool]]:
    """:func:`_score` of each fold, folds in parallel."""
    from sklearn.exceptions import ConvergenceWarning

    work = float(x.size) * MAX_ITERATIONS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said in the result instead
        return map_pieces(
            lambda k: _score(x, targets, of == k, task, penalty), range(int(of.max()) + 1), work
        )


def _score(
    x: Float64, targets: Labels, held: NDArray[np.bool_], task: str, penalty: float
) -> tuple[float, bool]:
    """The score on the held-out samples of a classifier fitted on the others; did it converge?"""
    from sklearn.metrics import f1_score, roc_auc_score
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(x[~held])
    train, test = scaler.transform(x[~held]), scaler.transform(x[held])
    seen, truth = targets[~held], targets[held]
    if task != "multilabel":
        model, converged = _logistic(train, seen, penalty, None)
        if task == "binary":
            return float(roc_auc_score(truth, model.decision_function(test))), converged
        return float((model.predict(test) == truth).mean()), converged
    models = [_logistic(train, column, penalty, "balanced") for column in seen.T]
    predicted = np.column_stack([model.predict(test) for model, _ in models])
    has = truth.any(axis=0)  # a label that no held-out sample has cannot be predicted rightly
    score = float(f1_score(truth[:, has], predicted[:, has], average="macro", zero_division=0.0))
    return score, all(converged for _, converged in models)


def _logistic(
    train: Float64, labels: Labels, penalty: float, weight: str | None
) -> tuple[Any, bool]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(
        C=1 / (penalty * len(train)), class_weight=weight, max_iter=MAX_ITERATIONS, tol=1e-3
    )
    model.fit(train, labels)
    return model, int(np.max(model.n_iter_)) < MAX_ITERATIONS


def _chance(targets: Labels, task: str) -> float:
    if task == "multilabel":
        return NAN
    return 0.5 if task == "binary" else float(np.bincount(targets).max() / len(targets))
