"""A picture that lies inside a file of others: a table, an archive."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Embedded(ABC):
    """Where a picture lies; its bytes are not held."""

    file: Path

    @property
    @abstractmethod
    def shown(self) -> str:
        """What to call it in a problem of its row."""

    @abstractmethod
    def read(self) -> bytes:
        """The picture's bytes.

        Raises :class:`backend.data.images.DecodeError` where there are none, InputError where the
        file has changed or is broken.
        """


@dataclass(frozen=True)
class InTable(Embedded):
    """A picture in a row (from 0) of a table's column; ``name`` is what the row says it is."""

    column: str
    row: int
    name: str = ""

    @property
    def shown(self) -> str:
        """Its name, else its column."""
        return self.name or f"in column {self.column}"
