"""Why vectors that were asked for are not there, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from backend.errors import InputError
from backend.store.commands import activations_command
from backend.store.manifest import Manifest
from backend.types import LayerRef, Pooling, StreamSpec


def missing_vectors(
    manifest: Manifest,
    captured: Sequence[tuple[LayerRef, Pooling]],
    where: str,
    ref: LayerRef,
    pooling: Pooling,
) -> InputError:
    """The error for a layer and pooling that a run does not hold: what it holds instead.

    ``where`` is the run's directory, whose store the command to make it names.
    """
    spec = manifest.stream(ref.stream)
    if ref in spec.refs and pooling not in spec.poolings_of(ref):
        return _no_such_pooling(spec, ref, pooling)
    if not captured:
        return InputError(
            f"run {manifest.run_id} keeps no activations",
            hint=f"Make them: {_command(manifest, where)}",
        )
    poolings = sorted({p for r, p in captured if r.stream == ref.stream})
    if pooling not in poolings:
        return InputError(
            f"run {manifest.run_id} has no {pooling} vectors of {ref.stream}, only "
            f"{_or_none(poolings)}",
            hint=f"Make them: {_command(manifest, where, pooling)}",
        )
    labels = ", ".join(r.label for r, p in captured if (r.stream, p) == (ref.stream, pooling))
    return InputError(
        f"run {manifest.run_id} has no {pooling} vectors of {ref.stream} layer {ref.label}",
        hint=f"It has layers {labels}",
    )


def _command(manifest: Manifest, where: str, pooling: str = "") -> str:
    """The capture command that would make what is missing."""
    store = str(Path(where).parent.parent)
    return activations_command(manifest, store, (pooling,) if pooling else ())


def _no_such_pooling(spec: StreamSpec, ref: LayerRef, pooling: Pooling) -> InputError:
    """Why a site has no vectors of a pooling whatever is captured, and which to use."""
    poolings = spec.poolings_of(ref)
    if poolings != spec.poolings:
        why = f"{spec.name} layer {ref.label} is one vector that the model has pooled itself"
    elif pooling == "cls":
        why = f"stream {spec.name} has no summary token"
    else:
        why = f"stream {spec.name} has {_or_none(poolings)}"
    return InputError(f"{why}, so no {pooling}", hint=f"Use {_or_none(poolings)}")


def _or_none(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
