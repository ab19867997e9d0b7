"""What n samples show of a known number of dimensions.

    uv run python benchmarks/dimension.py

For known spectra of 768 dimensions: the effective dimension that n samples show as a share of the
true one, samples a dimension, what a fit of 1/value on 1/n (n/4, n/2, n) extrapolates to, and where
the program says "at least".
"""

from __future__ import annotations

import numpy as np

from backend.measures.families.dimension import effective_dimension, is_resolved

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


def main() -> None:
    """Print what is seen of known spectra."""
    rng = np.random.default_rng(0)
    print(f"{'spectrum':<16}{'n':>6}{'true':>6}{'seen':>6}{'share':>7}{'n/seen':>8}{'fit':>8}")
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


if __name__ == "__main__":
    main()
