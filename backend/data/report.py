"""What was wrong with a dataset: which file, which row, which sample, why."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field

from backend.errors import InputError

KEPT = 1_000
COUNTED = 1_000_000
NOTES = 30
_KINDS = 20  # of problems that a summary counts
_NOTE = 400


@dataclass(frozen=True)
class Problem:
    """One row that cannot be used.

    ``reason`` starts with the kind of problem, then a colon and the particulars:
    ``"missing image: img/01235.png"``. ``row`` counts from 1; empty or 0 means the whole file.
    """

    file: str
    row: str | int
    sample_id: str
    reason: str

    @property
    def kind(self) -> str:
        """The reason without its particulars: what problems are counted by."""
        return self.reason.partition(": ")[0]

    @property
    def where(self) -> str:
        """``"train.jsonl row 12 (id 01235)"``, safe to print."""
        row = f" row {self.row}" if self.row not in ("", 0) else ""
        sample = f" (id {clipped(self.sample_id, 60)})" if self.sample_id else ""
        return f"{clipped(self.file)}{row}{sample}"

    def __str__(self) -> str:
        return f"{self.where}: {clipped(self.reason)}"


@dataclass
class Report:
    """Collects problems in bounded memory: the first ``KEPT`` whole, all of them counted by kind.

    The same problem met again (a split that is read twice) counts once. To know that, one 8-byte
    digest a problem is remembered; past ``COUNTED`` distinct problems nothing more is counted and
    the summary says "more than". ``notes`` are remarks about decisions that lose no sample; they
    never stop anything. ``good`` (usable samples) is filled by :func:`backend.data.check.check`,
    ``together`` (the groups of each split, in words) by :func:`backend.data.check.check_all`.
    """

    name: str = ""
    strict: bool = False
    problems: list[Problem] = field(default_factory=list)
    by_reason: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    good: dict[str, int] = field(default_factory=dict)
    together: dict[str, str] = field(default_factory=dict)
    _seen: set[int] = field(default_factory=set, repr=False)
    _keyed: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def count(self) -> int:
        """How many distinct problems were met."""
        return self.by_reason.total()

    def add(self, problem: Problem) -> None:
        """Count a problem; raises InputError naming file, row and reason if strict."""
        if self.strict:
            raise _stopped(problem)
        # Several things can be wrong with a whole file, so there the particulars count too.
        what = problem.kind if problem.row not in ("", 0) else problem.reason
        digest = digest8(problem.file, problem.row, problem.sample_id, what)
        if digest in self._seen or len(self._seen) >= COUNTED:
            return
        self._seen.add(digest)
        self.by_reason[problem.kind] += 1
        if len(self.problems) < KEPT:
            self.problems.append(problem)

    def note(self, text: str, key: str = "") -> None:
        """Remember a remark once; one with a ``key`` takes the place of the earlier one of it."""
        earlier = self._keyed.get(key) if key else None
        if earlier in self.notes:
            self.notes[self.notes.index(earlier)] = text
        elif text not in self.notes and len(self.notes) < KEPT:
            self.notes.append(text)
        if key:
            self._keyed[key] = text

    def raise_if(self, strict: bool) -> None:
        """Raise InputError with the first problem if ``strict`` and there is one."""
        if strict and self.problems:
            raise _stopped(self.problems[0])

    def summary(self, examples: int = 5) -> str:
        """A few lines for people: the counts by reason, then the first problems and the notes."""
        what = f" in {clipped(self.name)}" if self.name else ""
        lines = [f"{split}: {n:,} good" for split, n in self.good.items()]
        if not self.count:
            lines.append(f"no problems{what}")
        else:
            more = "more than " if len(self._seen) >= COUNTED else ""
            most = self.by_reason.most_common(_KINDS)
            kinds = ", ".join(f"{n:,} {clipped(kind, 80)}" for kind, n in most)
            if len(self.by_reason) > _KINDS:
                kinds += f" and {len(self.by_reason) - _KINDS:,} kinds more"
            plural = "" if self.count == 1 else "s"
            lines.append(f"{more}{self.count:,} problem{plural}{what}: {kinds}")
            lines += [f"  {problem}" for problem in self.problems[:examples]]
            if self.count > examples:
                lines.append(f"  and {self.count - min(examples, len(self.problems)):,} more")
        lines += [f"note: {clipped(note, _NOTE)}" for note in self.notes[:NOTES]]
        if len(self.notes) > NOTES:
            lines.append(f"and {len(self.notes) - NOTES:,} notes more")
        return "\n".join(lines)


def clipped(text: str, width: int = 200) -> str:
    """Text from a file, cut and with control characters escaped, so that it fits on a terminal."""
    cut = text if len(text) <= width else text[: width - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def digest8(*parts: object) -> int:
    """A 64-bit digest of some texts; the same on every machine and in every process."""
    text = "\0".join(str(part) for part in parts)
    # surrogatepass: a broken id must be reportable too.
    raw = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(raw, "big")


def _stopped(problem: Problem) -> InputError:
    return InputError(clipped(problem.reason), where=problem.where)
