"""What a fusion model is pretrained with on image-text pairs: three objectives and their heads.

``mlm``: masked language modelling (Devlin et al. 2019). A share of the words' tokens is chosen; of
these 80 % become the mask token, 10 % a random one, 10 % stay, and the text stream's last layer
says what they were.

``alignment``: do image and text belong together? Half of the texts are exchanged for those of
other samples of the batch, and a linear head on the two CLS vectors tells which (as in ViLBERT, Lu
et al. 2019).

``image``: masked-image InfoNCE (van den Oord et al. 2018; with masked inputs and a temperature of
0.1 as in wav2vec 2.0, Baevski et al. 2020). A share of the patches is replaced by a learned vector,
and the vision stream's last layer at such a place must be nearer to the patch that was there, as
the patch embedding sees it (without position, without gradient), than to the batch's other masked
patches. Patches that look the same, such as a plain background, are no negatives of each other.

All are computed in one pass. Texts and patches are hidden in every sample; where the text was
exchanged, what it hides says nothing about the image, so the two masked objectives count the pairs
that belong together only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from backend.models.dual_stream.model import FusionModel

_EXCHANGED = 0.5
_TO_MASK, _TO_RANDOM = 0.8, 0.1
_TEMPERATURE = 0.1
_SAME = 1e-4  # of the largest squared distance from the mean: below it two patches look the same
_ROUNDING = 1e-10
_CANDIDATES = 4096  # masked patches that are compared with each other at most


@dataclass(frozen=True)
class Masking:
    """The tokenizer's mask token, the tokens that are never hidden, and the shares to hide."""

    mask_token: int
    special_tokens: tuple[int, ...]
    vocabulary: int
    text_share: float = 0.15
    image_share: float = 0.3


class Outcome(NamedTuple):
    """One objective on one batch: the mean loss, how many of ``n`` predictions were right."""

    loss: Tensor
    right: Tensor
    n: int


class PretrainingModel(nn.Module):
    """A :class:`FusionModel` with the heads of the objectives, which are not part of it."""

    def __init__(self, fusion: FusionModel, objectives: Sequence[str], masking: Masking) -> None:
        super().__init__()
        self.fusion = fusion
        self.objectives = tuple(objectives)
        self.masking = masking
        text, vision = fusion.text.width, fusion.vision.width
        if "mlm" in objectives:
            words = fusion.text.embedding.embedding_dim
            self.word = nn.Sequential(nn.Linear(text, words), nn.GELU(), nn.LayerNorm(words))
            self.word_bias = nn.Parameter(torch.zeros(masking.vocabulary))
        if "alignment" in objectives:
            self.alignment = nn.Linear(text + vision, 1)
        if "image" in objectives:
            self.hidden_patch = nn.Parameter(torch.randn(vision) * 0.02)
            self.said_patch = nn.Linear(vision, vision)
            self.true_patch = nn.Sequential(nn.LayerNorm(vision), nn.Linear(vision, vision))

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, pixel_values: Tensor
    ) -> dict[str, Outcome]:
        """(B, T) ids, (B, T) mask, (B, 3, H, W) pixels -> the outcome of every objective.

        What is hidden and exchanged is drawn from torch's global generator. An objective for which
        a batch has nothing to predict has a loss of 0 and ``n`` = 0.
        """
        fusion = self.fusion
        ids, mask, together = input_ids, attention_mask, _all(input_ids)
        if "alignment" in self.objectives:
            ids, mask, together = exchanged(ids, mask, pixel_values)
        true_ids, chosen = ids, torch.zeros_like(ids, dtype=torch.bool)
        if "mlm" in self.objectives:
            ids, chosen = hide_words(ids, mask, self.masking)
        with self._hiding_patches() as patches:
            out = fusion(ids, mask, pixel_values)
        outcomes = {}
        if "mlm" in self.objectives:
            counted = chosen & together[:, None]
            outcomes["mlm"] = self._words(out.text[counted], true_ids[counted])
        if "alignment" in self.objectives:
            both = fusion.joined(out.text, out.vision, fusion.text_roles(ids, mask))
            logits = self.alignment(both)[:, 0].float()
            loss = functional.binary_cross_entropy_with_logits(logits, together.float())
            right = ((logits > 0) == together).sum()
            outcomes["alignment"] = Outcome(loss, right, len(logits))
        if "image" in self.objectives:
            ((true_patches, hidden),) = patches
            counted = hidden & together[:, None]
            last = out.vision[:, len(fusion.vision.prefix) :]
            outcomes["image"] = self._patches(last[counted], true_patches[counted])
        return outcomes

    @contextmanager
    def _hiding_patches(self) -> Iterator[list[tuple[Tensor, Tensor]]]:
        """Within it, some patches are replaced as they are embedded, before they have a position.

        Gives what the patches of a pass were, (B, patches, d), and (B, patches) which are hidden.
        """
        passed: list[tuple[Tensor, Tensor]] = []
        if "image" not in self.objectives:
            yield passed
            return

        def hide(module: nn.Module, args: object, patches: Tensor) -> Tensor:
            hidden = torch.rand(patches.shape[:2]) < self.masking.image_share
            hidden = hidden.to(patches.device)
            passed.append((patches.detach(), hidden))
            return torch.where(hidden[..., None], self.hidden_patch.to(patches.dtype), patches)

        handle = self.fusion.vision.embedding.register_forward_hook(hide)
        try:
            yield passed
        finally:
            handle.remove()

    def _words(self, states: Tensor, truth: Tensor) -> Outcome:
        """(m, d) last layer at hidden words, (m,) their ids; the decoder is the word embedding."""
        if not len(truth):
            return _nothing(states)
        decoder = self.fusion.text.embedding.weight
        logits = functional.linear(self.word(states), decoder, self.word_bias).float()
        loss = functional.cross_entropy(logits, truth)
        return Outcome(loss, (logits.argmax(dim=1) == truth).sum(), len(truth))

    def _patches(self, states: Tensor, truth: Tensor) -> Outcome:
        """(m, d) last layer at hidden patches, (m, d) what was there."""
        if len(truth) < 2:
            return _nothing(states)
        if len(truth) > _CANDIDATES:
            kept = torch.randperm(len(truth))[:_CANDIDATES].to(truth.device)
            states, truth = states[kept], truth[kept]
        # In full precision: rounded to half, nothing would be like itself to four digits.
        with torch.autocast(truth.device.type, enabled=False):
            states, truth = states.float(), truth.float()
            said = functional.normalize(self.said_patch(states), dim=1)
            keys = functional.normalize(self.true_patch(truth), dim=1)
            logits = said @ keys.T / _TEMPERATURE
            same = look_the_same(truth).fill_diagonal_(fill_value=False)
            logits = logits.masked_fill(same, float("-inf"))
            target = torch.arange(len(truth), device=truth.device)
            loss = functional.cross_entropy(logits, target)
            return Outcome(loss, (logits.argmax(dim=1) == target).sum(), len(truth))


