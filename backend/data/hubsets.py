"""Parquet files of a data set on the Hugging Face hub, in the local cache after that."""

from __future__ import annotations

import glob
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
)

from backend.data.shards import chosen_config
from backend.errors import InputError
from backend.hub import (
    TIMEOUT_S,
    check_name,
    check_revision,
    hub_answers,
    one_line_errors,
    unreachable,
)

PARQUET = "refs/convert/parquet"
"""The branch in which the hub keeps the Parquet form of data sets of other forms."""


def fetch_shards(name: str, revision: str, config: str) -> Path:
    """The folder of a data set's Parquet files, those of one configuration.

    ``revision`` is a branch, tag or commit, "" for ``main``. Without a network what is in the local
    cache is taken. Only Parquet is fetched: neither code nor pickles. InputError says whether the
    hub cannot be reached, there is no such data set, it is gated or has no Parquet files.
    """
    where, wanted = f"data set {name}", revision or None
    check_name(name, where)
    check_revision(wanted, where)
    if not hub_answers():
        return _cached(name, wanted, where)
    with one_line_errors(name, wanted, "data set"):
        info = HfApi().dataset_info(name, revision=wanted, timeout=TIMEOUT_S)
        files = [f.rfilename for f in info.siblings or () if f.rfilename.endswith(".parquet")]
        if not files:
            raise InputError(
                "has no Parquet files",
                where=where,
                hint=f"Its Parquet form may be another branch: hf:{name},revision={PARQUET}",
            )
        chosen = [glob.escape(file) for file in chosen_config(files, config, where)]
        return Path(
            snapshot_download(name, repo_type="dataset", revision=wanted, allow_patterns=chosen)
        )


def _cached(name: str, revision: str | None, where: str) -> Path:
    try:
        return Path(
            snapshot_download(name, repo_type="dataset", revision=revision, local_files_only=True)
        )
    except IncompleteSnapshotError as error:
        # It lacks files of the repository; whether shards are missing their names tell.
        return Path(error.snapshot_path)
    except LocalEntryNotFoundError as error:
        raise unreachable(where) from error
