"""The one table of kinds: everything that is stored about a run or about a pair of runs.

A kind is said here and nowhere else. Paths, ``Run``, ``RunWriter`` and ``RunPair``, ``verify``, the
questions that are asked in SQL, the token of a run and packed files all derive from it, so that a
new kind is one entry of :data:`KINDS`. Samples and vectors are no kinds: their columns depend on
the run (see :mod:`backend.store.tables` and :mod:`backend.store.vectors`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backend.types import LayerRef

Owner = Literal["run", "pair"]
Side = Literal["", "_a", "_b"]
Place = tuple[str, int, str]
"""Stream, layer and site as the tables write them."""

MAX_EPOCH = 100_000
MAX_STEP = 10**12
MAX_LAYER = 9_999
MAX_TOKENS = 2**31 - 1
MAX_SAMPLES = 2**31 - 1

NOWHERE: Place = ("", -1, "")
"""The second place of a measure of one layer."""

PLACE_COLUMNS = ("stream", "layer", "site")


def _nothing_more(table: pa.Table) -> None:
    """A kind that its schema says whole."""


@dataclass(frozen=True)
class Kind:
    """One kind of table.

    ``name`` is the folder of a keyed kind (``measures/<key>.parquet``), the file of a single one
    (``scores.parquet``) and the view in SQL. ``owner`` is what a table is about. ``sides`` are the
    endings of its columns of places (``stream_a``, ``layer_a``, ``site_a`` for ``"_a"``) and
    ``optional`` those that may be :data:`NOWHERE`. ``samples`` are the columns that hold sample
    ids, ``counts`` those that hold numbers of samples, ``wide`` those that hold as many numbers as
    the place is wide, with the bytes of a number. ``check`` raises ValueError for rows that
    the schema allows and the kind does not; it may be asked of any rows, of all together where
    they are to be ``whole``.
    """

    name: str
    schema: pa.Schema
    meaning: str
    owner: Owner = "run"
    keyed: bool = True
    sides: tuple[Side, ...] = ()
    optional: tuple[Side, ...] = ()
    samples: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    wide: tuple[tuple[str, int], ...] = ()
    check: Callable[[pa.Table], None] = _nothing_more
    whole: bool = False

    def place_columns(self, side: Side) -> tuple[str, str, str]:
        """The three columns of one side: ``("stream_a", "layer_a", "site_a")``."""
        stream, layer, site = (f"{name}{side}" for name in PLACE_COLUMNS)
        return stream, layer, site

    def empty(self) -> pa.Table:
        """No rows, with the columns that a reader gets: ``key`` in front of a keyed kind's."""
        table = self.schema.empty_table()
        return table.add_column(0, "key", pa.array([], pa.string())) if self.keyed else table


def _required(*columns: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns])


def _place(side: Side) -> list[tuple[str, pa.DataType]]:
    types = (pa.string(), pa.int32(), pa.string())
    return [(f"{name}{side}", kind) for name, kind in zip(PLACE_COLUMNS, types, strict=True)]


def _reasoned(table: pa.Table) -> None:
    """A NaN value has a reason and a value has none; a confidence interval may be missing."""
    undefined = np.isnan(table["value"].to_numpy())
    reasoned = pc.not_equal(table["reason"], "").to_numpy()
    if (undefined != reasoned).any():
        row = int(np.flatnonzero(undefined != reasoned)[0])
        raise ValueError(f"row {row} must have a reason exactly when its value is NaN")


def _finite(*columns: str) -> Callable[[pa.Table], None]:
    def check(table: pa.Table) -> None:
        for name in columns:
            if not np.isfinite(table[name].to_numpy()).all():
                raise ValueError(f"column {name} holds NaN or infinite values")

    return check


def _within(column: str, least: int, most: int) -> Callable[[pa.Table], None]:
    def check(table: pa.Table) -> None:
        ends = pc.min_max(table[column]).as_py()
        for value in ends.values():
            if value is not None and not least <= value <= most:
                raise ValueError(f"column {column} holds {value}, outside {least}..{most}")

    return check


