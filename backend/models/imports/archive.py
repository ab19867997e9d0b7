"""Reading a file of ``torch.save`` without running anything that is in it.

First the pickle is only listed: every class and function that it names must be on an allow-list,
and what is not is refused by name. Then torch reads it with ``weights_only=True``, which builds
tensors and plain values and nothing else. There is no fallback to unpickling.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path

import torch

from backend.errors import InputError

HINT = "An importer reads the file that torch.save wrote, as it was written."

TENSORS = frozenset(
    {
        "collections.OrderedDict",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_tensor_v2",
        *(
            f"torch.{name}Storage"
            for name in ("BFloat16", "Double", "Float", "Half", "Int", "Long")
        ),
    }
)
"""What the pickle of a state dict of plain tensors names."""

_MOST_BYTES = 64 * 2**20  # of the pickle; the tensors lie beside it
_SHOWN = 5


def read_archive(path: Path, classes: Mapping[str, type]) -> object:
    """What ``path`` holds, tensors on the CPU; of classes only :data:`TENSORS` and ``classes``.

    ``classes`` maps qualified names, as the file gives them, to what stands for them here. Raises
    InputError for a file that is missing, is not one of ``torch.save``, is damaged, or names
    anything else.
    """
    where = f"checkpoint {path}"
    named = _named_in(path, where)
    refused = sorted(named - TENSORS - set(classes))
    if refused:
        raise InputError(
            f"holds pickled classes or functions that are not read: {shown(refused)}",
            where=where,
            hint="Nothing of the file was run. Only tensors and plain values are imported.",
        )
    allowed = [(stand_in, name) for name, stand_in in classes.items()]
    try:
        with torch.serialization.safe_globals(allowed):  # type: ignore[arg-type]
            found: object = torch.load(path, map_location="cpu", weights_only=True)
    except (
        *(pickle.UnpicklingError, RuntimeError, EOFError, OSError, AssertionError),
        *(AttributeError, LookupError, TypeError, ValueError),
    ) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise InputError(f"is damaged ({reason})", where=where, hint=HINT) from error
    return found


def shown(names: Collection[str]) -> str:
    """A few names, then how many more there are."""
    listed = [name[:100] for name in list(names)[:_SHOWN]]
    more = len(names) - len(listed)
    return ", ".join(listed) + (f" and {more:,} more" if more else "")


def _named_in(path: Path, where: str) -> set[str]:
    """Qualified names of the classes and functions in the file's pickle."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=where) from error
    if not head.startswith(b"PK"):
        raise _not_an_archive(path, head, where)
    try:
        with zipfile.ZipFile(path) as archive:
            return globals_of(_pickle_of(archive, where))
    except InputError:
        raise
    except (zipfile.BadZipFile, EOFError, RuntimeError, ValueError) as error:
        raise InputError(
            "is cut off or damaged", where=where, hint="Copy it again from where it was saved."
        ) from error


def _pickle_of(archive: zipfile.ZipFile, where: str) -> bytes:
    """The one pickle of an archive that is laid out as ``torch.save`` does it."""
    infos = archive.infolist()
    names = [info.filename.partition("/")[2] for info in infos]
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        raise InputError("is a TorchScript archive: it holds code", where=where, hint=HINT)
    found = [info for info, name in zip(infos, names, strict=True) if name == "data.pkl"]
    if len(found) != 1:
        raise InputError("is a zip file, but not one of torch.save", where=where, hint=HINT)
    twice = len(set(names)) != len(names)
    packed = any(info.compress_type != zipfile.ZIP_STORED for info in infos)
    if twice or packed or found[0].file_size > _MOST_BYTES:
        raise InputError("is not packed as torch.save packs its files", where=where, hint=HINT)
    return archive.read(found[0])


def _not_an_archive(path: Path, head: bytes, where: str) -> InputError:
    """A bare pickle is listed as well, so that whoever made it learns what is in it."""
    if not head:
        return InputError("is empty", where=where)
    if head[0] != pickle.PROTO[0]:
        return InputError("is not a file of torch.save", where=where, hint=HINT)
    with path.open("rb") as file:
        text = file.read(_MOST_BYTES)
    named: set[str] = set()
    try:
        named = globals_of(text)
    except ValueError as error:
        return InputError(f"is a damaged pickle ({error})"[:200], where=where, hint=HINT)
    refused = sorted(named - TENSORS)
    holds = f", and holds classes or functions that are not read: {shown(refused)}"
    return InputError(
        f"is a bare pickle, not a zip file of torch.save{holds if refused else ''}",
        where=where,
        hint="Nothing of the file was run.",
    )


def globals_of(text: bytes) -> set[str]:
    """``{"collections.OrderedDict", ...}``: what a pickle would import, read without running it.

    ValueError for what is not a whole pickle. A name that the pickle puts together from parts that
    cannot be followed is ``"?"``, which no allow-list holds.
    """
    found: set[str] = set()
    recent: list[object] = []  # constants in the order in which they were pushed
    memo: dict[int, object] = {}
    for opcode, argument, _ in pickletools.genops(io.BytesIO(text)):
        if opcode.name in ("GLOBAL", "INST"):
            found.add(str(argument).replace(" ", "."))
        elif opcode.name == "STACK_GLOBAL":
            parts = recent[-2:]
            known = len(parts) == 2 and all(isinstance(part, str) for part in parts)
            found.add(".".join(map(str, parts)) if known else "?")
        elif opcode.name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            at = len(memo) if opcode.name == "MEMOIZE" else int(str(argument))
            memo[at] = recent[-1] if recent else None
            continue
        elif opcode.name in ("PROTO", "FRAME"):
            continue
        elif opcode.name in ("BINGET", "LONG_BINGET", "GET"):
            recent.append(memo.get(int(str(argument))))
            continue
        if opcode.name.startswith("EXT"):
            found.add("?")  # a number that stands for a class, in a table of the reader's
        recent.append(argument if opcode.name.endswith(("UNICODE", "UNICODE8", "STRING")) else None)
        del recent[:-2]
    return found
