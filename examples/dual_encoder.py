"""Train a dual encoder on image-text pairs: two frozen encoders, their projections learned.

    uv run python examples/dual_encoder.py --text-encoder DIR --vision-encoder NAME:FILE \\
        --data mmimdb:PATH --out OUT

joins a text encoder of transformers and a vision encoder (a directory of transformers, or the name
of one of timm's DINOv2 models with the file of its weights) into a ``VisionTextDualEncoderModel``,
runs both over the pairs once, and trains the two projections and the temperature on what the
encoders gave, with the loss that the class itself computes. ``OUT/untrained`` and ``OUT/trained``
are the model before and after with its processor: anything that knows transformers opens them, so
does ``fusionscope capture --model OUT/trained``. The epoch that is kept is the one with the least
loss on the dev split; the test split is not read.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import (
    PreTrainedModel,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    VisionTextDualEncoderProcessor,
    ViTImageProcessor,
)
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES
from transformers.models.vision_text_dual_encoder.modeling_vision_text_dual_encoder import (
    image_text_contrastive_loss,
)
from transformers.utils import logging as transformers_logging

from fusionscope import InputError
from fusionscope.data import PairSource, open_source
from fusionscope.models import (
    VisionTextDual,
    as_dinov2,
    load_vision,
    open_checkpoint,
    square_processor,
)

BATCH = 32
"""Pairs that run through the encoders at a time."""

MOST_CONTRAST = math.log(100)
"""The logit scale is kept at or below 100, as CLIP's was (Radford et al. 2021, section 2.5)."""


