"""Our training of sparse autoencoders beside SAELens' own, on the same activations.

    uv venv PEER && uv pip install --python PEER/bin/python sae-lens
    uv run python benchmarks/saelens.py --model SMOLLM2 --data mmimdb:DATA/mmimdb_mini --layer 15 \
        --peer PEER/bin/python --work DIR

SAELens gets an environment of its own, which runs this file's :func:`peer` and shares no package
with ours. Both train on the same rows: same width, k, steps, rows a step, learning rate, warming up
and decay; SAELens also with what it has by default (constant learning rate of 3e-4). What else it
leaves open is as it advises: rows scaled to an expected norm of sqrt(d). Its result is read from
the files that it writes. Printed are variance explained, L0 and dead features on the same rows
that neither saw. Rows and results stay in DIR.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from backend.sae.autoencoder import SparseAutoencoder
    from backend.sae.recipe import Recipe

_MOST_HELD = 16_384
_SHARED = ("kind", "features", "k", "steps", "batch", "seed")


def peer(told: dict[str, Any]) -> None:
    """Train SAELens' on the rows of a file, in its environment; ``told["out"]`` gets its files."""
    import torch
    from sae_lens.config import SAETrainerConfig
    from sae_lens.saes.jumprelu_sae import JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(told["seed"])
    rows = np.memmap(told["rows"], "<f2", "r").reshape(-1, told["d"])
    shape = {
        "d_in": told["d"],
        "d_sae": told["features"],
        "normalize_activations": "expected_average_only_in",
    }
    if told["kind"] == "topk":
        sae = TopKTrainingSAE(TopKTrainingSAEConfig(**shape, k=told["k"]))
    else:
        target = {"jumprelu_sparsity_loss_mode": "quadratic", "target_l0": float(told["k"])}
        sae = JumpReLUTrainingSAE(JumpReLUTrainingSAEConfig(**shape, **target))

    def batches() -> Iterator[torch.Tensor]:
        rng = np.random.default_rng(told["seed"])
        while True:
            order = rng.permutation(len(rows))
            for start in range(0, len(rows) - told["batch"] + 1, told["batch"]):
                own = np.sort(order[start : start + told["batch"]])
                yield torch.from_numpy(rows[own].astype(np.float32))

    config = SAETrainerConfig(
        total_training_samples=told["steps"] * told["batch"],
        train_batch_size_samples=told["batch"],
        lr_end=0.0,  # has to be given; a constant rate does not use it
        n_batches_for_norm_estimate=32,
        **told["rates"],
    )
    SAETrainer(config, sae, batches()).fit().save_inference_model(told["out"])


def main() -> None:
    """Train both and print a row a training."""
    options = _options()
    from backend.data.registry import open_source
    from backend.models.registry import open_model
    from backend.sae.autoencoder import Source
    from backend.sae.bank import fill_bank
    from backend.sae.loading import load_sae
    from backend.sae.recipe import Recipe
    from backend.sae.training import train
    from backend.types import LayerRef

    adapter, source = open_model(options.model), open_source(options.data)
    print(f"{options.data}, {adapter.name}")
    print("| layer | kind | training | explained | L0 | dead | s |\n|---|---|---|---|---|---|---|")
    for layer in options.layer:
        ref = LayerRef(options.stream, layer)
        work = options.work / f"layer-{layer}"
        d = adapter.stream(options.stream).width_of(ref)
        banks = (
            fill_bank(work / split, adapter, source, split, [ref], limit=limit, batch_size=32)
            for split, limit in (("train", options.limit), ("dev", 128))
        )
        rows, held = (bank.rows(ref, d) for bank in banks)
        for kind in options.kind:
            recipe = Recipe(
                kind=kind,
                features=options.features,
                k=options.k,
                steps=options.steps,
                batch=options.batch,
                seed=options.seed,
            )
            begun = time.monotonic()
            _row(layer, kind, "ours", train(rows, recipe, Source("ours")), held, begun)
            for name, rates in _rates(recipe).items():
                begun = time.monotonic()
                out = work / f"{kind}-{name}"
                told = {
                    **{name: getattr(recipe, name) for name in _SHARED},
                    "rows": str(rows.filename),
                    "d": d,
                    "out": str(out),
                    "rates": rates,
                }
                words = [options.peer, __file__, "--as-peer", json.dumps(told)]
                with (work / "peer.log").open("w") as log:
                    subprocess.run(words, check=True, stdout=log, stderr=log)
                _row(layer, kind, f"SAELens, {name} rates", load_sae(out), held, begun)


def _row(
    layer: int, kind: str, name: str, sae: SparseAutoencoder, held: np.ndarray, begun: float
) -> None:
    from backend.sae.quality import quality

    took, of = time.monotonic() - begun, quality(sae, held[:_MOST_HELD])
    numbers = f"{of.explained:.1%} | {of.l0:.1f} | {of.dead:.1%} | {took:.0f}"
    print(f"| {layer} | {kind} | {name} | {numbers} |", flush=True)


def _rates(recipe: Recipe) -> dict[str, dict[str, float]]:
    """SAELens' settings of the learning rate, by whose they are."""
    ours = {
        "lr": recipe.learning_rate,
        "lr_warm_up_steps": recipe.steps // 20,
        "lr_decay_steps": recipe.steps // 5,
    }
    return {"our": ours, "its own": {}}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--stream", default="text")
    parser.add_argument("--layer", type=int, action="append", required=True)
    parser.add_argument("--kind", action="append", choices=("topk", "jumprelu"))
    parser.add_argument("--peer", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="Samples to train on.")
    parser.add_argument("--features", type=int, default=2048)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.kind = options.kind or ["topk", "jumprelu"]
    return options


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as-peer"]:
        peer(json.loads(sys.argv[2]))
    else:
        main()
