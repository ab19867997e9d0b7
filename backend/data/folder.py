"""Any set of captioned images or recordings: a folder with these and one table of captions.

::

    <folder>/captions.csv  or  captions.jsonl  or  captions.parquet
    <folder>/...files, named in the table by their path relative to the folder

Columns: ``id``, ``image``, ``text``; optional ``audio`` (WAV files: ``backend.data.audio``) and
``regions`` (what a detector made of the image: ``backend.data.regions``); optional ``split``;
optional ``group`` (what the sample has in common with others: its photo, its template, its film);
optional labels: ``label_<task>``, a plain ``label``. Columns that are called otherwise are named
behind the path (``folder:PATH,text=Title,label=mood,group=``: ``backend.data.registry.parse``).
Other columns are passed over. A table of recordings needs no ``image``. Every row names a file in
each of these columns that the table has. What kind of task a label column holds is read off its
values: see ``backend.data.labels.LabelColumn``.

Opening a folder reads the table through once (streamed) for its splits and classes.

Splits: the values of the ``split`` column; if it has a train split but no dev split, a tenth of
train is set aside as "dev". Without the column, samples are divided into train, dev and test as
8 : 1 : 1, and the split "all" gives everything. Both by a hash of the group, or of the id where a
row has none. Rows with the same group, image or text stay together (``backend.data.carving``), and
the division is the same everywhere and does not depend on the order of the rows.

A list of texts in a row makes a sample of each (``id#0``, ``id#1``, ...), all of one group.
"""

from __future__ import annotations

from backend.data.captions import STEM, read_captions, table_in
from backend.data.columns import ROLES
from backend.data.parts import Part
from backend.data.tabled import UNDIVIDED, Tabled
from backend.data.tables import SUFFIXES, TableFile


class Folder(Tabled):
    """Captioned images or recordings; its tasks are whatever its label columns hold."""

    layout = "folder"
    roles = ROLES
    marks = tuple(f"{STEM}{ending}{packed}" for ending in SUFFIXES for packed in ("", ".gz"))

    def _parts(self) -> dict[str, Part]:
        path = table_in(self.root)
        if path is None:
            return {}
        table = TableFile(self.table(path.relative_to(self.root).as_posix()), path.name)
        captions = read_captions([table], self._named, self.report.note)
        return self._laid_out({UNDIVIDED: [table]}, captions, path.name)

    def _expected(self) -> str:
        return f"It has {STEM}.csv, .tsv, .jsonl, .json or .parquet with id, image and text."
