"""The table of families in docs/families.md, made from the tiny model of each.

uv run python -m tests.models.family_table
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path

from backend.models.describe import Description, StreamDescription, describe
from backend.models.registry import FAMILIES, Family
from tests.models.families.common import Case
from tests.models.test_registry import MODULES

PAGE = Path(__file__).parents[2] / "docs" / "families.md"

REAL = {
    "fusionscope-fusion": "trained here",
    "fusionscope-encoders": "MiniLM beside a ViT-S, never joined",
    "llava": "ViT-S and SmolLM2, joined and trained here",
    "vision-text-dual-encoder": "MiniLM and ViT-S, joined and trained here",
    "whisper": "tiny.en",
}
"""What a family was run on beside small random models of its real class."""

INTRO = """\
# The families of models

One row a `model_type` of config.json. Made from the adapters by
`uv run python -m tests.models.family_table`; a test sees that it is so. The layers of a meet are
those of the small random model of the real class that the tests use; a released checkpoint has its
own, and `fusionscope models MODEL` says which.

**Streams**: name (named sites beside the layers). **Meets**: who takes whom in, how, in which
blocks. `joint`: self-attention over both; `cross`: cross-attention; `gated`: behind a learned gate;
`co`: co-attention; `add`: features added between blocks; `modulated`: features scale and shift what
a block computes; `loss`: only the training loss compares them.
**Maps**: attention maps, one a query head, also where several heads share keys and values.
**Gates**: learned ones can be read as they multiply. **Cut**: a meet can be closed while all else
stays. **Places**: tokens know the part of the picture,
text or recording that they come from. **Words**: from every layer to the next word (logit lens).
**Real weights**: where it says no, the family was run on random weights of the real class only;
each is proven against independent hooks, whatever the padding, batch and order.

Any other model of transformers is read by the generic adapter, which says so when it opens one and
beside every plot: each of its lists of blocks is a stream, and how these meet, which module gives
maps and where a token comes from is not known.
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """The whole page."""
    rows = [
        "| model type | streams | meets | maps | gates | cut | places | words | real weights |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    missing = []
    for name, family in FAMILIES.items():
        case: Case = import_module(f"tests.models.families.{MODULES.get(name, name)}").tiny()
        about = describe(case.adapter)
        rows.append(f"| {' | '.join(cells(name, family, case, about))} |")
        missing += [f"- `{name}`, {what}: {reason}" for what, reason in about.unsupported.items()]
    return "\n".join([INTRO, *rows, "", "## What is not supported, and why", "", *missing, ""])


def cells(name: str, family: Family, case: Case, about: Description) -> list[str]:
    """One row of the table."""
    adapter = case.adapter
    meets = [line for stream in about.streams for line in meeting(stream)]
    origins = adapter.encode(case.samples[:1]).origins
    cuttable = [meet.cut for s in about.streams for meet in s.meets if meet.how != "loss"]
    return [
        f"`{name}`<br>{family.sentence}",
        "<br>".join(map(sites, about.streams)),
        "<br>".join(meets) or "none",
        "all"
        if all(s.attention for s in about.streams)
        else some(s.name for s in about.streams if s.attention),
        "yes" if any(stream.gates for stream in about.streams) else "",
        "yes" if cuttable and all(cuttable) else "no" if cuttable else "",
        "all" if len(origins) == len(about.streams) else some(origins),
        "yes" if adapter.unembedding() else "",
        REAL.get(name, "no"),
    ]


def some(names: Iterable[str]) -> str:
    """Names in a row, or none."""
    return ", ".join(names) or "none"


def sites(stream: StreamDescription) -> str:
    """A stream with its named sites, each name once."""
    named = dict.fromkeys(site.partition(".")[2] for site in stream.sites if "." in site)
    return stream.name + (f" ({', '.join(named)})" if named else "")


def meeting(stream: StreamDescription) -> Iterator[str]:
    """``text takes image in, joint: every block``."""
    groups: dict[tuple[str, str], list[int]] = {}
    for meet in stream.meets:
        groups.setdefault((meet.how, meet.reads), []).append(meet.layer)
    for (how, reads), layers in groups.items():
        if how == "loss":
            yield f"{stream.name} and {reads}: loss"
            continue
        blocks = "every block" if len(layers) == stream.depth else "some blocks"
        yield f"{stream.name} takes {reads} in, {how}: {blocks}"


if __name__ == "__main__":
    main()
