"""Small real stores for tests: random but structured activations, and what is derived from them.

Load it through the fixture ``store_factory`` (tests/conftest.py), which is :func:`make_store`.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from PIL import Image

from backend.store import Manifest, RunWriter, Store, kinds
from backend.store.identity import default_run_id
from backend.store.streams import StreamInfo
from backend.types import LayerRef, Meet, Pooling, Site, StreamSpec

Moments = Sequence[tuple[int, int]]
RELEASED = ("one", "two", "three")
PLACEMENTS = ("none", "full", "early", "middle", "late")
TOPICS = ("weather", "work", "food")
OBJECTS = ("cat", "dog", "car")


def make_store(
    path: Path,
    placements: Sequence[str] = PLACEMENTS,
    seeds: Sequence[int] = (0, 1, 2),
    n: int = 48,
    depth: int = 4,
    width: int = 12,
    *,
    poolings: Sequence[Pooling] = ("cls", "mean"),
    dtype: str = "float32",
    keep_activations: str = "first",
    checkpoint: bool = True,
    measures: bool = True,
    projections: bool = True,
    scores: bool = True,
    part_size: int = 20,
    dataset: str = "macros",
    training: Callable[[str, int], Moments] | None = None,
) -> Store:
    """Write a store of one run a placement and seed, named ``<placement>-seed<seed>``.

    ``keep_activations`` is "first" (the first seed of a placement, as the demo does), "all" or
    "none"; checkpoints and projections follow it ("none" keeps projections of the first seed).
    All runs share their samples. ``training`` gives the (epoch, step) at which a placement and seed
    was measured while it was trained; none for a run that was not.
    """
    store = Store.create(path)
    samples = make_samples(n)
    for placement in placements:
        for seed in seeds:
            manifest = make_manifest(
                f"{placement}-seed{seed}", placement, seed, depth, width, poolings, dtype, dataset
            )
            vectors = make_vectors(manifest, n)
            first = seed == seeds[0]
            with store.writer(manifest) as writer:
                write_parts(writer, samples, vectors, part_size)
                if scores:
                    writer.add(kinds.SCORES, make_scores(placement, seed))
                    writer.add(kinds.PREDICTIONS, make_predictions(seed))
                if training and (moments := training(placement, seed)):
                    writer.add(
                        kinds.TRAINING_MEASURES,
                        make_training(make_measures(manifest, vectors), moments),
                    )
                if measures:
                    writer.add(kinds.MEASURES, make_measures(manifest, vectors), "default")
                if projections and first:
                    writer.add(
                        kinds.PROJECTIONS, make_projection(manifest, vectors, samples), "pca"
                    )
                if checkpoint and first:
                    with tempfile.TemporaryDirectory() as folder:
                        writer.add_checkpoint(_make_checkpoint(Path(folder)))
                keep = keep_activations == "all" or (keep_activations == "first" and first)
                writer.commit(keep_activations=keep)
    return store


def make_released_store(
    path: Path,
    models: Sequence[str] = RELEASED,
    n: int = 48,
    *,
    poolings: Sequence[Pooling] = ("cls", "mean"),
    dtype: str = "float32",
    keep_activations: bool = True,
    measures: bool = True,
    projections: bool = True,
    part_size: int = 20,
) -> Store:
    """Add a run a released model to the store at ``path``, which may hold others.

    No placement, no seed, no scores. Models are those of :func:`released_streams`, runs are named
    ``macros-tiny-one-<digest>`` and so on, with the samples of :func:`make_store`.
    """
    store = Store.create(path)
    samples = make_samples(n)
    for model in models:
        manifest = make_released_manifest(model, poolings, dtype)
        vectors = make_vectors(manifest, n)
        with store.writer(manifest) as writer:
            write_parts(writer, samples, vectors, part_size)
            if measures:
                writer.add(kinds.MEASURES, make_measures(manifest, vectors), "default")
            if projections:
                writer.add(kinds.PROJECTIONS, make_projection(manifest, vectors, samples), "pca")
            writer.commit(keep_activations=keep_activations)
    return store


def released_streams(model: str) -> tuple[StreamSpec, ...]:
    """The streams of a small released model.

    - ``one``: ``text`` alone, four layers.
    - ``two``: ``vision`` and ``text`` of other depth and width, which meet in the loss: each has
      ``norm`` and ``projected`` after its last layer, as CLIP has.
    - ``three``: ``vision``, which has no ``cls`` and grows wider, with a ``projected`` vector; a
      ``text`` encoder with another; and ``text_decoder``, which reads vision at layers 2 and 3.
    """
    if model == "one":
        return (StreamSpec.of("text", "text", 4, 12),)
    if model == "two":
        return (
            StreamSpec(
                "vision",
                "vision",
                (*_layers(4, 12), Site(4, 12, "norm", True), Site(4, 8, "projected", True)),
                (Meet(4, "loss", "text", "4.projected"),),
            ),
            StreamSpec(
                "text",
                "text",
                (*_layers(3, 10), Site(3, 10, "norm"), Site(3, 8, "projected", True)),
                (Meet(3, "loss", "vision", "3.projected"),),
            ),
        )
    decoder = [Site(0, 14), Site(1, 14)]
    for k in (2, 3):
        decoder += [Site(k, 14, "cross"), Site(k, 14)]
    return (
        StreamSpec(
            "vision",
            "vision",
            (*_layers(4, 8, 8, 12, 12, 16), Site(4, 6, "projected", True)),
            (Meet(4, "loss", "text", "4.projected"),),
            ("mean",),
            "Its last layer is read by the projection alone.",
        ),
        StreamSpec(
            "text",
            "text",
            (*_layers(4, 10), Site(4, 6, "projected", True)),
            (Meet(4, "loss", "vision", "4.projected"),),
        ),
        StreamSpec(
            "text_decoder",
            "text",
            tuple(decoder),
            tuple(Meet(k, "cross", "vision", f"{k}.cross") for k in (2, 3)),
        ),
    )


def make_released_manifest(
    model: str = "two",
    poolings: Sequence[Pooling] = ("cls", "mean"),
    dtype: str = "float32",
    *,
    name: str = "",
    digest: str = "",
) -> Manifest:
    """The manifest of a model that was not trained here: neither placement nor seed."""
    name, digest = name or f"tiny-{model}", digest or f"{len(model):08x}{model}"
    raw = make_manifest(poolings=poolings, dtype=dtype).model_dump(mode="json")
    raw |= {
        "run_id": default_run_id("macros", None, None, name, digest),
        "model": {
            "name": name,
            "family": f"{model}-stream",
            "digest": digest,
            "streams": [StreamInfo.of(spec).model_dump() for spec in released_streams(model)],
        },
        "placement": None,
        "seed": None,
        "origin": {"model": f"hub/{name}", "data": "macros"},
    }
    return Manifest.model_validate(raw)


def make_manifest(
    run_id: str = "late-seed0",
    placement: str = "late",
    seed: int = 0,
    depth: int = 4,
    width: int = 12,
    poolings: Sequence[Pooling] = ("cls", "mean"),
    dtype: str = "float32",
    dataset: str = "macros",
) -> Manifest:
    """The manifest of a two-stream run; ``early`` fuses in the second quarter of its layers."""
    layers = fusion_layers(placement, depth)
    streams = [
        StreamSpec.of(name, name, depth, width, layers, reads=other)
        for name, other in (("vision", "text"), ("text", "vision"))
    ]
    return Manifest.model_validate(
        {
            "run_id": run_id,
            "model": {
                "name": f"tiny-{placement}",
                "family": "fusion",
                "streams": [StreamInfo.of(spec).model_dump() for spec in streams],
            },
            "placement": {"name": placement, "text": layers, "vision": layers},
            "seed": seed,
            "dataset": {
                "name": dataset,
                "layout": "macros",
                "split": "test",
                "fingerprint": "f00d",
                "n": 0,
                "tasks": [
                    {"name": "irony", "kind": "binary", "classes": ["sincere", "ironic"]},
                    {"name": "object", "kind": "multiclass", "classes": list(OBJECTS)},
                    {"name": "topics", "kind": "multilabel", "classes": list(TOPICS)},
                ],
            },
            "poolings": list(poolings),
            "dtype": dtype,
            "versions": {"fusionscope": "0.1.0"},
            "created": "2026-01-31T12:00:00+00:00",
            "origin": {"model": f"runs/{placement}", "data": "macros"},
        }
    )


def fusion_layers(placement: str, depth: int) -> list[int]:
    """1-based fusion layers of a named placement in a stream of ``depth`` blocks."""
    quarter = max(1, depth // 4)
    start = {"early": quarter, "middle": 2 * quarter, "late": 3 * quarter}
    if placement == "none":
        return []
    if placement == "full":
        return list(range(1, depth + 1))
    return list(range(start[placement] + 1, start[placement] + quarter + 1))


def make_samples(n: int, *, start: int = 0) -> pa.Table:
    """Samples ``macro-00000`` on, with labels of three tasks (some missing) and a thumbnail."""
    at = range(start, start + n)
    return pa.table(
        {
            "sample_id": [f"macro-{i:05d}" for i in at],
            "split": ["test"] * n,
            "text": [f"{TOPICS[i % 3]} with a {OBJECTS[i % 3]}, number {i}" for i in at],
            "label_irony": pa.array([None if i % 17 == 16 else i % 2 for i in at], pa.int8()),
            "label_object": [OBJECTS[i % 3] for i in at],
            "label_topics": pa.array(
                [[TOPICS[i % 3]] + ([TOPICS[0]] if i % 3 == 1 else []) for i in at],
                pa.list_(pa.string()),
            ),
            "thumbnail": pa.array([_thumbnail(i) for i in at], pa.binary()),
        }
    )


def make_vectors(
    manifest: Manifest, n: int, *, start: int = 0
) -> dict[tuple[LayerRef, Pooling], np.ndarray]:
    """Activations of every site and pooling: another stream's latent enters where it is met.

    Row i depends only on the run and ``start + i``, so parts can be made one by one. Vision's CLS
    at layer 0 is constant, as in a real ViT.
    """
    vectors: dict[tuple[LayerRef, Pooling], np.ndarray] = {}
    latent = {spec.name: _rows(f"{spec.name} latent", start, n, 6) for spec in manifest.streams}
    for spec in manifest.streams:
        own = latent[spec.name]
        reads = {meet.reads for meet in spec.meets}
        other = sum((latent[name] for name in latent if name in reads), np.zeros_like(own))
        fused = 0.0
        for site, ref in zip(spec.sites, spec.refs, strict=True):
            if ref.layer in spec.fusion_layers:
                fused += 0.3 if site.name == "block" else 0.5
            salt = f"{manifest.run_id} {spec.name} {ref.label}"
            signal = own @ _matrix(f"{spec.name} {ref.layer // 2}", 6, site.width)
            drift = own @ _matrix(salt, 6, site.width)
            joint = other @ _matrix(f"{salt} other", 6, site.width)
            values = signal + 0.4 * drift + (0.8 if site.name == "projected" else fused) * joint
            for pooling in manifest.poolings:
                if pooling not in spec.poolings_of(ref):
                    continue
                noise = 0.2 if pooling == "mean" else 0.4
                array = values + noise * _rows(f"{salt} {pooling}", start, n, site.width)
                if (spec.modality, ref.layer, pooling) == ("vision", 0, "cls"):
                    array = np.broadcast_to(_matrix(salt, 1, site.width), array.shape)
                vectors[ref, pooling] = np.ascontiguousarray(array, dtype=manifest.dtype)
    return vectors


def write_parts(
    writer: RunWriter,
    samples: pa.Table,
    vectors: dict[tuple[LayerRef, Pooling], np.ndarray],
    part_size: int = 20,
) -> None:
    """Write what is not written yet, in parts of ``part_size`` rows."""
    for at in range(writer.n_written, samples.num_rows, part_size):
        writer.write_part(
            samples.slice(at, part_size),
            {key: array[at : at + part_size] for key, array in vectors.items()},
        )


def make_predictions(seed: int, n: int = 12) -> pd.DataFrame:
    """A row a class of a binary task, of samples that are not those of the run."""
    probability = np.random.default_rng(seed).random(n)
    return pd.DataFrame(
        {
            "task": "irony",
            "split": "test",
            "sample_id": [f"test{at}" for at in range(n) for _ in range(2)],
            "class": ["plain", "ironic"] * n,
            "probability": np.stack([1 - probability, probability], axis=1).ravel(),
            "target": [bool((at + k) % 2) for at in range(n) for k in range(2)],
        }
    )


def make_scores(placement: str, seed: int) -> pd.DataFrame:
    """Scores of three tasks on two splits, better for later fusion, a little noise a seed."""
    level = {"none": 0.74, "full": 0.86, "early": 0.83, "middle": 0.89, "late": 0.93}[placement]
    rng = np.random.default_rng([seed, len(placement)])
    metrics = {"irony": "auroc", "object": "accuracy", "topics": "macro_f1"}
    return pd.DataFrame(
        [
            (task, metric, split, level + gap + 0.01 * rng.standard_normal())
            for task, name in metrics.items()
            for split, gap in (("train", 0.04), ("test", 0.0))
            for metric in (name, "loss")
        ],
        columns=["task", "metric", "split", "value"],
    )


def make_measures(
    manifest: Manifest, vectors: dict[tuple[LayerRef, Pooling], np.ndarray]
) -> pd.DataFrame:
    """Linear CKA (biased and debiased) of all layers, effective dimension, participation ratio."""
    rows: list[dict[str, object]] = []
    for pooling in manifest.poolings:
        prepared = {
            ref: _prepare(array) for (ref, pooled), array in vectors.items() if pooled == pooling
        }
        n = len(next(iter(vectors.values())))
        for a, b in _pairs(manifest.streams):
            if a not in prepared or b not in prepared:
                continue
            for estimator in ("biased", "debiased"):
                value = _cka(prepared[a], prepared[b], estimator)
                rows.append(_row("cka", a, b, pooling, estimator, value, n))
        for spec in manifest.streams:
            for ref in spec.refs:
                if ref not in prepared:
                    continue
                spectrum = np.linalg.svd(prepared[ref], compute_uv=False) ** 2
                total = spectrum.sum()
                share = np.cumsum(spectrum) / total if total > 0 else spectrum
                effective = float(np.searchsorted(share, 0.95) + 1) if total > 0 else np.nan
                ratio = float(total**2 / (spectrum**2).sum()) if total > 0 else np.nan
                rows.append(_row("effective_dimension", ref, None, pooling, "pca", effective, n))
                rows.append(_row("participation_ratio", ref, None, pooling, "pca", ratio, n))
    return pd.DataFrame(rows)


def make_training(measures: pd.DataFrame, moments: Moments) -> pd.DataFrame:
    """Training measures at each (epoch, step): CLS rows of consecutive and of matching layers and
    of dimensions, each value divided by 1 + step / 100.
    """
    same = measures["stream_a"].eq(measures["stream_b"])
    step = measures["layer_b"] - measures["layer_a"]
    pair = (same & step.eq(1)) | (measures["stream_b"].ne("") & ~same & step.eq(0))
    rows = measures[measures["pooling"].eq("cls") & (pair | measures["stream_b"].eq(""))]
    rows = rows[rows["site_a"].eq("block") & rows["site_b"].isin(["block", ""])]
    parts = [
        rows.assign(epoch=epoch, step=at, value=rows["value"] / (1 + at / 100))
        for epoch, at in moments
    ]
    return pd.concat(parts, ignore_index=True)


def make_projection(
    manifest: Manifest,
    vectors: dict[tuple[LayerRef, Pooling], np.ndarray],
    samples: pa.Table,
) -> pd.DataFrame:
    """The first two principal components of every layer, signs kept from layer to layer."""
    frames = []
    before: dict[tuple[str, str], np.ndarray] = {}
    for (ref, pooling), array in vectors.items():
        u, s, _ = np.linalg.svd(_prepare(array), full_matrices=False)
        xy = u[:, :2] * s[:2]
        if (key := (ref.stream, pooling)) in before:
            xy = xy * np.where((xy * before[key]).sum(axis=0) < 0, -1.0, 1.0)
        before[key] = xy
        frames.append(
            pd.DataFrame(
                {
                    "sample_id": samples["sample_id"].to_pylist(),
                    "stream": ref.stream,
                    "layer": ref.layer,
                    "site": ref.site,
                    "pooling": pooling,
                    "method": "pca",
                    "x": xy[:, 0],
                    "y": xy[:, 1],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _pairs(streams: Sequence[StreamSpec]) -> list[tuple[LayerRef, LayerRef]]:
    pairs = []
    for at, first in enumerate(streams):
        layers = first.layers
        pairs += [(a, b) for i, a in enumerate(layers) for b in layers[i:]]
        refs = first.refs
        pairs += [(a, b) for a, b in pairwise(refs) if (a.site, b.site) != ("block", "block")]
        for second in streams[at + 1 :]:
            pairs += [(a, b) for a in layers for b in second.layers]
            pairs += [
                (a, b)
                for a in refs[refs.index(layers[-1]) + 1 :]
                for b in second.refs[second.refs.index(second.layers[-1]) + 1 :]
                if a.site == b.site
            ]
    return pairs


def _layers(depth: int, *widths: int) -> list[Site]:
    """Layers 0..depth, of one width or each of its own."""
    return [Site(k, widths[k] if len(widths) > 1 else widths[0]) for k in range(depth + 1)]


def _prepare(x: np.ndarray) -> np.ndarray:
    centred = x.astype(np.float64) - x.astype(np.float64).mean(axis=0)
    centred[:, np.abs(centred).max(axis=0) < 1e-6] = 0.0
    return centred


def _cka(x: np.ndarray, y: np.ndarray, estimator: str) -> float:
    k, m = x @ x.T, y @ y.T
    hsic = _hsic_1 if estimator == "debiased" else lambda a, b: float((a * b).sum())
    scale = hsic(k, k) * hsic(m, m)
    return hsic(k, m) / float(np.sqrt(scale)) if scale > 0 else float("nan")


def _hsic_1(k: np.ndarray, m: np.ndarray) -> float:
    """Song et al. 2012, eq. 5: zero diagonals, corrected sums."""
    k, m, n = k - np.diag(np.diag(k)), m - np.diag(np.diag(m)), len(k)
    sums = k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * k.sum(axis=0) @ m.sum(axis=0)
    return float(((k * m).sum() + sums) / (n * (n - 3)))


def _row(
    measure: str,
    a: LayerRef,
    b: LayerRef | None,
    pooling: str,
    estimator: str,
    value: float,
    n: int,
) -> dict[str, object]:
    undefined = bool(np.isnan(value))
    constant = "layer 0 of vision is constant: the summary token does not depend on the image yet"
    with_null = measure == "cka" and not undefined
    return {
        "measure": measure,
        "stream_a": a.stream,
        "layer_a": a.layer,
        "site_a": a.site,
        "stream_b": b.stream if b else "",
        "layer_b": b.layer if b else -1,
        "site_b": b.site if b else "",
        "pooling": pooling,
        "estimator": estimator,
        "value": value,
        "ci_low": np.nan,
        "ci_high": np.nan,
        "null_mean": (0.1 if estimator == "biased" else 0.0) if with_null else np.nan,
        "null_sd": 0.01 if with_null else np.nan,
        "p_value": (0.001 if value > 0.3 else 0.5) if with_null else np.nan,
        "p_corrected": (0.01 if value > 0.3 else 1.0) if with_null else np.nan,
        "n": n,
        "params": json.dumps({"kernel": "linear"} if measure == "cka" else {"threshold": 0.95}),
        "reason": constant if undefined else "",
        "warnings": "",
    }


def _matrix(salt: str, rows: int, columns: int) -> np.ndarray:
    rng = np.random.default_rng(list(salt.encode()))
    return rng.standard_normal((rows, columns)) / np.sqrt(rows)


def _rows(salt: str, start: int, n: int, columns: int) -> np.ndarray:
    rng = np.random.default_rng(list(salt.encode()))
    return rng.standard_normal((start + n, columns))[start:]


def _thumbnail(i: int) -> bytes:
    out = io.BytesIO()
    colour = ((i * 53) % 256, (i * 97) % 256, (i * 151) % 256)
    Image.new("RGB", (16, 16), colour).save(out, "WEBP", quality=60)
    return out.getvalue()


def _make_checkpoint(path: Path) -> Path:
    """A directory that looks like save_pretrained's; its weights are never loaded."""
    (path / "config.json").write_text(json.dumps({"model_type": "tiny"}), encoding="utf-8")
    (path / "model.safetensors").write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    (path / "training_args.bin").write_bytes(b"must not be copied")
    return path
