"""Hooks that read a model's sites, and change them, in one forward pass; always taken off again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from types import TracebackType
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from backend.models.adapter import Adapter, AttentionKey, Inputs
from backend.models.edits import Cut, Edit
from backend.models.points import Rewrite, Select, Side
from backend.types import LayerRef


class Sink(Protocol):
    """Takes what a tap reads, while the model runs."""

    def sites(self, adapter: Adapter) -> Iterable[LayerRef]:
        """The sites to be given."""
        ...

    def maps(self, adapter: Adapter) -> Iterable[AttentionKey]:
        """The attention maps to be given; without any, the model computes none."""
        ...

    def begin(self, adapter: Adapter, inputs: Inputs) -> None:
        """A forward pass over ``inputs`` starts."""
        ...

    def take(self, ref: LayerRef, tokens: Tensor) -> None:
        """One site: (B, T, d), T as in its stream's roles."""
        ...

    def take_map(self, key: AttentionKey, weights: Tensor) -> None:
        """One attention map: (B, heads, query tokens, key tokens)."""
        ...


@dataclass
class _Calls:
    """What is to happen in one module on one side, by the number of the call."""

    count: int = 0
    sites: dict[int, list[LayerRef]] = field(default_factory=dict)
    maps: dict[int, list[AttentionKey]] = field(default_factory=dict)
    residuals: dict[int, list[tuple[LayerRef, Select]]] = field(default_factory=dict)
    rewrites: list[Rewrite] = field(default_factory=list)


