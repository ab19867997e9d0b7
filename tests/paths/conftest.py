"""The store of all kinds of model, made once."""

from __future__ import annotations

import pytest

from tests.paths.made import FAMILIES, PLACED, Made, make


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Runs of every family, with measures and projections."""
    return make(tmp_path_factory.mktemp("paths"), [*FAMILIES], PLACED)
