"""The features that a traced pair lights, beside what its model's run knows of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd

from backend.errors import InputError
from backend.figures.picture import Patches
from backend.inference.attention import in_picture
from backend.inference.values import Floats, LitFeatures, Tokens, Trace
from backend.pairing import TEXT
from backend.sae.table import Tokens as Kind
from backend.store.wall import parsed
from backend.words import counted

Row = Mapping[Hashable, Any]

IMAGE = "image"
KIND_OF: dict[str, Kind] = {IMAGE: "image", TEXT: "text after image"}
"""{stream of a trace: how readings call its tokens}."""


def digests_of(rows: pd.DataFrame) -> dict[str, dict[int, str]]:
    """{key of a reading: {layer: digest of its autoencoder}} of rows of the kind ``sae``.

    Of those readings that say it.
    """
    found = {}
    for key, params in rows.drop_duplicates("key")[["key", "params"]].itertuples(index=False):
        with suppress(InputError, AttributeError, ValueError):  # whoever wrote it, it says none
            saes = parsed(params, "sae").get("saes")  # type: ignore[attr-defined]
            if saes:
                found[str(key)] = {int(layer): str(digest) for layer, digest in saes.items()}
    return found


def cells(lit: Mapping[int, LitFeatures], known: pd.DataFrame, stream: str) -> pd.DataFrame:
    """A row a layer and rank of the features that are strongest in a stream's tokens.

    ``layer``, ``rank``, ``feature``, ``mean`` and ``peak`` of its activation over the content
    tokens, ``on`` the share of them in which it is on, ``usual`` that share in the run (NaN where
    the run does not keep the feature), ``share_of_first`` the mean over that of the layer's first,
    ``description``, and ``said``, all of it in lines. ``known`` are rows of ``sae_features``.
    """
    first_known = known.drop_duplicates(["layer", "feature"])
    described = first_known.set_index(["layer", "feature"])["description"].to_dict()
    alike = known[known["tokens"].eq(KIND_OF[stream])].drop_duplicates(["layer", "feature"])
    usual = alike.set_index(["layer", "feature"])["share"].to_dict()
    rows: list[Row] = []
    for layer, own in sorted(lit.items()):
        first = 0.0
        for rank, at in enumerate(own.strongest[stream].tolist(), start=1):
            values = own.activations[stream][at]
            values = values[np.isfinite(values)]
            feature, mean = int(own.features[at]), float(values.mean())
            first = first or mean
            row: dict[Hashable, Any] = {
                "layer": layer,
                "rank": rank,
                "feature": feature,
                "mean": mean,
                "peak": float(values.max()),
                "on": float((values > 0).mean()),
                "usual": usual.get((layer, feature), np.nan),
                "share_of_first": mean / first,
                "description": described.get((layer, feature), ""),
            }
            rows.append({**row, "said": _said(row, len(values), stream)})
    columns = ["layer", "rank", "feature", "mean", "peak", "on", "usual", "share_of_first"]
    return pd.DataFrame(rows, columns=[*columns, "description", "said"])


def feature_name(row: Row) -> str:
    """``layer 3 · #17 · a thing``."""
    words = f"layer {row['layer']} · #{row['feature']}"
    return f"{words} · {row['description']}" if row["description"] else words


def examples(known: pd.DataFrame, layer: int, feature: int) -> pd.DataFrame:
    """The rows of ``sae_features`` of one feature, each sample once, the strongest first."""
    mine = known[known["layer"].eq(layer) & known["feature"].eq(feature)]
    return mine.sort_values("activation", ascending=False).drop_duplicates("sample_id")


def lit_patches(trace: Trace, values: Floats, size: tuple[int, int]) -> tuple[Patches, Floats]:
    """Where a feature is on in a picture of ``size`` (width, height), and how strongly (n,).

    ``values`` (T,) are its activations. No patches where tokens are of no one place.
    """
    tokens = trace.tokens[IMAGE]
    if tokens.kind != "box":
        return Patches([], np.zeros((0, 4), dtype=np.float32), []), values[:0]
    at, boxes = in_picture(tokens.origins, size)
    hovers = [f"token {k + 1}: {values[k]:.2f}" for k in at]
    return Patches(at.tolist(), boxes, hovers), values[at]


def lit_words(tokens: Tokens, values: Floats, most: int) -> tuple[list[str], list[float]]:
    """The content tokens of a text and a feature's activations in them, in order.

    Of more than ``most`` those are left in which it is strongest.
    """
    content = np.flatnonzero(np.isfinite(values))
    if len(content) > most:
        content = np.sort(content[np.argsort(-values[content], kind="stable")[:most]])
    words = [" ".join(tokens.texts[at].split()) or f"token {at + 1}" for at in content]
    return words, values[content].tolist()


def _said(row: Row, tokens: int, stream: str) -> Sequence[str]:
    lines = [
        f"mean activation {row['mean']:.3g}, largest {row['peak']:.3g}",
        f"on in {100 * row['on']:.0f} % of {counted(tokens, 'token')}",
    ]
    if row["usual"] == row["usual"]:
        lines.append(f"on in {100 * row['usual']:.0f} % of the run's {KIND_OF[stream]} tokens")
    return lines
