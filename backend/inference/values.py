"""What a trace is: plain values and arrays, without torch, that a page or a file can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from backend.types import LayerRef, Pooling, StreamSpec, TaskKind

if TYPE_CHECKING:
    from PIL import Image

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Vectors = Mapping[tuple[LayerRef, Pooling], Floats]
"""{(site, pooling): (d,)} of one pair."""


@dataclass(frozen=True, eq=False)
class Picture:
    """An image that came from outside, made harmless: upright RGB without metadata.

    ``notes`` say in a sentence each what was changed (``"the first of 12 frames"``); ``digest`` is
    a hash of the pixels and the size, so the same picture in another file is the same.
    """

    image: Image.Image
    digest: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Caption:
    """A text that came from outside, as the model gets it; ``notes`` say what was changed."""

    text: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of one stream of a pair, T of them, in the model's order.

    ``roles`` (T,) are :class:`backend.models.roles.Role`. ``texts`` is what each token reads
    (empty for a patch). ``kind`` says what ``origins`` are: ``span`` (T, 2) characters of the
    caption, -1 without any; ``box`` (T, 4) left, top, right, bottom in pixels of the picture, NaN
    without any; ``""``: none are known.
    """

    roles: NDArray[np.int8]
    texts: tuple[str, ...]
    kind: Literal["span", "box", "time", ""]
    origins: NDArray[np.float32]


@dataclass(frozen=True)
class MapKey:
    """Which attention: of the tokens of ``ref.stream`` at ``ref``, reading stream ``reads``."""

    ref: LayerRef
    reads: str


@dataclass(frozen=True, eq=False)
class Output:
    """What the model itself predicts of a task: a probability a class, in the task's order."""

    task: str
    kind: TaskKind
    classes: tuple[str, ...]
    probabilities: Floats


@dataclass(frozen=True, eq=False)
class NextWords:
    """The logit lens: the likeliest next tokens by layer, read at the last position.

    ``words`` (L, k) are pieces of text, ``probabilities`` (L, k) those of each layer's own softmax.
    """

    refs: tuple[LayerRef, ...]
    words: tuple[tuple[str, ...], ...]
    probabilities: Floats


@dataclass(frozen=True, eq=False)
class Reading:
    """What the tokens of an image are nearest to, by layer: the ``k`` nearest of each.

    ``words`` (T, L, k) are numbers of ``said``, pieces of text; ``scores`` (T, L, k) a probability
    or a cosine, NaN where there are fewer. ``layers`` (T, L, k), of words in their texts alone, is
    the layer at which such a word is nearest, ``within`` (words) the text around each, and
    ``texts`` of how many texts these words are.
    """

    said: tuple[str, ...]
    words: Ints
    scores: Floats
    layers: Ints | None = None
    within: tuple[str, ...] = ()
    texts: int = 0


@dataclass(frozen=True, eq=False)
class ImageWords:
    """The tokens of an image among those of a language model, in words.

    ``tokens`` (T,) are their places in the ``stream``; ``boxes`` (T, 4) what they are of in pixels
    of the image, NaN where they are of no one place, and ``image`` (T,) of which of the sample's
    images. ``readings`` are by name, of :data:`READINGS`.
    """

    model: str
    stream: StreamSpec
    tokens: Ints
    boxes: Floats
    image: Ints
    readings: Mapping[str, Reading]


@dataclass(frozen=True, eq=False)
class LitFeatures:
    """The features of one layer's sparse autoencoder, of ``count``, that a pair lights most.

    ``features`` (F,) are their numbers. ``activations`` by stream (F, T) are 0 or more in the
    tokens of the pair's trace, NaN in those that are no content. ``strongest`` by stream (k,) are
    the rows of those with the highest mean over the stream's content tokens, highest first.
    """

    count: int
    features: Ints
    activations: Mapping[str, Floats]
    strongest: Mapping[str, Ints]

    def of(self, feature: int) -> dict[str, Floats]:
        """{stream: (T,)} activations of one of ``features``."""
        at = self.features.tolist().index(feature)
        return {stream: values[at] for stream, values in self.activations.items()}


WORDS_BYTES = 256 * 2**20
"""What reading an image's tokens in words takes at once beside the model's own passes, about."""

WORDS_TEXTS = 4
"""How many texts go through the model at once when their words are looked for."""

NEXT, INPUT, CONTEXT = "next", "input", "context"
READINGS = (NEXT, INPUT, CONTEXT)
"""The logit lens; the nearest input embedding; the nearest word in a text, at any layer."""


@dataclass(frozen=True, eq=False)
class Trace:
    """One pair on its way through a model.

    ``attention`` holds (heads, T of ``ref.stream``, T of ``reads``) by :class:`MapKey`, rows as the
    model computed them: of every meet (:meth:`meets`), and where words share a sequence with what
    they read, of these words to each other. It is empty where it was not asked for or the model has
    none, and ``unsupported`` then says why. ``cut`` is how many tokens of the caption did not fit;
    what was left out of a picture or a recording is not among them.
    """

    model: str
    family: str
    digest: str
    streams: tuple[StreamSpec, ...]
    vectors: Vectors
    tokens: Mapping[str, Tokens]
    attention: Mapping[MapKey, Floats] = field(default_factory=dict)
    outputs: tuple[Output, ...] = ()
    next_words: NextWords | None = None
    cut: int = 0
    unsupported: Mapping[str, str] = field(default_factory=dict)

    def stream(self, name: str) -> StreamSpec:
        """The stream of that name; KeyError for none."""
        return {spec.name: spec for spec in self.streams}[name]

    def meets(self) -> dict[MapKey, Floats]:
        """The maps in which a stream reads another one, in the order of the computation."""
        return {
            key: weights for key, weights in self.attention.items() if key.reads != key.ref.stream
        }
