"""Open a sparse autoencoder of any layout that is known: one line a layout."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backend.errors import InputError
from backend.sae.autoencoder import SparseAutoencoder
from backend.sae.formats import dictionary_learning, gemma_scope, saelens, sparsify


@dataclass(frozen=True)
class Layout:
    """``suits`` says whether a path is laid out so, ``read`` opens it."""

    name: str
    holds: str
    suits: Callable[[Path], bool]
    read: Callable[[Path], SparseAutoencoder]


LAYOUTS: tuple[Layout, ...] = (
    Layout("SAELens", "cfg.json and sae_weights.safetensors", saelens.suits, saelens.read),
    Layout("Gemma Scope", "params.npz or params.safetensors", gemma_scope.suits, gemma_scope.read),
    Layout("sparsify", "cfg.json and sae.safetensors", sparsify.suits, sparsify.read),
    Layout(
        "dictionary_learning",
        "ae.pt (plain tensors)",
        dictionary_learning.suits,
        dictionary_learning.read,
    ),
)


def load_sae(path: Path | str) -> SparseAutoencoder:
    """The autoencoder that lies in a directory (or a ``.pt`` file), on the CPU, in float32.

    InputError says in one line what is missing, damaged or not supported. Nothing of the files is
    run.
    """
    folder = Path(path)
    if not folder.exists():
        raise InputError("is not there", where=str(folder))
    for layout in LAYOUTS:
        if layout.suits(folder):
            return layout.read(folder)
    raise InputError(
        "holds no sparse autoencoder that is known",
        where=str(folder),
        hint="Known are directories with "
        + "; ".join(f"{layout.holds} ({layout.name})" for layout in LAYOUTS)
        + ".",
    )
