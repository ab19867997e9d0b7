"""The frozen parts, and the LLaVA that they become with a linear map between them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ViTImageProcessor,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from backend.errors import InputError
from backend.linear_adapter.plan import AdapterPlan
from backend.linear_adapter.words import IMAGE, chat_template
from backend.models.dinov2 import as_dinov2, square_processor
from backend.models.dual_stream.pretrained import load_vision
from backend.models.loading import open_checkpoint

_SAME_LOGITS = 1e-3
"""How far LLaVA's logits of a text may lie from the language model's own."""


@dataclass(frozen=True, eq=False)
class Parts:
    """A LLaVA whose projector is still to be trained, and its processor.

    ``vocabulary`` counts the language model's own words: what was added for the image is beyond.
    """

    model: Any  # LlavaForConditionalGeneration
    processor: LlavaProcessor
    vocabulary: int
    notes: tuple[str, ...]

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Of the language model, with a word for the image."""
        tokenizer: PreTrainedTokenizerBase = self.processor.tokenizer
        return tokenizer

    @property
    def tower(self) -> Any:
        """The vision encoder, a Dinov2Model."""
        return self.model.model.vision_tower

    @property
    def image_tokens(self) -> int:
        """Patches of an image."""
        config = self.tower.config
        return int((config.image_size // config.patch_size) ** 2)

    def patches(self, pixels: Tensor) -> Tensor:
        """(B, 3, s, s) -> (B, image tokens, d): the patches of the layer that is mapped."""
        states = self.tower(pixels, output_hidden_states=True).hidden_states
        patches: Tensor = states[self.model.config.vision_feature_layer][:, 1:]
        return patches

    def tower_digest(self) -> str:
        """Of everything that the patches depend on but the images."""
        state = hashlib.sha256(self.tower.config.to_json_string(use_diff=False).encode())
        state.update(json.dumps(self.model.config.vision_feature_layer).encode())
        state.update(self.processor.image_processor.to_json_string().encode())
        for value in self.tower.state_dict().values():
            state.update(value.cpu().numpy().tobytes())
        return state.hexdigest()

    def set_map(self, weight: Tensor, bias: Tensor) -> None:
        """Put the linear map (d_text, d_vision), (d_text) into the projector."""
        first = self.model.model.multi_modal_projector.linear_1
        with torch.no_grad():
            first.weight.copy_(weight)
            first.bias.copy_(bias)


def open_parts(plan: AdapterPlan) -> Parts:
    """Load both models and join them; everything is frozen and in evaluation mode.

    InputError where one is not to be had, where an instruction is to be asked of a model without a
    chat format, and where LLaVA's class would not compute what the language model does.
    """
    language, tokenizer, said = _language(plan)
    vision, images = _vision(plan)
    _check_layer(plan, int(vision.config.num_hidden_layers))
    vocabulary = int(language.config.vocab_size)
    image_id = _with_image_word(language, tokenizer)
    template = chat_template(tokenizer, plan, f"language model {plan.language_model}")
    processor = LlavaProcessor(
        images,
        tokenizer,
        patch_size=vision.config.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )
    model = _joined(language, vision, image_id, plan)
    _require_same_logits(model, language, vocabulary, plan)
    return Parts(model.eval().requires_grad_(False), processor, vocabulary, said)


def _language(
    plan: AdapterPlan,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, tuple[str, ...]]:
    where = f"language model {plan.language_model}"
    try:
        checkpoint = open_checkpoint(
            plan.language_model, allow_partial_weights=plan.allow_partial_weights
        )
        name = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(checkpoint.model_type)
        if name is None:
            raise InputError(f"a {checkpoint.model_type} model goes on with no text")
        model = checkpoint.weights(name)
        tokenizer = checkpoint.tokenizer()
    except InputError as error:
        raise error.within(where).about("language_model") from error
    if tokenizer.eos_token is None:
        raise InputError("its tokenizer has no end of a text", where=where)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer, tuple(f"Language model: {note}" for note in checkpoint.notes)


def _vision(plan: AdapterPlan) -> tuple[Any, ViTImageProcessor]:
    name, _, file = plan.vision_encoder.partition(":")
    encoder = load_vision(
        name,
        {"img_size": plan.image_size},
        Path(file) if file else None,
        allow_partial_weights=plan.allow_partial_weights,
    )
    card: Any = encoder.model.pretrained_cfg
    tower = as_dinov2(encoder.model, plan.vision_encoder)
    return tower, square_processor(plan.image_size, card["mean"], card["std"])


def _check_layer(plan: AdapterPlan, depth: int) -> None:
    if not -depth - 1 <= plan.vision_layer <= depth:
        raise InputError(
            f"the vision encoder has layers 0 to {depth}, not {plan.vision_layer}",
            field="vision_layer",
        )


def _with_image_word(language: Any, tokenizer: Any) -> int:
    """The id of the word for the image; a row of zeros where the model has none to spare."""
    from tokenizers import AddedToken

    tokenizer.add_tokens([AddedToken(IMAGE, special=True, normalized=False)], special_tokens=True)
    image_id = int(tokenizer.convert_tokens_to_ids(IMAGE))
    rows = int(language.config.vocab_size)
    if image_id >= rows:
        language.resize_token_embeddings(image_id + 1, mean_resizing=False)
        with torch.no_grad():
            for table in (language.get_input_embeddings(), language.get_output_embeddings()):
                table.weight[rows:] = 0.0
    return image_id


def _joined(
    language: Any, vision: Any, image_id: int, plan: AdapterPlan
) -> LlavaForConditionalGeneration:
    """LLaVA's perceptron with no bend and an identity after the map is one linear map."""
    config = LlavaConfig(
        vision_config=vision.config,
        text_config=language.config,
        image_token_index=image_id,
        projector_hidden_act="linear",
        multimodal_projector_bias=True,
        vision_feature_layer=plan.vision_layer,
        vision_feature_select_strategy="default",
        image_seq_length=int((vision.config.image_size // vision.config.patch_size) ** 2),
        tie_word_embeddings=bool(language.config.tie_word_embeddings),
    )
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    head, own = language.get_output_embeddings(), language.base_model
    plain = isinstance(head, nn.Linear) and head.bias is None
    if type(own) is not type(model.model.language_model) or not plain:
        raise InputError(
            f"a {type(language).__name__} is not built as LLaVA's class puts one together",
            where=f"language model {plan.language_model}",
        )
    projector = LlavaMultiModalProjector(config)
    with torch.no_grad():
        projector.linear_2.weight.copy_(torch.eye(language.config.hidden_size))
        projector.linear_2.bias.zero_()
    model.model.vision_tower, model.model.language_model = vision, own
    model.model.multi_modal_projector, model.lm_head = projector, head
    return model


def _require_same_logits(model: Any, language: Any, words: int, plan: AdapterPlan) -> None:
    ids = torch.arange(8)[None] % words
    with torch.inference_mode():
        ours, theirs = (one(input_ids=ids, use_cache=False).logits for one in (model, language))
    if float((ours - theirs).abs().max()) > _SAME_LOGITS:
        raise InputError(
            f"a {type(language).__name__} does something to its logits that LLaVA's class does not",
            where=f"language model {plan.language_model}",
        )
