"""Files that people take for a data set and no layout reads: what to do with them."""

from __future__ import annotations

import os
import re
from itertools import islice
from pathlib import Path

from backend.data.report import clipped

_PACKED = re.compile(
    r"\.(?:zip|7z|rar|tar|tgz|tbz2?|txz|(?:tar\.)?(?:bz2|xz|zst)|tar\.gz)", re.IGNORECASE
)
_TABLE = re.compile(
    r"\.(?:feather|arrow|ipc|xlsx?|ods|pkl|pickle|orc|avro|h5|hdf5|sqlite3?|db)", re.IGNORECASE
)
_MOST = 10_000


def what_to_do(name: str) -> str:
    """What to do with a file of this name, in a sentence; "" for one that is no such file."""
    ending = "".join(Path(name).suffixes[-2:])
    last = Path(name).suffix
    if _PACKED.fullmatch(ending) or _PACKED.fullmatch(last):
        plain = " (webdataset reads a plain .tar)" if re.search(r"\.t(ar|[bgx])", ending) else ""
        return f"{clipped(name, 60)} is packed: unpack it{plain}."
    if _TABLE.fullmatch(last):
        return f"{clipped(name, 60)} is no table that is read: save it as CSV, JSON or Parquet."
    return ""


def unread_in(folder: Path, *, beside: str = "") -> str:
    """What to do with the first such file in a folder, but for those that end with ``beside``."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in islice(entries, _MOST) if entry.is_file())
    except OSError:
        return ""
    if beside:
        names = [name for name in names if not name.endswith(beside)]
    return next((said for name in names if (said := what_to_do(name))), "")
