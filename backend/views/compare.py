"""What stands beside what on the Compare page. No Streamlit here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from backend.figures.difference import differences, paired_seeds, same_depth
from backend.figures.heatmap import axis_refs
from backend.figures.theme import SERIES_COLOURS, Series
from backend.pairing import Pair, paired
from backend.store.commands import activations_command, compare_command
from backend.types import LayerRef, StreamSpec, matched_layers
from backend.views import questions
from backend.views.cells import ALL, Block
from backend.views.groups import RunGroup, RunInfo
from backend.views.layers import nearest_ref
from backend.views.questions import Cross, Question, Table
from backend.views.store_access import StoreView
from backend.words import listed

MAX_COLUMNS = 4


@dataclass(frozen=True)
class Columns:
    """The groups that stand side by side, and those for which there is no room."""

    groups: tuple[RunGroup, ...]
    left_out: tuple[RunGroup, ...] = ()


@dataclass(frozen=True)
class Differences(Question):
    """The rows of a question, each series minus the ``reference``."""

    of: Question
    reference: str

    def answer(self) -> Table:
        """See :class:`Question` and :func:`backend.figures.differences`."""
        table = self.of.answer()
        return Table(differences(table.frame, self.reference), table.problems)


@dataclass(frozen=True)
class Crossed(Question):
    """What is stored between pairs of runs under a pooling and an estimator, with their seed."""

    pairs: tuple[tuple[Cross, int | None], ...]
    pooling: str
    estimator: str

    @property
    def replaced(self) -> tuple[str, ...]:
        """Runs that were replaced since, where nothing current is stored."""
        return tuple(dict.fromkeys(run for cross, _ in self.pairs for run in cross.replaced))

    def answer(self) -> Table:
        """See :class:`Question`."""
        tables = [(cross.answer(), seed) for cross, seed in self.pairs]
        frames = [
            table.frame.assign(seed=pd.array([seed] * len(table.frame), dtype="Int64"))
            for table, seed in tables
            if len(table.frame)
        ]
        problems = tuple(line for table, _ in tables for line in table.problems)
        if not frames:
            return Table(pd.DataFrame(), problems)
        rows = pd.concat(frames, ignore_index=True)
        chosen = rows["pooling"].eq(self.pooling) & rows["estimator"].eq(self.estimator)
        return Table(rows[chosen], problems)


def crossed(
    store: StoreView, pairs: Sequence[tuple[RunInfo, RunInfo]], pooling: str, estimator: str
) -> Crossed:
    """The question about some pairs of runs."""
    asked = ((questions.cross(store, a.run_id, b.run_id), a.seed) for a, b in pairs)
    return Crossed(tuple(asked), pooling, estimator)


def columns_of(groups: Sequence[RunGroup]) -> Columns:
    """The last four groups, each in a colour of its own.

    The last ones, because the placements that fuse stand there in the store's order.
    """
    at = max(0, len(groups) - MAX_COLUMNS)
    own = [group.series.colour for group in groups[at:]]
    colours = own if len(set(own)) == len(own) else SERIES_COLOURS
    return Columns(
        tuple(
            replace(group, series=replace(group.series, colour=colour))
            for group, colour in zip(groups[at:], colours, strict=False)
        ),
        tuple(groups[:at]),
    )


def holding(rows: pd.DataFrame, groups: Sequence[RunGroup], streams: Pair) -> list[RunGroup]:
    """The groups that have rows between two streams (or of one, where the second is "")."""
    first, second = rows["stream_a"], rows["stream_b"]
    a, b = streams
    between = (first.eq(a) & second.eq(b)) | (first.eq(b) & second.eq(a))
    keys = set(rows.loc[between, "series"])
    return [group for group in groups if group.key in keys]


def chosen_pair(
    groups: Sequence[RunGroup], focus: str | None, against: str | None
) -> tuple[RunGroup, RunGroup]:
    """The group of key ``focus`` (else the last one) and of ``against`` (else the first other)."""
    by_key = {group.key: group for group in groups}
    a = by_key.get(focus or "", groups[-1])
    others = [group for group in groups if group is not a]
    b = by_key.get(against or "", others[0])
    return a, others[0] if b is a else b


def seeds_in_words(frame: pd.DataFrame, a: RunGroup, b: RunGroup) -> str:
    """How the seeds of two groups were paired."""
    seeds = paired_seeds(frame, a.key, b.key)
    if not a.seeds and not b.seeds:
        return "One run of each, so without an interval."
    if not a.seeds or not b.seeds:
        return "A model without a seed is one run: means are subtracted, without an interval."
    if not seeds:
        return "They have no seed in common: means over seeds are subtracted, without an interval."
    if len(seeds) == 1:
        return f"From the runs of seed {seeds[0]}; one pair of runs has no interval over seeds."
    return (
        f"Seeds {listed(seeds)} are paired; the band is the 95 % t interval of the mean difference."
    )


def run_pairs(a: RunGroup, b: RunGroup) -> tuple[tuple[RunInfo, RunInfo], ...]:
    """The runs of the same seed; where no seed is common, the first run of each.

    A run is no pair with itself: none where both hold nothing else.
    """
    other = {run.seed: run for run in reversed(b.runs)}
    pairs = {
        run.seed: (run, other[run.seed])
        for run in reversed(a.runs)
        if run.seed is not None and run.seed in other
    }
    found = tuple(pairs[seed] for seed in sorted(pairs)) or ((a.runs[0], b.runs[0]),)
    return tuple(pair for pair in found if pair[0].run_id != pair[1].run_id)


def commands_for(
    store: StoreView, groups: Sequence[RunGroup], pairs: Sequence[tuple[RunInfo, RunInfo]]
) -> tuple[str, ...]:
    """What computes the pairs: captures of runs without vectors where no pair has both, then one
    ``compare`` a seed with every column's run of that seed, so that any two can be chosen.

    Vectors that a packed store does not hold may be in that it was packed from: no captures.
    """
    ready = [pair for pair in pairs if all(run.has_activations for run in pair)]
    lines: list[str] = []
    for pair in ready or pairs[:1]:
        lacking = [] if store.is_packed else [run for run in pair if not run.has_activations]
        lines += [activations_command(run.manifest, store.origin) for run in lacking]
        ids = [run.run_id for run in pair]
        seed = pair[0].seed
        for group in groups:
            alike = [r for r in group.runs if None in (r.seed, seed) or r.seed == seed]
            more = [r for r in alike if r.has_activations]
            if not {run.run_id for run in group.runs} & set(ids):
                ids += [run.run_id for run in more[:1]]
        lines.append(compare_command(store.origin, ids))
    return tuple(dict.fromkeys(lines))


def shown_streams(one: Series, pair: Pair | None) -> tuple[StreamSpec, ...]:
    """The two compared streams of a model; all of them where it lacks one of the two."""
    return paired(one.streams, pair) or one.streams


def cross_blocks(a: Series, b: Series, pair: Pair | None = None) -> dict[str, Block]:
    """All layers of ``a`` against all of ``b``, then each stream of one with each of the other.

    Of both only the streams of ``pair``, where a model has them.
    """
    rows, columns = shown_streams(a, pair), shown_streams(b, pair)
    out = {ALL: Block("all", rows, columns)}
    for x in rows:
        for y in columns:
            out[f"{x.name}~{y.name}"] = Block(f"{x.name} × {y.name}", (x,), (y,))
    return out if len(out) > 2 else {key: out[key] for key in list(out)[1:]}


def subtractable(block: Block, a: Series, b: Series) -> bool:
    """Whether both runs have the block's streams, at the same depth."""
    return all(same_depth(a, b, spec.name) for spec in (*block.rows, *block.columns))


