"""The exact commands that make what a run lacks, from what its manifest remembers."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from backend.store.manifest import Manifest


def train_command(manifest: Manifest) -> str:
    """How the run's checkpoint was trained, as recorded; else what its placement asks for.

    Empty for a released model, which was not trained here, and where a store says another command.
    """
    if manifest.origin.train:
        words = _split(manifest.origin.train)
        return shlex.join(words) if words[:2] == ["fusionscope", "train"] else ""
    placement = manifest.placement
    if placement is None:
        return ""
    where = placement.name
    if not where.isalpha() and placement.text:
        where = f"text={_join(placement.text)};vision={_join(placement.vision)}"
    words = ["--data", _data(manifest), "--placement", where or "none"]
    seeds = [] if manifest.seed is None else ["--seeds", str(manifest.seed)]
    return _command("train", *words, *seeds, "--out", "DIR")


def _split(command: str) -> list[str]:
    """The words of a command that a store says; none where its quotes do not fit."""
    try:
        return shlex.split(command)
    except ValueError:
        return []


def measured_commands(manifest: Manifest, store: str) -> tuple[str, ...]:
    """Trains the run's model again, measured after every epoch, and makes the run anew from it.

    Into another directory: a finished checkpoint is not trained again. What was computed from the
    run goes with it, so that is made again as well. None for a released model.
    """
    words = shlex.split(train_command(manifest))
    if "--out" not in words[:-1]:
        return ()
    at = words.index("--out") + 1
    words[at] = f"{words[at].rstrip('/')}-measured"
    origin = manifest.origin.model_copy(update={"model": f"{words[at]}/seed-{manifest.seed or 0}"})
    again = manifest.model_copy(update={"origin": origin})
    return (
        shlex.join([*words, "--measure-every", "epoch"]),
        activations_command(again, store),
        measure_command(store, [manifest.run_id]),
        project_command(store, [manifest.run_id]),
    )


def activations_command(manifest: Manifest, store: str, poolings: Sequence[str] = ()) -> str:
    """Makes the run again, same samples and same id, with its activations.

    Captures it, or imports it once more where they were made elsewhere.
    """
    if manifest.origin.kind == "import":
        return _import_command(manifest, store)
    dataset, revision = manifest.dataset, manifest.model.revision
    return _command(
        "capture",
        *("--model", manifest.origin.model or "MODEL"),
        *(("--revision", revision) if revision else ()),
        *(("--timesteps", _join(manifest.timesteps)) if manifest.timesteps else ()),
        *("--data", _data(manifest), "--split", dataset.split),
        *(("--limit", str(dataset.n)) if dataset.n else ()),  # unfinished work does not know it
        *("--pooling", _join(poolings or manifest.poolings), "--dtype", manifest.dtype),
        *("--store", store, "--run-id", manifest.run_id, "--replace"),
    )


def _import_command(manifest: Manifest, store: str) -> str:
    """As it was typed, where it was; a notebook's import has no words but the files."""
    words = _split(manifest.origin.command)
    if not words:
        words = ["fusionscope", "import-activations", "FILES", "--store", store]
    if "--run-id" not in words:
        words += ["--run-id", manifest.run_id]
    return shlex.join(words if "--replace" in words else [*words, "--replace"])


def measure_command(store: str, run_ids: Sequence[str]) -> str:
    """Computes the measures that these runs lack."""
    return _command("measure", "--store", store, *_each("--run", run_ids))


def project_command(store: str, run_ids: Sequence[str]) -> str:
    """Computes the coordinates that these runs lack."""
    return _command("project", "--store", store, *_each("--run", run_ids))


def read_saes_command(manifest: Manifest, store: str) -> str:
    """Reads the layers of the run's model through sparse autoencoders, which have to be named."""
    words = ["--run", manifest.run_id, "--data", _data(manifest), "--saes", "DIR"]
    return _command("read-saes", "--store", store, *words)


def compare_command(store: str, run_ids: Sequence[str]) -> str:
    """Computes the similarity of every layer of each run with every layer of the others."""
    return _command("compare", *run_ids, "--store", store)


def _data(manifest: Manifest) -> str:
    return manifest.origin.data or "LAYOUT:PATH"


def _each(flag: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (flag, value)]


def _join(values: Sequence[object]) -> str:
    return ",".join(map(str, values))


def _command(*words: str) -> str:
    return shlex.join(["fusionscope", *words])
