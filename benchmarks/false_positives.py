"""How often independent layers are called similar at 5 %: by p-value and by z > 1.645.

    uv run python benchmarks/false_positives.py
    uv run python benchmarks/false_positives.py --passes 20

Each line makes independent layers, compares all of them with each other and counts the pairs of
p < 0.05. Two pairs that share a layer are still independent of each other, so the pairs count as
as many repetitions: with the default of 1984 a rate of 5 % is measured to ±1 % (two sd). The cases:
``isotropic``, all directions alike; ``2 directions``, where two carry nearly all the variance and
the null is far from normal; ``heavy tails``, Student t with 3 degrees of freedom, where a few
samples carry much of every Gram. The target is 3 to 7 % for the p-value.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from backend.measures import cka_matrix

LAYERS = 32
LOW, HIGH = 0.03, 0.07

Sample = Callable[[np.random.Generator, int, int], np.ndarray]


def isotropic(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Standard normal."""
    return rng.standard_normal((n, d), dtype=np.float32)


def two_directions(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Normal; two directions have 20 √d times the variance of each other one."""
    x = isotropic(rng, n, d)
    x[:, :2] *= np.float32(np.sqrt(20 * d**0.5))
    return x


def heavy_tails(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Multivariate Student t with 3 degrees of freedom: rows of very different length."""
    return isotropic(rng, n, d) / np.sqrt(rng.chisquare(3, size=(n, 1))).astype(np.float32)


CASES: dict[str, Sample] = {
    "isotropic": isotropic,
    "2 directions": two_directions,
    "heavy tails": heavy_tails,
}


def rates(sample: Sample, n: int, d: int, passes: int, seed: int) -> tuple[float, float, int]:
    """Shares of pairs with p < 0.05 and with z > 1.645, and how many pairs there were."""
    rng = np.random.default_rng(seed)
    above = np.triu_indices(LAYERS, 1)
    p, z = [], []
    for _ in range(passes):
        result = cka_matrix([sample(rng, n, d) for _ in range(LAYERS)], p_value=True)
        assert result.p_values is not None
        p.append(result.p_values[above])
        z.append(result.z[above])
    by_p, by_z = np.concatenate(p), np.concatenate(z)
    return float((by_p < 0.05).mean()), float((by_z > 1.645).mean()), len(by_p)


def main() -> int:
    """Print the rates; 1 if one of the p-values misses the target."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--passes", type=int, default=4, help=f"of {LAYERS} layers each")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"{'case':<14}{'n':>6}{'d':>6}{'p < 0.05':>11}{'z > 1.645':>11}{'pairs':>8}")
    missed = False
    for case, sample in CASES.items():
        for n in (64, 256, 1024):
            for d in (64, 768):
                by_p, by_z, pairs = rates(sample, n, d, options.passes, options.seed)
                missed |= not LOW <= by_p <= HIGH
                print(f"{case:<14}{n:>6}{d:>6}{by_p:>11.1%}{by_z:>11.1%}{pairs:>8}", flush=True)
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
