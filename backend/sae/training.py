"""Train a sparse autoencoder on rows of activations; an interrupted training goes on.

The same rows and recipe give the same bytes on one machine, interrupted or not: what a step draws
follows from the seed and the step alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from backend.progress import SILENT, Progress
from backend.sae.autoencoder import JumpRelu, Source, SparseAutoencoder, TopK, Weights
from backend.sae.recipe import Recipe

_SAVE_EVERY = 500
_FIRST_ROWS = 16_384
"""Rows from which the scale and the first decoder bias are taken."""
_FIRST_THRESHOLD = 0.1
_BETAS = (0.9, 0.999)
_TINY = 1e-8


class _Jump(torch.autograd.Function):
    """JumpReLU and how many are on, with the pseudo-derivatives of Rajamanoharan et al. (2024)."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, bandwidth: float) -> Any:
        on = pre > threshold
        ctx.save_for_backward(pre, threshold, on)
        ctx.bandwidth = bandwidth
        return pre * on, on.to(pre)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        pre, threshold, on = ctx.saved_tensors
        value, count = gradients
        near = ((pre - threshold).abs() < ctx.bandwidth / 2).to(pre) / ctx.bandwidth
        return value * on, -(near * (threshold * value + count)).sum(dim=0), None


class Training:
    """Parameters, Adam's moments and when each feature was last on: all that a step changes.

    Inside, activations are scaled to a mean squared distance of d from their mean;
    :meth:`finished` scales back.
    """

    def __init__(self, rows: np.ndarray, recipe: Recipe) -> None:
        recipe.check(*rows.shape)
        self.rows, self.recipe = rows, recipe
        self.step = 0
        n, d = rows.shape
        generator = torch.Generator().manual_seed(recipe.seed)
        first = _as_tensor(rows[_drawn(n, min(n, _FIRST_ROWS), recipe.seed)])
        spread = (first - first.mean(dim=0)).pow(2).sum(dim=1).mean().sqrt()
        self.scale = float(d**0.5 / spread.clamp(min=_TINY))
        decoder = torch.randn(recipe.features, d, generator=generator)
        decoder /= decoder.norm(dim=1, keepdim=True)
        self.parameters: dict[str, Tensor] = {
            "W_dec": decoder,
            "W_enc": decoder.T.contiguous().clone(),
            "b_enc": torch.zeros(recipe.features),
            "b_dec": first.mean(dim=0) * self.scale,
        }
        if recipe.kind == "jumprelu":
            self.parameters["log_threshold"] = torch.full(
                (recipe.features,), float(np.log(_FIRST_THRESHOLD))
            )
        self.moments = {
            f"{name}.{order}": torch.zeros_like(value)
            for name, value in self.parameters.items()
            for order in (1, 2)
        }
        self.unused = torch.zeros(recipe.features, dtype=torch.int64)
        """Rows since each feature was last on."""

    def batch(self, step: int) -> Tensor:
        """The rows of a step, scaled: a pass through all in a random order, then another order."""
        n, size = len(self.rows), self.recipe.batch
        each = n // size
        order = np.random.default_rng((self.recipe.seed, 1, step // each)).permutation(n)
        start = (step % each) * size
        return _as_tensor(self.rows[np.sort(order[start : start + size])]) * self.scale

    def advance(self) -> dict[str, float]:
        """One step; what it was measured by: share of variance unexplained, features on."""
        x = self.batch(self.step)
        leaves = {name: value.requires_grad_() for name, value in self.parameters.items()}
        pre = (x - leaves["b_dec"]) @ leaves["W_enc"] + leaves["b_enc"]
        variance = (x - x.mean(dim=0)).pow(2).sum().clamp(min=_TINY)
        features, penalty = self._kept(pre)
        left = x - (features @ leaves["W_dec"] + leaves["b_dec"])
        unexplained = left.pow(2).sum() / variance
        loss = unexplained + penalty + self._second_chance(pre, left, variance)
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        on = (features.detach() > 0).sum(dim=0)
        with torch.no_grad():
            for value in leaves.values():
                value.requires_grad_(False)
            self._descend(dict(zip(leaves, gradients, strict=True)))
        self.unused = torch.where(on > 0, 0, self.unused + len(x))
        self.step += 1
        return {"unexplained": float(unexplained.detach()), "l0": float(on.sum()) / len(x)}

    def _kept(self, pre: Tensor) -> tuple[Tensor, Tensor]:
        """Features, and what their number costs."""
        recipe = self.recipe
        if recipe.kind == "topk":
            return TopK(recipe.k)(pre), pre.new_zeros(())
        threshold = self.parameters["log_threshold"].exp()
        features, on = _Jump.apply(pre, threshold, recipe.bandwidth)
        return features, recipe.sparsity * (on.sum(dim=1).mean() / recipe.k - 1).pow(2)

    def _second_chance(self, pre: Tensor, left: Tensor, variance: Tensor) -> Tensor:
        """Dead features are to rebuild what is left over (Gao et al. 2024, appendix A.2).

        Also where they are below 0, so that one far below learns, too.
        """
        dead = self.unused > self.recipe.dead_after
        count = int(dead.sum())
        if self.recipe.kind != "topk" or not count:
            return pre.new_zeros(())
        most = pre.new_full((), float("-inf"))
        half = max(1, self.parameters["b_dec"].shape[0] // 2)
        values, at = torch.where(dead, pre, most).topk(min(half, count), dim=1, sorted=False)
        again = torch.zeros_like(pre).scatter(1, at, values)
        rest = left.detach() - again @ self.parameters["W_dec"]
        return self.recipe.auxiliary * min(1.0, count / half) * rest.pow(2).sum() / variance

    def _descend(self, gradients: Mapping[str, Tensor]) -> None:
        """Adam; the decoder's rows stay of norm 1, and move at right angles to themselves only."""
        rate, t = self.recipe.rate(self.step), self.step + 1
        for name, value in self.parameters.items():
            gradient = gradients[name]
            if name == "W_dec":
                gradient = gradient - (gradient * value).sum(dim=1, keepdim=True) * value
            first, second = self.moments[f"{name}.1"], self.moments[f"{name}.2"]
            first.lerp_(gradient, 1 - _BETAS[0])
            second.lerp_(gradient.pow(2), 1 - _BETAS[1])
            size = (second / (1 - _BETAS[1] ** t)).sqrt() + _TINY
            value -= rate * (first / (1 - _BETAS[0] ** t)) / size
        decoder = self.parameters["W_dec"]
        decoder /= decoder.norm(dim=1, keepdim=True).clamp(min=_TINY)

    def finished(self, source: Source) -> SparseAutoencoder:
        """The autoencoder of unscaled activations."""
        p = self.parameters
        scale = self.scale
        activation: TopK | JumpRelu = TopK(self.recipe.k)
        if self.recipe.kind == "jumprelu":
            activation = JumpRelu(p["log_threshold"].exp() / scale)
        weights = Weights(
            p["W_enc"].clone(), p["W_dec"].clone(), p["b_enc"] / scale, p["b_dec"] / scale
        )
        return SparseAutoencoder(weights, activation, source)

    def save(self, path: Path) -> None:
        """Everything that a step changes, all at once."""
        tensors = {**self.parameters, **self.moments, "unused": self.unused}
        tensors["step"] = torch.tensor([self.step])
        made = path.with_name(f".{path.name}.new")
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, made)
        made.replace(path)

    def load(self, path: Path) -> None:
        """Go on where :meth:`save` left off."""
        tensors = load_file(path)
        self.step = int(tensors.pop("step")[0])
        self.unused = tensors.pop("unused")
        self.parameters = {name: tensors[name] for name in self.parameters}
        self.moments = {name: tensors[name] for name in self.moments}


def train(
    rows: np.ndarray,
    recipe: Recipe,
    source: Source,
    state: Path | None = None,
    progress: Progress = SILENT,
) -> SparseAutoencoder:
    """An autoencoder of ``rows`` (n, d) float16 or float32, such as a memory map.

    ``state`` is a file that keeps what was reached: it is read where it is there, and is of the
    same rows and recipe (its folder is named after them). InputError as :meth:`Recipe.check`.
    """
    training = Training(rows, recipe)
    if state is not None and state.is_file():
        training.load(state)
    while training.step < recipe.steps:
        told = training.advance()
        if state is not None and training.step % _SAVE_EVERY == 0:
            training.save(state)
        progress.advance(
            training.step,
            recipe.steps,
            f"{1 - told['unexplained']:.1%} explained, {told['l0']:.0f} on",
        )
    return training.finished(source)


def _drawn(n: int, count: int, seed: int) -> np.ndarray:
    """``count`` rows of n, in order."""
    return np.sort(np.random.default_rng((seed, 0)).choice(n, count, replace=False))


def _as_tensor(rows: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))
