"""Fixtures that every test may use."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

ROOT = Path(__file__).resolve().parent.parent

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores; before torch is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")

TOGETHER = ("tests/browser/", "tests/paths/")
"""Folders of which all files take one server, or one store of all families."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--family``: see docs/new-family.md."""
    parser.addoption(
        "--family",
        metavar="NAME",
        help="run the conformance suite on one family: a module of tests/models/families, or a "
        "dotted one with tiny()",
    )


class ByFile(LoadScopeScheduling):
    """Each file is of one worker; so are those that share what is dear to set up."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((name for name in TOGETHER if file.startswith(name)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """What gives tests to workers: in the order of collection, the browser's first."""
    return ByFile(config, log)


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """A process that is killed loses nothing that it wrote; only a machine that stops would."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


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
