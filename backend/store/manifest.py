"""run.json: what a run is. Validated strictly, because it comes from disk and decides paths."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from backend.errors import InputError
from backend.store.identity import model_label
from backend.store.paths import layer_name
from backend.store.streams import (
    MAX_SITES,
    MAX_STREAMS,
    Form,
    Id,
    Name,
    StreamInfo,
    Words,
    captures,
)
from backend.store.upgrade import upgraded
from backend.store.wall import content, parsed
from backend.types import LayerRef, Pooling, StreamSpec, TaskKind, TaskSpec
from backend.words import listed

SCHEMA_VERSION: Final = 4

Dtype = Literal["float32", "float16"]
OriginKind = Literal["capture", "import"]
# Lists become tuples even in strict mode, so that callers may pass either.
Layers = Annotated[tuple[Annotated[int, Field(ge=1, le=MAX_SITES)], ...], Field(strict=False)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Timestep = Annotated[int, Field(ge=0, lt=10_000)]


# Fields that stand in run.json only where they say something else.
_USUAL: dict[str, object] = {
    "streaming": False,
    "parts": True,
    "grouped": True,
    "absent": (),
    "timesteps": (),
}


class ModelInfo(Form):
    """Which model: a name for people, its family, and its streams in order.

    ``digest`` identifies weights and configuration, so that an interrupted capture does not go on
    with another checkpoint of the same name; ``revision`` is the commit of a model from the hub.
    """

    name: Name
    family: Name
    digest: Name = ""
    revision: Name = ""
    streams: Annotated[
        tuple[StreamInfo, ...], Field(strict=False, min_length=1, max_length=MAX_STREAMS)
    ]


class PlacementInfo(Form):
    """Where we made the streams fuse: a name and the 1-based layers per stream."""

    name: Name
    text: Layers = ()
    vision: Layers = ()


class TaskInfo(Form):
    """One task of the data set; its labels are the column ``label_<name>``."""

    name: Id
    kind: TaskKind
    classes: Annotated[tuple[Words, ...], Field(strict=False)]


class DatasetInfo(Form):
    """Which samples. ``n`` is 0 until the run is committed."""

    name: Name
    layout: Name
    split: Name
    fingerprint: Name
    n: int = Field(ge=0, lt=2**31)
    tasks: Annotated[tuple[TaskInfo, ...], Field(strict=False)] = ()


class OriginInfo(Form):
    """Where the run came from, as the user gave it; empty where there was nothing.

    ``kind`` tells a capture by this program from activations that were made elsewhere. ``model``
    and ``data`` are the strings of the capture (of an import: what was imported), ``train`` the
    command line that made the checkpoint, if the checkpoint remembers it, ``command`` that of an
    import.
    """

    kind: OriginKind = "capture"
    model: Words = ""
    data: Words = ""
    train: Words = ""
    command: Words = ""


class Manifest(Form):
    """The content of run.json.

    ``placement`` and ``seed`` are of models that were trained here; a released model has neither,
    and a missing placement is not the placement ``none``. ``streaming`` marks a run whose layers
    were summed while the model ran and never kept; it stands in run.json only where it is true.
    ``parts`` is false, and only then in run.json, for a run of versions 1 and 2: its samples and
    each of its layers lie in one file, those of later versions in parts. ``grouped`` is false, and
    only then in run.json, for a run of versions 1 to 3: its samples have no columns ``group`` and
    ``image_digest``. ``absent`` names the layers that the streams declare and the run never had
    vectors of (``"vision-0-cls"``): who imports activations may not have all. ``timesteps`` are the
    steps of noise that a denoiser was asked to be read at, none for its usual ones.
    """

    schema_version: Literal[4] = SCHEMA_VERSION
    run_id: Id
    model: ModelInfo
    placement: PlacementInfo | None
    seed: Seed | None
    dataset: DatasetInfo
    poolings: Annotated[tuple[Pooling, ...], Field(strict=False)]
    dtype: Dtype
    streaming: bool = False
    parts: bool = True
    grouped: bool = True
    absent: Annotated[tuple[Name, ...], Field(strict=False)] = ()
    timesteps: Annotated[tuple[Timestep, ...], Field(strict=False, max_length=8)] = ()
    versions: dict[Name, Name]
    created: Name
    origin: OriginInfo

    @field_validator("created")
    @classmethod
    def _created_is_utc(cls, value: str) -> str:
        if datetime.fromisoformat(value).utcoffset() != UTC.utcoffset(None):
            raise ValueError("must be an ISO time in UTC, such as 2026-01-31T12:00:00+00:00")
        return value

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        for what, names in (
            ("model.streams", [stream.name for stream in self.model.streams]),
            ("dataset.tasks", [task.name for task in self.dataset.tasks]),
            ("poolings", list(self.poolings)),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{what} holds a name twice: {names}")
        if sum(len(spec.sites) for spec in self.streams) > MAX_SITES:
            raise ValueError(f"model.streams holds more than {MAX_SITES} sites")
        if self.absent:
            declared = {layer_name(*item) for item in captures(self.streams, self.poolings)}
            if unknown := [name for name in self.absent if name not in declared]:
                raise ValueError(f"absent holds {unknown[0]!r}, which no stream has")
        if self.placement is not None:
            placed = {"text": self.placement.text, "vision": self.placement.vision}
            for spec in self.streams:
                layers = placed.get(spec.name)
                if layers is not None and sorted(layers) != list(spec.fusion_layers):
                    raise ValueError(
                        f"placement.{spec.name} {list(layers)} differs from the stream's "
                        f"fusion layers {list(spec.fusion_layers)}"
                    )
        return self

    @property
    def label(self) -> str:
        """What to call the model in tables and legends: its placement, else its own name.

        A released model that is called like a placement is told apart: ``"late (model)"``; a
        denoiser that was read at other than its usual steps of noise: ``"sd at steps 50 and 300"``.
        """
        if self.placement is not None:
            return self.placement.name
        name = model_label(self.model.name)
        if not self.timesteps:
            return name
        return f"{name} at step{'s'[: len(self.timesteps) - 1]} {listed(self.timesteps)}"

    @property
    def streams(self) -> tuple[StreamSpec, ...]:
        """The model's streams in order."""
        return tuple(stream.spec for stream in self.model.streams)

    @property
    def captures(self) -> tuple[tuple[LayerRef, Pooling], ...]:
        """Every site and pooling that the run has vectors of, where it keeps any.

        By stream, pooling and position; a stream may lack a pooling of the run.
        """
        declared = captures(self.streams, self.poolings)
        if not self.absent:
            return declared
        return tuple(item for item in declared if layer_name(*item) not in self.absent)

    def stream(self, name: str) -> StreamSpec:
        """The stream of that name; InputError names the ones that exist."""
        for spec in self.streams:
            if spec.name == name:
                return spec
        names = ", ".join(spec.name for spec in self.streams)
        raise InputError(f"run {self.run_id} has no stream {name!r}", hint=f"It has: {names}")

    @property
    def tasks(self) -> tuple[TaskSpec, ...]:
        """The data set's tasks in order."""
        return tuple(TaskSpec(t.name, t.kind, t.classes) for t in self.dataset.tasks)

    def with_n(self, n: int) -> Manifest:
        """A copy whose dataset has ``n`` samples."""
        return self.model_copy(update={"dataset": self.dataset.model_copy(update={"n": n})})

    def same_work(self, other: Manifest) -> bool:
        """Whether the two describe the same extraction: equal but for time and versions.

        Nor does it matter how the path of a captured model is spelled: its digest says which it is.
        """
        return self._work() == other._work()

    def _work(self) -> dict[str, Any]:
        spelled = (
            {"model", "train"} if self.origin.kind == "capture" and self.model.digest else set()
        )
        return self.model_dump(exclude={"created": True, "versions": True, "origin": spelled})

    def to_json(self) -> str:
        """The text of run.json."""
        usual = {name for name, value in _USUAL.items() if getattr(self, name) == value}
        return self.model_dump_json(indent=2, exclude=usual) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, where: str) -> Manifest:
        """Parse and validate; InputError says what is wrong in one line."""
        raw = parsed(text, where)
        if not isinstance(raw, dict):
            raise InputError("not a run manifest: expected a JSON object", where=where)
        version = _checked_version(raw.get("schema_version"), where)
        try:
            if version < SCHEMA_VERSION:
                text = json.dumps(upgraded(raw, version))
            return cls.model_validate_json(text)
        except ValidationError as error:
            within = "model.streams" if error.title != cls.__name__ else ""
            raise InputError(_describe(error, within), where=where) from error
        except ValueError as error:
            raise InputError(f"model.streams: {error}", where=where) from error

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a run.json; InputError for anything that is not a manifest this version reads."""
        return cls.from_json(cls.content(path), where=str(path))

    @staticmethod
    def content(path: Path) -> bytes:
        """The bytes of a run.json; InputError where it is missing or cannot be read."""
        try:
            return content(path)
        except FileNotFoundError as error:
            raise InputError(f"{path.name} is missing", where=str(path.parent)) from error


def utc_now() -> str:
    """The value of ``created`` for a run that starts now."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _checked_version(version: Any, where: str) -> int:
    if version is None:
        raise InputError("missing field schema_version", where=where)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InputError(f"schema_version {version!r} is not a version", where=where)
    if version > SCHEMA_VERSION:
        raise InputError(
            f"store written by a newer Fusionscope (schema {version}, this one reads "
            f"{SCHEMA_VERSION})",
            where=where,
            hint="Upgrade with: pip install --upgrade fusionscope",
        )
    return version


def _describe(error: ValidationError, within: str) -> str:
    """Every problem of a manifest in one line, each with the field that it is in."""
    parts = []
    for item in error.errors(include_url=False):
        field = ".".join(str(part) for part in (within, *item["loc"]) if part != "") or "manifest"
        if item["type"] == "missing":
            parts.append(f"missing field {field}")
        elif item["type"] == "extra_forbidden":
            parts.append(f"unknown field {field}")
        else:
            parts.append(f"{field}: {item['msg']}")
    return "; ".join(parts)
