"""What a study file may say: its tables and keys, their values and defaults."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    create_model,
    field_validator,
)
from pydantic_core import PydanticCustomError

from backend.jobs.training_measures import SAMPLES
from backend.train.plan import FROM_CHECKPOINT, TrainPlan
from backend.train.pretrain import PretrainPlan
from backend.train.recipe import Recipe
from backend.types import POOLINGS, Pooling

Seed = Annotated[int, Field(ge=0, strict=True)]


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


_CELL_S_OWN = ("data", "placement", "device", "strict", "pretrained")  # not of all cells
_RANGES: dict[str, Any] = {
    **dict.fromkeys(("epochs", "batch_size", "accumulate", "patience", "limit"), Field(ge=1)),
    **dict.fromkeys(("learning_rate", "weight_decay", "cka_loss"), Field(ge=0)),
    **dict.fromkeys(("warmup", "final_rate"), Field(ge=0, le=1)),
    "dropout": Field(ge=0, lt=1),
    "max_text_length": Field(ge=4),
    "image_size": Field(ge=8),
}


def _fields_of(recipe: type[Recipe], without: Sequence[str]) -> dict[str, Any]:
    defaults, kinds = recipe(data="", placement=""), get_type_hints(recipe)
    found: dict[str, Any] = {}
    for item in fields(recipe):
        if item.name not in without:
            kind = kinds[item.name]
            if item.name in _RANGES:
                kind = Annotated[kind, _RANGES[item.name]]
            found[item.name] = (kind, getattr(defaults, item.name))
    return found


class _Measured(_Strict):
    measure_every: str = ""
    measure_samples: Annotated[int, Field(ge=4)] = SAMPLES


class _Pretrained(_Strict):
    data: str
    seed: Seed = 0


if TYPE_CHECKING:
    # A type checker cannot see the fields that are taken from the recipes.
    TrainOptions = _Measured
    PretrainOptions = _Pretrained
else:
    TrainOptions = create_model(
        "TrainOptions", __base__=_Measured, **_fields_of(TrainPlan, _CELL_S_OWN)
    )
    PretrainOptions = create_model(
        "PretrainOptions",
        __base__=_Pretrained,
        **_fields_of(PretrainPlan, (*_CELL_S_OWN, *FROM_CHECKPOINT)),
    )


class CaptureOptions(_Strict):
    """The options of `fusionscope capture`; whose vectors are kept: all, the first seed's, none."""

    split: str = "test"
    pooling: Annotated[tuple[Pooling, ...], Field(min_length=1)] = POOLINGS
    limit: Annotated[int | None, Field(ge=1)] = None
    batch_size: Annotated[int, Field(ge=1)] = 32
    dtype: Literal["float32", "float16"] = "float32"
    activations: Literal["all", "first", "none"] = "all"
    with_checkpoint: bool = False


class Dataset(_Strict):
    """One dataset; ``name`` is what its runs begin with. ``train`` and ``capture`` override."""

    data: str
    name: str = ""
    train: TrainOptions = TrainOptions()
    capture: CaptureOptions = CaptureOptions()

    @property
    def label(self) -> str:
        """``memes`` of ``hateful_memes:DATA/memes``; the layout's name where there is no path."""
        layout, _, rest = self.data.partition(":")
        folder = "" if layout == "macros" else Path(rest).name
        return self.name or re.sub(r"[^A-Za-z0-9._-]+", "_", folder).lstrip(".") or layout


class SearchOptions(_Strict):
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


class Study(_Strict):
    """A whole study file. ``placements`` are for sweeps: a search makes its own."""

    store: Path
    datasets: Annotated[tuple[Dataset, ...], Field(min_length=1)]
    placements: tuple[str, ...] = ()
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    work: Path | None = None
    train: TrainOptions = TrainOptions()
    pretrain: PretrainOptions | None = None
    capture: CaptureOptions = CaptureOptions()
    search: SearchOptions = SearchOptions()
    measure: tuple[str, ...] = ("default",)
    project: tuple[str, ...] = ("umap",)
    keep_checkpoints: bool = True
    frozen_cache: str = "auto"
    cache_gib: Annotated[float, Field(ge=0)] = 16.0

    @property
    def folder(self) -> Path:
        """Where checkpoints, states and outputs of frozen layers are."""
        return self.work or self.store.with_name(f"{self.store.name}-work")
