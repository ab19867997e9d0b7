"""What if: another caption, another image, nothing to read or see, the fusion cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from PIL import Image

from backend.data.sample import Sample
from backend.errors import InputError
from backend.inference.tracing import trace_batch
from backend.inference.values import Trace
from backend.inference.what_if import BOTH, CAPTION, GIVEN, IMAGE, NO_FUSION
from backend.models.adapter import Adapter
from backend.models.edits import Cut, cut

_BLANK_NAMES = {"vision": "blank image", "text": "blank text", "audio": "silence"}


@dataclass(frozen=True, eq=False)
class Counterfactual:
    """A pair, or a change to one, that can be traced: the sample and the cuts it runs with."""

    name: str
    sample: Sample
    edits: tuple[Cut, ...] = ()


def given(sample: Sample) -> Counterfactual:
    """The pair as it is."""
    return Counterfactual(GIVEN, sample)


def other_caption(sample: Sample, text: str) -> Counterfactual:
    """The same image with another caption."""
    return Counterfactual(CAPTION, replace(sample, text=text))


def other_image(sample: Sample, image: Image.Image) -> Counterfactual:
    """The same caption with another image. Regions of the old one are not those of the new."""
    return Counterfactual(IMAGE, replace(sample, images=(image,), regions=None))


def other_pair(sample: Sample, text: str, image: Image.Image) -> Counterfactual:
    """Both others: the fourth pair of the grid of two captions by two images.

    With it the four are the test of benign confounders (Kiela et al. 2020, Hateful Memes):
    :func:`backend.inference.difference.interaction` says what a pair is beyond its parts.
    """
    return Counterfactual(BOTH, other_image(replace(sample, text=text), image).sample)


def blanks(adapter: Adapter, sample: Sample) -> tuple[Counterfactual, ...]:
    """One for each modality that the model needs: a grey image, an empty text, silence."""
    modalities = {"image": "vision", "text": "text", "audio": "audio"}
    return tuple(
        Counterfactual(_BLANK_NAMES[modality], sample.blank(modality))
        for need, modality in modalities.items()
        if need in adapter.needs
    )


def without_fusion(
    adapter: Adapter, sample: Sample, layer: int | None = None, stream: str | None = None
) -> Counterfactual:
    """The pair with the fusion cut: at one layer or (None) at all, in one stream or in all.

    InputError where nothing comes in there, or the model cannot be cut: the sentence says why.
    """
    reason = why_not_cut(adapter)
    if reason:
        raise InputError("its fusion cannot be cut", where=f"model {adapter.name}", hint=reason)
    specs = [adapter.stream(stream)] if stream is not None else adapter.streams
    reached = [
        spec
        for spec in specs
        if (layer is None and spec.fusion_layers) or layer in spec.fusion_layers
    ]
    if not reached:
        layers = sorted({k for spec in specs for k in spec.fusion_layers})
        raise InputError(
            "no other stream comes in " + ("anywhere" if layer is None else f"at layer {layer}"),
            where=f"model {adapter.name}" + (f", stream {stream}" if stream else ""),
            hint=f"Its fusion layers: {', '.join(map(str, layers)) or 'none'}.",
        )
    edits = tuple(edit for spec in reached for edit in cut(spec, layer))
    at = " ".join(str(part) for part in (stream, layer) if part is not None)
    return Counterfactual(f"{NO_FUSION} at {at}" if at else NO_FUSION, sample, edits)


def why_not_cut(adapter: Adapter) -> str:
    """Why no fusion of this model can be cut; empty where each can.

    A model that can be cut at some meets alone is none that we have, and is refused.
    """
    meets = [
        (spec.name, meet) for spec in adapter.streams for meet in spec.meets if meet.how != "loss"
    ]
    if not meets:
        if any(spec.meets for spec in adapter.streams):
            return (
                "Its streams meet in the training loss alone: nothing comes in that could be cut."
            )
        return "No stream of it takes another one in."
    for stream, meet in meets:
        try:
            adapter.cut(stream, meet)
        except InputError as error:
            return error.hint or f"{error.problem[:1].upper()}{error.problem[1:]}."
    return ""


def trace_all(adapter: Adapter, wanted: Sequence[Counterfactual]) -> tuple[Trace, ...]:
    """A trace each, in their order, in as few forward passes as there are different edits.

    Attention is read of what has no edits alone: with maps a pass takes up to twice as long.
    """
    by_edits: dict[tuple[Cut, ...], list[int]] = {}
    for at, each in enumerate(wanted):
        by_edits.setdefault(each.edits, []).append(at)
    traces: dict[int, Trace] = {}
    for edits, places in by_edits.items():
        samples = [wanted[at].sample for at in places]
        batch = trace_batch(adapter, samples, edits=edits, attention=not edits)
        traces.update(zip(places, batch, strict=True))
    return tuple(traces[at] for at in range(len(wanted)))
