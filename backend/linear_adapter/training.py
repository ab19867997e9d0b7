"""Trains the map with the language model's own loss of the answer; both models stay as they are."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from backend.data.base import PairSource
from backend.errors import InputError
from backend.linear_adapter.pairs import AnsweredPairs, spread_of
from backend.linear_adapter.parts import Parts, open_parts
from backend.linear_adapter.plan import TEXT, AdapterPlan
from backend.linear_adapter.seeing import Seeing, compared
from backend.progress import SILENT, Progress
from backend.train.engine import Engine, checkpoint_dir, finished, run_in, to_device, write_json
from backend.train.fusion import round_to_half

SEEING = "seeing.json"
_BATCH = 32


def train_adapter(
    plan: AdapterPlan, source: PairSource, seed: int, out: Path, progress: Progress = SILENT
) -> Path:
    """Train, keep the epoch with the least dev loss, and return the checkpoint's directory.

    It appears once the training is finished and holds a ``LlavaForConditionalGeneration`` with its
    processor, ``training.json`` (the losses of every epoch) and ``seeing.json``
    (:class:`backend.linear_adapter.seeing.Seeing`, on dev). An interrupted training goes on after
    its last finished epoch; a finished one of the same plan is returned as it is. InputError for a
    plan that the data or the models cannot serve.
    """
    plan.check()
    checkpoint = finished(checkpoint_dir(out, seed), plan.digest())
    if checkpoint:
        return checkpoint
    training = _Training(plan, source, seed)

    def see(partial: Path) -> None:
        training.see(plan.cache_dir or partial / "patches")

    return run_in(out, training, progress, before=see)


class LinearMap(nn.Module):
    """Patches (..., d_vision) -> (..., d_text): one linear map, learned of patches scaled to sd 1.

    It starts out random, with outputs spread as the language model's embeddings are.
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, mean: Tensor, sd: Tensor, embeddings: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("sd", sd)
        self.linear = nn.Linear(len(mean), embeddings.shape[1])
        with torch.no_grad():
            self.linear.weight.normal_(0, float(embeddings.std()) / len(mean) ** 0.5)
            self.linear.bias.copy_(embeddings.mean(dim=0))

    def forward(self, patches: Tensor) -> Tensor:
        """The map."""
        mapped: Tensor = self.linear((patches - self.mean) / self.sd)
        return mapped

    def folded(self) -> tuple[Tensor, Tensor]:
        """(d_text, d_vision) and (d_text): the same map of patches as they are."""
        weight = self.linear.weight / self.sd
        return weight, self.linear.bias - weight @ self.mean