def exchanged(ids: Tensor, mask: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give about half of the samples another sample's text.

    (B, T) ids and mask, (B, ...) images -> the new ids and mask, and (B,) whether text and image
    still belong together: a sample that gets the very same text from another one, or another text
    of the very same image, still does.
    """
    moved = torch.nonzero(torch.rand(len(ids)) < _EXCHANGED)[:, 0]
    moved = moved[torch.randperm(len(moved))].to(ids.device)  # neighbours may share an image
    source = torch.arange(len(ids), device=ids.device)
    source[moved] = moved.roll(1)
    new_ids, new_mask = ids[source], mask[source]
    same_text = ((new_ids == ids) & (new_mask == mask)).all(dim=1)
    return new_ids, new_mask, same_text | (pixels[source] == pixels).flatten(1).all(dim=1)


def look_the_same(patches: Tensor) -> Tensor:
    """(m, d) -> (m, m): whether two differ by less than 1 % of what patches differ by at most.

    By squared distances from centred values, in full precision; what rounding makes of equal
    patches counts as no difference.
    """
    centred = patches - patches.mean(dim=0)
    norms = centred.square().sum(dim=1)
    squared = norms[:, None] + norms[None, :] - 2 * centred @ centred.T
    rounding = _ROUNDING * patches.square().sum(dim=1).max()
    return squared <= torch.maximum(_SAME * norms.max(), rounding)


def hide_words(ids: Tensor, mask: Tensor, masking: Masking) -> tuple[Tensor, Tensor]:
    """Hide some real tokens: (B, T) ids with them replaced, (B, T) where they are."""
    special = torch.tensor(masking.special_tokens, device=ids.device)
    may = mask.bool() & ~torch.isin(ids, special)
    chosen = may & (torch.rand(ids.shape) < masking.text_share).to(ids.device)
    how = torch.rand(ids.shape).to(ids.device)
    drawn = torch.randint(masking.vocabulary, ids.shape).to(ids.device)
    new = torch.where(chosen & (how < _TO_MASK), masking.mask_token, ids)
    random = chosen & (how >= _TO_MASK) & (how < _TO_MASK + _TO_RANDOM)
    return torch.where(random, drawn, new), chosen


def _all(ids: Tensor) -> Tensor:
    return torch.ones(len(ids), dtype=torch.bool, device=ids.device)


def _nothing(states: Tensor) -> Outcome:
    """A loss of 0 that still has a gradient, so that a step can be made of it."""
    return Outcome(states.float().sum() * 0.0, torch.zeros((), device=states.device), 0)
