"""Write the texts of several data sets as one, without their images: captions.csv of `folder`.

    python docs/linear-adapter/texts.py OUT DATA [DATA ...]

What autoencoders learn text from: more of it, and of more kinds, than any one set of pairs has.
The splits train and dev stay apart.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from backend.data.registry import open_source

SPLITS = ("train", "dev")


def main(out: Path, specs: list[str]) -> None:
    """Every text once, with the split that its own data set gives it."""
    out.mkdir(parents=True, exist_ok=True)
    seen: set[str] = set()
    with (out / "captions.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "text", "split"])
        for split in SPLITS:
            for at, spec in enumerate(specs):
                for record in open_source(spec).records(split):
                    text = " ".join(record.text.split())
                    if text and text not in seen:
                        seen.add(text)
                        rows.writerow([f"{at}-{record.sample_id}", text, split])
    sys.stdout.write(f"{len(seen):,} texts in {out / 'captions.csv'}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
