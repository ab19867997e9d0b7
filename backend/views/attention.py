"""What words and patches of a traced pair look at, meet by meet, and whether it is what counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from backend.errors import InputError
from backend.figures.picture import Patches
from backend.inference.attention import (
    footprints,
    in_picture,
    is_content,
    of_heads,
    reading,
    shares,
    without_special,
)
from backend.inference.effects import ClassProbability, Effects, Target, agreement
from backend.inference.values import Floats, MapKey, Trace
from backend.types import LayerRef, StreamSpec

SHARES = ("content", "summary", "special", "own")
"""Columns of :func:`meter`, as of :class:`backend.inference.attention.Shares`."""


@dataclass(frozen=True)
class Choice:
    """Which attention: of one ``word`` and one ``patch`` (numbers of tokens), in one ``head``.

    None stands for all of them, averaged. ``content_only`` leaves out CLS, BOS, separators and
    registers, so that words or patches share the whole.
    """

    word: int | None = None
    patch: int | None = None
    head: int | None = None
    content_only: bool = True


@dataclass(frozen=True)
class Looking:
    """The streams ``words`` and ``patches`` of a trace, of which one reads the other, or both do.

    ``to_patches`` are the meets, in order, that tell what words look at: those at which words read
    patches, else those at which patches read words. ``to_words`` are the same the other way round.
    ``captions`` are what the content tokens of ``words`` read, by number, no two alike; ``heads``
    is how many every meet has.
    """

    words: str
    patches: str
    to_patches: tuple[MapKey, ...]
    to_words: tuple[MapKey, ...]
    captions: Mapping[int, str]
    heads: int

    @property
    def keys(self) -> tuple[MapKey, ...]:
        """Every meet once, those of the words first."""
        return tuple(dict.fromkeys((*self.to_patches, *self.to_words)))

    def to(self, stream: str) -> tuple[MapKey, ...]:
        """``to_patches`` or ``to_words``."""
        return self.to_patches if stream == self.patches else self.to_words

    @property
    def needs_word(self) -> bool:
        """Whether only patches read: that all of them share their attention says nothing."""
        return self.to_patches[0].reads == self.words

    @property
    def needs_patch(self) -> bool:
        """Whether only words read, likewise."""
        return self.to_words[0].reads == self.patches


def looking(trace: Trace) -> Looking | None:
    """The first streams of which one reads the other and one has a place in the picture.

    Streams of text come first. None where no such stream meets another.
    """
    specs = sorted(trace.streams, key=lambda spec: spec.modality != "text")
    boxed = [spec.name for spec in specs if _in_picture(trace, spec.name)]
    others = [spec.name for spec in specs if spec.name not in boxed]
    for words, patches in product(others, boxed):
        read, seen = (_meets(trace, *way) for way in ((words, patches), (patches, words)))
        if read or seen:
            heads = min(len(trace.attention[key]) for key in (*read, *seen))
            return Looking(
                words, patches, read or seen, seen or read, _captions(trace, words), heads
            )
    return None


def weights_over(trace: Trace, key: MapKey, stream: str, choice: Choice) -> Floats:
    """(T,) what falls on each token of ``stream`` at a meet, NaN where nothing is looked at.

    Where ``stream`` is read, the share of its reader's attention: of the chosen word or patch, or
    the mean of all that read anything. Where it reads, the share of each token's own attention that
    goes to the chosen word or patch, or to all of them.
    """
    weights = of_heads(trace.attention[key], choice.head)
    if choice.content_only:
        weights = without_special(weights, trace.tokens[key.reads])
    other = key.reads if stream == key.ref.stream else key.ref.stream
    token = choice.patch if trace.tokens[other].kind == "box" else choice.word
    content = is_content(trace.tokens[other])
    if stream == key.ref.stream:
        columns: Floats = weights[:, content].sum(axis=1)
        return columns if token is None else reading(weights, token, of="key")
    rows = weights[content] if token is None else reading(weights, token, of="query")[None]
    rows = rows[rows.sum(axis=1) > 0]
    if not len(rows):
        return np.full(weights.shape[1], np.nan, dtype=np.float32)
    mean: Floats = rows.mean(axis=0)
    return mean


def word_table(trace: Trace, looks: Looking, choice: Choice, most: int) -> pd.DataFrame:
    """What of :func:`weights_over` falls on each word, a column a meet of ``looks.to_words``.

    The index are the words' captions, the columns the labels of the meets' sites. Of more than
    ``most`` words those are left that get most at any meet, in the order of the text.
    """
    at = list(looks.captions)
    columns = {
        key.ref.label: weights_over(trace, key, looks.words, choice)[at] for key in looks.to_words
    }
    table = pd.DataFrame(columns, index=[looks.captions[one] for one in at])
    largest = table.max(axis=1).nlargest(most).index
    return table.loc[table.index.isin(largest)]


def meter(trace: Trace, looks: Looking, head: int | None = None) -> pd.DataFrame:
    """Where the attention goes, a row a meet: its ``stream`` and ``label``, and :data:`SHARES`."""
    rows = [
        (key.ref.stream, key.ref.label, *astuple(shares(trace, key, head))) for key in looks.keys
    ]
    return pd.DataFrame(rows, columns=["stream", "label", *SHARES])


def agreements(trace: Trace, looks: Looking, effects: Effects, choice: Choice) -> pd.DataFrame:
    """How far attention goes where the effect is, a row a meet that tells what is looked at.

    Columns: ``stream`` and ``label`` of the meet, ``value`` (Spearman's rank correlation, -1..1),
    ``n`` regions, ``reason`` of a value that is NaN. Empty where what was hidden is of a stream
    that meets nothing here, or what is shown is the same for all (``needs_word``, ``needs_patch``).
    """
    rows = []
    for key in _told(looks, effects.stream, choice):
        measured = agreement(effects, weights_over(trace, key, effects.stream, choice))
        rows.append((key.ref.stream, key.ref.label, *astuple(measured)))
    return pd.DataFrame(rows, columns=["stream", "label", "value", "n", "reason"])


def meet_at(spec: StreamSpec, keys: Sequence[MapKey], ref: LayerRef) -> MapKey | None:
    """The last meet at or before a site; None before the first one."""
    before = [key for key in keys if spec.position(key.ref) <= spec.position(ref)]
    return before[-1] if before else None


def patches(trace: Trace, stream: str, size: tuple[int, int]) -> Patches:
    """The footprints of a stream in a picture of ``size`` (width, height), in reading order.

    They are numbered from 1, and said by the place of their centre.
    """
    return _in_reading_order("patch", *in_picture(footprints(trace, stream), size), size)


def hidden_parts(effects: Effects, size: tuple[int, int]) -> Patches:
    """The parts of a picture that were hidden, likewise; ``tokens`` are their rows in ``effects``.

    They are patches or, where those are many, cells of a grid.
    """
    return _in_reading_order("part", np.arange(len(effects.regions)), effects.regions, size)


def most_in_words(names: Sequence[str], weights: Sequence[float] | Floats, most: int = 3) -> str:
    """The names of the largest weights, a share each: ``cat 40 %, dog 31 %``; ``none`` of none."""
    values = np.nan_to_num(np.asarray(weights, dtype=np.float64))
    order = [int(at) for at in np.argsort(-values, kind="stable")[:most] if values[at] > 0]
    return ", ".join(f"{names[at]} {100 * values[at]:.1f} %" for at in order) or "none"


def target_in_words(target: Target) -> str:
    """What is watched while parts are hidden: ``the probability of ironic (irony)``."""
    if isinstance(target, ClassProbability):
        return f"the probability of {target.label} ({target.task})"
    return f"the {target.pooling} vector of {target.ref.stream} at layer {target.ref.label}"


def effects_in_words(effects: Effects) -> list[str]:
    """What each part does, in the order of the regions: ``without it ... falls by 0.060``."""
    what = f"without it {target_in_words(effects.target)}"
    if isinstance(effects.target, ClassProbability):
        return [
            f"{what} {'falls' if value >= 0 else 'rises'} by {abs(value):.3f}"
            for value in effects.values
        ]
    return [f"{what} moves by {value:.3f} of its length" for value in effects.values]


def strongest(effects: Effects, most: int = 3) -> list[int]:
    """The regions with the largest effect of either sign, the largest first."""
    sizes = np.nan_to_num(np.abs(effects.values))
    return [int(at) for at in np.argsort(-sizes, kind="stable")[:most]]


def _in_reading_order(
    what: str, tokens: NDArray[np.int64], boxes: Floats, size: tuple[int, int]
) -> Patches:
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / np.array(size) * 100
    order = np.lexsort((centres[:, 0], centres[:, 1].round()))
    hovers = [
        f"{what} {number} ({left:.0f} % from the left, {top:.0f} % from the top)"
        for number, (left, top) in enumerate(centres[order], start=1)
    ]
    return Patches(tokens[order].tolist(), boxes[order], hovers)


def _in_picture(trace: Trace, stream: str) -> bool:
    try:
        footprints(trace, stream)
    except InputError:
        return False
    return True


def _meets(trace: Trace, stream: str, reads: str) -> tuple[MapKey, ...]:
    keys = (MapKey(ref, reads) for ref in trace.stream(stream).refs)
    return tuple(key for key in keys if key in trace.attention)


def _told(looks: Looking, stream: str, choice: Choice) -> Iterator[MapKey]:
    """The meets that tell one token of ``stream`` from another."""
    if stream == looks.patches and not (looks.needs_word and choice.word is None):
        yield from looks.to_patches
    if stream == looks.words and not (looks.needs_patch and choice.patch is None):
        yield from looks.to_words


def _captions(trace: Trace, stream: str) -> dict[int, str]:
    """What content tokens read: those that come again are counted, those without text numbered."""
    tokens, seen, captions = trace.tokens[stream], dict[str, int](), dict[int, str]()
    for at in np.flatnonzero(is_content(tokens)):
        text = " ".join(tokens.texts[at].split()) or f"token {at + 1}"
        seen[text] = seen.get(text, 0) + 1
        captions[int(at)] = text if seen[text] == 1 else f"{text} ({seen[text]})"
    return captions
