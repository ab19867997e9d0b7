"""One or two released encoders as a model of transformers, so that they are saved and opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from backend.models.dual_stream.encoders import Encoder, Summary, TextEncoder, VisionEncoder
from backend.models.dual_stream.pretrained import build_text, build_vision
from backend.models.encoders import FAMILY


class SideBySideConfig(PreTrainedConfig):
    """What is needed to build the encoders again, as plain values.

    ``text`` is a ``transformers`` configuration with its ``model_type``, ``vision`` ``{"name": timm
    name, "options": constructor options}``; either may be absent. ``image`` has ``size``, ``mean``
    and ``std``, ``named`` is what to call the model, ``notes`` say what of the weights was not
    there. The others are as of
    :class:`backend.models.dual_stream.model.FusionConfig`.
    """

    model_type = FAMILY

    def __init__(
        self,
        text: Mapping[str, Any] | None = None,
        vision: Mapping[str, Any] | None = None,
        image: Mapping[str, Any] | None = None,
        max_text_length: int = 64,
        text_summary: Summary = "first",
        special_tokens: Sequence[int] = (),
        pad_texts: bool = False,
        named: str = "",
        notes: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        self.text = dict(text or {})
        self.vision = dict(vision or {})
        self.image = dict(image or {})
        self.max_text_length = max_text_length
        self.text_summary = text_summary
        self.special_tokens = list(special_tokens)
        self.pad_texts = pad_texts
        self.named = named
        self.notes = list(notes)
        super().__init__(**kwargs)


class SideBySideModel(PreTrainedModel):
    """One or two encoders; each runs for itself."""

    config_class = SideBySideConfig
    base_model_prefix = "encoders"
    main_input_name = "input_ids"
    _supports_sdpa = True
    _no_split_modules: list[str] = []  # noqa: RUF012 -- the base class types it as a list

    def __init__(
        self,
        config: SideBySideConfig,
        text: TextEncoder | None = None,
        vision: VisionEncoder | None = None,
    ) -> None:
        super().__init__(config)
        if config.text:
            self.text = text or build_text(config.text)
        if config.vision:
            described = config.vision
            self.vision = vision or build_vision(described["name"], described.get("options", {}))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leave every module as its own constructor made it."""

    @property
    def encoders(self) -> dict[str, Encoder]:
        """Vision and text, or the one that is there."""
        there = {"vision": self.config.vision, "text": self.config.text}
        return {name: getattr(self, name) for name, described in there.items() if described}

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Run each encoder on what it takes; (B, T, d) at the end of each."""
        taken = {"vision": ("pixel_values",), "text": ("input_ids", "attention_mask")}
        return {
            name: encoder.run(**{key: inputs[key] for key in taken[name]})
            for name, encoder in self.encoders.items()
        }