@dataclass(frozen=True)
class Recipe:
    """How the projections are trained: AdamW over batches in which every other pair is wrong."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    seed: int


@dataclass(frozen=True, eq=False)
class Pooled:
    """What the encoders give for n pairs: (n, d_vision) and (n, d_text), and (n,) tokens cut."""

    images: Tensor
    texts: Tensor
    cut: np.ndarray


@dataclass(frozen=True)
class Epoch:
    """Mean loss over the batches of an epoch, and the loss of the whole dev split after it."""

    epoch: int
    train_loss: float
    dev_loss: float


def load_encoder(name: str, what: str) -> PreTrainedModel:
    """An encoder of transformers from a directory or the hub, in float32."""
    checkpoint = open_checkpoint(name)
    if checkpoint.model_type not in MODEL_MAPPING_NAMES:
        raise InputError(f"no encoder is a {checkpoint.model_type} model", where=f"{what} {name}")
    # positions are counted, not learned: older files of BERT hold the numbers 0, 1, 2, ...
    return checkpoint.weights(
        MODEL_MAPPING_NAMES[checkpoint.model_type], ignored_keys=(r"position_ids$",)
    )


def load_vision_encoder(
    name: str, image_size: int | None
) -> tuple[PreTrainedModel, ViTImageProcessor]:
    """The vision encoder and what makes its pixels: the whole image, squeezed into a square.

    ``name`` is a directory of transformers, or ``NAME`` or ``NAME:FILE`` of timm, which is
    converted. ``image_size`` is for timm's (default 112); a directory says its own.
    """
    if Path(name).is_dir():
        checkpoint = open_checkpoint(name)
        vision = load_encoder(name, "vision encoder")
        own = int(vision.config.image_size)
        if image_size not in (None, own):
            raise InputError(
                f"takes images of {own} pixels, not {image_size}", where=f"vision encoder {name}"
            )
        processor = checkpoint.image_processor()
        return vision, square_processor(own, processor.image_mean, processor.image_std)
    size = 112 if image_size is None else image_size
    timm_name, _, file = name.partition(":")
    encoder = load_vision(timm_name, {"img_size": size}, Path(file) if file else None)
    settings = encoder.model.pretrained_cfg
    processor = square_processor(size, settings["mean"], settings["std"])
    return as_dinov2(encoder.model, name), processor


def join(
    vision: PreTrainedModel, text: PreTrainedModel, width: int, seed: int
) -> VisionTextDualEncoderModel:
    """Both encoders with random projections (``seed``) into a shared space of ``width``."""
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        vision.config, text.config, projection_dim=width
    )
    torch.manual_seed(seed)
    model = VisionTextDualEncoderModel(config, vision, text)
    return model.eval()


def pooled(adapter: VisionTextDual, source: PairSource, split: str, limit: int | None) -> Pooled:
    """Run both encoders over a split, without their projections."""
    model = adapter.model
    images, texts, cut = [], [], []
    with torch.inference_mode():
        pairs = source.pairs(split, limit)
        while batch := list(islice(pairs, BATCH)):
            inputs = adapter.encode([pair.sample for pair in batch])
            tensors = dict(inputs.tensors)
            images.append(model.vision_model(tensors.pop("pixel_values")).pooler_output)
            texts.append(model.text_model(**tensors).pooler_output)
            cut.append(inputs.cut["text"])
    if not images:
        raise InputError(f"has no pair that can be read in split {split!r}", where=source.name)
    return Pooled(torch.cat(images), torch.cat(texts), np.concatenate(cut))


def pooled_once(
    adapter: VisionTextDual, source: PairSource, split: str, limit: int | None, folder: Path
) -> Pooled:
    """As :func:`pooled`, kept in ``folder`` for the next training on the same encoders and data."""
    path = folder / f"pooled-{split}.npz"
    key = _digest(adapter, source.fingerprint(split, limit))
    if path.is_file():
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["key"]) == key:
                images, texts = (torch.from_numpy(stored[name]) for name in ("images", "texts"))
                return Pooled(images, texts, stored["cut"])
    made = pooled(adapter, source, split, limit)
    np.savez(path, key=key, images=made.images.numpy(), texts=made.texts.numpy(), cut=made.cut)
    return made


def _digest(adapter: VisionTextDual, data: str) -> str:
    """Of everything that pooled outputs depend on."""
    state = hashlib.sha256(data.encode())
    state.update(adapter.processor.image_processor.to_json_string().encode())
    for tower in (adapter.model.vision_model, adapter.model.text_model):
        state.update(tower.config.to_json_string().encode())
        for value in tower.state_dict().values():
            state.update(value.numpy().tobytes())
    return state.hexdigest()


def similarity(model: VisionTextDualEncoderModel, images: Tensor, texts: Tensor) -> Tensor:
    """(texts, images): cosines in the shared space times the logit scale, as the model has them."""
    projected = normalize(model.visual_projection(images), dim=-1)
    return normalize(model.text_projection(texts), dim=-1) @ projected.T * model.logit_scale.exp()


def train_projections(
    model: VisionTextDualEncoderModel, train: Pooled, dev: Pooled, recipe: Recipe
) -> list[Epoch]:
    """Train both projections and the logit scale in place; the best epoch's are in the model then.

    The best epoch has the least loss on ``dev``; epoch 0 is before training.
    """
    learned = {
        name: parameter
        for name, parameter in model.named_parameters()
        if name in ("visual_projection.weight", "text_projection.weight", "logit_scale")
    }
    matrices = [parameter for parameter in learned.values() if parameter.ndim == 2]
    optimiser = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": recipe.weight_decay},
            {"params": [model.logit_scale], "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
    )
    order = torch.Generator().manual_seed(recipe.seed)
    n = len(train.images)
    history = [Epoch(0, loss_of(model, train), loss_of(model, dev))]
    best = {name: parameter.detach().clone() for name, parameter in learned.items()}
    for epoch in range(1, recipe.epochs + 1):
        losses = []
        # a pair alone has nothing to be told from
        for rows in torch.randperm(n, generator=order).split(recipe.batch_size):
            if len(rows) < 2:
                continue
            loss = image_text_contrastive_loss(
                similarity(model, train.images[rows], train.texts[rows])
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            with torch.no_grad():
                model.logit_scale.clamp_(max=MOST_CONTRAST)
            losses.append(loss.item())
        history.append(Epoch(epoch, float(np.mean(losses)), loss_of(model, dev)))
        if history[-1].dev_loss < min(row.dev_loss for row in history[:-1]):
            best = {name: parameter.detach().clone() for name, parameter in learned.items()}
    model.load_state_dict(best, strict=False)
    return history


def loss_of(model: VisionTextDualEncoderModel, pairs: Pooled) -> float:
    """The loss over all pairs as one batch; log n by chance."""
    with torch.inference_mode():
        return float(image_text_contrastive_loss(similarity(model, pairs.images, pairs.texts)))


def save(
    model: VisionTextDualEncoderModel, processor: VisionTextDualEncoderProcessor, to: Path
) -> None:
    """Weights, configuration and processor, as transformers opens them."""
    model.save_pretrained(to)
    processor.save_pretrained(to)


def options(given: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--text-encoder", required=True, help="directory or hub id")
    parser.add_argument("--vision-encoder", required=True, help="directory, or NAME[:FILE] of timm")
    parser.add_argument("--data", required=True, help="LAYOUT:PATH, with splits train and dev")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--image-size", type=int, help="of timm's encoders; 112 pixels")
    parser.add_argument("--width", type=int, default=256, help="of the shared space")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--limit", type=int, help="pairs of each split")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(given)


def run(asked: argparse.Namespace) -> None:
    """Train and save; what came of it is printed and in ``OUT/history.json``."""
    out: Path = asked.out
    source = open_source(asked.data)
    vision, images = load_vision_encoder(asked.vision_encoder, asked.image_size)
    text = load_encoder(asked.text_encoder, "text encoder")
    tokenizer = open_checkpoint(asked.text_encoder).tokenizer()
    processor = VisionTextDualEncoderProcessor(image_processor=images, tokenizer=tokenizer)
    adapter = VisionTextDual(join(vision, text, asked.width, asked.seed), processor, out.name)
    out.mkdir(parents=True, exist_ok=True)
    train, dev = (
        pooled_once(adapter, source, split, asked.limit, out) for split in ("train", "dev")
    )
    print(f"{len(train.images)} pairs to train on, {len(dev.images)} to choose the epoch")
    print(f"texts cut at {adapter.max_tokens} tokens: {int((train.cut > 0).sum())} of train")
    save(adapter.model, processor, out / "untrained")
    recipe = Recipe(
        asked.epochs, asked.batch_size, asked.learning_rate, asked.weight_decay, asked.seed
    )
    history = train_projections(adapter.model, train, dev, recipe)
    save(adapter.model, processor, out / "trained")
    (out / "history.json").write_text(json.dumps([vars(row) for row in history], indent=1) + "\n")
    best = min(history, key=lambda row: row.dev_loss)
    print(
        f"dev loss {history[0].dev_loss:.3f} before, {best.dev_loss:.3f} after epoch {best.epoch} "
        f"of {asked.epochs} (chance {math.log(len(dev.images)):.3f})"
    )
    print(f"wrote {out / 'untrained'} and {out / 'trained'}")


def main(given: Sequence[str] | None = None) -> int:
    """Exit code 2 and one line for bad input."""
    transformers_logging.disable_progress_bar()
    try:
        run(options(given))
    except InputError as error:
        print(f"dual_encoder: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