def _all(*checks: Callable[[pa.Table], None]) -> Callable[[pa.Table], None]:
    def check(table: pa.Table) -> None:
        for each in checks:
            each(table)

    return check


_MEASURES = _required(
    ("measure", pa.string()),
    *_place("_a"),
    *_place("_b"),
    ("pooling", pa.string()),
    ("estimator", pa.string()),
    ("value", pa.float64()),
    ("ci_low", pa.float64()),
    ("ci_high", pa.float64()),
    ("null_mean", pa.float64()),
    ("null_sd", pa.float64()),
    ("p_value", pa.float64()),
    ("p_corrected", pa.float64()),
    ("n", pa.int64()),
    ("params", pa.string()),
    ("reason", pa.string()),
    ("warnings", pa.string()),
)

MEASURES = Kind(
    "measures",
    _MEASURES,
    "measures of layers and of pairs of layers",
    sides=("_a", "_b"),
    optional=("_b",),
    counts=("n",),
    check=_reasoned,
)
DRIVERS = Kind(
    "drivers",
    _required(
        *_place("_a"),
        *_place("_b"),
        ("pooling", pa.string()),
        ("rank", pa.int32()),
        ("sample_id", pa.string()),
        ("share", pa.float64()),
    ),
    "the samples that drive the similarity of a pair of layers, and those that weaken it",
    sides=("_a", "_b"),
    samples=("sample_id",),
    check=_finite("share"),
)
PROJECTIONS = Kind(
    "projections",
    _required(
        ("sample_id", pa.string()),
        *_place(""),
        ("pooling", pa.string()),
        ("method", pa.string()),
        ("x", pa.float32()),
        ("y", pa.float32()),
    ),
    "two coordinates a sample and layer",
    sides=("",),
    samples=("sample_id",),
    check=_finite("x", "y"),
)
NEIGHBOURS = Kind(
    "neighbours",
    _required(
        ("sample_id", pa.string()),
        *_place(""),
        ("pooling", pa.string()),
        ("rank", pa.int32()),
        ("neighbour", pa.string()),
    ),
    "the samples nearest to each sample in a layer's full space, rank 1 the nearest",
    sides=("",),
    samples=("sample_id", "neighbour"),
)
REFITS = Kind(
    "refits",
    _required(
        *_place(""),
        ("pooling", pa.string()),
        ("method", pa.string()),
        ("movement", pa.float64()),
        ("n", pa.int64()),
    ),
    "how far the samples of a layer's map move when the layer is fitted a second time",
    sides=("",),
    counts=("n",),
    check=_finite("movement"),
)
SCORES = Kind(
    "scores",
    _required(
        ("task", pa.string()),
        ("metric", pa.string()),
        ("split", pa.string()),
        ("value", pa.float64()),
    ),
    "task scores",
    keyed=False,
)
PREDICTIONS = Kind(
    "predictions",
    _required(
        ("task", pa.string()),
        ("split", pa.string()),
        ("sample_id", pa.string()),
        ("class", pa.string()),
        ("probability", pa.float64()),
        ("target", pa.bool_()),
    ),
    "what the trained model gives every labelled sample of a split, captured or not, a row a class",
    keyed=False,
    check=_finite("probability"),
)
TRAINING_MEASURES = Kind(
    "training_measures",
    pa.schema(
        [
            pa.field("epoch", pa.int32(), nullable=False),
            pa.field("step", pa.int64(), nullable=False),
            *_MEASURES,
        ]
    ),
    "measures of the model while it was trained",
    keyed=False,
    sides=("_a", "_b"),
    optional=("_b",),
    check=_all(_within("epoch", 0, MAX_EPOCH), _within("step", 0, MAX_STEP), _reasoned),
)


