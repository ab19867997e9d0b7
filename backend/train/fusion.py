"""The loop for fusion models: what is trained, shown to observers and saved."""

from __future__ import annotations

from pathlib import Path

import torch

from backend.data.base import PairSource
from backend.errors import InputError
from backend.models.dual_stream.model import FusionModel
from backend.models.dual_stream.preprocess import Preprocessor
from backend.train.engine import Engine
from backend.train.examples import Examples
from backend.train.observe import Observer
from backend.train.recipe import Recipe


class FusionEngine(Engine):
    """A subclass also sets ``model`` (what is saved) and ``preprocessor``."""

    model: FusionModel
    preprocessor: Preprocessor
    train: Examples
    dev: Examples

    def __init__(self, recipe: Recipe, source: PairSource, seed: int) -> None:
        super().__init__(recipe, seed)
        self.source, self.saved_precision = source, recipe.saved_precision

    def examples(self, split: str, limit: int | None) -> Examples:
        """A split, without labels."""
        return Examples(self.source, split, (), self.preprocessor, limit)

    def begin(self, observer: Observer, folder: Path, epoch: int) -> None:
        """Show the model and the dev split to an observer."""
        device = self.compute.device
        observer.begin(self.model, self.preprocessor, self.dev, device, folder, epoch)

    def save_model(self, folder: Path) -> None:
        """Write weights, configuration and tokenizer."""
        self.model.to(getattr(torch, self.saved_precision)).save_pretrained(folder)
        self.preprocessor.save(folder)

    def round_as_saved(self) -> None:
        """Make the weights those that will be saved, so that what is said of them holds."""
        if self.saved_precision == "float16":
            round_to_half(self.model)


def round_to_half(module: torch.nn.Module) -> None:
    """Round a model's weights to float16's digits; InputError where one is beyond its range."""
    for name, values in module.state_dict().items():
        if values.is_floating_point():
            half = values.half()
            if not torch.isfinite(half).all():
                raise InputError(
                    f"{name} has values beyond float16's range",
                    field="saved_precision",
                    hint="Use float32.",
                )
            values.copy_(half)
