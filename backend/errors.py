"""The one kind of error that reaches a user as a single line.

Everything that outside input can cause (a wrong path, a corrupt file, an impossible placement)
is a :class:`InputError`. The command line prints it as one line and exits with 2; the pages show
it as a message. Anything else is a fault of ours: it keeps its traceback and exits with 1.
"""

from __future__ import annotations


class InputError(ValueError):
    """Something that the user gave cannot be used.

    The message is one line: what is wrong, where, and (``hint``) what to do about it.
    """

    def __init__(self, problem: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.problem = problem
        self.where = where
        self.hint = hint
        text = f"{where}: {problem}" if where else problem
        super().__init__(" ".join((f"{text}. {hint}" if hint else text).split()))
