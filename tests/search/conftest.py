"""Fixtures of the search's tests."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record is flushed line by line; a killed process loses nothing without that."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
