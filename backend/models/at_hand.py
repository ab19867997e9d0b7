"""Which checkpoints lie here: in directories that are named, and in the hub's cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.errors import InputError
from backend.models.configs import read_config
from backend.models.hub import cached_models
from backend.models.loading import Checkpoint, checked
from backend.models.weights import CONFIG, PIPELINE, card_of


@dataclass(frozen=True)
class AtHand:
    """A checkpoint that lies here: what to give as MODEL, or why it cannot be opened."""

    name: str
    folder: Path
    model_type: str
    revision: str = ""
    problem: str = ""


def checkpoints_below(folders: Sequence[Path]) -> list[AtHand]:
    """Checkpoints in ``folders``: themselves, or up to two levels below. Headers are read."""
    return [
        _at_hand(Checkpoint(str(path), path, {}))
        for folder in folders
        for path in _with_config(folder)
    ]


def cached_checkpoints() -> list[AtHand]:
    """Whole snapshots in the hub's cache. Headers are read."""
    cached = [
        _at_hand(Checkpoint(model.name, model.folder, {}, model.revision))
        for model in cached_models()
        if card_of(model.folder).is_file()
    ]
    return [found for found in cached if not found.problem]


def _with_config(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such directory", field="models")
    for above in ("", "*/", "*/*/"):
        cards = {*folder.glob(above + CONFIG), *folder.glob(above + PIPELINE)}
        for found in sorted({card.parent for card in cards}):
            if card_of(found.parent).name != PIPELINE:  # a part of one is none of its own
                yield found


def _at_hand(unread: Checkpoint) -> AtHand:
    named = (unread.name, unread.folder)
    model_type = ""
    try:
        config = read_config(unread.folder, unread.name)
        model_type = str(config["model_type"])
        checked(Checkpoint(*named, config))
    except InputError as error:
        return AtHand(*named, model_type, unread.revision, error.problem)
    return AtHand(*named, model_type, unread.revision)
