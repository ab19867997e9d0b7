"""Runs grouped by what they have in common except the seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from backend.figures.theme import SERIES_COLOURS, Series
from backend.models.placement import NAMES
from backend.store.manifest import Manifest
from backend.views.state import MAX_OVERLAY
from backend.views.words import counted, listed

_PLACEMENT_ORDER = {name: at for at, name in enumerate(NAMES)}


@dataclass(frozen=True)
class Score:
    """One number of scores.parquet."""

    task: str
    metric: str
    split: str
    value: float


@dataclass(frozen=True)
class RunInfo:
    """What the pages need to know of a run without opening it again."""

    manifest: Manifest
    has_activations: bool
    has_checkpoint: bool
    has_measures: bool
    has_projections: bool
    scores: tuple[Score, ...]

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.manifest.run_id

    @property
    def seed(self) -> int | None:
        """The run's seed; a released model has none."""
        return self.manifest.seed

    @property
    def n(self) -> int:
        """Number of samples."""
        return self.manifest.dataset.n

    def own_scores(self) -> tuple[Score, ...]:
        """Scores on the run's own split (else "test", else the last one), loss left out."""
        splits = list(dict.fromkeys(score.split for score in self.scores))
        preferred = [s for s in (self.manifest.dataset.split, "test") if s in splits] or splits[-1:]
        return tuple(s for s in self.scores if s.split in preferred[:1] and s.metric != "loss")


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
        return self.manifest.placement is not None

    @property
    def name(self) -> str:
        """The placement's name, or the released model's, without what tells groups apart."""
        return _name(self.manifest)

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
class Broken:
    """A run that cannot be read, and why, in one line."""

    run_id: str
    reason: str


@dataclass(frozen=True)
class Overview:
    """All runs of a store: the readable ones in groups, the broken ones with their reason."""

    groups: tuple[RunGroup, ...]
    broken: tuple[Broken, ...]

    @property
    def runs(self) -> tuple[RunInfo, ...]:
        """Every readable run."""
        return tuple(run for group in self.groups for run in group.runs)

    def find(self, selector: str) -> RunGroup | None:
        """A group by key, by an unambiguous beginning of its key, or one run by its id."""
        for group in self.groups:
            if group.key == selector:
                return group
        near = [group for group in self.groups if group.key.startswith(selector + "~")]
        if len(near) == 1:
            return near[0]
        for group in self.groups:
            for run in group.runs:
                if run.run_id == selector:
                    return group if len(group.runs) == 1 else single(group, run)
        return None

    def chosen(self, selectors: Sequence[str]) -> tuple[tuple[RunGroup, ...], tuple[str, ...]]:
        """The groups that the selectors name, in the store's order, and selectors without any.

        Without any group the default ones are chosen.
        """
        found = {selector: self.find(selector) for selector in selectors}
        unknown = tuple(selector for selector, group in found.items() if group is None)
        groups = {group.key: group for group in found.values() if group is not None}
        ordered = sorted(groups.values(), key=lambda group: group.series.variant)
        return (_told_apart(ordered[:MAX_OVERLAY]) or self.default(), unknown)

    def default(self) -> tuple[RunGroup, ...]:
        """The first groups that share their samples with the first one, at most five."""
        if not self.groups:
            return ()
        first = self.groups[0].manifest
        alike = (
            group
            for group in self.groups
            if group.manifest.dataset.fingerprint == first.dataset.fingerprint
        )
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
    return [kind for kind, there in kinds.items() if there] or ["model"]


def single(group: RunGroup, run: RunInfo) -> RunGroup:
    """One run of a group that has several, as a group of its own."""
    label = f"{group.label}, seed {run.seed}"
    series = replace(group.series, key=run.run_id, label=label)
    return RunGroup(run.run_id, label, series, (run,))


def group_runs(runs: Iterable[RunInfo]) -> tuple[RunGroup, ...]:
    """Groups in the order none, full, early, middle, late, other placements, models by name."""
    members: dict[tuple[object, ...], list[RunInfo]] = {}
    for run in runs:
        members.setdefault(_identity(run.manifest), []).append(run)
    ordered = sorted(members.values(), key=lambda group: _order(group[0].manifest))
    labels = _labels([group[0].manifest for group in ordered])
    taken: dict[str, int] = {}
    out = []
    for at, group in enumerate(ordered):
        manifest = group[0].manifest
        key = "~".join(
            _slug(part)
            for part in dict.fromkeys((_name(manifest), manifest.dataset.name, manifest.model.name))
        )
        taken[key] = taken.get(key, 0) + 1
        extra = [str(taken[key])] if taken[key] > 1 else []
        label = labels[at]
        series = Series(
            "~".join([key, *extra]),
            label,
            manifest.streams,
            SERIES_COLOURS[at % len(SERIES_COLOURS)],
            manifest.model.name,
            at,
        )
        members_in_order = tuple(sorted(group, key=lambda run: (run.seed or 0, run.run_id)))
        out.append(RunGroup(series.key, label, series, members_in_order))
    return tuple(out)


def _identity(manifest: Manifest) -> tuple[object, ...]:
    """Runs that are alike in this are one group. Seeds share a placement, not a digest."""
    data, model, placement = manifest.dataset, manifest.model, manifest.placement
    placed = None if placement is None else (placement.name, placement.text, placement.vision)
    return (
        (model.name, model.family, manifest.streams),
        placed or model.digest,
        manifest.seed is None and manifest.run_id,
        (data.name, data.layout, data.split),
    )


def _order(manifest: Manifest) -> tuple[object, ...]:
    name = _name(manifest)
    at = _PLACEMENT_ORDER.get(name, len(_PLACEMENT_ORDER))
    at += manifest.placement is None
    return (manifest.dataset.name, manifest.dataset.split, at, name, manifest.model.name)


def _name(manifest: Manifest) -> str:
    return manifest.label or "no placement"


def _labels(manifests: Sequence[Manifest]) -> list[str]:
    """The run's own label, with as much of dataset and model as it takes to tell groups apart."""
    parts = [(_name(m), _data_name(m), m.model.name) for m in manifests]
    out = []
    for at, part in enumerate(parts):
        same = [i for i, other in enumerate(parts) if other[0] == part[0]]
        words = [part[0]]
        if len({parts[i][1] for i in same}) > 1:
            words.append(part[1])
        same = [i for i in same if parts[i][1] == part[1]]
        if len({parts[i][2] for i in same}) > 1:
            words.append(part[2])
        same = [i for i in same if parts[i][2] == part[2]]
        if len(same) > 1:
            one = manifests[at]
            words.append(one.run_id if one.seed is None else f"variant {same.index(at) + 1}")
        out.append(", ".join(words))
    return out


def _data_name(manifest: Manifest) -> str:
    return f"{manifest.dataset.name} {manifest.dataset.split}".strip()


def _slug(text: str) -> str:
    """Text as part of a key: only characters that a URL shows as they are."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text)[:60]
