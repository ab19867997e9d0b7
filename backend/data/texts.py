"""What can be said of texts without a model."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from unicodedata import normalize

from backend.data.cells import is_list, items_of

USUAL_TOKENS = 64
"""What training and our own models take of a text unless told otherwise."""

_MARKS = 2  # tokens around a text


def folded(text: str) -> str:
    """A text without what two writings of one text differ in: case, blanks, composed letters."""
    return " ".join(normalize("NFC", text).casefold().split())


def cut_in_words(words: Sequence[int], tokens: int = USUAL_TOKENS) -> str:
    """A sentence on the texts that are cut at ``tokens``, of their numbers of words; "" for none.

    A word has at least one token, so as many are cut, and probably more.
    """
    longer = sum(1 for count in words if count + _MARKS > tokens)
    if not longer:
        return ""
    return (
        f"at least {longer:,} of {len(words):,} texts ({longer / len(words):.0%}) have more than "
        f"{tokens} tokens, at which training cuts them by itself; the longest has {max(words):,} "
        "words. max_text_length takes more, up to the text encoder's own length"
    )


def captions_in(text: object) -> list[str | None] | None:
    """The texts of a cell that holds them as a list, as JSON, Python or numpy writes it; else None.

    ``["a cat", "a small cat"]``, ``['a cat' 'a small cat']``, ``['a cat']``, and ``[]``, which has
    none; an item may be None.
    """
    if not isinstance(text, str) or not text.lstrip().startswith("[") or not is_list(text):
        return None
    with suppress(ValueError):
        return items_of(text, quoted=True)
    return None
