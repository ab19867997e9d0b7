"""How often chance is called a finding, and how often intervals hold the truth.

    uv run python benchmarks/inference.py
    uv run python benchmarks/inference.py --draws 1000 --tables samples --into draws.jsonl
    uv run python benchmarks/inference.py --draws 1000 --tables samples --into draws.jsonl \
        --cells 'groups*:64' --cells 'independent:*'

With ``--into`` every few draws are kept in a file as soon as they are there: a run that was ended
goes on, cells can be run one by one and beside each other (each into a file of its own, joined by
``cat``), and once all are there the same command without ``--cells`` prints the table at once. On
one core 1,000 draws of a cell of 64 samples take 6 minutes.

``samples``, a Markdown table: per kind of data and n, the share of independent layers (of captions
and photos, say) that are called similar at p < 0.05 and p < 0.001 by CKA, at z > 1.645 by retrieval
(recall at 10) and mutual kNN; the coverage of the 95 % intervals of CKA (related layers whose true
CKA is known) and of probes (random labels: 0.5 is true). Target: 3 to 7 %, and 0.93 to 0.97; a cell
that misses it by more than two standard errors of the draws has a star; one in which more than half
of the values are undefined is "refused" (a few samples carry all of the similarity, or there are
too few groups: the result says which). ``seeds``: the coverage of intervals over 3, 5 and 10 seeds
for values that have a range (target: 0.92 to 0.96).

The kinds: ``independent`` normal samples; ``2 directions`` that carry nearly all variance;
``heavy tails``, rows of Student t with 2 degrees, and ``rather heavy tails``, with 5 (for
intervals: of log-normal length with sd 1 and 0.5, so that there is a truth); ``groups of 2`` and
``of 5``, declared: one photo, and captions that share half of their variance; ``5 at a time, not
declared``, the same data without saying so; ``8 clusters``, a fixed mixture of which every sample
is a fresh draw, other clusters in the other layer (for intervals: the same ones), nothing declared.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from scipy.special import expit, logit

from backend.measures import cka, cka_matrix, linear_probe, mutual_knn, retrieval
from backend.measures.chance.seeds import Bounds, t_intervals, t_quantile

WIDTH = 64
SHARED = 3  # common directions of related layers
LAYERS = 24  # of which all pairs are tested at once
SIZES = (64, 256, 1024)
PASSES = {64: 1 / 10, 256: 1 / 40, 1024: 1 / 200}
"""Passes of all pairs a draw."""

TOGETHER = 20
"""Draws that are kept at once."""

Array = np.ndarray

SEEDS = (3, 5, 10)
SEED_DRAWS = 20_000
LOW, HIGH = 0.92, 0.96
BETAS = ((2, 2), (5, 5), (20, 20), (8, 2), (18, 2), (45, 5), (190, 10), (3, 1), (1, 3), (5, 1))
BELOW_ZERO = ((0.0, 0.02), (0.01, 0.02), (0.05, 0.02), (0.3, 0.1))
UNIT, SOFT = Bounds(0.0, 1.0), Bounds(0.0, 1.0, soft=True)


@dataclass(frozen=True)
class Kind:
    """Data of one kind: ``null(rng, n, side)`` an (n, WIDTH) layer of independent ones, photos on
    side 0 and captions on side 1; ``related(rng, n)`` two layers and their true CKA.
    """

    name: str
    null: Callable[[np.random.Generator, int, int], Array]
    related: Callable[[np.random.Generator, int], tuple[Array, Array, float]]
    together: int = 1
    declared: bool = True

    def groups(self, n: int) -> Array | None:
        """The group of each sample, where it is told."""
        return None if self.together == 1 or not self.declared else np.arange(n) // self.together


def normal(rng: np.random.Generator, n: int, side: int = 0) -> Array:
    """Standard normal."""
    return rng.standard_normal((n, WIDTH))


def two_directions(rng: np.random.Generator, n: int, side: int = 0) -> Array:
    """Normal; two directions have 160 times the variance of each other one."""
    x: Array = normal(rng, n) * np.where(np.arange(WIDTH) < 2, np.sqrt(160.0), 1.0)
    return x


def heavy(rng: np.random.Generator, n: int, side: int = 0) -> Array:
    """Multivariate Student t with 2 degrees of freedom."""
    x: Array = normal(rng, n) / np.sqrt(rng.chisquare(2, size=(n, 1)))
    return x


def rather_heavy(rng: np.random.Generator, n: int, side: int = 0) -> Array:
    """Multivariate Student t with 5 degrees of freedom."""
    x: Array = normal(rng, n) / np.sqrt(rng.chisquare(5, size=(n, 1)))
    return x


def grouped(m: int) -> Callable[[np.random.Generator, int, int], Array]:
    """Groups of m: copies of a photo, or captions that share half of their variance."""

    def draw(rng: np.random.Generator, n: int, side: int) -> Array:
        common = normal(rng, -(-n // m))[np.arange(n) // m]
        rows: Array = common + side * normal(rng, n)
        return rows

    return draw


def clusters(rng: np.random.Generator, n: int, side: int = 0) -> Array:
    """A mixture of 8 normals."""
    rows: Array = 2 * normal(rng, 8)[rng.integers(8, size=n)] + normal(rng, n)
    return rows


def maps() -> tuple[Array, Array]:
    """How two related layers read what they share: (SHARED, WIDTH) each."""
    a, b = np.random.default_rng(5).standard_normal((2, SHARED, WIDTH))
    return a, b


def truth(xx: Array, yy: Array, xy: Array) -> float:
    """CKA of a population with these covariances."""
    norm = np.linalg.norm
    return float(norm(xy) ** 2 / (norm(xx) * norm(yy)))


def related_in(m: int, spread: float = 0.0) -> Callable[..., tuple[Array, Array, float]]:
    """Related layers in groups of m (1: none), rows of log-normal length of that sd."""

    def draw(rng: np.random.Generator, n: int) -> tuple[Array, Array, float]:
        (a, b), at = maps(), np.arange(n) // m
        latent = rng.standard_normal((at[-1] + 1, SHARED))[at]
        own = (normal(rng, at[-1] + 1)[at] + (m > 1) * normal(rng, n)) / np.sqrt(1 + (m > 1))
        length = np.exp(spread * rng.standard_normal((n, 1)))
        x = latent @ a + 1.5 * normal(rng, at[-1] + 1)[at]
        y = latent @ b + 1.5 * own
        noise = 1.5**2 * np.eye(WIDTH)
        return x * length, y * length, truth(a.T @ a + noise, b.T @ b + noise, a.T @ b)

    return draw


def related_clusters(rng: np.random.Generator, n: int) -> tuple[Array, Array, float]:
    """Two layers that know the same 8 clusters."""
    fixed = np.random.default_rng(6).standard_normal((2, 8, WIDTH)) * 2
    centres = fixed - fixed.mean(axis=1, keepdims=True)
    of = rng.integers(8, size=n)
    x, y = (c[of] + normal(rng, n) for c in centres)
    xx, yy = (c.T @ c / 8 + np.eye(WIDTH) for c in centres)
    return x, y, truth(xx, yy, centres[0].T @ centres[1] / 8)


KINDS = (
    Kind("independent", normal, related_in(1)),
    Kind("2 directions", two_directions, related_in(1)),
    Kind("heavy tails", heavy, related_in(1, 1.0)),
    Kind("rather heavy tails", rather_heavy, related_in(1, 0.5)),
    Kind("groups of 2", grouped(2), related_in(2), 2),
    Kind("groups of 5", grouped(5), related_in(5), 5),
    Kind("5 at a time, not declared", grouped(5), related_in(5), 5, declared=False),
    Kind("8 clusters", clusters, related_clusters),
)


@dataclass(frozen=True)
class Cell:
    """A kind of data and a number of samples."""

    kind: Kind
    n: int

    @property
    def name(self) -> str:
        """``groups of 5:256``."""
        return f"{self.kind.name}:{self.n}"

    def rng(self, what: int, at: int) -> np.random.Generator:
        """Of the draw ``at``, whatever draws are made beside it."""
        return np.random.default_rng([*self.kind.name.encode(), self.n, what, at])

    def draws(self, start: int, stop: int) -> dict[str, list[float]]:
        """{column: what the draws from ``start`` to before ``stop`` give}."""
        share = PASSES[self.n]
        passes = range(math.floor(start * share), math.floor(stop * share))
        out: dict[str, list[float]] = {name: [] for name in COLUMNS}
        for at in passes:
            out["p"] += self.p_values(at)
        for at in range(start, stop):
            for name, value in self.draw(at).items():
                out[name].append(value)
        return out

    def p_values(self, at: int) -> list[float]:
        """Of CKA of all pairs of independent layers, photos with captions; NaN where refused."""
        rng, half = self.rng(0, at), LAYERS // 2
        sides = [[self.kind.null(rng, self.n, side) for _ in range(half)] for side in (0, 1)]
        result = cka_matrix(*sides, p_value=True, groups=self.kind.groups(self.n))
        assert result.p_values is not None
        return [float(p) for p in result.p_values.ravel()]

    def draw(self, at: int) -> dict[str, float]:
        """What one draw gives in every column but that of p."""
        kind, n = self.kind, self.n
        rng, groups = self.rng(1, at), kind.groups(n)
        x, y, true = kind.related(rng, n)
        ends = cka(x, y, interval=True, groups=groups)
        x, y = kind.null(rng, n, 0), kind.null(rng, n, 1)
        of = np.arange(n) // kind.together
        labels = rng.integers(2, size=of[-1] + 1)[of]
        probe = linear_probe(y, labels, task="binary", groups=groups)
        return {
            "interval": within(ends.ci_low, ends.ci_high, true),
            "neighbours": above(mutual_knn(x, y, groups=groups).z),
            "recall": above(retrieval(x, y, ks=(10,), groups=groups).x_to_y[10].z),
            "probe": within(probe.ci_low, probe.ci_high, 0.5),
        }


COLUMNS = ("p", "interval", "neighbours", "recall", "probe")


class Draws:
    """The draws there are, in ``path`` where one is given: a line of JSON a piece of a cell."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._pieces: dict[tuple[str, int], dict[str, list[float]]] = {}
        if path is not None and path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                kept = json.loads(line)
                self._pieces[kept["cell"], kept["start"]] = kept["values"]

    def of(self, cell: Cell, count: int) -> dict[str, Array]:
        """The first ``count`` draws of a cell, in whole pieces; what is missing is drawn."""
        out: dict[str, list[float]] = {name: [] for name in COLUMNS}
        for start in range(0, count, TOGETHER):
            if (cell.name, start) not in self._pieces:
                began = time.process_time()
                values = cell.draws(start, start + TOGETHER)
                self._keep(cell, start, values, time.process_time() - began)
            for name, some in self._pieces[cell.name, start].items():
                out[name] += some
        return {name: np.array(values) for name, values in out.items()}

    def _keep(self, cell: Cell, start: int, values: dict[str, list[float]], seconds: float) -> None:
        self._pieces[cell.name, start] = values
        if self._path is not None:
            line = {"cell": cell.name, "start": start, "seconds": seconds, "values": values}
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def row(cell: Cell, values: dict[str, Array]) -> list[str]:
    """One row of the table."""
    p = values["p"][np.isfinite(values["p"])]
    return [
        cell.kind.name,
        str(cell.n),
        rate(p < 0.05, 0.03, 0.07) if len(p) else "refused",
        rate(p < 0.001, 0.0, 0.003) if len(p) else "refused",
        share(values["interval"], 0.93, 0.97),
        rate(values["neighbours"], 0.03, 0.07),
        rate(values["recall"], 0.03, 0.07),
        share(values["probe"], 0.93, 0.97),
        str(len(p)),
    ]


