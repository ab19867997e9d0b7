"""Models: opening one, reading it, changing what it computes, and adding a family of them.

An adapter names a model's streams, sites and meets, and says by its points where they are; see
docs/new-family.md for what the author of a family writes.
"""

from backend.capture.sinks import AttentionSink, PooledSink, TokenSink
from backend.capture.tap import Tap
from backend.models import edits
from backend.models.adapter import Adapter, AttentionKey, Inputs
from backend.models.dinov2 import as_dinov2, square_processor
from backend.models.dual_stream.pretrained import load_vision
from backend.models.families.base import (
    Released,
    block_points,
    block_sites,
    fusion_sites,
    item,
    meets,
    self_attention,
    silenced,
    unseen,
)
from backend.models.families.dual_encoder import DualEncoder
from backend.models.families.image_tokens import ImageTokens, Parts, PatchTokens
from backend.models.families.probing import probe
from backend.models.families.stacks import stack
from backend.models.families.vision_text_dual import VisionTextDual
from backend.models.images import patch_roles
from backend.models.loading import open_checkpoint
from backend.models.points import Argument, AttentionPoint, Item, PerImage, Point, Pooled, Rewrite
from backend.models.registry import open_model
from backend.models.roles import Role
from backend.models.texts import special_ids, text_roles, tokenize, tokenize_prompts

__all__ = [
    "Adapter",
    "Argument",
    "AttentionKey",
    "AttentionPoint",
    "AttentionSink",
    "DualEncoder",
    "ImageTokens",
    "Inputs",
    "Item",
    "Parts",
    "PatchTokens",
    "PerImage",
    "Point",
    "Pooled",
    "PooledSink",
    "Released",
    "Rewrite",
    "Role",
    "Tap",
    "TokenSink",
    "VisionTextDual",
    "as_dinov2",
    "block_points",
    "block_sites",
    "edits",
    "fusion_sites",
    "item",
    "load_vision",
    "meets",
    "open_checkpoint",
    "open_model",
    "patch_roles",
    "probe",
    "self_attention",
    "silenced",
    "special_ids",
    "square_processor",
    "stack",
    "text_roles",
    "tokenize",
    "tokenize_prompts",
    "unseen",
]