def _whole_training(table: pa.Table) -> None:
    """Epochs 1..N, and one of them, the same for all metrics, is the one that was kept."""
    _within("epoch", 1, MAX_EPOCH)(table)
    epochs = table["epoch"].to_numpy()
    if not np.array_equal(np.unique(epochs), np.arange(1, 1 + epochs.max(initial=0))):
        raise ValueError("column epoch does not count from 1 without gaps")
    kept = table["kept"].to_numpy(zero_copy_only=False)
    chosen = np.unique(epochs[kept])
    if len(table) and (len(chosen) != 1 or not kept[epochs == chosen[0]].all()):
        raise ValueError("column kept does not mark one epoch")


TRAINING_SCORES = Kind(
    "training_scores",
    _required(
        ("epoch", pa.int32()),
        ("task", pa.string()),
        ("metric", pa.string()),
        ("split", pa.string()),
        ("value", pa.float64()),
        ("kept", pa.bool_()),
    ),
    "scores on the dev split after each epoch of training, and which epoch was kept",
    keyed=False,
    check=_whole_training,
    whole=True,
)
PROBE_NUMBERS: dict[str, np.dtype] = {
    "mean": np.dtype("<f8"),
    "scale": np.dtype("<f8"),
    "coefficients": np.dtype("<f4"),
}
"""The columns of a probe that hold as many numbers as its layer is wide, and how they lie there."""


def _usable_probes(table: pa.Table) -> None:
    """Every probe is finite numbers of one width, with a positive scale."""
    _finite("intercept")(table)
    columns = (table[name].to_pylist() for name in PROBE_NUMBERS)
    for row, cells in enumerate(zip(*columns, strict=True)):
        widths = set()
        for (name, dtype), cell in zip(PROBE_NUMBERS.items(), cells, strict=True):
            if not cell or len(cell) % dtype.itemsize:
                raise ValueError(f"row {row}: column {name} is not numbers of {dtype.name}")
            numbers = np.frombuffer(cell, dtype)
            widths.add(len(numbers))
            if not np.isfinite(numbers).all():
                raise ValueError(f"row {row}: column {name} holds NaN or infinite values")
            if name == "scale" and numbers.min() <= 0:
                raise ValueError(f"row {row}: column scale holds a number that is not positive")
        if len(widths) > 1:
            listed = ", ".join(map(str, sorted(widths)))
            raise ValueError(f"row {row} holds vectors of different widths: {listed}")


PROBES = Kind(
    "probes",
    _required(
        *_place(""),
        ("pooling", pa.string()),
        ("task", pa.string()),
        ("kind", pa.string()),
        ("class", pa.string()),
        ("n", pa.int64()),
        ("converged", pa.bool_()),
        *((name, pa.binary()) for name in PROBE_NUMBERS),
        ("intercept", pa.float64()),
    ),
    "fitted linear probes of layers, a row a class",
    sides=("",),
    counts=("n",),
    wide=tuple((name, dtype.itemsize) for name, dtype in PROBE_NUMBERS.items()),
    check=_usable_probes,
)
INTERVENTIONS = Kind(
    "interventions",
    _required(
        ("weights", pa.string()),
        ("partner", pa.string()),
        ("stream", pa.string()),
        ("layer", pa.int32()),
        ("transition", pa.string()),
        ("crossing", pa.bool_()),
        ("pooling", pa.string()),
        ("measure", pa.string()),
        ("estimator", pa.string()),
        ("value", pa.float64()),
        ("n", pa.int64()),
        ("reason", pa.string()),
        ("params", pa.string()),
    ),
    "what a stream makes of its own, of another sample's and of a constant partner, trained or not",
    check=_all(_within("layer", 0, MAX_LAYER), _reasoned),
)


def _counted_once(table: pa.Table) -> None:
    """A number of tokens occurs once a stream, of one sample at least."""
    _within("tokens", 0, MAX_TOKENS)(table)
    _within("samples", 1, MAX_SAMPLES)(table)
    if len(table.select(["stream", "tokens"]).group_by(["stream", "tokens"]).aggregate([])) < len(
        table
    ):
        raise ValueError("column tokens holds a number twice for one stream")


