"""EleutherAI's sparsify: a directory with ``cfg.json`` and ``sae.safetensors``; TopK.

Arithmetic as in sparsify 1 (``sparsify/sparse_coder.py``). The layer is in the directory's name
(``layers.12``), as its own programs write it.
"""

from __future__ import annotations

from pathlib import Path

from backend.errors import InputError
from backend.sae.autoencoder import Source, SparseAutoencoder, TopK, Weights
from backend.sae.formats.files import digest_of, need, read_config, read_tensors, whole
from backend.sae.hooks import layer_of

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"


def suits(path: Path) -> bool:
    """Whether the directory is laid out so."""
    return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


def read(path: Path) -> SparseAutoencoder:
    """InputError names what is missing, or is of a kind that is not read."""
    where = str(path)
    config = read_config(path / CONFIG)
    _check_kind(config, where)
    tensors = read_tensors(path / WEIGHTS)
    need(tensors, ["encoder.weight", "encoder.bias", "W_dec", "b_dec"], where)
    hook = path.name if path.name == "embed_tokens" or path.name.startswith("layers.") else ""
    return SparseAutoencoder(
        Weights(
            tensors["encoder.weight"].T.contiguous(),
            tensors["W_dec"],
            tensors["encoder.bias"],
            tensors["b_dec"],
        ),
        TopK(whole(config, "k", where)),
        Source(where, "", hook, layer_of(hook, where) if hook else None, digest_of(tensors)),
    )


def _check_kind(config: dict[str, object], where: str) -> None:
    refused = {
        "transcode": "is a transcoder: it writes another place than it reads",
        "skip_connection": "has a skip connection, which is not read",
        "signed": "keeps negative features, which is not read",
    }
    for name, why in refused.items():
        if config.get(name):
            raise InputError(why, where=where)
    if config.get("activation", "topk") != "topk":
        raise InputError(f"activation {config['activation']!r} is not read", where=where)
