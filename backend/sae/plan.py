"""What `fusionscope train-sae` trains: its options, said once."""

from __future__ import annotations

import hashlib
import json
from dataclasses import MISSING, asdict, dataclass
from typing import Any

from backend.errors import InputError
from backend.sae.recipe import Recipe
from backend.settings import check_settings, setting
from backend.words import DATA_SPEC

KINDS = ("topk", "jumprelu")
_NOT_OF_THE_RESULT = ("layers", "device", "batch_size", "check_limit", "loss_samples")


@dataclass(frozen=True)
class SaePlan:
    """An autoencoder for each of some layers of one stream, of the tokens of a data set.

    ``layers`` are sites as they are written everywhere: 0 enters the first block, k leaves block k.
    ``text_alone``: the language model inside the model reads the texts without images. Steps and
    rates are those of :class:`backend.sae.recipe.Recipe`.
    """

    model: str = setting(MISSING, "A checkpoint directory or a hub id.")
    data: str = setting(MISSING, DATA_SPEC)
    layers: tuple[str, ...] = setting(MISSING, "Comma-separated: 6,12,18.")
    stream: str = setting("text", "Whose tokens.")
    text_alone: bool = setting(False, "The texts without images, through the language model alone.")
    split: str = setting("train", "To train on.")
    check_split: str = setting("dev", "To measure on.")
    limit: int | None = setting(None, "Samples to train on.", at_least=1)
    check_limit: int = setting(256, "Samples to measure on.", at_least=1)
    loss_samples: int = setting(64, "Samples whose next words are measured.", at_least=2)
    kind: str = setting("topk", "topk or jumprelu.", choices=KINDS)
    features: int = setting(4096, "Width.", at_least=2)
    k: int = setting(32, "Features on at once (jumprelu: on average).", at_least=1)
    steps: int = setting(5000, "Of Adam.", at_least=1)
    tokens: int = setting(1024, "Tokens a step.", at_least=2)
    learning_rate: float = setting(4e-4, "Of Adam.", above=0)
    dead_after: int = setting(500_000, "Tokens after which an unused feature is dead.", at_least=1)
    batch_size: int = setting(16, "Samples a batch while the model is read.", at_least=1)
    device: str = setting("auto", "auto, cuda, mps or cpu.")

    def check(self) -> None:
        """InputError for an option whose value cannot be used."""
        check_settings(self)
        if not self.layers:
            raise InputError("must be at least one", field="layers")
        if self.text_alone and self.stream != "text":
            raise InputError(
                f"is of the stream text, not of {self.stream}",
                field="text_alone",
                hint="Leave out one of `text_alone` and `stream`.",
            )

    def recipe(self, seed: int) -> Recipe:
        """How one layer is trained."""
        return Recipe(
            kind="topk" if self.kind == "topk" else "jumprelu",
            features=self.features,
            k=self.k,
            steps=self.steps,
            batch=self.tokens,
            learning_rate=self.learning_rate,
            dead_after=self.dead_after,
            seed=seed,
        )

    def read_key(self, model_digest: str, fingerprint: str) -> str:
        """Names what is read: the model, the samples, the tokens."""
        told = [model_digest, fingerprint, self.stream, self.text_alone, sorted(self.layers)]
        return _digest(told)

    def train_key(self, model_digest: str, fingerprint: str, seed: int) -> str:
        """Names what is trained, whatever other layers are trained beside it."""
        told: dict[str, Any] = {
            name: value for name, value in asdict(self).items() if name not in _NOT_OF_THE_RESULT
        }
        return _digest([model_digest, fingerprint, told, seed])


def _digest(told: object) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]
