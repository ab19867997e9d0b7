"""Runs grouped by what they have in common except the seed."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from backend.figures.theme import SERIES_COLOURS, Series
from backend.models.placement import NAMES
from backend.store.index import Entry
from backend.store.kinds import MEASURES, PROJECTIONS
from backend.store.manifest import Manifest
from backend.store.scores import Score
from backend.store.source import BrokenRun, Source
from backend.views.state import MAX_OVERLAY
from backend.words import counted, listed

MAX_NAMED = 3
"""Groups that are named where several begin as it was asked."""

_PLACEMENT_ORDER = {name: at for at, name in enumerate(NAMES)}


@dataclass(frozen=True)
class RunInfo:
    """What the pages need to know of a run: its entry in the listing, and the rest when asked."""

    entry: Entry
    source: Source = field(repr=False, compare=False)

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.entry.run_id

    @property
    def seed(self) -> int | None:
        """The run's seed; a released model has none."""
        return self.entry.seed

    @property
    def n(self) -> int:
        """Number of samples."""
        return self.entry.n

    @property
    def manifest(self) -> Manifest:
        """Everything that run.json says; parsed when it is asked for."""
        return self.entry.manifest

    @property
    def has_activations(self) -> bool:
        """Whether vectors were kept."""
        return self.entry.has_activations

    @property
    def has_checkpoint(self) -> bool:
        """Whether the model was kept."""
        return self.entry.has_checkpoint

    @property
    def has_measures(self) -> bool:
        """Whether anything was measured. Asks the store each time."""
        return bool(self.source.keys(MEASURES, self.run_id))

    @property
    def has_projections(self) -> bool:
        """Whether there are coordinates. Asks the store each time."""
        return bool(self.source.keys(PROJECTIONS, self.run_id))

    @property
    def scores(self) -> tuple[Score, ...]:
        """All scores of the run."""
        return self.entry.scores

    def own_scores(self) -> tuple[Score, ...]:
        """Scores on the run's own split (else "test", else the last one), loss left out."""
        return tuple(score for score in self.entry.own_scores() if score.metric != "loss")


