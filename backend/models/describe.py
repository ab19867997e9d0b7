"""What a model has to offer, as values: for the command line, for a notebook, for a script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from backend.errors import InputError
from backend.models.adapter import Adapter, AttentionKey
from backend.types import LayerRef, Meet, Pooling, StreamSpec

ANYWHERE = ("zero", "add", "patch")
"""The edits that every site takes."""


@dataclass(frozen=True)
class MeetDescription:
    """A meet of a stream; ``cut`` says whether it can be cut."""

    layer: int
    how: str
    reads: str
    site: str
    cut: bool


@dataclass(frozen=True)
class GateDescription:
    """A learned gate: how many numbers, and the mean of their magnitudes (0 lets nothing in)."""

    site: str
    size: int
    mean_magnitude: float


@dataclass(frozen=True)
class AttentionDescription:
    """The layers (or sites) at which a stream's attention to ``reads`` can be had."""

    reads: str
    sites: tuple[str, ...]


@dataclass(frozen=True)
class StreamDescription:
    """``sites`` in the order of the computation, ``widths`` and ``poolings`` aligned to them."""

    name: str
    modality: str
    depth: int
    sites: tuple[str, ...]
    widths: tuple[int, ...]
    poolings: tuple[tuple[Pooling, ...], ...]
    meets: tuple[MeetDescription, ...]
    attention: tuple[AttentionDescription, ...]
    gates: tuple[GateDescription, ...]
    note: str


@dataclass(frozen=True)
class Memory:
    """Parameters, each counted once, and the bytes that they and the buffers take by type."""

    parameters: int
    bytes_by_dtype: dict[str, int]

    @property
    def bytes(self) -> int:
        """All of them."""
        return sum(self.bytes_by_dtype.values())


@dataclass(frozen=True)
class Description:
    """What one model supports, and why not what it does not."""

    name: str
    family: str
    revision: str
    digest: str
    placement: str
    seed: int | None
    trained_on: str
    tasks: tuple[str, ...]
    needs: tuple[str, ...]
    streams: tuple[StreamDescription, ...]
    edits: tuple[str, ...]
    memory: Memory
    unsupported: dict[str, str]


def describe(adapter: Adapter) -> Description:
    """Read it off a loaded model; nothing is run."""
    streams = tuple(_stream(adapter, spec) for spec in adapter.streams)
    cuttable = any(meet.cut for stream in streams for meet in stream.meets)
    return Description(
        name=adapter.name,
        family=adapter.family,
        revision=adapter.revision,
        digest=adapter.digest,
        placement=adapter.placement.name if adapter.placement else "",
        seed=adapter.seed,
        trained_on=adapter.trained_on,
        tasks=tuple(task.name for task in adapter.tasks),
        needs=tuple(sorted(adapter.needs)),
        streams=streams,
        edits=(*ANYWHERE, *(("cut",) if cuttable else ())),
        memory=_memory(adapter),
        unsupported=dict(adapter.unsupported),
    )


def compact_sites(labels: Sequence[str]) -> str:
    """``0-12, 10-12.fusion, 12.norm``: runs of layers, then each named place, in order."""
    named: dict[str, list[int]] = {}
    for label in labels:
        layer, _, name = label.partition(".")
        named.setdefault(name, []).append(int(layer))
    return ", ".join(
        f"{_span(run)}{'.' if name else ''}{name}"
        for name, layers in named.items()
        for run in _runs(layers)
    )


def _span(run: Sequence[int]) -> str:
    return str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}"


def _runs(layers: Iterable[int]) -> list[list[int]]:
    ordered = sorted(set(layers))
    numbered = groupby(enumerate(ordered), key=lambda pair: pair[1] - pair[0])
    return [[layer for _, layer in run] for _, run in numbered]


def _stream(adapter: Adapter, spec: StreamSpec) -> StreamDescription:
    return StreamDescription(
        name=spec.name,
        modality=spec.modality,
        depth=spec.depth,
        sites=tuple(ref.label for ref in spec.refs),
        widths=tuple(spec.width_of(ref) for ref in spec.refs),
        poolings=tuple(spec.poolings_of(ref) for ref in spec.refs),
        meets=tuple(
            MeetDescription(m.layer, m.how, m.reads, m.site, _can_cut(adapter, spec.name, m))
            for m in spec.meets
        ),
        attention=_attention(spec, adapter.attention()),
        gates=tuple(
            GateDescription(ref.label, gate.numel(), float(gate.detach().float().abs().mean()))
            for ref, gate in adapter.gates().items()
            if ref.stream == spec.name
        ),
        note=spec.note,
    )


def _attention(spec: StreamSpec, maps: Iterable[AttentionKey]) -> tuple[AttentionDescription, ...]:
    order = {ref: place for place, ref in enumerate(spec.refs)}
    by_reads: dict[str, list[LayerRef]] = {}
    for key in maps:
        if key.ref.stream == spec.name:
            by_reads.setdefault(key.reads, []).append(key.ref)
    return tuple(
        AttentionDescription(
            reads,
            tuple(ref.label for ref in sorted(refs, key=lambda ref: order.get(ref, len(order)))),
        )
        for reads, refs in by_reads.items()
    )


def _can_cut(adapter: Adapter, stream: str, meet: Meet) -> bool:
    if meet.how == "loss":
        return False  # nothing comes in there
    try:
        return bool(adapter.cut(stream, meet))
    except InputError:
        return False


def _memory(adapter: Adapter) -> Memory:
    parameters = list(adapter.module.parameters())
    sizes: dict[str, int] = {}
    for tensor in [*parameters, *adapter.module.buffers()]:
        dtype = str(tensor.dtype).removeprefix("torch.")
        sizes[dtype] = sizes.get(dtype, 0) + tensor.numel() * tensor.element_size()
    return Memory(sum(p.numel() for p in parameters), sizes)
