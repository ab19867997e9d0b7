"""Text from data, made safe to stand in Markdown; and numbers for people."""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import isnan, nan
from statistics import fmean, stdev

DATA_SPEC = (
    "LAYOUT:PATH, or macros for the generated set. Columns by name go behind the path: "
    "folder:PATH,text=Title,label=mood."
)
"""What the option `data` is, for whoever gives it."""

_PUNCTUATION = re.compile(r"([!-/;-@\[-`{-~])")
_WORD_JOINER = "\u2060"
_ARROW = re.compile(r"(?<!\S)(<->|->|<-|--|>=|<=|~=)(?!\S)")
"""What Streamlit makes an arrow, a dash or a sign of where it stands between spaces."""


def literal(text: object) -> str:
    """The text as Markdown that shows it character by character.

    Every punctuation mark is escaped. Streamlit replaces ``:name:`` and ``:name[...]`` after
    escapes are read, so a colon is followed by an invisible word joiner, as is the beginning of
    ``--`` and of arrows. Line breaks become spaces.
    """
    plain = _ARROW.sub(
        lambda at: f"{at[0][0]}{_WORD_JOINER}{at[0][1:]}", " ".join(str(text).split())
    )
    escaped = _PUNCTUATION.sub(r"\\\1", plain)
    return escaped.replace(":", f":{_WORD_JOINER}")


def listed(items: Iterable[object], last: str = "and") -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    words = [str(item) for item in items]
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def counted(count: int, one: str, many: str = "") -> str:
    """``1 run``, ``1,024 runs``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def size_text(size: float) -> str:
    """Bytes for people: ``512 MiB``, ``2.4 GiB``."""
    unit = "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:,.1f}".removesuffix(".0") + f" {unit}"


def mean_sd(values: list[float], digits: int = 3) -> str:
    """``0.934 ± 0.012`` (sample sd), or only the value where there is one run."""
    if not values:
        return "–"
    sd = stdev(values) if len(values) > 1 else nan
    return with_sd(fmean(values), sd, digits)


def with_sd(mean: float, sd: float, digits: int = 3) -> str:
    """``0.934 ± 0.012``, or only the mean where there is no sd (NaN)."""
    return f"{mean:.{digits}f}" if isnan(sd) else f"{mean:.{digits}f} ± {sd:.{digits}f}"


METRIC_NAMES = {
    "auroc": "AUROC",
    "macro_f1": "macro-F1",
    "accuracy": "accuracy",
    "loss": "loss",
}


def metric_name(metric: str) -> str:
    """How a metric is written for people."""
    return METRIC_NAMES.get(metric, metric)


def one_line(text: object) -> str:
    """A text in one line, without what cannot be printed."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
