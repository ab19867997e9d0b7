"""How well intervals over seeds cover, and what a dimension needs to be seen.

    uv run python benchmarks/inference_measures.py

First, per distribution of a bounded value and 3, 5 and 10 seeds: the coverage of Student's interval
and how often it leaves the range, of the t interval of the logits brought back, and of the interval
of :mod:`backend.measures.chance.seeds`. Target: 0.92 to 0.96. Then, for known spectra of 768
dimensions: the effective dimension that n samples show as a share of the true one, samples a
dimension, and what a fit of 1/value on 1/n (n/4, n/2, n) extrapolates to.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit

from backend.measures.chance.seeds import Bounds, t_intervals, t_quantile
from backend.measures.families.dimension import effective_dimension, is_resolved

SEEDS = (3, 5, 10)
DRAWS = 20_000
LOW, HIGH = 0.92, 0.96
BETAS = ((2, 2), (5, 5), (20, 20), (8, 2), (18, 2), (45, 5), (190, 10), (3, 1), (1, 3), (5, 1))
BELOW_ZERO = ((0.0, 0.02), (0.01, 0.02), (0.05, 0.02), (0.3, 0.1))
UNIT, SOFT = Bounds(0.0, 1.0), Bounds(0.0, 1.0, soft=True)
K = np.arange(1, 769)
SPECTRA = {
    "flat": np.ones(768),
    "1/sqrt k": K**-0.5,
    "1/k": 1.0 / K,
    "1/k^1.5": K**-1.5,
    "1/k^2": K**-2.0,
    "exp(-k/50)": np.exp(-K / 50),
    "exp(-k/150)": np.exp(-K / 150),
    "10 large, flat": np.where(K <= 10, 50.0, 1.0),
}


def covered(low: np.ndarray, high: np.ndarray, truth: float) -> float:
    """Share of intervals that hold the truth."""
    return float(np.mean((low <= truth) & (truth <= high)))


def seeds_table() -> bool:
    """Print the coverage; whether ours misses the target anywhere."""
    rng = np.random.default_rng(0)
    missed = False
    print(f"{'value':<16}{'seeds':>6}{'Student':>9}{'leaves':>8}{'of logits':>11}{'ours':>7}")
    for a, b in BETAS:
        for count in SEEDS:
            values, truth = rng.beta(a, b, size=(DRAWS, count)), a / (a + b)
            n = np.full(DRAWS, float(count))
            means, sds = values.mean(axis=1), values.std(axis=1, ddof=1)
            low, high = t_intervals(means, sds, n)
            logits = logit(values)
            half = t_quantile(count - 1) * logits.std(axis=1, ddof=1) / np.sqrt(count)
            bottom, top = (expit(logits.mean(axis=1) + sign * half) for sign in (-1, 1))
            ours = covered(*t_intervals(means, sds, n, bounds=UNIT), truth)
            missed |= not LOW <= ours <= HIGH
            leaves = np.mean((low < 0) | (high > 1))
            print(
                f"{f'beta({a}, {b})':<16}{count:>6}{covered(low, high, truth):>9.3f}{leaves:>8.2f}"
                f"{covered(bottom, top, truth):>11.3f}{ours:>7.3f}"
            )
    for mean, sd in BELOW_ZERO:
        for count in SEEDS:
            values = rng.normal(mean, sd, size=(DRAWS, count))
            n = np.full(DRAWS, float(count))
            means, sds = values.mean(axis=1), values.std(axis=1, ddof=1)
            student = covered(*t_intervals(means, sds, n), mean)
            ours = covered(*t_intervals(means, sds, n, bounds=SOFT), mean)
            missed |= not LOW <= ours <= HIGH
            name = f"N({mean}, {sd}²)"
            print(f"{name:<16}{count:>6}{student:>9.3f}{'':>8}{'':>11}{ours:>7.3f}")
    return missed


def dimensions_table() -> None:
    """Print what is seen of known spectra."""
    rng = np.random.default_rng(0)
    print(f"\n{'spectrum':<16}{'n':>6}{'true':>6}{'seen':>6}{'share':>7}{'n/seen':>8}{'fit':>8}")
    for name, variances in SPECTRA.items():
        reached = np.cumsum(variances) >= (0.95 - 1e-10) * variances.sum()
        true = int(np.argmax(reached)) + 1
        for n in (64, 128, 256, 512, 1024):
            x = rng.standard_normal((n, len(variances))) * np.sqrt(variances)
            sizes = np.array([n // 4, n // 2, n])
            seen = np.array([float(effective_dimension(x[:size])) for size in sizes])
            intercept = np.polyfit(1 / sizes, 1 / seen, 1)[1]
            fit = f"{1 / intercept:.0f}" if intercept > 1e-5 else "none"
            mark = "" if is_resolved(seen[-1], n) else "  at least"
            print(
                f"{name:<16}{n:>6}{true:>6}{seen[-1]:>6.0f}{seen[-1] / true:>7.2f}"
                f"{n / seen[-1]:>8.1f}{fit:>8}{mark}"
            )


def main() -> int:
    """Print both tables; 1 if an interval misses the target."""
    missed = seeds_table()
    dimensions_table()
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
