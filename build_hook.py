"""Build hook: in a wheel everything lives inside the one package whose name is ours.

A checkout has ``backend``, ``dashboard``, ``app.py`` and ``pages`` side by side. In a wheel they
are ``fusionscope.backend``, ``fusionscope.dashboard`` and files under ``fusionscope/_bundled``, and
their import statements say so. Only statements are rewritten: whatever names a module by a string
must derive it from ``__package__``, and a string that does not stops the build.
"""

from __future__ import annotations

import io
import re
import tempfile
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "fusionscope"
MOVED = ("backend", "dashboard")
"""Top-level packages of a checkout that a wheel has inside of ours."""

BUNDLED = ("app.py", "pages", ".streamlit", "cache/demo", "cache/study-numbers.duckdb")
"""What lies beside them and is read as files: backend/paths.py finds it."""

_BETWEEN = (tokenize.NL, tokenize.COMMENT)
_STATEMENT_STARTS_AFTER = (tokenize.ENCODING, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
# An f-string is one token up to Python 3.11, and its parts are tokens of their own since.
_STRINGS = (tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING))
_NAMES_A_MODULE = re.compile(rf"([a-zA-Z]*['\"]+)?({'|'.join(MOVED)})\.[a-z_]")


class OnePackage(BuildHookInterface):
    """Maps every file to its place in the wheel; Python files as rewritten copies."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling; an editable install uses the checkout as it is."""
        if version == "editable":
            return
        root = Path(self.root)
        self._copies = tempfile.TemporaryDirectory()
        for source, place in _places(root):
            if source.suffix == ".py":
                copy = Path(self._copies.name) / place
                copy.parent.mkdir(parents=True, exist_ok=True)
                text = source.read_text(encoding="utf-8")
                name = str(source.relative_to(root))
                copy.write_text(inside_package(text, name), encoding="utf-8")
                source = copy
            build_data["force_include"][str(source)] = place

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called by hatchling once the wheel is written."""
        if version != "editable":
            self._copies.cleanup()


def _places(root: Path) -> Iterator[tuple[Path, str]]:
    """(file, its path in the wheel), in order."""
    for name, place in (
        (PACKAGE, PACKAGE),
        *((package, f"{PACKAGE}/{package}") for package in MOVED),
        *((bundled, f"{PACKAGE}/_bundled/{bundled}") for bundled in BUNDLED),
    ):
        source = root / name
        if not source.exists():
            raise FileNotFoundError(f"{name} belongs into the wheel and is not there")
        if source.is_file():
            yield source, place
            continue
        for file in sorted(source.rglob("*")):
            parts = file.relative_to(source).parts
            unfinished = any(part.startswith(".partial-") for part in parts)
            if file.is_file() and "__pycache__" not in parts and not unfinished:
                yield file, f"{place}/{'/'.join(parts)}"


def inside_package(text: str, name: str) -> str:
    """Python source whose ``from backend...`` and ``from dashboard...`` are of our package.

    ValueError for what this cannot do: ``import backend`` (which binds the bare name), and strings
    that are the name of such a module. ``name`` is the file's, for the message.
    """
    inserts: list[tuple[int, int]] = []
    starts, after_from, importing = True, False, False
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        row, column = token.start
        if token.type in _BETWEEN:
            continue
        if token.type == tokenize.NAME and token.string in MOVED:
            if after_from:
                inserts.append((row, column))
            elif importing:
                raise ValueError(f"{name}, line {row}: say `from {token.string}... import ...`")
        if token.type in _STRINGS and _NAMES_A_MODULE.match(token.string):
            raise ValueError(f"{name}, line {row}: derive {token.string} from __package__")
        after_from = starts and token.string == "from"
        importing = starts and token.string == "import"
        starts = token.type in _STATEMENT_STARTS_AFTER or token.string in (";", ":")
    lines = text.splitlines(keepends=True)
    for row, column in reversed(inserts):
        line = lines[row - 1]
        lines[row - 1] = f"{line[:column]}{PACKAGE}.{line[column:]}"
    return "".join(lines)
