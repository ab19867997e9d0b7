"""A progress that remembers what it was told, and may end the work at a known place."""

from __future__ import annotations

from collections.abc import Callable


class Watch:
    """``at(done, total, what)`` says when to end; the end is by ``ending``, as a kill would."""

    def __init__(
        self,
        at: Callable[[float, float | None, str], bool] | None = None,
        ending: type[BaseException] = KeyboardInterrupt,
    ) -> None:
        self.told: list[tuple[float, float | None, str]] = []
        self._at, self._ending = at, ending

    def advance(self, done: float, total: float | None, what: str = "") -> None:
        """Remember it."""
        self.told.append((done, total, what))
        if self._at and self._at(done, total, what):
            raise self._ending