def within(low: float, high: float, true: float) -> float:
    """Whether an interval holds the truth; NaN where there is none."""
    return float("nan") if np.isnan(low) else float(low <= true <= high)


def above(z: float) -> float:
    """Whether a z passes for a finding at 5 %; NaN where there is none."""
    return float("nan") if np.isnan(z) else float(z > 1.645)


def missed(values: Array, low: float, high: float) -> str:
    """A star if a share is outside by more than two standard errors of the nearer end."""
    mean, at = float(values.mean()), low if values.mean() < low else high
    error = 2 * np.sqrt(at * (1 - at) / len(values))
    return "*" if mean < low - error or mean > high + error else ""


def rate(hits: Sequence[float] | Array, low: float, high: float) -> str:
    """The share of hits in per cent, of those that are defined."""
    return _told(hits, low, high, lambda mean: f"{100 * mean:.1f} %")


def share(hits: Sequence[float] | Array, low: float, high: float) -> str:
    """The share of hits, of those that are defined."""
    return _told(hits, low, high, lambda mean: f"{mean:.2f}")


def _told(
    hits: Sequence[float] | Array, low: float, high: float, form: Callable[[float], str]
) -> str:
    every = np.asarray(hits, dtype=float)
    values = every[np.isfinite(every)]
    if len(values) < len(every) / 2:
        return "refused"
    return form(float(values.mean())) + missed(values, low, high)


