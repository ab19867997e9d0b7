"""The autoencoders and descriptions that a user names, by the layers that they are of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from backend.errors import InputError
from backend.sae.autoencoder import SparseAutoencoder
from backend.sae.descriptions import read_descriptions
from backend.sae.loading import LAYOUTS, load_sae


def open_saes(named: Sequence[str]) -> dict[int, SparseAutoencoder]:
    """{layer: autoencoder}, layers ascending.

    Each name is a directory of one, a directory of several, or ``LAYER=DIRECTORY`` where the files
    do not say the layer. InputError for two of one layer, and for one of no known layer.
    """
    found: dict[int, SparseAutoencoder] = {}
    for name in named:
        said, path = _placed(name)
        for folder in each_sae(path):
            sae = load_sae(folder)
            layer = sae.source.layer if said is None else said
            if layer is None:
                raise InputError(
                    "does not say of which layer it is",
                    where=str(folder),
                    hint=f"Write LAYER={folder}, layer k being the output of block k.",
                )
            if layer in found:
                raise InputError(f"is a second one of layer {layer}", where=str(folder))
            found[layer] = sae
    return dict(sorted(found.items()))


def open_descriptions(
    named: Sequence[str], saes: Mapping[int, SparseAutoencoder]
) -> dict[int, dict[int, str]]:
    """{layer: {feature: description}} of ``LAYER=PATH`` each; InputError for another layer."""
    found = {}
    for name in named:
        layer, path = _placed(name)
        if layer is None or layer not in saes:
            raise InputError(
                f"{name[:80]!r} is of no layer that is read",
                field="descriptions",
                hint=f"Write LAYER=PATH with one of the layers {', '.join(map(str, saes))}.",
            )
        found[layer] = read_descriptions(path, saes[layer])
    return found


def _placed(name: str) -> tuple[int | None, Path]:
    layer, equals, path = name.partition("=")
    if equals and layer.isascii() and layer.isdecimal() and len(layer) < 6:
        return int(layer), Path(path)
    return None, Path(name)


def each_sae(path: Path) -> Iterator[Path]:
    """The directories in a path that hold an autoencoder each, else the path itself."""
    inside = [] if _suits(path) or not path.is_dir() else sorted(path.iterdir())
    several = [folder for folder in inside if folder.is_dir() and _suits(folder)]
    yield from several or [path]


def _suits(folder: Path) -> bool:
    return any(layout.suits(folder) for layout in LAYOUTS)
