"""Stores that several tests read; a test that changes one copies it first."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from backend.store import Store


@pytest.fixture(scope="session")
def read_only_store(tmp_path_factory: pytest.TempPathFactory, store_factory: ModuleType) -> Store:
    """Two placements x two seeds; do not change it."""
    path = tmp_path_factory.mktemp("stores") / "store"
    return store_factory.make_store(path, placements=("none", "late"), seeds=(0, 1))


@pytest.fixture
def store(read_only_store: Store, tmp_path: Path) -> Store:
    """A copy of :func:`read_only_store` to break."""
    return Store(shutil.copytree(read_only_store.path, tmp_path / "store"))


@pytest.fixture
def flip() -> Callable[[Path], None]:
    """Flip bits in the middle of a file's first pages, leaving its footer whole."""

    def flip_bits(path: Path) -> None:
        content = bytearray(path.read_bytes())
        footer = int.from_bytes(content[-8:-4], "little")
        for at in range(60, len(content) - footer - 8, 50):
            content[at] ^= 0xFF
        path.write_bytes(bytes(content))

    return flip_bits
