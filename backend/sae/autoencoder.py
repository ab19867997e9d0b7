"""A sparse autoencoder: activations as sparse sums of directions, its features.

Bricken et al. (2023) "Towards monosemanticity"; Cunningham et al. (2023). The kinds differ in which
features they keep: ReLU, k largest (Gao et al. 2024), above a threshold of each feature's own
(Rajamanoharan et al. 2024, JumpReLU) and gated (Rajamanoharan et al. 2024).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from backend.errors import InputError

Architecture = Literal["standard", "topk", "jumprelu", "gated"]
Scaling = Literal["none", "layer_norm", "constant_norm_rescale"]

SCALINGS: tuple[Scaling, ...] = ("none", "layer_norm", "constant_norm_rescale")
_EPSILON = 1e-5
"""Added to a row's spread by what trained with ``layer_norm`` (SAELens)."""


@dataclass(frozen=True)
class Source:
    """Where an autoencoder is from, as its files say: nothing of it is guessed.

    ``model`` names the language model that it was trained on, ``hook`` the place as its own library
    writes it, ``layer`` that place in our counting (0 enters the first block, k leaves block k);
    None where the files do not say. ``stream`` is the one whose tokens it was trained on, of those
    trained here. ``digest`` is of the weights alone.
    """

    name: str
    model: str = ""
    hook: str = ""
    layer: int | None = None
    digest: str = ""
    stream: str = ""


class Scaled(NamedTuple):
    """Rows as the encoder takes them, and what brings a reconstruction back: ``y * scale + shift``.

    ``scale`` is (n, 1), ``shift`` (n, 1), or plain 1 and 0.
    """

    rows: Tensor
    scale: Tensor | float
    shift: Tensor | float


class Relu(nn.Module):
    """Every feature above 0."""

    architecture: Architecture = "standard"

    def forward(self, pre: Tensor) -> Tensor:
        """(..., m) -> (..., m), not negative."""
        return torch.relu(pre)


class JumpRelu(nn.Module):
    """Every feature above its own threshold, as large as it was before."""

    architecture: Architecture = "jumprelu"
    threshold: Tensor

    def __init__(self, threshold: Tensor) -> None:
        super().__init__()
        self.register_buffer("threshold", threshold)

    def forward(self, pre: Tensor) -> Tensor:
        """(..., m) -> (..., m), not negative."""
        return torch.relu(pre) * (pre > self.threshold)


class TopK(nn.Module):
    """The k largest features of each row, those of them that are above 0."""

    architecture: Architecture = "topk"

    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def forward(self, pre: Tensor) -> Tensor:
        """(..., m) -> (..., m), not negative, at most k above 0."""
        values, at = torch.relu(pre).topk(self.k, dim=-1, sorted=False)
        return torch.zeros_like(pre).scatter_(-1, at, values)


class Gated(nn.Module):
    """One set of weights decides which features are on, the same scaled says how much.

    What comes in has no bias yet: ``gate`` and ``magnitude`` (m) have one each.
    """

    architecture: Architecture = "gated"
    gate: Tensor
    magnitude: Tensor
    log_ratio: Tensor

    def __init__(self, gate: Tensor, magnitude: Tensor, log_ratio: Tensor) -> None:
        super().__init__()
        self.register_buffer("gate", gate)
        self.register_buffer("magnitude", magnitude)
        self.register_buffer("log_ratio", log_ratio)

    def forward(self, pre: Tensor) -> Tensor:
        """(..., m) -> (..., m), not negative."""
        return torch.relu(pre * self.log_ratio.exp() + self.magnitude) * (pre + self.gate > 0)


Activation = Relu | JumpRelu | TopK | Gated


@dataclass(eq=False)
class Weights:
    """``W_enc`` (d, m), ``W_dec`` (m, d), ``b_enc`` (m) and ``b_dec`` (d), float32."""

    W_enc: Tensor
    W_dec: Tensor
    b_enc: Tensor
    b_dec: Tensor

    def check(self, where: str) -> None:
        """InputError for weights whose shapes do not fit each other, or that are not finite."""
        d, m = self.W_enc.shape if self.W_enc.ndim == 2 else (0, 0)
        wanted = {"W_enc": (d, m), "W_dec": (m, d), "b_enc": (m,), "b_dec": (d,)}
        for name, shape in wanted.items():
            tensor: Tensor = getattr(self, name)
            if tuple(tensor.shape) != shape or not tensor.numel():
                raise InputError(
                    f"{name} is {tuple(tensor.shape)}, which does not fit an encoder of "
                    f"{tuple(self.W_enc.shape)}",
                    where=where,
                )
            if not bool(torch.isfinite(tensor).all()):
                raise InputError(f"{name} holds values that are not finite", where=where)


