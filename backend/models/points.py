"""Where a site is read in a module's forward pass, and written: side, call number, selection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from torch import Tensor, nn
from torch.nn.functional import pad

from backend.models.roles import Role

if TYPE_CHECKING:
    from backend.models.adapter import Inputs

Side = Literal["input", "output"]

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
"""What a module is called with: the value of a point on the input side."""


class Select(Protocol):
    """Takes a stream's tokens out of what a module takes or gives, and puts others in."""

    def read(self, value: Any, inputs: Inputs) -> Tensor:
        """(B, T, d), T as in the stream's roles."""
        ...

    def write(self, value: Any, tokens: Tensor, inputs: Inputs) -> Any:
        """The same value with other tokens, (B, T, d); ``value`` itself stays as it is."""
        ...


@dataclass(frozen=True)
class Item:
    """Item ``index`` of a tuple; the value itself where it is a tensor."""

    index: int = 0

    def read(self, value: Any, inputs: Inputs) -> Tensor:
        """The tensor."""
        tokens: Tensor = value if isinstance(value, Tensor) else value[self.index]
        return tokens

    def write(self, value: Any, tokens: Tensor, inputs: Inputs) -> Any:
        """A tuple with the item replaced, or the tensor."""
        if isinstance(value, Tensor):
            return tokens
        return (*value[: self.index], tokens, *value[self.index + 1 :])


@dataclass(frozen=True)
class Argument:
    """The argument at ``position``, or the keyword ``name`` where it is given by name.

    ``optional``: it may be left out, and is None then.
    """

    position: int = 0
    name: str = "hidden_states"
    optional: bool = False

    def read(self, value: Arguments, inputs: Inputs) -> Tensor:
        """The tensor."""
        args, kwargs = value
        named = {self.name: None, **kwargs} if self.optional else kwargs
        tokens: Tensor = args[self.position] if len(args) > self.position else named[self.name]
        return tokens

    def write(self, value: Arguments, tokens: Tensor, inputs: Inputs) -> Arguments:
        """The arguments with this one replaced."""
        args, kwargs = value
        if len(args) > self.position:
            return (*args[: self.position], tokens, *args[self.position + 1 :]), kwargs
        return args, {**kwargs, self.name: tokens}


@dataclass(frozen=True)
class Pooled:
    """One vector a sample, (B, d), of a site after the model's own pooling: read as (B, 1, d)."""

    inner: Select = Item()

    def read(self, value: Any, inputs: Inputs) -> Tensor:
        """The vectors as one token each."""
        return self.inner.read(value, inputs)[:, None]

    def write(self, value: Any, tokens: Tensor, inputs: Inputs) -> Any:
        """The one token as a vector."""
        return self.inner.write(value, tokens[:, 0], inputs)


@dataclass(frozen=True)
class Among:
    """Tokens that come alone, at their place in a sequence that their stream shares with others.

    ``before``: how many tokens of others stand before them; these are read as zeros.
    """

    stream: str
    inner: Select = Item()
    before: int = 0

    def read(self, value: Any, inputs: Inputs) -> Tensor:
        """With zeros where the other streams' tokens would be."""
        tokens = self.inner.read(value, inputs)
        after = inputs.roles[self.stream].shape[1] - self.before - tokens.shape[1]
        return pad(tokens, (0, 0, self.before, after))

    def write(self, value: Any, tokens: Tensor, inputs: Inputs) -> Any:
        """Without those."""
        length = self.inner.read(value, inputs).shape[1]
        own = tokens[:, self.before : self.before + length]
        return self.inner.write(value, own, inputs)


@dataclass(frozen=True)
class PerImage:
    """Tokens of a tower that runs over images, where a sample may have several.

    (images, T, d) as the samples' own: (B, most images x T, d), as the stream's roles have it, with
    padding where a sample has fewer. A tower that runs over padding images, too, gives those; an
    image may have padding of its own.
    """

    stream: str
    inner: Select

    def read(self, value: Any, inputs: Inputs) -> Tensor:
        """The samples' tokens."""
        tokens, roles = self.inner.read(value, inputs), inputs.roles[self.stream]
        if tokens.shape[0] * tokens.shape[1] == roles.numel():
            return tokens.reshape(*roles.shape, -1)
        out = tokens.new_zeros((*roles.shape, tokens.shape[2]))
        out[_of_images(roles, tokens.shape[1])] = tokens.flatten(0, 1)
        return out

    def write(self, value: Any, tokens: Tensor, inputs: Inputs) -> Any:
        """The images' tokens."""
        shape, roles = self.inner.read(value, inputs).shape, inputs.roles[self.stream]
        if shape[0] * shape[1] != roles.numel():
            tokens = tokens[_of_images(roles, shape[1])]
        return self.inner.write(value, tokens.reshape(shape), inputs)


def _of_images(roles: Tensor, length: int) -> Tensor:
    """(B, T) bool: which tokens a tower has given, an image's own padding among them.

    ``length``: of an image; longer than T where the tower has all images of the batch in a row.
    """
    real = roles != int(Role.PADDING)
    if length > roles.shape[1]:
        return real
    images: Tensor = real.unflatten(1, (-1, length)).any(dim=2)
    return images.repeat_interleave(length, dim=1)


FIRST = Item(0)
ENTERING = Argument()


@dataclass(frozen=True)
class Point:
    """Where a site can be read: the input or output of a module's ``call``-th call (from 0).

    The default selection is the first item of an output, and the hidden states of an input.

    ``residual``: the site is the sum of what is here and of what passed there earlier. For blocks
    that add to the residual stream outside of their modules: what comes in there is written into
    the branch, so that everything after the sum gets it.
    """

    module: nn.Module
    side: Side = "output"
    call: int = 0
    select: Select | None = None
    residual: Point | None = None

    @property
    def selection(self) -> Select:
        """How the stream's tokens are taken out."""
        return self.select or (ENTERING if self.side == "input" else FIRST)


@dataclass(frozen=True)
class AttentionPoint:
    """Where an attention map can be read: (B, heads, query tokens, key tokens), rows sum to 1.

    ``queries`` and ``keys`` are the streams whose tokens these are; where two streams share a
    sequence, both are named and the roles tell their tokens apart; keys of streams with sequences
    of their own follow one another. ``select`` takes the map out of the module's output (or input);
    ``arrange`` turns one that is not by sample (a tower's: by image) into the samples' own.
    """

    module: nn.Module
    queries: tuple[str, ...]
    keys: tuple[str, ...]
    select: Callable[[Any], Tensor | None]
    side: Side = "output"
    call: int = 0
    arrange: Callable[[Tensor, Inputs], Tensor] | None = None


@dataclass(frozen=True)
class Rewrite:
    """A change to what a module takes or gives in its ``call``-th call; None for every call.

    ``function(value, inputs)`` returns the new value and leaves the old one as it is; on the input
    side a value is :data:`Arguments`. What cutting a meet is made of.
    """

    module: nn.Module
    function: Callable[[Any, Inputs], Any]
    side: Side = "output"
    call: int | None = 0
