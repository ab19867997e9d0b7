"""Any two encoders of transformers, joined by projections and CLIP's loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from PIL import Image

from backend.errors import InputError
from backend.models.families.dual_encoder import DualEncoder, Tower
from backend.models.families.probing import Probed, probe
from backend.models.norms import AFTER_OWN_NORM
from backend.models.points import Argument, Point, Pooled
from backend.models.roles import Role
from backend.types import POOLINGS, Site


class VisionTextDual(DualEncoder):
    """Which encoders these are is not known here: blocks and summaries are found by running them.

    A tower that is read at one token has that token as its summary; one that pools in another way
    (an average, an attention head) has none.
    """

    family = "vision-text-dual-encoder"
    model_class = "VisionTextDualEncoderModel"

    def towers(self) -> dict[str, Tower]:
        """``norm`` follows the last block, if a norm does; ``pooled`` is what each encoder gives,
        ``projected`` the shared space.
        """
        model = self.model
        with self.showing_attention():
            vision, text = self._probe_vision(), self._probe_text()
        silent = [
            encoder.config.model_type
            for encoder, probed in ((model.vision_model, vision), (model.text_model, text))
            if not probed.attention
        ]
        if silent:
            self.unsupported = {
                "attention": f"the blocks of a {' and a '.join(silent)} model show no maps"
            }
        return {
            "vision": self._tower(vision, model.visual_projection, Role.SUMMARY in self.prefix),
            "text": self._tower(text, model.text_projection, self.summary is not None),
        }

    def _tower(self, probed: Probed, projection: torch.nn.Linear, summary: bool) -> Tower:
        depth, norm = len(probed.blocks), probed.norm
        pooled = Pooled(Argument(0, "input"))
        return Tower(
            probed.blocks,
            probed.attention,
            probed.width,
            {
                **({} if norm is None else {Site(depth, probed.width, "norm"): Point(norm)}),
                Site(depth, projection.in_features, "pooled", pooled=True): Point(
                    projection, "input", select=pooled
                ),
                Site(depth, projection.out_features, "projected", pooled=True): Point(
                    projection, select=Pooled()
                ),
            },
            POOLINGS if summary else ("mean",),
            AFTER_OWN_NORM if probed.normed else "",
            index=probed.index,
        )

    def _probe_vision(self) -> Probed:
        """Sets ``prefix``: the first token is the summary where the tower is read at it alone."""
        where = f"vision tower of model {self.name}"
        image = Image.effect_noise((64, 64), 64.0).convert("RGB")
        pixels = self.processor.image_processor(image, return_tensors="pt")["pixel_values"]
        probed = probe(self.model.vision_model, {"pixel_values": pixels.to(self.dtype)}, where)
        patches = (pixels.shape[2] // self.patch_size) * (pixels.shape[3] // self.patch_size)
        before = probed.reads.shape[1] - patches
        if before < 0:
            raise InputError(
                f"its blocks have {probed.reads.shape[1]} tokens for {patches} patches", where=where
            )
        places = probed.reads[0].nonzero()[:, 0].tolist()
        first = Role.SUMMARY if places == [0] and before else Role.SPECIAL
        self.prefix = (first, *[Role.SPECIAL] * (before - 1))[:before]
        return probed

    def _probe_text(self) -> Probed:
        """Sets ``summary``; a tower that is read at padding is refused."""
        where = f"text tower of model {self.name}"
        tokens = self.processor.tokenizer(["a", "a a a"], padding=True, return_tensors="pt")
        mask = tokens["attention_mask"]
        given = {"input_ids": tokens["input_ids"], "attention_mask": mask}
        probed = probe(self.model.text_model, given, where)
        real = [row.nonzero()[:, 0].tolist() for row in mask]
        places = [row.nonzero()[:, 0].tolist() for row in probed.reads]
        if bool((probed.reads & (mask == 0)).any()):
            raise InputError(
                f"a {self.model.text_model.config.model_type} model is read at padding here, "
                "so a text's vector depends on the length of others",
                where=where,
            )
        self.summary = None
        if places == [row[:1] for row in real]:
            self.summary = "first"
        elif places == [row[-1:] for row in real]:
            self.summary = "last"
        return probed

    @property
    def patch_size(self) -> int:
        """From the vision tower's configuration, or from timm's model inside it."""
        tower = self.model.vision_model
        inner = getattr(tower, "timm_model", None)
        size = tower.config.patch_size if inner is None else inner.patch_embed.patch_size
        return int(size if isinstance(size, int) else size[0])

    @property
    def max_tokens(self) -> int:
        """Positions less those that RoBERTa-like models leave out, or the tokenizer's limit."""
        text = self.model.text_model
        embeddings = getattr(text, "embeddings", None)
        padding = getattr(getattr(embeddings, "position_embeddings", None), "padding_idx", None)
        left_out = 0 if padding is None else padding + 1
        limit: int = self.processor.tokenizer.model_max_length
        return min(limit, int(text.config.max_position_embeddings) - left_out)

    @contextmanager
    def showing_attention(self) -> Iterator[None]:
        """Towers of timm, too, compute their maps one after another instead of in one kernel."""
        fused = [part for part in self.model.modules() if getattr(part, "fused_attn", False)]
        for part in fused:
            part.fused_attn = False
        try:
            with super().showing_attention():
                yield
        finally:
            for part in fused:
                part.fused_attn = True
