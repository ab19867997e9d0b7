"""What models are asked: on which samples, in which states, and whose partners are exchanged."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

from backend.data.base import Pair, PairSource, fingerprint_of
from backend.data.groups import codes_of, grouping
from backend.data.images import image_digest
from backend.errors import InputError
from backend.interventions.partners import Draw, draw
from backend.measures.suite.parts import content_key
from backend.types import Pooling, TaskSpec

VERSION = 1
"""Raised whenever the same models and samples would give other rows; part of every key."""
GROUPED = 2
"""The same of samples that belong together, whose pairs no longer count."""


@dataclass(frozen=True)
class Options:
    """What is run. ``seeds``: only runs of these."""

    split: str = "test"
    samples: int = 256
    pooling: Pooling = "cls"
    shuffle_seed: int = 0
    seeds: tuple[int, ...] = ()
    batch_size: int = 32
    device: str = "auto"


@dataclass(frozen=True, eq=False)
class Question:
    """The samples that all models are asked on, and how: one key, one set of parameters.

    ``groups`` (n) says which samples belong together: as the data set says, else those with the
    same image or text. Nobody is given a partner of its own group.
    """

    source: PairSource
    pairs: tuple[Pair, ...]
    options: Options
    groups: tuple[Hashable, ...] | None
    params: dict[str, Any]
    tasks: Mapping[str, TaskSpec]
    """As what the labels were read."""

    @classmethod
    def of(cls, source: PairSource, options: Options) -> Question:
        """Read the samples; InputError where the data gives too few."""
        pairs = tuple(source.pairs(options.split, options.samples))
        if len(pairs) < 4:  # debiased CKA needs four
            raise InputError(
                f"{len(pairs)} usable samples are too few; it takes 4 or more",
                where=f"data {source.name}, split {options.split}",
            )
        records = [pair.record for pair in pairs]
        together = grouping(
            [record.sample_id for record in records],
            [record.group for record in records],
            codes_of([image_digest(pair.sample.images) for pair in pairs]),
            codes_of([record.text for record in records]),
        )
        params = {
            "version": VERSION if together.names is None else GROUPED,
            "layout": source.layout,
            "split": source.canonical(options.split),
            "fingerprint": fingerprint_of(records, source.tasks),
            "samples": len(pairs),
            "groups": together.count,
            "pooling": options.pooling,
            "shuffle_seed": options.shuffle_seed,
        }
        names = together.names
        groups = None if names is None else tuple(names)
        return cls(source, pairs, options, groups, params, dict(source.tasks))

    def read_as(self, tasks: Iterable[TaskSpec]) -> Question:
        """The same samples with labels as a model's tasks were read (:meth:`PairSource.read_as`).

        A sample that has no label so is one without labels.
        """
        self.source.read_as(tasks)
        if self.source.tasks == self.tasks:
            return self
        labels = {r.sample_id: r.labels for r in self.source.records(self.options.split)}
        pairs = tuple(
            replace(p, record=replace(p.record, labels=labels.get(p.record.sample_id, {})))
            for p in self.pairs
        )
        told = fingerprint_of([pair.record for pair in pairs], self.source.tasks)
        params = self.params | {"fingerprint": told}
        return replace(self, pairs=pairs, params=params, tasks=dict(self.source.tasks))

    @property
    def key(self) -> str:
        """Under which a run keeps its rows."""
        return content_key("partners", self.options.pooling, self.params)

    def drawn(self, model_seed: int | None) -> Draw:
        """Who is given whom in the models of a seed."""
        return draw(len(self.pairs), self.options.shuffle_seed, model_seed, self.groups)

    def told(self, drawn: Draw) -> str:
        """What a row was made from, as the store keeps it: JSON."""
        constant = self.pairs[drawn.constant].record.sample_id
        made_with = {name: version(name) for name in ("torch", "transformers", "timm")}
        more = {"constant_sample": constant, "versions": made_with}
        return json.dumps(self.params | more, sort_keys=True)