def cell_in(block: Block, cell: tuple[LayerRef, LayerRef] | None) -> tuple[LayerRef, LayerRef]:
    """The chosen cell where it lies in the block, else the last layers of both sides."""
    rows, columns = axis_refs(block.rows[:1]), axis_refs(block.columns[:1])
    if cell and cell[0] in axis_refs(block.rows) and cell[1] in axis_refs(block.columns):
        return cell
    return rows[-1], columns[-1]


def layer_for(
    ref: LayerRef, deepest: StreamSpec, own: StreamSpec, refs: Sequence[LayerRef]
) -> LayerRef:
    """The layer of a run that stands for ``ref`` of the deepest stream.

    The same layer where the streams are equally deep (the one before a fusion output that the run
    does not have), else the one at the same relative depth.
    """
    if own.depth == deepest.depth:
        return nearest_ref(refs, ref.label)
    partner = {a.layer: b for a, b in matched_layers(deepest, own)}
    return nearest_ref(refs, partner[min(ref.layer, deepest.depth)].label)


def stream_names(groups: Sequence[RunGroup], pair: Pair | None) -> tuple[str, ...]:
    """Names of the streams that are shown of these groups."""
    return tuple(
        dict.fromkeys(s.name for group in groups for s in shown_streams(group.series, pair))
    )


def depths_differ(groups: Sequence[RunGroup], pair: Pair | None = None) -> tuple[str, ...]:
    """Names of the shown streams that are not equally deep in all groups that have them."""
    depths: dict[str, set[int]] = {}
    for group in groups:
        for spec in shown_streams(group.series, pair):
            depths.setdefault(spec.name, set()).add(spec.depth)
    return tuple(name for name, different in depths.items() if len(different) > 1)
