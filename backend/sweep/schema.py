"""What a study file may say: its tables and keys, their values and defaults."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    create_model,
    field_validator,
)
from pydantic_core import PydanticCustomError

from backend.capture.options import CaptureOptions
from backend.data.registry import parse
from backend.settings import LARGEST_SEED, Setting, default_of, settings_of
from backend.train.options import CacheOptions, MeasureOptions
from backend.train.recipe import FROM_CHECKPOINT, PretrainPlan, TrainPlan

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED, strict=True)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_as_a_number(cls, value: object, info: ValidationInfo) -> object:
        """``epochs = true`` is not one epoch."""
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and kind is not bool:
            raise PydanticCustomError("not_a_number", "true and false are no number here")
        return value


_CELL_S_OWN = ("data", "placement", "device", "pretrained")  # not of all cells


def _keys(settings: type[DataclassInstance], without: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of a settings dataclass as keys of a table, with their types and rules."""
    kinds = get_type_hints(settings)
    rules = {item.name: rule for item, rule in settings_of(settings)}
    keys: dict[str, Any] = {}
    for item in fields(settings):
        if item.name in without:
            continue
        kind = kinds[item.name]
        if item.name in rules:
            kind = Annotated[kind, AfterValidator(partial(_allowed, rules[item.name]))]
        keys[item.name] = (kind, default_of(item))
    return keys


def _allowed(rule: Setting, value: object) -> object:
    problem = None if value is None else rule.problem(value)
    if problem:
        raise PydanticCustomError("setting", "{problem}", {"problem": problem})
    return value


class _Pretrained(_Strict):
    data: str
    seed: Seed = 0


class _Captured(_Strict):
    activations: Literal["all", "first", "none"] = "all"


if TYPE_CHECKING:
    # A type checker cannot see the fields that are taken from the dataclasses.
    class TrainKeys(_Strict):
        """Options of `fusionscope train`."""

    PretrainKeys = _Pretrained
    CaptureKeys = _Captured

    class _FrozenKeys(_Strict):
        frozen_cache: str
        cache_gib: float
else:
    TrainKeys = create_model(
        "TrainKeys", __base__=_Strict, **_keys(TrainPlan, _CELL_S_OWN), **_keys(MeasureOptions)
    )
    PretrainKeys = create_model(
        "PretrainKeys",
        __base__=_Pretrained,
        **_keys(PretrainPlan, (*_CELL_S_OWN, *FROM_CHECKPOINT)),
    )
    # Whose vectors are kept (`activations`): all, the first seed's, none.
    CaptureKeys = create_model(
        "CaptureKeys", __base__=_Captured, **_keys(CaptureOptions, ("device", "thumbnail_px"))
    )
    _FrozenKeys = create_model(
        "_FrozenKeys", __base__=_Strict, **_keys(CacheOptions, ("cache_dir", "say"))
    )


class Dataset(_Strict):
    """One dataset; ``name`` is what its runs begin with. ``train`` and ``capture`` override."""

    data: str
    name: str = ""
    train: TrainKeys = TrainKeys()
    capture: CaptureKeys = CaptureKeys()

    @property
    def label(self) -> str:
        """``memes`` of ``hateful_memes:DATA/memes``; the layout's name where there is no path."""
        said = parse(self.data)
        folder = "" if said.layout == "macros" else Path(said.path).name
        return self.name or re.sub(r"[^A-Za-z0-9._-]+", "_", folder).lstrip(".") or said.layout


class SearchKeys(_Strict):
    """The options of `fusionscope search`; ``seeds`` of none is the study's first."""

    trials: Annotated[int, Field(ge=1)] = 20
    min_fusions: Annotated[int, Field(ge=0)] = 1
    max_fusions: Annotated[int | None, Field(ge=1)] = None
    symmetric: bool = False
    above_frozen: bool = False
    sampler: Literal["tpe", "random"] = "tpe"
    pruner: Literal["median", "halving", "none"] = "median"
    seed: Seed = 0
    seeds: tuple[Seed, ...] = ()


class Study(_FrozenKeys):
    """A whole study file. ``placements`` are for sweeps: a search makes its own."""

    store: Path
    datasets: Annotated[tuple[Dataset, ...], Field(min_length=1)]
    placements: tuple[str, ...] = ()
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    work: Path | None = None
    train: TrainKeys = TrainKeys()
    pretrain: PretrainKeys | None = None
    capture: CaptureKeys = CaptureKeys()
    search: SearchKeys = SearchKeys()
    measure: tuple[str, ...] = ("default",)
    project: tuple[str, ...] = ("umap",)
    intervene: bool = False
    keep_checkpoints: bool = True

    @property
    def folder(self) -> Path:
        """Where checkpoints, states and outputs of frozen layers are."""
        return self.work or self.store.with_name(f"{self.store.name}-work")
