"""Which layouts there are, and opening one from ``LAYOUT:PATH``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from backend.data.base import PairSource
from backend.errors import InputError

# A new layout is one module and one line here.
LAYOUTS: dict[str, str] = {
    "hateful_memes": ".hateful_memes:HatefulMemes",
    "mmimdb": ".mmimdb:MMIMDb",
    "food101": ".food101:Food101",
    "nlvr": ".nlvr:NLVR",
    "coco": ".coco:Coco",
    "flickr": ".flickr:Flickr",
    "imagefolder": ".imagefolder:ImageFolder",
    "hf": ".hf:HF",
    "webdataset": ".webdataset:WebDataset",
    "folder": ".folder:Folder",
    "macros": ".macros:Macros",
}


@dataclass(frozen=True)
class Spec:
    """A set of data as a user names it: ``folder:DATA/memes,text=Title,label=mood``.

    ``options`` holds names and values in their order; ``macros`` keeps its own in ``path``.
    """

    layout: str
    path: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def cls(self) -> type[PairSource]:
        """What reads the layout."""
        module, _, name = LAYOUTS[self.layout].partition(":")
        return cast("type[PairSource]", getattr(import_module(module, __package__), name))

    @property
    def arguments(self) -> dict[str, object]:
        """What the options are to the constructor. InputError for one that is given twice."""
        columns: dict[str, tuple[str, ...]] = {}
        own: dict[str, object] = {}
        for name, value in self.options:
            if name in self.cls.roles:
                columns[name] = columns.get(name, ()) + ((value,) if value else ())
            elif name in own:
                raise InputError(f"{name} is given twice")
            else:
                own[name] = value
        return own | ({"columns": columns} if columns else {})


def parse(spec: str) -> Spec:
    """Take ``"LAYOUT:PATH,NAME=VALUE,..."`` apart; InputError for an unknown layout.

    An option begins at a comma before one of the layout's names (:meth:`PairSource.options`) and
    goes on to the next, so that paths and columns may hold commas of their own.
    """
    layout, _, rest = spec.partition(":")
    layout = layout.strip()
    if layout not in LAYOUTS:
        hint = f"The layouts are {', '.join(LAYOUTS)}."
        raise InputError(f"unknown layout {layout!r}", where=f"data {spec!r}", hint=hint)
    names = Spec(layout, "").cls.options()
    begins = rf",\s*({'|'.join(map(re.escape, names))})=" if names else "(?!)"
    path, *parts = re.split(begins, rest)
    options = tuple(zip(parts[::2], map(str.strip, parts[1::2]), strict=True))
    return Spec(layout, path, options)


def open_source(
    spec: str, *, strict: bool = False, follow_links: bool = False, **options: object
) -> PairSource:
    """Open ``"LAYOUT:PATH"``, e.g. ``"hateful_memes:data/hm"``, or ``"macros:n=4000,seed=7"``.

    Behind the path columns may be named (:func:`parse`), e.g. ``"folder:data/memes,text=Title"``.
    ``follow_links``: whether files may lie behind links that lead out of the folder. ``options``
    are the layout's own (``folder`` has ``columns``). Raises InputError for an unknown layout or
    option, a missing path, and what the layout finds wrong with its folder.
    """
    said = parse(spec)
    layout, cls = said.layout, said.cls
    if layout != "macros" and not said.path.strip():
        raise InputError("no path", where=f"data {spec!r}", hint=f"Write {layout}:PATH.")
    allowed = {*cls.options()} - {*cls.roles} | ({"columns"} if cls.roles else set())
    unknown = sorted(set(options) - allowed)
    if unknown:
        hint = f"It has: {', '.join(sorted(allowed))}." if allowed else "It has none."
        raise InputError(f"no option {unknown[0]!r} for the layout {layout}", hint=hint)
    make: Callable[..., PairSource] = getattr(cls, "from_spec", cls)
    if layout != "macros":
        options |= said.arguments | {"follow_links": follow_links}
    return make(said.path, strict=strict, **options)
