"""The pair and what if, as one piece of work for the service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from backend.data.sample import Sample
from backend.inference.cache import Recall, content_key
from backend.inference.requests import Work
from backend.inference.values import Picture, Trace

if TYPE_CHECKING:
    from backend.models.adapter import Adapter

GIVEN = "this pair"
CAPTION = "another caption"
IMAGE = "another image"
BOTH = "another caption and image"
NO_FUSION = "without fusion"

CutWhere = int | Literal["all"]
"""The fusion layer at which every stream is cut that takes another one in there, or all layers."""


def what_if(
    *,
    caption: str = "",
    image: Picture | None = None,
    blanks: bool = False,
    cut: CutWhere | None = None,
) -> Work[dict[str, Trace]]:
    """Trace a pair and its counterfactuals: {name: trace}, the pair itself first.

    ``caption`` is another one for the same image, ``image`` another one for the same caption; with
    both there is their pair, too, so that the four make a 2 x 2 grid. ``blanks`` leaves either
    modality out, ``cut`` the fusion. Only the traces of uncut pairs have attention. Where the model
    has no fusion that can be cut, ``unsupported`` of the pair says why under :data:`NO_FUSION`; a
    layer at which nothing comes in is an InputError.
    """
    digest = image.digest if image is not None else None
    key = content_key("what if", caption, digest, blanks, cut)

    def run(adapter: Adapter, samples: Sequence[Sample], recall: Recall) -> dict[str, Trace]:
        from backend.inference import counterfactuals as other

        (sample,) = samples
        wanted = [other.given(sample)]
        if caption:
            wanted.append(other.other_caption(sample, caption))
        if image is not None:
            wanted.append(other.other_image(sample, image.image))
        if caption and image is not None:
            wanted.append(other.other_pair(sample, caption, image.image))
        if blanks:
            wanted += other.blanks(adapter, sample)
        uncut = other.why_not_cut(adapter) if cut is not None else ""
        if cut is not None and not uncut:
            layer = None if cut == "all" else cut
            wanted.append(other.without_fusion(adapter, sample, layer))

        def trace(missing: list[int]) -> tuple[Trace, ...]:
            return other.trace_all(adapter, [wanted[at] for at in missing])

        keys = [_key(each.name, caption, digest) for each in wanted]
        first, *others = recall.once(keys, trace)
        if uncut:
            first = replace(first, unsupported={**first.unsupported, NO_FUSION: uncut})
        return dict(zip((each.name for each in wanted), (first, *others), strict=True))

    words, pictures = 1 + bool(caption), 1 + (image is not None)
    return Work(key, run, at_once=words * pictures + 2 * blanks)


def _key(name: str, caption: str, digest: str | None) -> str:
    """What a counterfactual of a pair is kept by: its name and what it has from elsewhere."""
    return content_key(
        name,
        caption if name in (CAPTION, BOTH) else None,
        digest if name in (IMAGE, BOTH) else None,
    )