class SparseAutoencoder(nn.Module):
    """``x`` (n, d) -> features (n, m), not negative and mostly 0 -> ``x`` again, nearly.

    ``features = activation((x' - b_dec) @ W_enc + b_enc)`` with ``x'`` the scaled rows, where
    ``centred``; without ``- b_dec`` where not. ``x ~ features @ W_dec + b_dec``, scaled back.
    """

    W_enc: Tensor
    W_dec: Tensor
    b_enc: Tensor
    b_dec: Tensor

    def __init__(
        self,
        weights: Weights,
        activation: Activation,
        source: Source,
        *,
        centred: bool = True,
        scaling: Scaling = "none",
    ) -> None:
        super().__init__()
        weights.check(source.name)
        for name, tensor in vars(weights).items():
            self.register_buffer(name, tensor)
        for name, tensor in activation.named_buffers():
            if tuple(tensor.shape) != tuple(weights.b_enc.shape):
                raise InputError(
                    f"{name} is {tuple(tensor.shape)}, expected one a feature: "
                    f"{len(weights.b_enc):,}",
                    where=source.name,
                )
        if isinstance(activation, TopK) and not 1 <= activation.k <= len(weights.b_enc):
            raise InputError(
                f"keeps the {activation.k:,} largest of {len(weights.b_enc):,} features",
                where=source.name,
            )
        self.activation = activation
        self.source = source
        self.centred = centred
        self.scaling: Scaling = scaling
        self.requires_grad_(False)
        self.eval()

    @property
    def architecture(self) -> Architecture:
        """Which features it keeps."""
        return self.activation.architecture

    @property
    def digest(self) -> str:
        """Of its weights and of how they are applied: another k, say, makes it another one."""
        k = self.activation.k if isinstance(self.activation, TopK) else None
        applied = [self.source.digest, self.architecture, k, self.centred, self.scaling]
        return hashlib.sha256(json.dumps(applied).encode()).hexdigest()[:16]

    @property
    def d(self) -> int:
        """The width of the activations that it reads."""
        return int(self.W_enc.shape[0])

    @property
    def count(self) -> int:
        """How many features it has."""
        return int(self.W_enc.shape[1])

    @property
    def bytes(self) -> int:
        """What its weights take in memory."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.buffers())

    def scaled(self, x: Tensor) -> Scaled:
        """Rows (n, d) as the encoder takes them."""
        if self.scaling == "none":
            return Scaled(x, 1.0, 0.0)
        if self.scaling == "constant_norm_rescale":
            size = x.norm(dim=-1, keepdim=True) / self.d**0.5
            return Scaled(x / size, size, 0.0)
        mean = x.mean(dim=-1, keepdim=True)
        spread = (x - mean).std(dim=-1, keepdim=True)
        return Scaled((x - mean) / (spread + _EPSILON), spread, mean)

    def encode(self, x: Tensor) -> Tensor:
        """(n, d) -> (n, m)."""
        return self._encode(self.scaled(x).rows)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(n, d) -> its features (n, m) and its reconstruction (n, d)."""
        rows, scale, shift = self.scaled(x)
        features = self._encode(rows)
        return features, (features @ self.W_dec + self.b_dec) * scale + shift

    def _encode(self, rows: Tensor) -> Tensor:
        centred = rows - self.b_dec if self.centred else rows
        features: Tensor = self.activation(centred @ self.W_enc + self.b_enc)
        return features


def check_fits(sae: SparseAutoencoder, d: int, layer: int | None, place: str) -> None:
    """InputError where a layer has another width, or the files say that it is of another layer.

    ``layer`` is the layer that it is to read, ``place`` what an error calls it.
    """
    if sae.d != d:
        raise InputError(
            f"reads activations of width {sae.d:,}; {place} has {d:,}", where=sae.source.name
        )
    if layer is not None and sae.source.layer is not None and sae.source.layer != layer:
        raise InputError(
            f"was trained on layer {sae.source.layer} ({sae.source.hook}), not on {place}",
            where=sae.source.name,
            hint="Layer k is the output of block k, counted from 1.",
        )