class _Training(Engine):
    train: AnsweredPairs
    dev: AnsweredPairs
    map: nn.Module

    def __init__(self, plan: AdapterPlan, source: PairSource, seed: int) -> None:
        super().__init__(plan, seed)
        self.plan, self.source = plan, source
        if plan.answer != TEXT and plan.answer not in source.tasks:
            raise InputError(
                f"no task {plan.answer!r}",
                where=f"data {source.name}",
                field="answer",
                hint=f"It has: {', '.join((TEXT, *source.tasks))}.",
            )
        self.parts = open_parts(plan)
        if plan.saved_precision != "float32":
            self._require_the_same_in(getattr(torch, plan.saved_precision))
        self.parts.model.to(self.compute.device)
        self.train = AnsweredPairs(source, "train", plan, self.parts, plan.limit)
        self.dev = AnsweredPairs(source, "dev", plan, self.parts, plan.dev_limit)

    def _require_the_same_in(self, dtype: torch.dtype) -> None:
        """InputError for a frozen weight that would be rounded: nothing but the map may change."""
        for name, weight in self.parts.model.named_parameters():
            frozen = "multi_modal_projector" not in name
            if frozen and not weight.to(dtype).to(weight).equal(weight):
                raise InputError(
                    f"would round {name}, and the frozen models stay as they are",
                    field="saved_precision",
                    hint="Leave it at float32.",
                )

    def see(self, folder: Path) -> None:
        """Run the vision encoder once; then the map can be made, scaled to what it gives."""
        for split in (self.train, self.dev):
            split.see(folder)
        torch.manual_seed(self.seed)
        table = self.parts.model.get_input_embeddings().weight[: self.parts.vocabulary].cpu()
        self.map = self.learned = LinearMap(*spread_of(self.train.patches), table)
        self.prepare(self.plan.digest(), self.learned)
        self.speaking = Speaking(self.parts, self.train)

    def enough(self) -> bool:
        """Never: it runs its epochs."""
        return False

    def loss(self, batch: dict[str, Any]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The mean over the batch's answer tokens."""
        losses, counts = self.speaking.losses(batch["words"], self.map(batch["image"]["patches"]))
        return losses.sum() / counts.sum(), {}

    def assess(self) -> dict[str, Any]:
        """The dev split's mean loss of an answer token, in nats."""
        losses, counts = self.losses(self.dev)
        return {"dev_loss": float(losses.sum() / counts.sum())}

    def score_of(self, row: Mapping[str, Any]) -> float:
        """The less loss, the better."""
        return -float(row["dev_loss"])

    def best_told(self) -> str:
        """The least dev loss so far."""
        return f"best dev loss {-self.state.best_value:.3f}"

    def losses(
        self, split: AnsweredPairs, pictures: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """(n,) the summed loss of each sample's answer, and its tokens.

        ``pictures`` (n,): with whose image, where not with its own.
        """
        losses, counts = [], []
        with torch.inference_mode(), self.compute.autocast():
            for start in range(0, len(split), _BATCH):
                rows = range(start, min(start + _BATCH, len(split)))
                seen = None if pictures is None else pictures[start : start + _BATCH].tolist()
                batch = to_device(split.collate(rows, seen), self.compute.device)
                own, tokens = self.speaking.losses(
                    batch["words"], self.map(batch["image"]["patches"])
                )
                losses.append(own.double().cpu().numpy())
                counts.append(tokens.cpu().numpy())
        return np.concatenate(losses), np.concatenate(counts)

    def write(self, folder: Path) -> None:
        """The checkpoint, the history, and whether the image is seen."""
        model = self.parts.model
        model.config.trained_on = {
            "model": f"{Path(self.plan.language_model).name} + "
            f"{Path(self.plan.vision_encoder.partition(':')[0]).name}",
            "dataset": self.source.name,
            "seed": self.seed,
            "plan": self.plan.digest(),
            **({"notes": list(self.parts.notes)} if self.parts.notes else {}),
        }
        self.parts.set_map(*(part.detach() for part in self.learned.folded()))
        if self.plan.saved_precision == "float16":
            round_to_half(model)
        self.map = model.model.multi_modal_projector  # the losses are of what is saved
        seeing: Seeing = compared(self.dev.groups(), lambda which: self.losses(self.dev, which))
        model.to(getattr(torch, self.plan.saved_precision)).save_pretrained(folder)
        self.parts.processor.save_pretrained(folder)
        write_json(folder / SEEING, asdict(seeing))
        plan = {
            name: str(value) if isinstance(value, Path) else value
            for name, value in asdict(self.plan).items()
        }
        write_json(folder / "training.json", {"plan": plan, **self.history()})


class Speaking:
    """The language model's loss of answers; what all prompts begin with was run through it once."""

    def __init__(self, parts: Parts, split: AnsweredPairs) -> None:
        self._parts = parts
        self._model = parts.model.model.language_model
        first = split.collate([0])["words"]["ids"][0]
        at = (first == parts.model.config.image_token_id).nonzero()[0]
        self.prefix = first[: int(at)].to(parts.model.device)
        self._kept: Any = None
        if len(self.prefix):
            with torch.no_grad():  # not inference mode: a training differentiates what reads it
                out = self._model(input_ids=self.prefix[None], use_cache=True)
            self._kept = out.past_key_values

    def losses(self, words: Mapping[str, Tensor], image: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) the summed loss of each answer, in nats, and (B,) how many tokens it has.

        ``image`` (B, t, d) are what stands in the place of the image's tokens.
        """
        ids, mask = words["ids"], words["mask"]
        begin = len(self.prefix)
        at = ids == self._parts.model.config.image_token_id
        table = self._parts.model.get_input_embeddings()
        entering = table(ids.masked_fill(at, 0)).masked_scatter(
            at[..., None], image.to(table.weight)
        )
        places = (mask.cumsum(dim=1) - 1).clamp(min=0)
        hidden = self._model(
            inputs_embeds=entering[:, begin:],
            attention_mask=mask,
            position_ids=places[:, begin:],
            past_key_values=self._repeated(len(ids)),
            use_cache=self._kept is not None,
        ).last_hidden_state
        wanted = words["answers"][:, begin:].nonzero()
        rows, columns = wanted[:, 0], wanted[:, 1]
        logits = self._parts.model.lm_head(hidden[rows, columns - 1])
        own = logits[:, : self._parts.vocabulary].float()
        each = cross_entropy(own, ids[rows, columns + begin], reduction="none")
        summed = each.new_zeros(len(ids)).index_add(0, rows, each)
        return summed, words["answers"].sum(dim=1)

    def _repeated(self, batch: int) -> Any:
        """The beginning's keys and values for every sample of a batch; a pass adds to its own."""
        if self._kept is None:
            return None
        kept = copy.deepcopy(self._kept)
        kept.batch_repeat_interleave(batch)
        return kept
