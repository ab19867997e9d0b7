"""run.json: what a run is. Validated strictly, because it comes from disk and decides paths."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from backend.errors import InputError
from backend.store.paths import ID_PATTERN
from backend.types import Modality, Pooling, StreamSpec, TaskKind, TaskSpec

SCHEMA_VERSION: Final = 1

Dtype = Literal["float32", "float16"]
Id = Annotated[str, Field(pattern=f"^{ID_PATTERN}$")]
# Lists become tuples even in strict mode, so that callers may pass either.
Layers = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class StreamInfo(_Model):
    """One stream of the model; see :class:`backend.types.StreamSpec`."""

    name: Id
    modality: Modality
    depth: int = Field(ge=0)
    width: int = Field(ge=1)
    fusion_layers: Layers = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.spec()
        return self

    def spec(self) -> StreamSpec:
        """The same as the value that the rest of the program uses."""
        return StreamSpec(self.name, self.modality, self.depth, self.width, self.fusion_layers)


class ModelInfo(_Model):
    """Which model: a name for people, its family, and its streams in order.

    ``digest`` identifies weights and configuration, so that an interrupted capture does not go on
    with another checkpoint of the same name.
    """

    name: str
    family: str
    digest: str = ""
    streams: Annotated[tuple[StreamInfo, ...], Field(strict=False, min_length=1)]


class PlacementInfo(_Model):
    """Where the streams fuse: a name and the 1-based layers per stream."""

    name: str
    text: Layers = ()
    vision: Layers = ()


class TaskInfo(_Model):
    """One task of the data set; its labels are the column ``label_<name>``."""

    name: Id
    kind: TaskKind
    classes: Annotated[tuple[str, ...], Field(strict=False)]


class DatasetInfo(_Model):
    """Which samples. ``n`` is 0 until the run is committed."""

    name: str
    layout: str
    split: str
    fingerprint: str
    n: int = Field(ge=0)
    tasks: Annotated[tuple[TaskInfo, ...], Field(strict=False)] = ()


class OriginInfo(_Model):
    """Where the run came from, as the user gave it; empty where there was nothing.

    ``model`` and ``data`` are the strings of the capture, ``train`` the command line that made the
    checkpoint, if the checkpoint remembers it.
    """

    model: str = ""
    data: str = ""
    train: str = ""


class Manifest(_Model):
    """The content of run.json.

    ``streaming`` marks a run whose layers were summed while the model ran and never kept. It stands
    in run.json only where it is true.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    run_id: Id
    model: ModelInfo
    placement: PlacementInfo
    seed: int
    dataset: DatasetInfo
    poolings: Annotated[tuple[Pooling, ...], Field(strict=False)]
    dtype: Dtype
    streaming: bool = False
    versions: dict[str, str]
    created: str
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
        for stream in self.model.streams:
            placed = {"text": self.placement.text, "vision": self.placement.vision}.get(stream.name)
            if placed is not None and sorted(placed) != sorted(stream.fusion_layers):
                raise ValueError(
                    f"placement.{stream.name} {list(placed)} differs from the stream's "
                    f"fusion_layers {list(stream.fusion_layers)}"
                )
        return self

    @property
    def streams(self) -> tuple[StreamSpec, ...]:
        """The model's streams in order."""
        return tuple(stream.spec() for stream in self.model.streams)

    def stream(self, name: str) -> StreamSpec:
        """The stream of that name; InputError names the ones that exist."""
        for spec in self.streams:
            if spec.name == name:
                return spec
        known = ", ".join(spec.name for spec in self.streams)
        raise InputError(f"run {self.run_id} has no stream {name!r}", hint=f"It has: {known}")

    @property
    def tasks(self) -> tuple[TaskSpec, ...]:
        """The data set's tasks in order."""
        return tuple(TaskSpec(t.name, t.kind, t.classes) for t in self.dataset.tasks)

    def with_n(self, n: int) -> Manifest:
        """A copy whose dataset has ``n`` samples."""
        return self.model_copy(update={"dataset": self.dataset.model_copy(update={"n": n})})

    def same_work(self, other: Manifest) -> bool:
        """Whether the two describe the same extraction: equal but for time and versions."""
        ignore = {"created", "versions"}
        return self.model_dump(exclude=ignore) == other.model_dump(exclude=ignore)

    def to_json(self) -> str:
        """The text of run.json."""
        exclude = None if self.streaming else {"streaming"}
        return self.model_dump_json(indent=2, exclude=exclude) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str) -> Manifest:
        """Parse and validate; InputError says what is wrong in one line."""
        try:
            raw = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(
                f"not valid JSON ({error.msg} at line {error.lineno})", where=where
            ) from error
        if not isinstance(raw, dict):
            raise InputError("not a run manifest: expected a JSON object", where=where)
        _check_version(raw.get("schema_version"), where)
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise InputError(_describe(error), where=where) from error

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a run.json; InputError for anything that is not a manifest this version reads."""
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise InputError("run.json is missing", where=str(path.parent)) from error
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot be read ({error})", where=str(path)) from error
        return cls.from_json(text, where=str(path))


def utc_now() -> str:
    """The value of ``created`` for a run that starts now."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _check_version(version: Any, where: str) -> None:
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


def _describe(error: ValidationError) -> str:
    """Every problem of a manifest in one line, each with the field that it is in."""
    parts = []
    for item in error.errors(include_url=False):
        field = ".".join(str(part) for part in item["loc"]) or "manifest"
        if item["type"] == "missing":
            parts.append(f"missing field {field}")
        elif item["type"] == "extra_forbidden":
            parts.append(f"unknown field {field}")
        else:
            parts.append(f"{field}: {item['msg']}")
    return "; ".join(parts)
