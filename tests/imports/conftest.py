"""Made activations, and one writer a format that puts them into files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from backend.store import Store
from backend.types import LayerRef

N, LAYERS, WIDTHS = 60, 3, {"text": 6, "vision": 5}
Vectors = dict[LayerRef, np.ndarray]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


@pytest.fixture
def vectors() -> Vectors:
    """Layers 0 to 2 of two streams; no value occurs twice."""
    rng = np.random.default_rng(3)
    return {
        LayerRef(stream, layer): rng.standard_normal((N, width)).astype(np.float32)
        for stream, width in WIDTHS.items()
        for layer in range(LAYERS)
    }


@pytest.fixture
def ids() -> list[str]:
    return [f"s{row:03d}" for row in range(N)]


@pytest.fixture
def table(ids: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"id": ids, "text": [f"text {row}" for row in range(N)]})


@pytest.fixture
def npz(tmp_path: Path, vectors: Vectors) -> Callable[..., Path]:
    """``npz(name=array)`` writes the layers as one npz, with arrays put in or (None) left out."""

    def write(name: str = "acts.npz", **changes: np.ndarray | None) -> Path:
        arrays = {f"{ref.stream}-{ref.label}-cls": array for ref, array in vectors.items()}
        arrays |= {key.replace("_", "-"): value for key, value in changes.items()}  # type: ignore[misc]
        np.savez(tmp_path / name, **{k: v for k, v in arrays.items() if v is not None})
        return tmp_path / name

    return write