TOKENS = Kind(
    "tokens",
    _required(("stream", pa.string()), ("tokens", pa.int32()), ("samples", pa.int64())),
    "how many samples have so many tokens of a stream, padding left out",
    keyed=False,
    counts=("samples",),
    check=_counted_once,
)
SAE = Kind(
    "sae",
    _required(
        *_place(""),
        ("tokens", pa.string()),
        ("control", pa.string()),
        ("coordinates", pa.string()),
        ("measure", pa.string()),
        ("value", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("n", pa.int64()),
        ("reason", pa.string()),
        ("params", pa.string()),
    ),
    "how sparse autoencoders rebuild and describe layers, by kind of token",
    sides=("",),
    counts=("n",),
    check=_reasoned,
)
SAE_FEATURES = Kind(
    "sae_features",
    _required(
        *_place(""),
        ("tokens", pa.string()),
        ("feature", pa.int32()),
        ("rank", pa.int32()),
        ("share", pa.float64()),
        ("description", pa.string()),
        ("sample_id", pa.string()),
        ("activation", pa.float64()),
        ("word", pa.string()),
        ("left", pa.float64()),
        ("top", pa.float64()),
        ("right", pa.float64()),
        ("bottom", pa.float64()),
    ),
    "features that stand out in a layer, and the samples, words and patches (in shares of the "
    "image) that excite them most",
    sides=("",),
    samples=("sample_id",),
    check=_finite("share", "activation"),
)
SAE_MATCHES = Kind(
    "sae_matches",
    _required(
        *_place(""),
        ("feature", pa.int32()),
        ("other_layer", pa.int32()),
        ("other_feature", pa.int32()),
        ("cosine", pa.float64()),
        ("chance", pa.float64()),
        ("tokens", pa.string()),
        ("activation", pa.float64()),
        ("activation_low", pa.float64()),
        ("activation_high", pa.float64()),
        ("share", pa.float64()),
        ("share_low", pa.float64()),
        ("share_high", pa.float64()),
    ),
    "of features that stand out, the feature of each layer's autoencoder that points the same way, "
    "and how strongly it is on in each kind of token",
    sides=("",),
    check=_finite("cosine", "chance", "activation", "share"),
)
SHARED_SPACE = Kind(
    "shared_space",
    pa.schema([*_MEASURES, pa.field("space", pa.string(), nullable=False)]),
    "search, zero-shot classes and gap at every layer, in the model's space and in a fitted one",
    sides=("_a", "_b"),
    optional=("_b",),
    counts=("n",),
    check=_reasoned,
)
COMPARISONS = Kind(
    "comparisons",
    _MEASURES,
    "measures between the layers of one run and of another; side a is the run whose id sorts first",
    owner="pair",
    sides=("_a", "_b"),
    counts=("n",),
    check=_reasoned,
)

KINDS: tuple[Kind, ...] = (
    MEASURES,
    DRIVERS,
    PROJECTIONS,
    NEIGHBOURS,
    REFITS,
    SCORES,
    PREDICTIONS,
    TRAINING_MEASURES,
    TRAINING_SCORES,
    PROBES,
    INTERVENTIONS,
    TOKENS,
    SAE,
    SAE_FEATURES,
    SAE_MATCHES,
    SHARED_SPACE,
    COMPARISONS,
)


def kinds_of(owner: Owner) -> tuple[Kind, ...]:
    """The kinds that are about a run, or about a pair of runs."""
    return tuple(kind for kind in KINDS if kind.owner == owner)


def check_sites(kind: Kind, table: pa.Table) -> None:
    """ValueError naming the column for a site that has no site's name, in any side of ``kind``."""
    for side in kind.sides:
        column = f"site{side}"
        for name in table[column].unique().to_pylist():
            if not (_is_site_name(name) or (side in kind.optional and not name)):
                raise ValueError(
                    f"column {column} holds {name!r}, expected 'block' or a site's name"
                )


def _is_site_name(name: str) -> bool:
    try:
        LayerRef("", 0, name)
    except ValueError:
        return False
    return True
