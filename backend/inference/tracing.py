"""From pairs to traces: one forward pass over a few samples, everything read while it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend.capture.sinks import AttentionSink, PooledSink
from backend.capture.tap import Sink, Tap
from backend.data.sample import Sample
from backend.errors import InputError
from backend.inference.lens import LastPositionSink, next_words
from backend.inference.values import Floats, MapKey, Output, Tokens, Trace
from backend.models.adapter import Adapter, AttentionKey, Inputs
from backend.models.edits import Cut, Edit
from backend.models.roles import OWN, Origins, has
from backend.types import POOLINGS, LayerRef, Pooling, StreamSpec, TaskSpec

_MOST_NUMBERS = 2**21  # of a map; Stable Diffusion 3 has 200 of 32 million

Places = Mapping[str, Sequence[NDArray[np.int64]]]
"""{stream: for every sample the positions of the stream's own tokens in its sequence}."""


_BEYOND_PAIRS = {"audio": "a recording", "regions": "regions that a detector found"}


def trace_batch(
    adapter: Adapter,
    samples: Sequence[Sample],
    *,
    edits: Sequence[Edit | Cut] = (),
    attention: bool = True,
    poolings: Sequence[Pooling] = POOLINGS,
) -> tuple[Trace, ...]:
    """A trace a sample, of one forward pass on the device that the model is on.

    ``edits`` hold for all samples. Vectors are float32, as capture makes them; with ``attention``
    the model attends by its eager implementation, which differs from the usual one by rounding.
    What else is in the batch makes no more difference than that. Nothing stays on the model.
    InputError where a sample lacks what the model needs, or a meet cannot be cut.
    """
    if not samples:
        return ()
    _check_needs(adapter, samples)
    inputs = adapter.encode(samples)
    places = own_places(inputs)
    pooled = PooledSink(poolings)
    maps = MeetSink(places) if attention else None
    last = LastPositionSink(adapter) if adapter.unembedding() is not None else None
    sinks: list[Sink] = [sink for sink in (pooled, maps, last) if sink is not None]
    outputs = run(adapter, inputs, sinks, edits)
    vectors = pooled.vectors()
    tokens = tokens_of(adapter, inputs, samples, places)
    probabilities = task_probabilities(adapter, outputs)
    words = [None] * len(samples) if last is None else list(next_words(adapter, last))
    unsupported = _unsupported(adapter, attention)
    return tuple(
        Trace(
            model=adapter.name,
            family=adapter.family,
            digest=adapter.digest,
            streams=adapter.streams,
            vectors={key: values[row].copy() for key, values in vectors.items()},
            tokens=tokens[row],
            attention=maps.traced[row] if maps is not None else {},
            outputs=tuple(
                Output(task.name, task.kind, task.classes, values[row])
                for task, values in probabilities.items()
            ),
            next_words=words[row],
            cut=_cut_words(adapter, inputs, row),
            unsupported=unsupported,
        )
        for row in range(len(samples))
    )


def _check_needs(adapter: Adapter, samples: Sequence[Sample]) -> None:
    """InputError where a model reads more than a picture and a text, and a sample is no more."""
    for need, what in _BEYOND_PAIRS.items():
        if need in adapter.needs and any(getattr(sample, need) is None for sample in samples):
            raise InputError(
                f"it reads {what}, which a picture with a text does not have",
                where=f"model {adapter.name}",
                hint="Capture shows its layers: its data has them. Trace the pair through a model "
                "of pictures and texts.",
            )


def run(
    adapter: Adapter, inputs: Inputs, sinks: Sequence[Sink], edits: Sequence[Edit | Cut] = ()
) -> dict[str, Tensor]:
    """One forward pass on the model's device; its outputs."""
    device = next(adapter.module.parameters()).device
    with Tap(adapter, sinks, edits) as tap:
        return tap(inputs.to(device))


def own_places(inputs: Inputs) -> Places:
    """Where each stream's own tokens stand: neither padding nor another stream's."""
    return {
        stream: [np.flatnonzero(row) for row in has(roles, OWN).cpu().numpy()]
        for stream, roles in inputs.roles.items()
    }


class MeetSink(AttentionSink):
    """Attention at every meet, cut to each sample's own tokens as it passes: ``traced``.

    Where words read another stream inside a shared sequence, their attention to each other is kept,
    too: much of it goes to the first token. A model of many layers never holds all its maps whole;
    a map of more than two million numbers (of thousands of patches and words) is kept as the
    average of its heads.
    """

    def __init__(self, places: Places) -> None:
        super().__init__()
        self._places = places
        self.traced: list[dict[MapKey, Floats]] = []

    def maps(self, adapter: Adapter) -> tuple[AttentionKey, ...]:
        """Those of the meets, and of words to words where the meet is joint."""
        offered = adapter.attention()
        among_words = (
            AttentionKey(LayerRef.parse(spec.name, meet.site), spec.name)
            for spec in adapter.streams
            for meet in spec.meets
            if spec.modality == "text" and meet.how == "joint"
        )
        return (*super().maps(adapter), *(key for key in among_words if key in offered))

    def begin(self, adapter: Adapter, inputs: Inputs) -> None:
        """Forget the pass before."""
        super().begin(adapter, inputs)
        self._points = adapter.attention()
        self._lengths = {stream: roles.shape[1] for stream, roles in inputs.roles.items()}
        self.traced = [{} for _ in range(len(inputs))]

    def take_map(self, key: AttentionKey, weights: Tensor) -> None:
        """Keep the own rows and columns of each sample."""
        stream, keys = key.ref.stream, self._points[key].keys
        before = keys[: keys.index(key.reads)]
        shared = weights.shape[3] == self._lengths[key.reads]
        offset = 0 if shared else sum(self._lengths[name] for name in before)
        for row, traced in enumerate(self.traced):
            queries = torch.from_numpy(self._places[stream][row]).to(weights.device)
            reads = torch.from_numpy(self._places[key.reads][row] + offset).to(weights.device)
            own = weights[row].index_select(1, queries).index_select(2, reads)
            if own.numel() > _MOST_NUMBERS:
                own = own.mean(dim=0, keepdim=True)
            traced[MapKey(key.ref, key.reads)] = own.float().cpu().numpy()


def tokens_of(
    adapter: Adapter, inputs: Inputs, samples: Sequence[Sample], places: Places
) -> list[dict[str, Tokens]]:
    """For every sample the tokens of each stream, without padding."""
    return [
        {
            spec.name: _tokens(adapter, inputs, row, spec, sample.text, places[spec.name][row])
            for spec in adapter.streams
        }
        for row, sample in enumerate(samples)
    ]


def _cut_words(adapter: Adapter, inputs: Inputs, row: int) -> int:
    """How many tokens of a sample's text did not fit: where several encoders read it, the most."""
    texts = [spec.name for spec in adapter.streams if spec.modality == "text"]
    return max((int(inputs.cut[name][row]) for name in texts if name in inputs.cut), default=0)


def _tokens(
    adapter: Adapter,
    inputs: Inputs,
    row: int,
    spec: StreamSpec,
    text: str,
    at: NDArray[np.int64],
) -> Tokens:
    origins = inputs.origins.get(spec.name)
    values = _origins(origins, row, at)
    texts = [""] * len(at)
    if spec.modality == "text":
        spans = [(-1, -1)] * len(at)
        if origins is not None and origins.kind == "span":
            spans = [(int(start), int(end)) for start, end in values]
        ids = adapter.token_ids(inputs, spec.name)
        own = None if ids is None else ids[row][torch.from_numpy(at)].tolist()
        texts = [
            text[start:end] if start >= 0 else "" if own is None else _read_back(adapter, own[k])
            for k, (start, end) in enumerate(spans)
        ]
    roles = inputs.roles[spec.name][row].cpu().numpy()[at]
    return Tokens(roles, tuple(texts), origins.kind if origins is not None else "", values)


def _origins(origins: Origins | None, row: int, at: NDArray[np.int64]) -> Floats:
    """(T, 2 or 4), as :class:`Tokens` has them; boxes of the sample's first image only."""
    if origins is None:
        return np.zeros((len(at), 0), dtype=np.float32)
    values: Floats = origins.values[row][at].astype(np.float32)
    if origins.image is not None:
        values[origins.image[row][at] != 0] = np.nan
    return values


def _read_back(adapter: Adapter, token: int) -> str:
    return str(adapter.tokenizer.decode([token])) if adapter.tokenizer is not None else ""


def task_probabilities(
    adapter: Adapter, outputs: Mapping[str, Tensor]
) -> dict[TaskSpec, NDArray[np.float32]]:
    """{task: (B, classes)}: a softmax over classes, a sigmoid of each label of a multilabel task.

    A binary task has one logit, of its second class.
    """
    return {task: _probabilities(task, outputs[task.name]) for task in adapter.tasks}


def _probabilities(task: TaskSpec, logits: Tensor) -> NDArray[np.float32]:
    logits = logits.detach().float()
    if task.kind == "multiclass":
        values = logits.softmax(dim=1)
    elif task.kind == "multilabel":
        values = logits.sigmoid()
    else:
        logits = logits.reshape(-1, 1)
        values = torch.cat([-logits, logits], dim=1).sigmoid()
    probabilities: NDArray[np.float32] = values.cpu().numpy()
    return probabilities


def _unsupported(adapter: Adapter, attention: bool) -> dict[str, str]:
    """What a trace lacks, and why: the model's own reasons and those that follow from it."""
    reasons = dict(adapter.unsupported)
    if not attention:
        reasons["attention"] = "It was not asked for."
    elif not any(key.reads != key.ref.stream for key in adapter.attention()):
        reasons.setdefault("attention", "No stream of this model attends to another one.")
    if not adapter.tasks:
        reasons["outputs"] = "This model has no task of its own to predict."
    if adapter.unembedding() is None:
        reasons["next words"] = "No layer of this model's text leads to a next word."
    return reasons