@dataclass(frozen=True)
class RunGroup:
    """Runs of one model, placement and dataset, ordered by seed; a run without a seed is alone."""

    key: str
    label: str
    series: Series
    runs: tuple[RunInfo, ...]

    @property
    def manifest(self) -> Manifest:
        """The first run's manifest, for what all of them share."""
        return self.runs[0].manifest

    @property
    def placed(self) -> bool:
        """Whether the model was trained with a placement, and not released by somebody."""
        return self.runs[0].entry.placement is not None

    @property
    def name(self) -> str:
        """The placement's name, or the released model's, without what tells groups apart."""
        return _name(self.runs[0].entry)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds in order; none of a released model."""
        return tuple(run.seed for run in self.runs if run.seed is not None)

    @property
    def seeds_in_words(self) -> str:
        """``seeds 0, 1 and 2``; "" for a released model."""
        if not self.seeds:
            return ""
        return f"{'seed' if len(self.seeds) == 1 else 'seeds'} {listed(self.seeds)}"

    @property
    def has_fusion(self) -> bool:
        """Whether any layer fuses."""
        return any(spec.fusion_layers for spec in self.series.streams)

    def run_of(self, seed: int | None) -> RunInfo:
        """The run of that seed, else the first one."""
        return next((run for run in self.runs if run.seed == seed), self.runs[0])


@dataclass(frozen=True)
class Overview:
    """All runs of a store: the readable ones in groups, the broken ones with their reason."""

    groups: tuple[RunGroup, ...]
    broken: tuple[BrokenRun, ...]

    @property
    def runs(self) -> tuple[RunInfo, ...]:
        """Every readable run."""
        return tuple(run for group in self.groups for run in group.runs)

    def find(self, selector: str) -> RunGroup | None:
        """A group by key, by an unambiguous beginning of its key, or one run by its id."""
        for group in self.groups:
            if group.key == selector:
                return group
        near = self._beginning(selector)
        if len(near) == 1:
            return near[0]
        for group in self.groups:
            for run in group.runs:
                if run.run_id == selector:
                    return group if len(group.runs) == 1 else single(group, run)
        return None

    def _beginning(self, selector: str) -> list[RunGroup]:
        return [group for group in self.groups if group.key.startswith(selector + "~")]

    def why_none(self, selector: str) -> str:
        """Why :meth:`find` gives none: several groups begin so, or none does."""
        near = [group.key for group in self._beginning(selector)]
        if not near:
            return f"this store has no run {selector}"
        more = [f"{len(near) - MAX_NAMED} more"] if len(near) > MAX_NAMED else []
        return f"{selector} is ambiguous: {listed([*near[:MAX_NAMED], *more], 'or')}"

    def chosen(self, selectors: Sequence[str]) -> tuple[tuple[RunGroup, ...], tuple[str, ...]]:
        """The groups that the selectors name, in the store's order, and selectors without any.

        Without any group the default ones are chosen.
        """
        matches = {selector: self.find(selector) for selector in selectors}
        unknown = tuple(selector for selector, group in matches.items() if group is None)
        groups = {group.key: group for group in matches.values() if group is not None}
        ordered = sorted(groups.values(), key=lambda group: group.series.variant)
        return (_told_apart(ordered[:MAX_OVERLAY]) or self.default(), unknown)

    def default(self) -> tuple[RunGroup, ...]:
        """The first groups that share their samples with the first one, at most five."""
        if not self.groups:
            return ()
        fingerprint = self.groups[0].runs[0].entry.fingerprint
        alike = (g for g in self.groups if g.runs[0].entry.fingerprint == fingerprint)
        return _told_apart(tuple(alike)[:MAX_OVERLAY])


def _told_apart(groups: Sequence[RunGroup]) -> tuple[RunGroup, ...]:
    """The same in looks of their own: colours and markers repeat in a store of many groups.

    Of those that look alike the first one keeps its look.
    """
    looks = range(len(SERIES_COLOURS))
    first = {group.series.variant % len(looks): group.key for group in reversed(groups)}
    free = iter([look for look in looks if look not in first])
    out = []
    for group in groups:
        look = group.series.variant % len(looks)
        if first[look] != group.key:
            look = next(free)
            series = replace(group.series, variant=look, colour=SERIES_COLOURS[look])
            group = replace(group, series=series)
        out.append(group)
    return tuple(out)


def noun(groups: Sequence[RunGroup]) -> str:
    """What one of these groups is called: placement, model, or "placement or model"."""
    return " or ".join(_kinds(groups))


def nouns(groups: Sequence[RunGroup]) -> str:
    """What these groups are called: placements, models, or "placements and models"."""
    return " and ".join(f"{kind}s" for kind in _kinds(groups))


def counted_groups(groups: Sequence[RunGroup]) -> str:
    """``5 placements``, ``1 model``, ``5 placements and 2 models``."""
    return " and ".join(
        counted(sum(group.placed is placed for group in groups), kind)
        for placed, kind in ((True, "placement"), (False, "model"))
        if kind in _kinds(groups)
    )


def _kinds(groups: Sequence[RunGroup]) -> list[str]:
    kinds = {"placement": any(g.placed for g in groups), "model": any(not g.placed for g in groups)}
    return [kind for kind, present in kinds.items() if present] or ["model"]


def single(group: RunGroup, run: RunInfo) -> RunGroup:
    """One run of a group that has several, as a group of its own."""
    label = f"{group.label}, seed {run.seed}"
    series = replace(group.series, key=run.run_id, label=label)
    return RunGroup(run.run_id, label, series, (run,))


def group_runs(runs: Iterable[RunInfo]) -> tuple[RunGroup, ...]:
    """Groups in the order none, full, early, middle, late, other placements, models by name."""
    members: dict[tuple[object, ...], list[RunInfo]] = {}
    for run in runs:
        members.setdefault(_identity(run.entry), []).append(run)
    ordered = sorted(members.values(), key=lambda group: _order(group[0].entry))
    labels = _labels([group[0].entry for group in ordered])
    taken: Counter[str] = Counter()
    out = []
    for at, group in enumerate(ordered):
        entry = group[0].entry
        parts = dict.fromkeys((_name(entry), entry.dataset, entry.model))
        key = "~".join(map(_slug, parts))
        taken[key] += 1
        series = Series(
            f"{key}~{taken[key]}" if taken[key] > 1 else key,
            labels[at],
            entry.specs,
            SERIES_COLOURS[at % len(SERIES_COLOURS)],
            entry.model,
            at,
        )
        members_in_order = tuple(sorted(group, key=lambda run: (run.seed or 0, run.run_id)))
        out.append(RunGroup(series.key, series.label, series, members_in_order))
    return tuple(out)


def _identity(entry: Entry) -> tuple[object, ...]:
    """Runs that are alike in this are one group. Seeds share a placement, not a digest."""
    return (
        (entry.model, entry.family, entry.structure),
        (entry.placement, entry.placed) if entry.placement is not None else entry.digest,
        entry.seed is None and entry.run_id,
        (entry.dataset, entry.layout, entry.split),
    )


def _order(entry: Entry) -> tuple[object, ...]:
    name = _name(entry)
    at = _PLACEMENT_ORDER.get(name, len(_PLACEMENT_ORDER)) + (entry.placement is None)
    return (entry.dataset, entry.split, at, name, entry.model)


def _name(entry: Entry) -> str:
    return entry.label or "no placement"


def _labels(entries: Sequence[Entry]) -> list[str]:
    """The run's own label, with as much of dataset and model as it takes to tell groups apart."""
    parts = [(_name(e), f"{e.dataset} {e.split}".strip(), e.model) for e in entries]
    datasets: dict[str, set[str]] = defaultdict(set)
    models: dict[tuple[str, str], set[str]] = defaultdict(set)
    alike = Counter(parts)
    for name, dataset, model in parts:
        datasets[name].add(dataset)
        models[name, dataset].add(model)
    variants: Counter[tuple[str, str, str]] = Counter()
    out = []
    for entry, part in zip(entries, parts, strict=True):
        name, dataset, model = part
        words = [name]
        words += [dataset] if len(datasets[name]) > 1 else []
        words += [model] if len(models[name, dataset]) > 1 else []
        if alike[part] > 1:
            variants[part] += 1
            words.append(entry.run_id if entry.seed is None else f"variant {variants[part]}")
        out.append(", ".join(words))
    return out


def _slug(text: str) -> str:
    """Text as part of a key: only characters that a URL shows as they are."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text)[:60]
