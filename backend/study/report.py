"""Findings as text for a terminal and as JSON for a script."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from backend.study.findings import ClaimResult, Finding
from backend.study.reference import SOURCE
from backend.words import one_line

_WIDTH = 96


def as_text(own: Sequence[ClaimResult], published: Sequence[ClaimResult] = ()) -> str:
    """Every claim with its findings in sentences, its own first, then the published ones."""
    theirs = {result.claim.key: result for result in published}
    lines: list[str] = []
    for result in own:
        lines += [f"{result.claim.title}: {result.summary}", ""]
        lines += _wrapped(f"Claim: {result.claim.statement} {result.claim.method}")
        lines += _wrapped(result.multiplicity)
        lines += _findings(result)
        other = theirs.get(result.claim.key)
        if other is not None:
            lines += [
                "",
                f"  Published numbers: {other.summary if other.findings else 'not asked'}",
            ]
            lines += _findings(other)
        lines.append("")
    if published:
        lines += _wrapped(f"Published numbers: {SOURCE}")
    return "\n".join(lines).rstrip()


def as_json(own: Sequence[ClaimResult], published: Sequence[ClaimResult] = ()) -> str:
    """``{"claims": [...], "published": [...], "source": ...}``; NaN is null."""
    return json.dumps(
        {
            "claims": [_plain(result) for result in own],
            "published": [_plain(result) for result in published],
            "source": SOURCE,
        },
        indent=2,
        ensure_ascii=False,
    )


def _findings(result: ClaimResult) -> list[str]:
    lines = []
    for one in result.findings:
        lines += _wrapped(f"[{one.verdict}] {one.sentence} {' '.join(one.notes)}", "  - ")
    for note in result.notes:
        lines += _wrapped(note, "  note: ")
    return lines


def _wrapped(text: str, first: str = "  ") -> list[str]:
    return textwrap.wrap(
        one_line(text),
        _WIDTH,
        initial_indent=first,
        subsequent_indent="    ",
        break_on_hyphens=False,
    )


def _plain(result: ClaimResult) -> dict[str, Any]:
    return {
        "claim": result.claim.key,
        "title": result.claim.title,
        "statement": result.claim.statement,
        "method": result.claim.method,
        "summary": result.summary,
        "multiplicity": result.multiplicity,
        "findings": [_row(one) for one in result.findings],
        "notes": list(result.notes),
    }


def _row(one: Finding) -> dict[str, Any]:
    row: dict[str, Any] = _without_nan(asdict(one))
    return row


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value