def chosen(patterns: Sequence[str]) -> list[Cell]:
    """The cells whose names match any of ``patterns``; all of them where there is none."""
    every = [Cell(kind, n) for kind in KINDS for n in SIZES]
    if not patterns:
        return every
    return [cell for cell in every if any(fnmatch(cell.name, pattern) for pattern in patterns)]


def samples_table(draws: Draws, count: int, cells: Sequence[Cell]) -> bool:
    """Print the Markdown table; whether a target is missed where samples are what they are said
    to be.
    """
    head = ["data", "n", "CKA p < .05", "CKA p < .001", "CKA interval", "mutual kNN z",
            "retrieval z", "probe interval", "pairs"]  # fmt: skip
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    wrong = False
    for cell in cells:
        told = row(cell, draws.of(cell, count))
        wrong |= cell.kind.declared and any(value.endswith("*") for value in told)
        print("| " + " | ".join(told) + " |", flush=True)
    print(f"\n{count} draws a cell; the last column counts the pairs of layers behind p.")
    return wrong


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
            values, truth = rng.beta(a, b, size=(SEED_DRAWS, count)), a / (a + b)
            n = np.full(SEED_DRAWS, float(count))
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
            values = rng.normal(mean, sd, size=(SEED_DRAWS, count))
            n = np.full(SEED_DRAWS, float(count))
            means, sds = values.mean(axis=1), values.std(axis=1, ddof=1)
            student = covered(*t_intervals(means, sds, n), mean)
            ours = covered(*t_intervals(means, sds, n, bounds=SOFT), mean)
            missed |= not LOW <= ours <= HIGH
            name = f"N({mean}, {sd}²)"
            print(f"{name:<16}{count:>6}{student:>9.3f}{'':>8}{'':>11}{ours:>7.3f}")
    return missed


def main() -> int:
    """Print the tables; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--draws", type=int, default=200, help="a cell of the first table")
    parser.add_argument("--cells", action="append", default=[], help="such as 'groups*:64'")
    parser.add_argument("--into", type=Path, help="a file that keeps the draws")
    parser.add_argument("--tables", default="samples,seeds")
    options = parser.parse_args()
    tables = options.tables.split(",")
    wrong = False
    if "samples" in tables:
        wrong |= samples_table(Draws(options.into), options.draws, chosen(options.cells))
    if "seeds" in tables:
        wrong |= seeds_table()
    return int(wrong)


if __name__ == "__main__":
    raise SystemExit(main())
