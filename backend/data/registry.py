"""Which layouts there are, and opening one from ``LAYOUT:PATH``."""

from __future__ import annotations

import inspect
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
    "folder": ".folder:Folder",
    "macros": ".macros:Macros",
}


def open_source(
    spec: str, *, strict: bool = False, follow_links: bool = False, **options: object
) -> PairSource:
    """Open ``"LAYOUT:PATH"``, e.g. ``"hateful_memes:data/hm"``, or ``"macros:n=4000,seed=7"``.

    ``follow_links``: whether files may lie behind links that lead out of the folder. ``options``
    are the layout's own (``folder`` has some). Raises InputError for an unknown layout or option, a
    missing path, and what the layout finds wrong with its folder.
    """
    layout, _, rest = spec.partition(":")
    layout = layout.strip()
    offered = f"The layouts are {', '.join(LAYOUTS)}."
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout {layout!r}", where=f"data {spec!r}", hint=offered)
    module, _, name = LAYOUTS[layout].partition(":")
    cls = getattr(import_module(module, __package__), name)
    if layout != "macros" and not rest.strip():
        raise InputError("no path", where=f"data {spec!r}", hint=f"Write {layout}:PATH.")
    make = cls.from_spec if layout == "macros" else cls
    parameters = inspect.signature(make).parameters.values()
    allowed = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} - {"strict", "follow_links"}
    unknown = sorted(set(options) - allowed)
    if unknown:
        hint = f"It has: {', '.join(sorted(allowed))}." if allowed else "It has none."
        raise InputError(f"no option {unknown[0]!r} for the layout {layout}", hint=hint)
    if layout != "macros":
        options["follow_links"] = follow_links
    return cast(PairSource, make(rest, strict=strict, **options))
