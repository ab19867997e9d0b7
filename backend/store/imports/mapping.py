"""The TOML file that says what arrays are: streams, layers, fusion, and what belongs to them."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend.errors import InputError
from backend.store.manifest import Dtype, Seed, TaskInfo
from backend.store.streams import Id, MeetInfo
from backend.types import How, Pooling

_MAX_BYTES = 16 * 2**20
Tuple = Field(strict=False)


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StreamForm(_Form):
    """One stream.

    ``pattern``: which arrays are its layers (without ``{stream}``, since the stream is said);
    ``arrays``: single arrays by name, as ``"4"``, ``"4.fusion"`` or ``"4 mean"``. ``first_layer``:
    the layer that number 0 of a name, or the first layer of a stacked array, is. ``layers``: those
    of a stacked array, in order. ``sites``: every place in the order of the computation
    (``"0-3"``, ``"4.fusion"``, ``"4-12"``, each with ``:WIDTH`` if it has no array), where the
    usual order is not meant. ``fusion``: the layers that take ``reads`` in, by ``how``; ``meets``
    says each for itself. ``no_fusion``: it is known to have none. ``space``: the name of a space
    that the stream shares with every other one that gives this name, so that directions may be
    compared between them.
    """

    modality: Id | None = None
    pattern: str | None = None
    arrays: dict[str, str] = {}
    pooling: Pooling | None = None
    first_layer: Annotated[int, Field(ge=0)] | None = None
    layers: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Tuple] | None = None
    depth: Annotated[int, Field(ge=0)] | None = None
    sites: Annotated[tuple[str, ...], Tuple] | None = None
    fusion: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Tuple] | None = None
    reads: str | None = None
    how: How | None = None
    meets: Annotated[tuple[MeetInfo, ...], Tuple] | None = None
    note: str = ""
    space: Id | None = None


class ModelForm(_Form):
    """What the model is called."""

    name: str | None = None
    family: str | None = None
    revision: str | None = None


class MappingForm(_Form):
    """The whole file; what a call or a command line says as well goes before it."""

    run_id: Id | None = None
    pattern: str | None = None
    stream: Id | None = None
    pooling: Pooling | None = None
    first_layer: Annotated[int, Field(ge=0)] | None = None
    layer_axis: Annotated[int, Field(ge=0, le=1)] | None = None
    dtype: Dtype | None = None
    allow_nan: bool | None = None
    samples: str | None = None
    scores: str | None = None
    dataset: str | None = None
    split: str | None = None
    seed: Seed | None = None
    placement: str | None = None
    model: ModelForm = ModelForm()
    tasks: Annotated[tuple[TaskInfo, ...], Tuple] = ()
    streams: dict[Id, StreamForm] = {}


def read_mapping(path: Path) -> MappingForm:
    """Read and check a mapping; InputError names the key that is wrong."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError("is too large for a mapping", where=path.name)
        raw: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"not valid TOML ({error})", where=path.name) from error
    try:
        return MappingForm.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        words = {"extra_forbidden": "is no key of a mapping"}.get(first["type"], first["msg"])
        raise InputError(f"{key}: {words}", where=path.name) from error
