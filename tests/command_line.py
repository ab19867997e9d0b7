"""Calling the command line as a user does, in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from backend.cli import main

Run = Callable[..., tuple[int, str, str]]
"""(words of the command line) -> exit code, standard output, standard error."""


def runner(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """What a fixture ``run`` returns."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fusionscope", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return int(left.value.code or 0), said.out, said.err

    return call
