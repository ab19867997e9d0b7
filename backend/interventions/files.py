"""The causal test as files and as values of JSON, for other programs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from backend import __version__
from backend.errors import InputError
from backend.interventions.run import Interventions
from backend.interventions.summary import contrasts, over_seeds
from backend.interventions.table import COLUMNS

TABLE, SUMMARY, ABOUT = "interventions.parquet", "contrasts.csv", "interventions.json"
_KEY = b"fusionscope"


def write_interventions(made: Interventions, claim: Mapping[str, Any], folder: Path) -> None:
    """Write the table with its provenance, the contrasts over seeds and the ``claim`` on it.

    InputError where ``folder`` exists or cannot be made.
    """
    about = _provenance(made)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(
            f"cannot be made ({error.strerror})", where=str(folder), hint="Choose another folder."
        ) from error
    table = pa.Table.from_pandas(made.table, preserve_index=False)
    told = {**(table.schema.metadata or {}), _KEY: json.dumps(about).encode()}
    temporary = folder / f".{TABLE}.tmp-{os.getpid()}"
    pq.write_table(table.replace_schema_metadata(told), temporary)
    temporary.replace(folder / TABLE)
    over_seeds(contrasts(made.table)).to_csv(folder / SUMMARY, index=False)
    text = json.dumps(values_of(made, claim), indent=2, allow_nan=False)
    (folder / ABOUT).write_text(text + "\n", encoding="utf-8")


def read_interventions(path: Path) -> Interventions:
    """The table that :func:`write_interventions` wrote, with what it was made from.

    InputError for a file that is none or cannot be read.
    """
    try:
        table = pq.read_table(path)
        about = json.loads((table.schema.metadata or {})[_KEY])
        frame = table.to_pandas()[list(COLUMNS)].astype({"seed": "Int64"})
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise InputError("is not a table of interventions", where=str(path)) from error
    # Until November 2026 facts and failures were one list.
    facts = about.pop("facts", about.pop("problems", ()))
    return Interventions(frame, tuple(facts), tuple(about.pop("failures", ())), about)


def values_of(made: Interventions, claim: Mapping[str, Any]) -> dict[str, Any]:
    """What was found, for JSON: NaN is null. ``about``, ``claim`` and ``contrasts``.

    ``claim`` are the findings, as :func:`backend.study.report.as_json` writes them.
    """
    means = over_seeds(contrasts(made.table))
    return {
        "about": _provenance(made),
        "claim": dict(claim),
        "contrasts": json.loads(means.to_json(orient="records", double_precision=15)),
    }


def _provenance(made: Interventions) -> dict[str, Any]:
    libraries = {name: version(name) for name in ("torch", "transformers", "timm")}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"fusionscope": __version__, **libraries},
        **made.about,
        "facts": list(made.facts),
        "failures": list(made.failures),
    }
