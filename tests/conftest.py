"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with real data and weights; tests that want it skip where it is absent."""
    path = Path(os.environ.get("FUSIONSCOPE_SHARED", ROOT.parent / "shared"))
    if not (path / "data").is_dir():
        pytest.skip("real data and weights are not here (set FUSIONSCOPE_SHARED)")
    return path
