"""What is wrong with this installation or with a store, and the command that mends it."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from backend.errors import InputError
from backend.store import Manifest, Store
from backend.store.commands import (
    activations_command,
    compare_command,
    measure_command,
    project_command,
)
from backend.store.kinds import COMPARISONS, PROJECTIONS
from backend.store.left import clear_left, clear_lost
from backend.store.paths import DELETED_PREFIX, PARTIAL_PREFIX, WORK

PACKAGE = "fusionscope"
ENOUGH_DISK_BYTES = 2**30

State = Literal["ok", "wrong", "note"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: ``about`` (a package, a run) and what there is to say of it.

    ``mend`` is the command that mends what is ``wrong``; a ``note`` is worth knowing.
    """

    about: str
    words: str
    state: State = "ok"
    mend: str = ""


def environment(store: Path | None = None) -> Iterator[Check]:
    """Python, packages against our bounds, device, memory, disk, and whether the hub answers."""
    yield from _packages()
    yield from _machine(store or Path.cwd())
    from backend.hub import hub_answers

    if hub_answers():
        yield Check("model hub", "answers")
    else:
        yield Check("model hub", "cannot be reached: only local models can be opened", "note")


def _packages() -> Iterator[Check]:
    try:
        installed = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        yield Check(PACKAGE, "is not installed", "wrong", "uv sync")
        return
    python = platform.python_version()
    bound = installed.metadata["Requires-Python"] or ""
    if SpecifierSet(bound).contains(python):
        yield Check("Python", f"{python} ({bound})")
    else:
        yield Check("Python", f"{python}, needed is {bound}", "wrong", "uv python install 3.11")
    for line in installed.requires or ():
        requirement = Requirement(line)
        optional = "extra" in str(requirement.marker or "")
        if optional or (requirement.marker and not requirement.marker.evaluate()):
            continue
        yield _package(requirement)


def _package(requirement: Requirement) -> Check:
    mend = shlex.join(
        [sys.executable, "-m", "pip", "install", f"{requirement.name}{requirement.specifier}"]
    )
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Check(requirement.name, "is not installed", "wrong", mend)
    if requirement.specifier.contains(version, prereleases=True):
        return Check(requirement.name, f"{version} ({requirement.specifier})")
    return Check(requirement.name, f"{version}, needed is {requirement.specifier}", "wrong", mend)


def _machine(folder: Path) -> Iterator[Check]:
    import torch

    from backend.models.devices import choose_device

    device = choose_device()
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        yield Check("device", f"{torch.cuda.get_device_name(device)}, {_gib(memory)}")
    else:
        yield Check("device", f"{device.type}: there is no CUDA GPU", "note")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield Check("memory", f"{_gib(memory)}, {os.cpu_count()} cores")
    free = shutil.disk_usage(folder if folder.is_dir() else folder.parent).free
    if free < ENOUGH_DISK_BYTES:
        yield Check("disk", f"{_gib(free)} free at {folder}", "wrong", f"df -h {folder}")
    else:
        yield Check("disk", f"{_gib(free)} free")


def examine_store(path: Path) -> Iterator[Check]:
    """What is wrong with a store as far as names and run.json files tell; see also ``verify``."""
    try:
        store = Store(path)
    except InputError as error:
        yield Check("store", str(error), "wrong", "fusionscope demo --no-serve")
        return
    listing = store.listing()
    yield Check("store", f"{path}: {len(listing.entries)} runs that can be read")
    if path.is_dir():
        yield from _left(store)
        yield from _broken(store)
        yield from _unfinished(store)
        yield from _stale(store)
        yield from _missing(store)


def _left(store: Store) -> Iterator[Check]:
    """What killed processes left, which is removed, and what could not be removed."""
    for path in (*clear_left(store.paths), *clear_lost(store.paths)):
        name = os.path.relpath(path, store.path)
        yield Check(name, "was left by a process that was killed, and is removed", "note")


def _broken(store: Store) -> Iterator[Check]:
    for item in store.listing().broken:
        words = ["chmod", "-R", "u+rX"] if item.closed else ["rm", "-r"]
        mend = shlex.join([*words, str(store.path / "runs" / item.run_id)])
        yield Check(item.run_id, f"cannot be read: {item.reason}", "wrong", mend)


def _unfinished(store: Store) -> Iterator[Check]:
    """Work that was interrupted, and what a process that was killed had no time to remove."""
    if not store.paths.runs.is_dir():
        return
    finished = set(store.run_ids())
    for folder in sorted(store.paths.runs.iterdir()):
        remove = shlex.join(["rm", "-r", str(folder)])
        if folder.name.startswith(PARTIAL_PREFIX) and folder.is_dir():
            run_id = folder.name.removeprefix(PARTIAL_PREFIX)
            try:
                manifest = Manifest.read(folder / WORK)
            except InputError as error:
                yield Check(run_id, f"unfinished, and not to be gone on: {error}", "wrong", remove)
                continue
            said = "unfinished: the command that began it goes on where it stopped"
            # With all its options: another one would begin anew.
            mend = activations_command(manifest, str(store.path)) if manifest.dataset.n else ""
            yield Check(run_id, said, "wrong", mend)
        elif folder.name.startswith(DELETED_PREFIX):
            yield Check(folder.name, "is left of a run that was deleted", "wrong", remove)
        elif folder.is_dir() and not folder.name.startswith(".") and folder.name not in finished:
            yield Check(folder.name, "is a directory without run.json", "wrong", remove)


def _stale(store: Store) -> Iterator[Check]:
    readable = {entry.run_id for entry in store.listing().entries}
    for owner in store.source.owners(COMPARISONS):
        first, _, second = owner.partition("~")
        folder = store.paths.pair(COMPARISONS.name, first, second)
        if not {first, second} <= readable:
            mend = shlex.join(["rm", "-r", str(folder)])
            yield Check(owner, "compares a run that is not there", "wrong", mend)
            continue
        for item in store.pair(first, second).stale():
            file = folder / f"{item.stored_key}.parquet"
            who = " and ".join(item.replaced)
            again = compare_command(str(store.path), [first, second])
            mend = f"{shlex.join(['rm', str(file)])} && {again}"
            yield Check(owner, f"{file.name}: {who} was replaced since", "wrong", mend)


def _missing(store: Store) -> Iterator[Check]:
    from backend.jobs.measure import missing_in_store

    lacking: dict[str, list[str]] = {}
    entries = [entry for entry in store.listing().entries if entry.has_activations]
    for task in missing_in_store(store, [entry.run_id for entry in entries]) if entries else ():
        lacking.setdefault(task.run_id, []).append(task.part)
    for run_id, parts in lacking.items():
        names = ", ".join(dict.fromkeys(parts))
        mend = measure_command(str(store.path), [run_id])
        yield Check(run_id, f"not measured yet: {names}", "wrong", mend)
    for entry in entries:
        if not store.source.keys(PROJECTIONS, entry.run_id):
            mend = project_command(str(store.path), [entry.run_id])
            yield Check(entry.run_id, "has no projections", "wrong", mend)


def _gib(size: float) -> str:
    return f"{size / 2**30:,.1f} GiB"
