"""Autoencoders for layers of a model: read its tokens, train, measure, write; goes on if killed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from backend.data.base import PairSource
from backend.errors import InputError
from backend.models.adapter import Adapter
from backend.models.devices import choose_device
from backend.models.families.text_alone import text_alone
from backend.models.registry import open_model
from backend.progress import SILENT, Progress
from backend.sae.autoencoder import Source, SparseAutoencoder
from backend.sae.bank import Bank, fill_bank, samples_of
from backend.sae.formats import saelens
from backend.sae.loading import load_sae
from backend.sae.plan import SaePlan
from backend.sae.quality import Quality, quality
from backend.sae.splicing import gone, says_words, splice, spliced
from backend.sae.training import train
from backend.types import BLOCK, LayerRef

QUALITY = "quality.json"
_MOST_CHECKED = 65_536
"""Tokens that an autoencoder is measured on."""


@dataclass(frozen=True)
class Fitted:
    """One layer's autoencoder: where it lies, what it is trained on and how good it is.

    ``loss_rise`` (nats a word) and ``loss_recovered`` are of :class:`backend.sae.splicing.Spliced`;
    None in a model that says no words, or where it cannot be told.
    """

    folder: Path
    layer: str
    trained_on: int
    quality: Quality
    loss_rise: float | None = None
    loss_recovered: float | None = None


def fit_saes(
    plan: SaePlan, source: PairSource, seed: int, out: Path, progress: Progress = SILENT
) -> Iterator[Fitted]:
    """An autoencoder a layer, as ``out/<stream>-<layer>`` in SAELens' layout, with quality.json.

    The model is read once for all layers; the tokens lie in ``out/.bank-*`` until all are trained.
    What is finished already is not done again. InputError for a plan that model or data cannot
    serve, before anything is read, and for a folder with another autoencoder.
    """
    plan.check()
    whole = open_model(plan.model).to(choose_device(plan.device))
    adapter = text_alone(whole) if plan.text_alone else whole
    refs = _refs(plan, adapter)
    source.canonical(plan.check_split)
    key = plan.train_key(whole.digest, source.fingerprint(plan.split, plan.limit), seed)
    folders = {ref: out / f"{ref.stream}-{ref.label}" for ref in refs}
    left = [ref for ref in refs if not _finished(folders[ref], key)]
    banks: list[Path] = []
    if left:
        recipe = plan.recipe(seed)
        banks = [
            out / f".bank-{plan.read_key(whole.digest, source.fingerprint(split, limit))}"
            for split, limit in _splits(plan)
        ]
        fitted, held = (
            fill_bank(
                bank,
                adapter,
                source,
                split,
                refs,
                limit=limit,
                batch_size=plan.batch_size,
                progress=progress,
            )
            for bank, (split, limit) in zip(banks, _splits(plan), strict=True)
        )
        recipe.check(fitted.count, adapter.stream(plan.stream).width_of(refs[0]))
    for ref in refs:
        if ref in left:
            _fit(plan, adapter, source, ref, seed, key, (fitted, held), folders[ref], progress)
        yield read_fitted(folders[ref], ref)
    for bank in banks:
        shutil.rmtree(bank, ignore_errors=True)


def read_fitted(folder: Path, ref: LayerRef) -> Fitted:
    """What was measured of a finished one."""
    told = json.loads((folder / QUALITY).read_text(encoding="utf-8"))
    return Fitted(
        folder,
        ref.label,
        told["trained_on"],
        Quality(**told["quality"]),
        told["loss_rise"],
        told["loss_recovered"],
    )


def _splits(plan: SaePlan) -> list[tuple[str, int | None]]:
    return [(plan.split, plan.limit), (plan.check_split, plan.check_limit)]


def _refs(plan: SaePlan, adapter: Adapter) -> list[LayerRef]:
    """The layers in order; InputError for one that the stream has not, and for no layer."""
    spec = adapter.stream(plan.stream)
    refs = []
    for label in plan.layers:
        try:
            ref = LayerRef.parse(plan.stream, label)
        except ValueError as error:
            raise InputError(str(error), field="layers") from error
        if ref.site != BLOCK or ref not in spec.refs:
            raise InputError(
                f"stream {plan.stream} has layers 0 to {spec.depth}, not {label}", field="layers"
            )
        refs.append(ref)
    return refs


def _fit(
    plan: SaePlan,
    adapter: Adapter,
    source: PairSource,
    ref: LayerRef,
    seed: int,
    key: str,
    banks: tuple[Bank, Bank],
    folder: Path,
    progress: Progress,
) -> None:
    width = adapter.stream(ref.stream).width_of(ref)
    rows, held = (bank.rows(ref, width) for bank in banks)
    partial = folder.with_name(f".{folder.name}-{key}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    sae = train(
        rows, plan.recipe(seed), _source_of(adapter, ref), partial / "state.safetensors", progress
    )
    made = quality(sae, held[:_MOST_CHECKED])
    rise, recovered = _losses(plan, adapter, source, ref, sae)
    told = {"training": key, "stream": ref.stream, "text_alone": plan.text_alone}
    new = partial / "result"
    saelens.write(new, sae, {**told, "recipe": asdict(plan.recipe(seed)), "data": source.name})
    content = {
        "trained_on": len(rows),
        "quality": asdict(made),
        "loss_rise": rise,
        "loss_recovered": recovered,
    }
    (new / QUALITY).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    new.rename(folder)
    shutil.rmtree(partial)


def _source_of(adapter: Adapter, ref: LayerRef) -> Source:
    """The place as SAELens writes it; blocks count from 0 there."""
    hook = f"blocks.{ref.layer - 1}.hook_resid_post" if ref.layer else "hook_embed"
    return Source(f"{ref.stream} {ref.label}", adapter.name, hook, ref.layer)


def _losses(
    plan: SaePlan, adapter: Adapter, source: PairSource, ref: LayerRef, sae: SparseAutoencoder
) -> tuple[float | None, float | None]:
    if ref.stream not in ("text", "image") or not says_words(adapter):
        return None, None
    device = next(adapter.module.parameters()).device
    samples = samples_of(adapter, source, plan.check_split, plan.loss_samples)
    batches = []
    while batch := list(islice(samples, plan.batch_size)):
        batches.append(adapter.encode(batch).to(device))
    (found,) = splice(adapter, batches, [(spliced(sae.to(device), ref), gone(ref))])
    return tuple(
        None if np.isnan(one.value) else one.value for one in (found.rise(), found.recovered())
    )  # type: ignore[return-value]


def _finished(folder: Path, key: str) -> bool:
    """Whether it is there; InputError where something else is."""
    if not folder.exists():
        return False
    try:
        config = json.loads((folder / saelens.CONFIG).read_text(encoding="utf-8"))
        same = config["metadata"]["training"] == key
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise InputError(
            "already exists, from other options", where=str(folder), hint="Choose another `out`."
        )
    load_sae(folder)
    return True
