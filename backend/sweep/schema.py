"""What a study file may say: its tables and keys, their values and defaults."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, create_model

from backend.jobs.training_measures import SAMPLES
from backend.train.plan import FROM_CHECKPOINT, TrainPlan
from backend.train.pretrain import PretrainPlan
from backend.train.recipe import Recipe
from backend.types import POOLINGS, Pooling


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


_CELL_S_OWN = ("data", "placement", "device", "strict", "pretrained")  # not of all cells
_AT_LEAST: dict[str, float] = {
    **dict.fromkeys(("epochs", "batch_size", "patience", "limit"), 1),
    **dict.fromkeys(("learning_rate", "weight_decay", "dropout", "cka_loss"), 0),
    "max_text_length": 4,
    "image_size": 8,
}


def _fields_of(recipe: type[Recipe], without: Sequence[str]) -> dict[str, Any]:
    defaults, kinds = recipe(data="", placement=""), get_type_hints(recipe)
    found: dict[str, Any] = {}
    for item in fields(recipe):
        if item.name not in without:
            kind = kinds[item.name]
            if item.name in _AT_LEAST:
                kind = Annotated[kind, Field(ge=_AT_LEAST[item.name])]
            found[item.name] = (kind, getattr(defaults, item.name))
    return found


class _Measured(_Strict):
    measure_every: str = ""
    measure_samples: Annotated[int, Field(ge=4)] = SAMPLES


class _Pretrained(_Strict):
    data: str
    seed: Annotated[int, Field(ge=0)] = 0


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
    seed: Annotated[int, Field(ge=0)] = 0
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = ()


class Study(_Strict):
    """A whole study file. ``placements`` are for sweeps: a search makes its own."""

    store: Path
    datasets: Annotated[tuple[Dataset, ...], Field(min_length=1)]
    placements: tuple[str, ...] = ()
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)] = (0,)
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
