"""What the server does by itself: once, so that no visitor waits for it, and while it runs."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from dashboard.door import sweep_for_ever


@asynccontextmanager
async def lifespan(_app: object) -> AsyncIterator[None]:
    """Load in the background what pages import, while the first visitor's browser gets ready.

    Files of visitors who left are dropped for as long as the server runs.
    """
    if _loading.ident is None:
        _loading.start()
    sweeping = asyncio.create_task(sweep_for_ever())
    yield
    sweeping.cancel()
    with suppress(asyncio.CancelledError):
        await sweeping


def wait_until_loaded() -> None:
    """Two threads that import the same packages from different ends would see halves of them."""
    if _loading.is_alive():
        _loading.join()


def _load() -> None:
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__package__}.{module.name}")


_loading = threading.Thread(target=_load, name="startup", daemon=True)
