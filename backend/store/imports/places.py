"""Which array is which layer: names, patterns and shapes become places in streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from backend.data.report import clipped
from backend.errors import InputError
from backend.store.imports.arrays import Array, Contents
from backend.store.imports.mapping import StreamForm
from backend.store.imports.pattern import DEFAULT, Pattern
from backend.types import BLOCK, POOLINGS, LayerRef, Pooling

_NAMES_SHOWN = 8
_STACKED = "{stream}"


@dataclass(frozen=True)
class Place:
    """One layer under one pooling, and where its (n, d) vectors lie.

    ``plane``: which one of a stacked array's layers, along ``axis``.
    """

    ref: LayerRef
    pooling: Pooling
    array: Array
    contents: Contents
    plane: int | None = None
    axis: int = 1

    @property
    def n(self) -> int:
        """Rows."""
        stacked_first = self.plane is not None and self.axis == 0
        return self.array.shape[1 if stacked_first else 0]

    @property
    def width(self) -> int:
        """Values of a vector."""
        return self.array.shape[-1]

    @property
    def name(self) -> str:
        """``vision layer 4 (cls)``."""
        return f"{self.ref.stream} layer {self.ref.label} ({self.pooling})"


@dataclass(frozen=True)
class Naming:
    """How names are read; see :class:`backend.store.imports.options.ImportOptions`."""

    pattern: Pattern | None
    stream: str | None
    pooling: Pooling | None
    first_layer: int
    layer_axis: int
    streams: Mapping[str, StreamForm]


@dataclass(frozen=True)
class Assignment:
    """Every place, the names of arrays that are none, and whether a pooling had to be assumed."""

    places: tuple[Place, ...]
    passed_over: tuple[str, ...]
    assumed_pooling: bool


def find_places(contents: Sequence[Contents], naming: Naming) -> Assignment:
    """Places of all arrays, checked; InputError for none, for two of one, and for odd shapes."""
    reader = _Reader(naming)
    places: list[Place] = []
    passed_over: list[str] = []
    for part in contents:
        for array in part.arrays:
            own = list(reader.places(part, array))
            places += own
            if not own:
                passed_over.append(part.full_name(array))
    if not places:
        patterns = " and ".join(repr(p.text) for p in reader.patterns)
        shown = ", ".join(clipped(name, 80) for name in passed_over[:_NAMES_SHOWN])
        more = len(passed_over) - _NAMES_SHOWN
        raise InputError(
            f"no name matches {patterns}",
            field="pattern",
            hint=f"The names are {shown or 'none'}" + (f" and {more:,} more" if more > 0 else ""),
        )
    _require_single(places)
    _require_alike(places)
    return Assignment(tuple(places), tuple(passed_over), reader.assumed_pooling)


class _Reader:
    def __init__(self, naming: Naming) -> None:
        self._naming = naming
        self._of_streams = {
            name: Pattern(form.pattern) for name, form in naming.streams.items() if form.pattern
        }
        self._default = naming.pattern or Pattern(DEFAULT)
        self.assumed_pooling = False

    @property
    def patterns(self) -> tuple[Pattern, ...]:
        """Those that names are matched with."""
        if self._of_streams and self._naming.pattern is None:
            return tuple(self._of_streams.values())
        return (*self._of_streams.values(), self._default)

    def places(self, contents: Contents, array: Array) -> Iterator[Place]:
        """The places of one array; none if its name is of no form that is asked for."""
        fields = array.labels or self._fields(contents.full_name(array), array)
        if fields is None:
            return
        stream = fields.get("stream") or self._naming.stream
        if not stream:
            raise InputError(
                "its name does not say of which stream it is",
                where=array.where,
                hint="Put {stream} into the `pattern`, or give `stream`",
            )
        form = self._naming.streams.get(stream, StreamForm())
        pooling = self._pooling(fields, form, array)
        _check_values(array)
        if "layer" in fields or "site" in fields:
            if len(array.shape) != 2:
                raise InputError(
                    f"has shape {array.shape}, but its name says one layer: expected (rows, width)",
                    where=array.where,
                    hint="Pool its tokens first: one vector a sample",
                )
            yield Place(self._ref(stream, fields, form, array), pooling, array, contents)
            return
        if len(array.shape) != 3:
            raise InputError(
                f"has shape {array.shape} and its name does not say which layer it is",
                where=array.where,
                hint="Put {layer} into the `pattern`, or stack the layers: (rows, layers, width)",
            )
        axis = self._naming.layer_axis
        for plane, ref in enumerate(self._stacked(stream, form, array, array.shape[axis])):
            yield Place(ref, pooling, array, contents, plane, axis)

    def _fields(self, name: str, array: Array) -> Mapping[str, str] | None:
        """What a name says, by the mapping's single names, its patterns, then the pattern."""
        matches: list[dict[str, str]] = []
        for stream, form in self._naming.streams.items():
            for written, place in form.arrays.items():
                if name == written or name.endswith(f"/{written}"):
                    site, _, pooling = place.partition(" ")
                    own = {"stream": stream, "site": site, "named": "yes"}
                    matches.append(own | ({"pooling": pooling} if pooling else {}))
        if not matches:
            for stream, pattern in self._of_streams.items():
                fields = pattern.match(name)
                if fields is not None:
                    matches.append({"stream": stream, **fields})
        if len(matches) > 1:
            streams = " and ".join(match["stream"] for match in matches)
            raise InputError(f"the mapping puts {name} into {streams}", where=array.where)
        if matches:
            return matches[0]
        if self._default not in self.patterns:
            return None
        fields = self._default.match(name)
        if fields is None and self._naming.pattern is None and len(array.shape) == 3:
            fields = Pattern(_STACKED).match(name)
        return fields

    def _pooling(self, fields: Mapping[str, str], form: StreamForm, array: Array) -> Pooling:
        said = fields.get("pooling") or form.pooling or self._naming.pooling
        for pooling in POOLINGS:
            if said == pooling:
                return pooling
        if said:
            raise InputError(
                f"pooling {said!r} is unknown", where=array.where, hint=f"Use {', '.join(POOLINGS)}"
            )
        self.assumed_pooling = True
        return "cls"

    def _first(self, form: StreamForm) -> int:
        return self._naming.first_layer if form.first_layer is None else form.first_layer

    def _ref(
        self, stream: str, fields: Mapping[str, str], form: StreamForm, array: Array
    ) -> LayerRef:
        number, _, name = fields.get("site", "").partition(".")
        if "layer" in fields:  # of a long table, whose column `site` holds a name alone
            number, name = fields["layer"], fields.get("site", "")
        first = 0 if "named" in fields else self._first(form)
        try:
            return LayerRef(stream, int(number) + first, name or BLOCK)
        except ValueError as error:
            raise InputError(
                f"{fields.get('layer', '')} {fields.get('site', '')} is no layer", where=array.where
            ) from error

    def _stacked(
        self, stream: str, form: StreamForm, array: Array, count: int
    ) -> tuple[LayerRef, ...]:
        if form.layers is not None and len(form.layers) != count:
            raise InputError(
                f"has {count} layers, the mapping names {len(form.layers)}", where=array.where
            )
        first = self._first(form)
        layers = form.layers or range(first, first + count)
        return tuple(LayerRef(stream, layer) for layer in layers)


