"""Readings of a run as its store keeps them: rows by layer, and the features that stand out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from backend.data.base import Pair, PairSource, fingerprint_of
from backend.data.sample import Sample
from backend.errors import InputError
from backend.measures.suite.parts import parameters_digest
from backend.models.adapter import Adapter
from backend.models.devices import choose_device
from backend.progress import SILENT, Progress
from backend.sae.autoencoder import SparseAutoencoder
from backend.sae.gathering import Gathered
from backend.sae.matching import Descriptions
from backend.sae.over_layers import over_layers
from backend.sae.reading import Read, read_layers
from backend.sae.table import STREAM_OF, Options, Reading, Tokens
from backend.store import Run, kinds
from backend.store.tables import to_pandas

VERSION = 5
_FEATURES = 32
"""Features a layer and kind of token that are kept with their samples."""
_EXAMPLES = 4
_LEAST = 4
_NONE = (float("nan"),) * 4


@dataclass(frozen=True, eq=False)
class Asked:
    """The samples of a run that are read, and what their rows are called by."""

    pairs: tuple[Pair, ...]
    groups: np.ndarray | None
    params: dict[str, Any]

    @property
    def key(self) -> str:
        """Under which the run keeps its rows: it changes with everything that they depend on."""
        return f"sae-{parameters_digest(self.params)}"


def ask(
    run: Run,
    source: PairSource,
    saes: Mapping[int, SparseAutoencoder],
    descriptions: Descriptions,
    options: Options,
) -> Asked:
    """Samples of the run in a random order, as the data give them; InputError where they do not.

    So that the first few, of which losses are read, are no single class of a sorted file.
    """
    manifest = run.manifest
    if manifest.dataset.name != source.name:
        raise InputError(
            f"is a run on {manifest.dataset.name}, not on {source.name}", where=f"run {run.run_id}"
        )
    known = {str(sample_id): at for at, sample_id in enumerate(run.sample_ids())}
    drawn = np.random.default_rng(options.seed).permutation(len(known))
    records = sorted(
        (one for one in source.records(manifest.dataset.split) if one.sample_id in known),
        key=lambda one: drawn[known[one.sample_id]],
    )
    pairs = tuple(islice(source.decoded(records), options.samples))
    if len(pairs) < _LEAST:
        raise InputError(
            f"{len(pairs)} of the run's samples are in the data; it takes {_LEAST} or more",
            where=f"data {source.name}, split {manifest.dataset.split}",
        )
    groups = run.groups()
    if groups is not None:
        groups = groups[[known[pair.record.sample_id] for pair in pairs]]
    params = {
        "version": VERSION,
        "saes": {str(layer): sae.digest for layer, sae in saes.items()},
        "described": {
            str(layer): parameters_digest({str(feature): text for feature, text in own.items()})
            for layer, own in descriptions.items()
        },
        "fingerprint": fingerprint_of([pair.record for pair in pairs], source.tasks),
        "options": {name: value for name, value in asdict(options).items() if name != "device"},
    }
    return Asked(pairs, groups, params)


def read_run(
    run: Run,
    adapter: Adapter,
    source: PairSource,
    saes: Mapping[int, SparseAutoencoder],
    descriptions: Descriptions,
    options: Options,
    progress: Progress = SILENT,
) -> pd.DataFrame:
    """The rows of :data:`backend.store.kinds.SAE`; computed and kept where the run lacks them.

    The features that stand out, and their matches at other layers, are kept beside them. InputError
    as :func:`ask` and :func:`backend.sae.reading.read_layers` raise.
    """
    asked = ask(run, source, saes, descriptions, options)
    if asked.key not in run.keys(kinds.SAE):
        device = choose_device(options.device)
        samples = [pair.sample for pair in asked.pairs]
        read = read_layers(
            adapter.to(device),
            samples,
            asked.groups,
            {layer: sae.to(device) for layer, sae in saes.items()},
            descriptions,
            options,
            progress,
        )
        told = {
            **asked.params,
            "top_coordinates": {str(layer): at for layer, at in read.top.items()},
            "versions": {name: version(name) for name in ("torch", "transformers")},
        }
        rows = pd.DataFrame(
            [asdict(row) for row in read.rows], columns=list(Reading.__dataclass_fields__)
        ).assign(params=json.dumps(told, sort_keys=True))
        features = features_of(read, asked.pairs, descriptions)
        matched = matches_of(read, saes, features, asked.groups)
        for kind, table in (
            (kinds.SAE_FEATURES, features),
            (kinds.SAE_MATCHES, matched),
            (kinds.SAE, rows),  # last: it says that all are there
        ):
            if asked.key not in run.keys(kind):  # of a reading that was killed in between
                run.add(kind, table, asked.key)
    return to_pandas(run.table(kinds.SAE, [asked.key]))


def features_of(read: Read, pairs: Sequence[Pair], descriptions: Descriptions) -> pd.DataFrame:
    """The features with the highest mean activation over samples, and what excites each most."""
    rows: list[dict[str, object]] = []
    for (layer, tokens, control), own in read.gathered.items():
        if not control:
            rows += _standing_out(layer, tokens, own, pairs, descriptions.get(layer, {}))
    return pd.DataFrame(rows, columns=[field.name for field in kinds.SAE_FEATURES.schema])


def matches_of(
    read: Read,
    saes: Mapping[int, SparseAutoencoder],
    features: pd.DataFrame,
    groups: np.ndarray | None,
) -> pd.DataFrame:
    """What every feature that stands out matches at the other layers."""
    chosen = {
        layer: sorted(set(features.loc[features["layer"].eq(layer), "feature"].tolist()))
        for layer in saes
    }
    rows = over_layers(read.gathered, saes, chosen, groups)
    return pd.DataFrame(rows, columns=[field.name for field in kinds.SAE_MATCHES.schema])


def _standing_out(
    layer: int,
    tokens: Tokens,
    own: Gathered,
    pairs: Sequence[Pair],
    described: Mapping[int, str],
) -> list[dict[str, object]]:
    peaks = np.stack(own.peak).astype(np.float32)
    used = own.used / own.column("tokens").sum()
    rows: list[dict[str, object]] = []
    for rank, feature in enumerate(np.argsort(-own.strength)[:_FEATURES].tolist(), start=1):
        for at in np.argsort(-peaks[:, feature])[:_EXAMPLES].tolist():
            if not peaks[at, feature] > 0:
                continue
            place = own.places[at][int(own.where[at][feature])]
            text = pairs[at].sample.text
            box = _share(place, pairs[at].sample) if len(place) == len(_NONE) else _NONE
            word = text[int(place[0]) : int(place[1])] if len(place) == 2 else ""
            rows.append(
                {
                    "stream": STREAM_OF[tokens],
                    "layer": layer,
                    "site": "block",
                    "tokens": tokens,
                    "feature": feature,
                    "rank": rank,
                    "share": float(used[feature]),
                    "description": described.get(feature, ""),
                    "sample_id": pairs[at].record.sample_id,
                    "activation": float(peaks[at, feature]),
                    "word": word,
                    **dict(zip(("left", "top", "right", "bottom"), box, strict=True)),
                }
            )
    return rows


def _share(box: np.ndarray, sample: Sample) -> tuple[float, ...]:
    """Left, top, right, bottom as shares of the image's width and height."""
    width, height = sample.images[0].size
    return tuple((box / [width, height, width, height]).astype(float).tolist())
