"""What a result has to say besides its number, as values: why it is NaN, what to beware of.

A measure says *what* (a code, the layers, the numbers); the sentence for people is made here and
nowhere else, so that no program has to read one. The store keeps remarks as JSON in its text
columns ``reason`` and ``warnings``; older stores hold sentences there, which are shown as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from backend.words import listed

Value = str | int | float


class Place(NamedTuple):
    """A layer of a stream (``layer`` is its label), of a run where several are compared."""

    stream: str
    layer: str
    run: str = ""

    def __str__(self) -> str:
        return f"layer {self.layer} of {self.stream}" + (f" of {self.run}" if self.run else "")


SENTENCES: dict[str, str] = {
    # Of a layer, whatever is measured.
    "constant": "{of} is constant: every sample has the same vector",
    "constant_input": "{of} is constant: the summary token does not depend on the {input} yet",
    "constant_direction": "{of} is constant: every sample has the same direction",
    "not_finite": "{of} has NaN or infinite values in {rows} of {n} samples",
    "zero": "{of} is zero everywhere",
    "zero_rows": "{rows} of {n} rows of {of} is zero (first: row {first})",
    "unvarying_rows": "{rows} of {n} rows of {of} does not vary over the coordinates "
    "(first: row {first})",
    "copies": "{rows} of {n} rows of {of} are copies of another row",
    "copies_left_out": "{rows} of {n} rows of {of} are copies of another row: left out, {used} "
    "used",
    "equidistant": "all samples of {of} are equally far apart",
    # Of the samples.
    "too_few": "n = {n} samples are too few: it takes {least}",
    "too_few_for_neighbours": "n = {n} samples are too few for {k} neighbours",
    "thinned": "of {used:,} of {n:,} samples, evenly spaced",
    "mostly_chance": "n = {n} samples: too few to tell similarity from chance",
    # Of samples that belong together.
    "few_groups": "it takes {least} groups of samples: there are {groups}",
    "large_group": "one group holds {largest} of {n} samples: it must be less than half",
    "by_group": "{n} samples in {groups} groups: pairs inside a group do not count",
    "exchanged": "chance is what {permutations} exchanges of whole groups give",
    "few_exchanges": "what chance gives is not known: the groups can be exchanged in {ways} ways, "
    "and it takes {least}. More groups of one size would tell",
    "many_exchanges": "what chance gives is not known: above {largest} samples in groups it would "
    "take too long",
    "few_other_groups": "a sample of the largest group has {others} in other groups: too few for "
    "{k} neighbours",
    "few_for_interval": "no interval: it takes {least} groups of samples, and there are {groups}",
    "carried_by_few": "no interval: a few samples carry all of the similarity",
    "biased_in_groups": "what chance gives this estimator is not known for samples in groups: see "
    "the debiased one",
    "stream_in_groups": "samples that belong together count here as if they did not, and what "
    "chance gives is not known: capture with the activations kept, and `measure` goes by group",
    "not_by_group": "what chance gives is not known for samples in groups",
    # Of one measure.
    "shuffled": "a few samples weigh far more than the others: p is counted over {permutations} "
    "random matchings",
    "heavy_tails": "a few samples weigh far more than the others: p-values below 0.01 may be too "
    "small, and counting them would take too long",
    "cka_equidistant": "all samples are equally far apart, which debiased CKA cannot compare",
    "cka_untracked": "this pair of layers was not tracked",
    "cka_inflated": "n = {n} samples < d = {d}: biased CKA is inflated",
    "cka_inflated_by": "n = {n} samples < d = {d}: biased CKA is inflated ({chance:.2f} by chance)",
    "no_bandwidth": "the median distance of {of} is 0 (at least half of its sample pairs are "
    "identical), which leaves the rbf kernel no bandwidth",
    "no_p_values": "p-values need all pairs of samples: left out above n = {largest}",
    "lost_in_rounding": "{kept} of {wanted} components of {of} are kept: the others cannot be told "
    "from the rounding of its values",
    "rank_too_high": "{of} has {rank} components, fewer than rank = {asked}",
    "too_many_components": "n = {n} samples are too few for {k_x} + {k_y} components: some "
    "correlations are 1 whatever the data",
    "too_many_kept": "n = {n} samples are too few for {k_x} + {k_y} components: some correlations "
    "are 1 whatever the data; keep fewer with variance or rank",
    "cca_inflated": "n = {n} samples for {k_x} + {k_y} components: unrelated data would have a "
    "mean correlation of {chance:.2f}",
    "rotatable": "n = {n} samples <= d = {d}: unrelated data can be rotated together",
    "unseen_dimensions": "n = {n} samples <= d = {d}: at most {most} dimensions can be seen",
    "at_least": "n = {n} samples in d = {d}: at least this many dimensions, and only more than "
    "{least} samples would show how many",
    "few_distinct": "only {n} distinct samples: a ratio of neighbour distances needs more",
    "equal_ratios": "the two nearest neighbours of each sample are equally far",
    "orthogonal_neighbours": "every sample of {of} is orthogonal to its neighbours",
    "unequal_widths": "needs equal widths, got {d_x} and {d_y}: only one shared space has "
    "directions to compare",
    "not_shared": "these are two spaces: how far apart two clouds are means something only in one "
    "space that both were brought to, such as a projection",
    "fitted_on_constant": "the samples that the map is fitted on are constant in {of}",
    "uncorrelated": "{of} are uncorrelated: every orthogonal map fits as well",
    "map_of_low_rank": "{n} samples determine {rank} of {full} directions of the map: the others "
    "are left out",
    "small_gallery": "a gallery of {n} samples is too small for recall at {k}",
    "other_width": "the model cannot go on from {of}: it is of another width than the last layer",
    "rank_table": "n = {n} samples: above {largest} the table of ranks would be too large",
    "one_group": "it takes two groups of samples: what is fitted on one is told of another",
    "unlabelled": "fewer than 2 samples have a label",
    "one_answer": "no class is had by some samples and not by others",
    "one_class": "all samples have {name}",
    "small_class": "{name} has {count} samples, fewer than {folds} folds",
    "nearly_all": "{name} is missing in {count} samples, fewer than {folds} folds",
    "grouped_class": "{name} or what is not {name} is in {held} of {folds} folds of whole groups",
    "labels_left_out": "{count} of {labels} labels left out: with or without them are fewer than "
    "{folds} samples",
    "classes_left_out": "{count} samples left out: their {classes} classes have fewer than {folds} "
    "samples",
    "unconverged": "{cut} of {folds} folds stopped after {iterations} iterations",
}
"""{code: the sentence}. ``{of}`` are the layers, the other names the remark's own values."""


