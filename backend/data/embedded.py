"""A picture that lies inside a Parquet table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Embedded:
    """Where a picture lies: the file, the column and the row from 0; ``name`` is what it says."""

    file: Path
    column: str
    row: int
    name: str = ""

    def read(self) -> bytes:
        """The picture's bytes. Raises InputError where the table has changed."""
        from backend.data.parquetfile import picture_bytes

        return picture_bytes(self.file, self.column, self.row)
