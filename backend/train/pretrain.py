"""Pretraining on image-text pairs: a fusion model without heads that `train` can start from.

The objectives are those of :mod:`backend.models.dual_stream.pretraining`; no labels are read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from backend.data.base import PairSource
from backend.errors import InputError
from backend.models.dual_stream.pretraining import OBJECTIVES, Masking, PretrainingModel
from backend.models.placement import Placement, parse_placement
from backend.train.build import build
from backend.train.engine import (
    Engine,
    Report,
    checkpoint_dir,
    finished,
    run_in,
    to_device,
    write_json,
)
from backend.train.recipe import Recipe, encoder_depths, frozen_layers

FILE = "pretraining.json"
_DEV_SEED = 0
_DEV_BATCH = 64  # candidates of the InfoNCE come from one batch: the same for every training


@dataclass(frozen=True)
class PretrainPlan(Recipe):
    """Pretraining on pairs with some of the objectives, their losses added up.

    ``text_mask`` and ``image_mask`` are the shares of words and patches that are hidden, 0..1.
    """

    COMMAND: ClassVar[str] = "pretrain"

    objectives: tuple[str, ...] = OBJECTIVES
    text_mask: float = 0.15
    image_mask: float = 0.3

    def digest(self) -> str:
        """As of any recipe, and never that of a training with the same options."""
        return hashlib.sha256(f"{self.COMMAND} {super().digest()}".encode()).hexdigest()[:16]

    def check(self) -> None:
        """InputError for an option whose value cannot be used."""
        super().check()
        unknown = [name for name in self.objectives if name not in OBJECTIVES]
        if unknown or not self.objectives:
            raise InputError(
                f"{unknown[0]!r} is not an objective" if unknown else "there must be at least one",
                where="--objectives",
                hint=f"They are {', '.join(OBJECTIVES)}.",
            )
        if len(set(self.objectives)) < len(self.objectives):
            raise InputError("an objective is given twice", where="--objectives")
        for option, share in (("text-mask", self.text_mask), ("image-mask", self.image_mask)):
            if not 0 < share < 1:
                raise InputError(f"{share} is not between 0 and 1", where=f"--{option}")


def check_pretraining(plan: PretrainPlan) -> Placement:
    """The placement, if plan and encoders fit together as far as can be said without the data."""
    plan.check()
    text, vision = encoder_depths(plan)
    frozen_layers(plan.freeze, text, vision)
    return parse_placement(plan.placement, text_depth=text, vision_depth=vision)


def pretrain_seed(
    plan: PretrainPlan, source: PairSource, seed: int, out: Path, report: Report | None = None
) -> Path:
    """Pretrain and return the checkpoint directory, which appears once it is finished.

    It holds a fusion model without heads, and ``pretraining.json``: the losses of every epoch and,
    where there is a dev split, losses and shares of right predictions on it, of the same hidden
    words and patches each time. The last epoch's weights are kept. An interrupted pretraining goes
    on after its last finished epoch; a finished one of the same plan is returned as it is.
    """
    there = pretrained_there(plan, seed, out)
    return there or run_in(out, _Pretraining(plan, source, seed), report)


def pretrained_there(plan: PretrainPlan, seed: int, out: Path) -> Path | None:
    """The finished checkpoint, if it is there; InputError for one of another plan."""
    return finished(checkpoint_dir(out, seed), plan.digest())


class _Pretraining(Engine):
    judged = False

    def __init__(self, plan: PretrainPlan, source: PairSource, seed: int) -> None:
        super().__init__(plan, source, seed)
        self.plan = plan
        self.model, self.preprocessor = build(plan, source, (), seed)
        tokenizer = self.preprocessor.tokenizer
        if "mlm" in plan.objectives and tokenizer.mask_token_id is None:
            raise InputError(
                "its tokenizer has no mask token",
                where=f"text encoder {plan.text_encoder}",
                hint="Leave mlm out of --objectives.",
            )
        self.train = self.examples("train", plan.limit)
        if "alignment" in plan.objectives and min(len(self.train), plan.batch_size) < 2:
            raise InputError(
                "texts are exchanged within a batch, which needs at least 2 samples",
                where="--objectives alignment",
            )
        try:
            source.canonical("dev")
            self.has_dev = True
        except InputError:
            self.has_dev = False
        self.dev = self.examples("dev" if self.has_dev else "train", None if self.has_dev else 1)
        masking = Masking(
            mask_token=tokenizer.mask_token_id or 0,
            special_tokens=tuple(tokenizer.all_special_ids),
            vocabulary=self.model.text.embedding.num_embeddings,
            text_share=plan.text_mask,
            image_share=plan.image_mask,
        )
        self.heads = PretrainingModel(self.model, plan.objectives, masking)
        self.prepare(plan.digest(), self.heads)

    def enough(self) -> bool:
        """Never: pretraining runs its epochs."""
        return False

    def loss(self, batch: dict[str, Any]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The sum of the objectives' losses, and each of them."""
        found = self.heads(**batch["inputs"])
        total = torch.stack([outcome.loss for outcome in found.values()]).sum()
        return total, {name: outcome.loss for name, outcome in found.items() if outcome.n}

    def assess(self) -> dict[str, Any]:
        """How it does on dev, for the history."""
        return {"dev": self._on_dev()} if self.has_dev else {}

    def score_of(self, row: Mapping[str, Any]) -> float:
        """The last epoch is the best."""
        return float(row["epoch"])

    def _on_dev(self) -> list[dict[str, Any]]:
        """Mean loss and share of right predictions of each objective."""
        self.heads.eval()
        loss = dict.fromkeys(self.plan.objectives, 0.0)
        right = dict.fromkeys(self.plan.objectives, 0.0)
        n = dict.fromkeys(self.plan.objectives, 0)
        # All is drawn on the CPU, and nothing else is: a device's own generator goes on as it was.
        with torch.random.fork_rng([]), torch.inference_mode(), self.compute.autocast():
            torch.default_generator.manual_seed(_DEV_SEED)
            for start in range(0, len(self.dev), _DEV_BATCH):
                rows = range(start, min(start + _DEV_BATCH, len(self.dev)))
                batch = to_device(self.dev.collate(rows), self.compute.device)
                for name, outcome in self.heads(**batch["inputs"]).items():
                    loss[name] += float(outcome.loss) * outcome.n
                    right[name] += float(outcome.right)
                    n[name] += outcome.n
        return [
            {
                "objective": name,
                "loss": loss[name] / n[name] if n[name] else None,
                "accuracy": right[name] / n[name] if n[name] else None,
                "n": n[name],
            }
            for name in self.plan.objectives
        ]

    def write(self, folder: Path) -> None:
        """The checkpoint: the fusion model without the objectives' heads, tokenizer, history."""
        self.round_as_saved()
        self.save_model(folder)
        write_json(folder / FILE, {"plan": asdict(self.plan), **self.history()})