@dataclass(frozen=True)
class Remark:
    """One thing to say: ``code``, the layers it is about, and its numbers.

    A layer is a :class:`Place`, or the name of an argument or a label ("x") where a measure knows
    no better. ``str()`` is the sentence.
    """

    code: str
    layers: tuple[str | Place, ...] = ()
    values: tuple[tuple[str, Value], ...] = ()

    def at(self, places: Mapping[str, tuple[Place, ...]]) -> Self:
        """The same with names of arguments and labels replaced by the layers that they stand for.

        A name may stand for several layers, where their vectors were taken together.
        """
        layers = [
            place
            for layer in self.layers
            for place in (places.get(layer, (layer,)) if isinstance(layer, str) else (layer,))
        ]
        return replace(self, layers=tuple(layers))

    def __str__(self) -> str:
        of = listed(self.layers)
        values = dict(self.values)
        try:
            return SENTENCES[self.code].format(**values | {"of": of})
        except (KeyError, ValueError):
            pass  # written by another version: its facts can be told all the same
        facts = [f"{name} = {value}" for name, value in self.values]
        return ", ".join([f"{self.code} of {of}" if of else self.code, *facts])


def remark(code: str, *layers: str | Place, **values: Value) -> Remark:
    """A remark of a code of :data:`SENTENCES`."""
    return Remark(code, layers, tuple(values.items()))


class Remarks(tuple[Remark, ...]):
    """Remarks in order, each once. ``str()`` joins their sentences; empty is false and ``""``."""

    __slots__ = ()

    @classmethod
    def of(cls, *parts: Remark | Iterable[Remark] | None) -> Self:
        """All of them, those that are said twice once; None says nothing."""
        every: dict[Remark, None] = {}
        for part in parts:
            if part is not None:
                every.update(dict.fromkeys([part] if isinstance(part, Remark) else part))
        return cls(every)

    def has(self, code: str) -> bool:
        """Whether one of them has this code."""
        return any(one.code == code for one in self)

    def at(self, places: Mapping[str, tuple[Place, ...]]) -> Self:
        """:meth:`Remark.at` of each."""
        return self.of(one.at(places) for one in self)

    def about(self, *names: str) -> Self:
        """Those that are about nothing but layers of these names."""
        return self.of(one for one in self if set(one.layers) <= set(names))

    def to_text(self) -> str:
        """As the store keeps them: JSON, or ``""`` for none."""
        return _written([*self])

    def __str__(self) -> str:
        return "; ".join(map(str, self))


NOTHING = Remarks()


def read_text(text: str) -> tuple[Remark | str, ...]:
    """What a text column holds: remarks or, from older stores, its one sentence."""
    if not text.startswith("["):
        return (text,) if text else ()
    try:
        return tuple(_read(item) for item in json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError):
        return (text,)  # a store is data of others: what is not ours is shown as it is


def sentences(text: str) -> tuple[str, ...]:
    """The sentences of a text column (``reason``, ``warnings``)."""
    return tuple(dict.fromkeys(map(str, read_text(text))))


def in_words(text: str) -> str:
    """The sentences of a text column, joined."""
    return "; ".join(sentences(text))


def merged(*texts: str) -> str:
    """One column's text out of several, what is said twice once."""
    items = dict.fromkeys(item for text in texts for item in read_text(text))
    if all(isinstance(item, str) for item in items):
        return "; ".join(map(str, items))
    return _written([*items])


def _written(items: list[Remark | str] | list[Remark]) -> str:
    if not items:
        return ""
    return json.dumps([_plain(item) for item in items], ensure_ascii=False)


def _plain(item: Remark | str) -> object:
    if isinstance(item, str):
        return item
    layers = [layer if isinstance(layer, str) else _trimmed(layer) for layer in item.layers]
    plain: dict[str, object] = {"code": item.code}
    return plain | ({"layers": layers} if layers else {}) | {"values": dict(item.values)}


def _trimmed(place: Place) -> list[str]:
    return [*place] if place.run else [*place[:2]]


def _read(item: Any) -> Remark | str:
    if isinstance(item, str):
        return item
    layers = [x if isinstance(x, str) else Place(*map(str, x)) for x in item.get("layers", [])]
    return Remark(str(item["code"]), tuple(layers), tuple(item.get("values", {}).items()))