class Tap:
    """Gives each sink the sites that it asked for, and applies edits; a context manager.

    Inside the ``with`` block the model is in evaluation mode and hooked, and a pass keeps no
    gradients; on leaving, however that happens, the hooks are gone and the model is as it was.
    ``training`` leaves mode and gradients alone, so that what is read can be part of a loss.
    ``run`` is what a pass runs where it is not the adapter's own ``forward``: a part of the model.

    An edit changes what the rest of the pass computes with, and only that: nothing stays on the
    model. Of several edits of a site each gets what the one before returned; sinks get the result.
    """

    def __init__(
        self,
        adapter: Adapter,
        sinks: Sink | Sequence[Sink] = (),
        edits: Sequence[Edit | Cut] = (),
        *,
        training: bool = False,
        run: Callable[[Inputs], dict[str, Tensor]] | None = None,
    ) -> None:
        self._adapter = adapter
        self._run = run or adapter.forward
        self._sinks: tuple[Sink, ...] = tuple(sinks) if isinstance(sinks, Sequence) else (sinks,)
        self._edits = tuple(edits)
        self._training = training
        self._calls: dict[tuple[nn.Module, Side], _Calls] = {}
        self._exit: ExitStack | None = None
        self._inputs: Inputs | None = None
        self._reached: set[LayerRef | AttentionKey] = set()
        self._residuals: dict[LayerRef, Tensor] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._plan()
            module = self._adapter.module
            if not self._training:
                was = [part for part in module.modules() if part.training]
                if was:
                    module.eval()
                    stack.callback(_set_training, was)
            if any(calls.maps for calls in self._calls.values()):
                stack.enter_context(self._adapter.showing_attention())
            for (part, side), calls in self._calls.items():
                stack.callback(self._hook(part, side, calls).remove)
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stack, self._exit = self._exit, None
        self._calls.clear()
        if stack is not None:
            stack.close()

    def __call__(self, inputs: Inputs) -> dict[str, Tensor]:
        """Run a batch (already on the model's device); the model's outputs.

        Raises RuntimeError where a wanted site was not reached, or a module ran more often than
        the adapter declares: such a model is not described rightly by its adapter.
        """
        if self._exit is None:
            raise RuntimeError("a tap reads inside its with block only")
        for calls in self._calls.values():
            calls.count = 0
        self._reached.clear()
        self._inputs = inputs
        for sink in self._sinks:
            sink.begin(self._adapter, inputs)
        try:
            with nullcontext() if self._training else torch.inference_mode():
                outputs = self._run(inputs)
        finally:
            self._inputs = None
            self._residuals.clear()
        wanted: list[LayerRef | AttentionKey] = []
        for calls in self._calls.values():
            wanted += chain.from_iterable(calls.sites.values())
            wanted += chain.from_iterable(calls.maps.values())
        missing = [_name(key) for key in wanted if key not in self._reached]
        if missing:
            raise RuntimeError(f"the forward pass did not reach {', '.join(missing)}")
        return outputs

    def _plan(self) -> None:
        points = self._adapter.points()
        edits: dict[LayerRef, list[Edit]] = {}
        cuts: list[Rewrite] = []
        for edit in self._edits:
            if isinstance(edit, Cut):
                cuts += self._adapter.cut(edit.stream, edit.meet)
            else:
                edits.setdefault(edit.ref, []).append(edit)
        self._edits_of = edits
        self._points = points
        self._takers: dict[LayerRef, list[Sink]] = {}
        self._map_takers: dict[AttentionKey, list[Sink]] = {}
        for sink in self._sinks:
            for ref in dict.fromkeys(sink.sites(self._adapter)):
                self._takers.setdefault(ref, []).append(sink)
            for key in dict.fromkeys(sink.maps(self._adapter)):
                self._map_takers.setdefault(key, []).append(sink)
        self._maps = self._adapter.attention() if self._map_takers else {}
        wanted = self._takers.keys() | edits.keys()
        # A module that has a point is watched in all its calls, so that one too many is noticed.
        shared = {(points[ref].module, points[ref].side) for ref in wanted}
        for ref, point in points.items():
            if (point.module, point.side) in shared:
                calls = self._calls.setdefault((point.module, point.side), _Calls())
                calls.sites.setdefault(point.call, [])
                if ref in wanted:
                    calls.sites[point.call].append(ref)
                    if (added := point.residual) is not None:
                        calls = self._calls.setdefault((added.module, added.side), _Calls())
                        calls.residuals.setdefault(added.call, []).append((ref, added.selection))
        for key in self._map_takers:
            where = self._maps[key]
            calls = self._calls.setdefault((where.module, where.side), _Calls())
            calls.maps.setdefault(where.call, []).append(key)
        for rewrite in cuts:
            calls = self._calls.setdefault((rewrite.module, rewrite.side), _Calls())
            calls.rewrites.append(rewrite)

    def _hook(self, part: nn.Module, side: Side, calls: _Calls) -> RemovableHandle:
        if side == "input":

            def entering(module: nn.Module, args: Any, kwargs: Any) -> Any:
                return self._pass(calls, (args, kwargs))

            return part.register_forward_pre_hook(entering, with_kwargs=True)

        def leaving(module: nn.Module, args: Any, output: Any) -> Any:
            return self._pass(calls, output)

        # Before the hooks by which transformers hands on a tower's layers: they must see the edit.
        return part.register_forward_hook(leaving, prepend=True)

    def _pass(self, calls: _Calls, value: Any) -> Any:
        """What a module takes or gives, on its way: rewritten, edited, read."""
        inputs = self._inputs
        if inputs is None:
            return None  # the model is run by somebody else meanwhile
        call, calls.count = calls.count, calls.count + 1
        if calls.sites and call not in calls.sites:
            names = ", ".join(_name(ref) for refs in calls.sites.values() for ref in refs)
            raise RuntimeError(
                f"a module ran {call + 1} times in one pass, more often than declared ({names})"
            )
        before = value
        for rewrite in calls.rewrites:
            if rewrite.call in (None, call):
                value = rewrite.function(value, inputs)
        refs = calls.sites.get(call, ())
        for ref in refs:
            for edit in self._edits_of.get(ref, ()):
                tokens = edit.apply(self._read(ref, value, inputs), inputs)
                value = self._write(ref, value, tokens, inputs)
        for ref in refs:
            tokens = self._read(ref, value, inputs)
            self._residuals.pop(ref, None)
            self._reached.add(ref)
            for sink in self._takers.get(ref, ()):
                sink.take(ref, tokens)
        for ref, select in calls.residuals.get(call, ()):
            self._residuals[ref] = select.read(value, inputs)
        for key in calls.maps.get(call, ()):
            where = self._maps[key]
            weights = where.select(value)
            if weights is not None:
                weights = where.arrange(weights, inputs) if where.arrange else weights
                self._reached.add(key)
                for sink in self._map_takers[key]:
                    sink.take_map(key, weights)
        return None if value is before else value

    def _read(self, ref: LayerRef, value: Any, inputs: Inputs) -> Tensor:
        """A site's tokens, with the residual stream where the point has one."""
        point = self._points[ref]
        tokens = point.selection.read(value, inputs)
        return tokens if point.residual is None else self._residuals[ref] + tokens

    def _write(self, ref: LayerRef, value: Any, tokens: Tensor, inputs: Inputs) -> Any:
        point = self._points[ref]
        branch = tokens if point.residual is None else tokens - self._residuals[ref]
        return point.selection.write(value, branch, inputs)


def _set_training(parts: list[nn.Module]) -> None:
    for part in parts:
        part.training = True


def _name(key: LayerRef | AttentionKey) -> str:
    if isinstance(key, LayerRef):
        return f"{key.stream} {key.label}"
    return f"attention of {key.ref.stream} {key.ref.label} to {key.reads}"
