"""What the server does once, so that no visitor waits for it."""

from __future__ import annotations

import importlib
import pkgutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


@asynccontextmanager
async def lifespan(_app: object) -> AsyncIterator[None]:
    """Load in the background what pages import, while the first visitor's browser gets ready."""
    threading.Thread(target=_load, name="startup", daemon=True).start()
    yield


def _load() -> None:
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__package__}.{module.name}")
