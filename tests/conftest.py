"""Fixtures that every test may use."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores; before torch is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--family``: see docs/new-family.md."""
    parser.addoption(
        "--family",
        metavar="NAME",
        help="run the conformance suite on one family: a module of tests/models/families, or a "
        "dotted one with tiny()",
    )


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with real data and weights; tests that want it skip where it is absent."""
    path = Path(os.environ.get("FUSIONSCOPE_SHARED", ROOT.parent / "shared"))
    if not (path / "data").is_dir():
        pytest.skip("real data and weights are not here (set FUSIONSCOPE_SHARED)")
    return path


@pytest.fixture(scope="session")
def store_factory() -> ModuleType:
    """The module tests/make_store.py: ``store_factory.make_store(path, ...)`` writes a store."""
    name = "fusionscope_make_store"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "make_store.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]
