"""A layer with what is known of it besides its values: where rows come from one pass over all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backend.measures.core.base import LayerFacts
from backend.measures.suite.layers import constant_layer_reason, site_name
from backend.remarks import Remark
from backend.types import LayerRef


@dataclass(frozen=True, eq=False)
class SiteFacts:
    """A layer, what is known of its vectors and, where they are constant, why."""

    ref: LayerRef
    facts: LayerFacts
    pooling: str
    reason: Remark | None

    @property
    def name(self) -> str:
        """``"layer 4 of vision"``."""
        return site_name(self.ref)


def site_facts(
    refs: Sequence[LayerRef],
    facts: Sequence[LayerFacts],
    pooling: str,
    modalities: Mapping[str, str],
) -> list[SiteFacts]:
    """Each layer with what is known of it."""
    return [
        SiteFacts(
            ref,
            own,
            pooling,
            constant_layer_reason(ref, pooling, modalities) if own.constant else None,
        )
        for ref, own in zip(refs, facts, strict=True)
    ]
