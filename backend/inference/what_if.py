"""The pair and what if, as one piece of work for the service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from backend.data.sample import Sample
from backend.inference.cache import content_key
from backend.inference.service import Work
from backend.inference.values import Trace

if TYPE_CHECKING:
    from backend.models.adapter import Adapter

GIVEN = "this pair"
NO_FUSION = "without fusion"
CAPTION = "another caption"


def what_if(
    *, caption: str = "", blanks: bool = False, cut: bool = False
) -> Work[dict[str, Trace]]:
    """Trace a pair and its counterfactuals: {name: trace}, the pair itself first.

    ``caption`` is another one for the same image, ``blanks`` leaves either modality out, ``cut``
    the fusion at all layers; where a model has no fusion that can be cut, there is none.
    """
    key = content_key("what if", caption, blanks, cut)

    def run(adapter: Adapter, samples: Sequence[Sample]) -> dict[str, Trace]:
        from backend.inference import counterfactuals as other

        (sample,) = samples
        wanted = {GIVEN: other.given(sample)}
        if caption:
            wanted[CAPTION] = other.other_caption(sample, caption)
        if blanks:
            wanted |= {one.name: one for one in other.blanks(adapter, sample)}
        if cut and not other.why_not_cut(adapter):
            wanted[NO_FUSION] = other.without_fusion(adapter, sample)
        traces = other.trace_all(adapter, list(wanted.values()))
        return dict(zip(wanted, traces, strict=True))

    return Work(key, run)
