"""What is trained: the options of `fusionscope train --family linear-adapter`, said once."""

from __future__ import annotations

from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import ClassVar

from backend.errors import InputError
from backend.settings import check_settings, setting
from backend.train.recipe import Said
from backend.train.shared_options import of_training

FAMILY = "linear-adapter"
TEXT = "text"
"""The answer that is a sample's own text."""


@dataclass(frozen=True)
class AdapterPlan(Said):
    """One linear map from patch tokens to a language model's embeddings, on image-text pairs.

    ``language_model`` is a directory or hub id of a causal language model. ``vision_encoder`` is a
    timm name with an optional weights file, built as DINOv2 (``vit_small_patch14_dinov2:FILE``).
    ``vision_layer`` is the layer whose patches are mapped: 0 enters the first block, -1 is the last
    block's output before its norm, -2 the one below, as LLaVA reads it.

    Without an ``instruction`` the model is to go on after the image with the sample's text. With
    one, the model's own chat format asks it, and the answer is the text or, with ``answer`` a task,
    the names of the classes; ``{text}`` in it is the sample's text. ``max_text_length`` counts
    tokens beside the image's.
    """

    COMMAND: ClassVar[str] = f"train --family {FAMILY}"

    data: str = of_training("data", MISSING)
    language_model: str = setting(MISSING, "A causal language model: a directory, or a hub id.")
    vision_encoder: str = setting(MISSING, "TIMM_NAME[:WEIGHTS.safetensors], built as DINOv2.")
    image_size: int = setting(224, "Pixels.", at_least=8)
    vision_layer: int = setting(-2, "Whose patches are mapped; -1 is the last, -2 as in LLaVA.")
    instruction: str = setting("", "Asked in the model's chat format; {text} is a sample's text.")
    answer: str = setting(TEXT, "What is learned: text, or a task whose classes are the answers.")
    max_text_length: int = setting(64, "Tokens beside the image's.", at_least=4)
    epochs: int = of_training("epochs", 3)
    batch_size: int = of_training("batch_size", 16)
    accumulate: int = of_training("accumulate", 1)
    learning_rate: float = setting(1e-3, "Of AdamW.", above=0)
    weight_decay: float = of_training("weight_decay", 0.0)
    warmup: float = of_training("warmup", 0.05)
    final_rate: float = of_training("final_rate", 0.1)
    limit: int | None = of_training("limit", None)
    dev_limit: int | None = setting(None, "Samples of the dev split.", at_least=4)
    precision: str = of_training("precision", "auto")
    saved_precision: str = of_training("saved_precision", "float32")
    device: str = of_training("device", "auto")
    cache_dir: Path | None = setting(
        None, "Where the vision encoder's outputs are kept; shared by trainings. Default: scratch."
    )
    allow_partial_weights: bool = of_training("allow_partial_weights", False)

    @property
    def rate(self) -> float:
        """The peak learning rate."""
        return self.learning_rate

    def check(self) -> None:
        """InputError for an option whose value cannot be used."""
        check_settings(self)
        if self.answer != TEXT and not self.instruction:
            raise InputError(
                f"the classes of {self.answer} answer nothing without an `instruction`",
                field="answer",
            )
        if self.instruction and self.answer == TEXT and "{text}" in self.instruction:
            raise InputError("would ask for the very text that it shows", field="instruction")
        if self.cache_dir is not None and self.cache_dir.exists() and not self.cache_dir.is_dir():
            raise InputError(f"{self.cache_dir} is not a directory", field="cache_dir")