def _check_values(array: Array) -> None:
    if array.dtype.kind != "f" or array.dtype.itemsize > 8:
        raise InputError(
            f"holds {array.dtype.name}, expected float16, float32 or float64",
            where=array.where,
            hint="Activations are floats: is this another array?",
        )
    if 0 in array.shape:
        raise InputError(f"is empty: shape {array.shape}", where=array.where)


def _require_single(places: Sequence[Place]) -> None:
    taken: dict[tuple[LayerRef, Pooling], Place] = {}
    for place in places:
        other = taken.setdefault((place.ref, place.pooling), place)
        if other is not place:
            raise InputError(
                f"{place.name} is in {other.array.where} and in {place.array.where}",
                hint="Leave one out, or tell them apart in the `pattern`",
            )


def _require_alike(places: Sequence[Place]) -> None:
    """Equal numbers of rows everywhere, and one width at a site."""
    for a, b in pairwise(places):
        if a.n != b.n:
            raise InputError(
                f"{a.name} has {a.n:,} rows ({a.array.where}), "
                f"{b.name} has {b.n:,} ({b.array.where})",
                hint="All arrays must hold the same samples",
            )
    widths: dict[LayerRef, Place] = {}
    for place in places:
        other = widths.setdefault(place.ref, place)
        if other.width != place.width:
            raise InputError(f"{other.name} is {other.width} wide, {place.name} {place.width}")
