"""Pretraining on image-text pairs: a fusion model without heads that `train` can start from.

The objectives are those of :mod:`backend.models.dual_stream.pretraining`; no labels are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backend.data.base import PairSource
from backend.errors import InputError
from backend.models.dual_stream.pretraining import Masking, PretrainingModel
from backend.progress import SILENT, Progress
from backend.train.build import build
from backend.train.engine import (
    checkpoint_dir,
    finished,
    run_in,
    to_device,
    write_json,
)
from backend.train.fusion import FusionEngine
from backend.train.recipe import PretrainPlan

FILE = "pretraining.json"
_DEV_SEED = 0
_DEV_BATCH = 64  # candidates of the InfoNCE come from one batch: the same for every training


def pretrain_seed(
    plan: PretrainPlan, source: PairSource, seed: int, out: Path, progress: Progress = SILENT
) -> Path:
    """Pretrain and return the checkpoint directory, which appears once it is finished.

    It holds a fusion model without heads, and ``pretraining.json``: the losses of every epoch and,
    where there is a dev split, losses and shares of right predictions on it, of the same hidden
    words and patches each time. The last epoch's weights are kept. An interrupted pretraining goes
    on after its last finished epoch; a finished one of the same plan is returned as it is.
    """
    checkpoint = finished_pretraining(plan, seed, out)
    return checkpoint or run_in(out, _Pretraining(plan, source, seed), progress)


def finished_pretraining(plan: PretrainPlan, seed: int, out: Path) -> Path | None:
    """The finished checkpoint, if it is there; InputError for one of another plan."""
    return finished(checkpoint_dir(out, seed), plan.digest())


class _Pretraining(FusionEngine):
    def __init__(self, plan: PretrainPlan, source: PairSource, seed: int) -> None:
        super().__init__(plan, source, seed)
        self.plan = plan
        self.model, self.preprocessor = build(plan, source, (), seed)
        tokenizer = self.preprocessor.tokenizer
        if "mlm" in plan.objectives and tokenizer.mask_token_id is None:
            raise InputError(
                "its tokenizer has no mask token",
                where=f"text encoder {plan.text_encoder}",
                field="objectives",
                hint="Leave mlm out.",
            )
        self.train = self.examples("train", plan.limit)
        if "alignment" in plan.objectives and min(len(self.train), plan.batch_size) < 2:
            raise InputError(
                "alignment exchanges texts within a batch, which needs at least 2 samples",
                field="objectives",
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
        outcomes = self.heads(**batch["inputs"])
        total = torch.stack([outcome.loss for outcome in outcomes.values()]).sum()
        return total, {name: outcome.loss for name, outcome in outcomes.items() if outcome.n}

    def assess(self) -> dict[str, Any]:
        """How it does on dev, for the history."""
        return {"dev": self._on_dev()} if self.has_dev else {}

    def best_told(self) -> str:
        """Nothing: the last epoch is the best."""
        return ""

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
