"""How many tokens each stream has, in one line: an imbalance of modalities is seen at once."""

from __future__ import annotations

from backend.store.token_counts import TokenCount, token_counts
from backend.views.groups import RunGroup
from backend.words import listed


def tokens_in_words(group: RunGroup) -> str:
    """``Tokens a sample: text 12 (5 to 40), vision 50.``; empty where no run says.

    The median and the range, of the first run: the others have the same samples.
    """
    run = group.runs[0]
    counts = token_counts(run.source.run(run.run_id))
    return f"Tokens a sample: {listed([_in_words(count) for count in counts])}." if counts else ""


def _in_words(count: TokenCount) -> str:
    if count.least == count.most:
        return f"{count.stream} {count.median:,}"
    return f"{count.stream} {count.median:,} ({count.least:,} to {count.most:,})"
