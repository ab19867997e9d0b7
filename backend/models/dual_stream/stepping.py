"""Two forward passes that take turns: each runs as its encoder wrote it, stopped at chosen blocks.

An encoder hands its blocks more than the hidden states (masks, relative positions, rotary angles),
each in its own way. So its own forward pass does that, and what is fused comes in from outside: the
pass runs in a greenlet and, on entry to a block, is left waiting with the hidden states in hand
while the other encoder runs up to the block that it is to meet.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from greenlet import getcurrent, greenlet
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from backend.models.points import Arguments


class Stepped:
    """A forward pass that stops on entry to each of some blocks; a context manager.

    Alternate :meth:`advance`, which runs up to the next block and returns what is to enter it, with
    :meth:`enter`, which says what enters instead; after the last, :meth:`finish`. Leaving early
    ends the pass. Nothing runs at the same time, and gradients flow through as in one pass.
    """

    def __init__(self, forward: Callable[[], Tensor], blocks: Sequence[nn.Module]) -> None:
        self._forward = forward
        self._blocks = blocks
        self._entering: Tensor | None = None
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Self:
        self._run = greenlet(self._forward)
        self._run.gr_context = contextvars.copy_context()
        self._handles = [
            block.register_forward_pre_hook(self._stop, with_kwargs=True) for block in self._blocks
        ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        if self._run:  # started and not at its end
            self._run.throw()

    def advance(self) -> Tensor:
        """(B, T, d): what is about to enter the next block."""
        hidden = self._go_on()
        if self._run.dead:
            raise RuntimeError("the encoder did not run all of its blocks")
        return hidden

    def enter(self, hidden: Tensor) -> None:
        """(B, T, d): let this enter the block at which the pass waits."""
        self._entering = hidden

    def finish(self) -> Tensor:
        """Run to the end: what the forward pass returns."""
        output = self._go_on()
        if not self._run.dead:
            raise RuntimeError("the encoder ran a block more often than once")
        return output

    def _go_on(self) -> Tensor:
        hidden, self._entering = self._entering, None
        value: Tensor = self._run.switch(*(() if hidden is None else (hidden,)))
        return value

    def _stop(self, module: nn.Module, args: Any, kwargs: Any) -> Any:
        if getcurrent() is not self._run:
            return None  # somebody else runs the encoder
        hidden = self._run.parent.switch(entering(args, kwargs))
        return replaced(args, kwargs, hidden)


def entering(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The hidden states among a block's arguments: the first, by position or by name."""
    hidden: Tensor = args[0] if args else next(iter(kwargs.values()))
    return hidden


def replaced(args: tuple[Any, ...], kwargs: dict[str, Any], hidden: Tensor) -> Arguments:
    """The arguments with other hidden states."""
    if args:
        return (hidden, *args[1:]), kwargs
    return args, {**kwargs, next(iter(kwargs)): hidden}


def leaving(output: Any) -> Tensor:
    """The hidden states of what a block returns."""
    hidden: Tensor = output[0] if isinstance(output, tuple) else output
    return hidden
