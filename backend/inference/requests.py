"""What is asked of the service, and what comes of it: plain values, without torch.

A request passes the stages of :data:`STAGES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar

from backend.data.sample import Sample
from backend.errors import InputError
from backend.inference.cache import Recall, ResultCache, content_key
from backend.inference.values import (
    WORDS_BYTES,
    WORDS_TEXTS,
    Caption,
    ImageWords,
    LitFeatures,
    Picture,
    Trace,
)
from backend.sae.shelf import Shelf
from backend.types import POOLINGS, Pooling

if TYPE_CHECKING:
    from backend.models.adapter import Adapter
    from backend.models.edits import Cut

T = TypeVar("T")

Stage = Literal["decoding", "loading", "running", "placing"]
STAGES: tuple[Stage, ...] = ("decoding", "loading", "running", "placing")


class Models(Protocol):
    """Where the service has its models from, by opaque keys: a catalogue, or one model."""

    def where(self, key: str) -> str:
        """How messages name a model; InputError where there is none of that key."""
        ...

    def identity(self, key: str) -> str:
        """What tells a model from any other, such as its digest."""
        ...

    def weights_bytes(self, key: str) -> int:
        """What its weights take when loaded; 0 where that is not known beforehand."""
        ...

    def open(self, key: str, device: str) -> Adapter:
        """Load it."""
        ...


class Busy(InputError):  # noqa: N818 -- a state that passes
    """The queue is full: nothing is wrong with the request."""


@dataclass(frozen=True, eq=False)
class Pair:
    """A picture (a file's bytes, or made harmless already) and a caption. Either may lack."""

    image: bytes | Picture | None = None
    text: str | Caption = ""


@dataclass(frozen=True)
class CutAt:
    """The fusion of a stream is cut: at a layer, or at all."""

    stream: str
    layer: int | None = None


@dataclass(frozen=True, eq=False)
class Work(Generic[T]):
    """What a model does with a request's pairs.

    ``key`` names the function with all its parameters: what has the same key, model and pairs has
    the same result. The function may keep parts of it, for other works on the same pairs, in the
    :class:`backend.inference.cache.Recall` that it gets. ``at_once`` is how many pairs are in its
    largest batch, 0 for all of the request. ``beside`` tells the bytes that it takes beside the
    model, such as those of an autoencoder; it may raise InputError.
    """

    key: str
    run: Callable[[Adapter, Sequence[Sample], Recall], T]
    at_once: int = 0
    beside: Callable[[], int] = lambda: 0

    def alone(self, adapter: Adapter, samples: Sequence[Sample]) -> T:
        """What comes of it without a service: nothing is kept."""
        return self.run(adapter, samples, Recall(ResultCache(0, 0)))


@dataclass(frozen=True, eq=False)
class Placing(Generic[T]):
    """What is made of the result without the model, such as its place among a run's samples.

    Results are kept by ``key``, so all that it depends on is in there: of a run not only its id but
    its state, too (:func:`backend.views.questions.run_at`), or what a deleted run said is told of
    another one of its name.
    """

    key: str
    run: Callable[[T], object]


def tracing(
    cuts: Sequence[CutAt] = (),
    *,
    attention: bool = True,
    poolings: Sequence[Pooling] = POOLINGS,
) -> Work[tuple[Trace, ...]]:
    """A trace a pair, all in one forward pass."""
    parts = [[cut.stream, cut.layer] for cut in cuts]
    key = content_key("trace", parts, attention, list(poolings))

    def run(adapter: Adapter, samples: Sequence[Sample], recall: Recall) -> tuple[Trace, ...]:
        from backend.inference.tracing import trace_batch

        edits = _cuts(adapter, cuts)
        return trace_batch(adapter, samples, edits=edits, attention=attention, poolings=poolings)

    return Work(key, run)


def wording(texts: Sequence[str]) -> Work[ImageWords]:
    """What the tokens of a pair's image are in words; ``texts`` give words in their contexts."""
    key = content_key("image words", list(texts))

    def run(adapter: Adapter, samples: Sequence[Sample], recall: Recall) -> ImageWords:
        from backend.inference.image_words import image_words

        return image_words(adapter, samples[0], texts)

    return Work(key, run, at_once=WORDS_TEXTS, beside=lambda: WORDS_BYTES)


def lighting(digests: Mapping[int, str], shelf: Shelf) -> Work[dict[int, LitFeatures]]:
    """Which features a pair lights, of the autoencoders {layer: digest} that lie on ``shelf``."""
    key = content_key("features", sorted(digests.items()))

    def run(adapter: Adapter, samples: Sequence[Sample], recall: Recall) -> dict[int, LitFeatures]:
        from backend.inference.features import lit_features

        return lit_features(adapter, samples[0], shelf.find(digests), digests)

    return Work(key, run, at_once=2, beside=lambda: shelf.bytes(digests))


@dataclass(frozen=True, eq=False)
class Request(Generic[T]):
    """``model`` is a key of :class:`Models`; ``pairs`` go through it in ``work``."""

    model: str
    pairs: tuple[Pair, ...]
    work: Work[T]
    placing: Placing[T] | None = None


@dataclass(frozen=True, eq=False)
class Done(Generic[T]):
    """``value`` is what the work gave, ``placed`` what the placing made of it.

    ``notes`` are sentences for the user: what was changed in the own files, what went differently.
    ``seconds`` by stage; those of a ``cached`` result are without the stages that were spared. The
    value is shared: its arrays are read-only.
    """

    value: T
    placed: object
    notes: tuple[str, ...]
    device: str
    seconds: Mapping[Stage, float]
    cached: bool


@dataclass(frozen=True)
class Failed:
    """Why there is no result. ``fault``: it is ours, not the user's."""

    error: InputError
    fault: bool = False


@dataclass(frozen=True)
class Cancelled:
    """The user did not want it any more."""


Outcome = Done[T] | Failed | Cancelled


def _cuts(adapter: Adapter, cuts: Sequence[CutAt]) -> tuple[Cut, ...]:
    from backend.models.edits import cut

    return tuple(edit for at in cuts for edit in cut(adapter.stream(at.stream), at.layer))
