"""Is block k what the encoder itself calls layer k? Asked of every encoder that is loaded.

A fusion comes in on entry to a block, and figures are drawn of what blocks give. That is only
about the encoder if its blocks run once each, in order, and give the hidden states that it reports
itself; and a batch must not change a sample. Small made-up inputs tell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from backend.errors import InputError
from backend.models.dual_stream.stepping import entering, leaving
from backend.models.norms import watching_norms

if TYPE_CHECKING:
    from backend.models.dual_stream.encoders import Encoder, TextEncoder, VisionEncoder

_TOLERANCE = 1e-4  # of the largest value of a layer
_TOKENS = 6
_PADDED = 2  # of them
_OFFSET = 2  # positions that some encoders keep for themselves


@dataclass(frozen=True)
class Facts:
    """What is known of an encoder once a pass was looked at.

    ``tupled``: a block returns a tuple. ``resumable``: hidden states are all that it hands on.
    ``ending``: the modules that run after the last block; ``final_norm`` is the norm among them
    that takes its tokens. ``normed``: what a block gives comes out of a norm. ``causal``: a token
    sees nothing of what comes after it. ``mixes_padding``: padding changes what it makes of a text
    (by convolution, or for want of a mask), so that all texts must be padded to one length.
    """

    tupled: bool
    resumable: bool
    ending: frozenset[nn.Module]
    final_norm: nn.Module | None = None
    normed: bool = False
    causal: bool = False
    mixes_padding: bool = False


def look_at_text(encoder: TextEncoder, name: str) -> Facts:
    """InputError where the encoder's blocks are not its layers; else what was seen."""
    where = f"text encoder {name}".strip()
    ids, pad = _made_up(encoder)
    mask = torch.ones_like(ids)
    with _quiet(encoder):
        seen, last, states, facts = _watched(encoder, where, input_ids=ids, attention_mask=mask)
        if states is None:
            raise _refused(where, "it does not tell its hidden states, so nothing can be checked")
        _compare(seen, states, last, where)
        padded, short = ids.clone(), mask.clone()
        length = ids.shape[1] - _PADDED
        padded[0, length:], short[0, length:] = pad, 0
        together = encoder.run(input_ids=padded, attention_mask=short)[0]
        alone = encoder.run(input_ids=ids[:1, :length], attention_mask=mask[:1, :length])[0]
        mixes = len(together) != ids.shape[1] or _far(together[:length], alone)
        other = ids.clone()
        other[:, -1] = ids[:, 0]
        changed = encoder.run(input_ids=other, attention_mask=mask)
    causal = not _far(changed[:, 0], last[:, 0])
    resumable = facts.resumable and not mixes  # what is kept of a layer is kept without padding
    return replace(facts, causal=causal, mixes_padding=mixes, resumable=resumable)


def look_at_vision(encoder: VisionEncoder, name: str) -> Facts:
    """InputError where the encoder's blocks are not its layers; else what was seen."""
    where = f"vision encoder {name}".strip()
    model: Any = encoder.model
    weight = next(encoder.embedding.parameters())
    height, width = (int(side) for side in model.patch_embed.img_size)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(1, 3, height, width, generator=generator).to(weight)
    if not hasattr(model, "forward_intermediates"):
        raise _refused(where, "it does not tell its layers, so nothing can be checked")
    with _quiet(encoder):
        seen, last, _, facts = _watched(encoder, where, pixel_values=pixels)
        if (
            last.ndim != 3
            or last.shape[1] != len(encoder.prefix) + encoder.grid[0] * encoder.grid[1]
        ):
            raise _refused(where, f"its tokens are no grid of {encoder.grid} patches")
        try:
            layers = model.forward_intermediates(
                pixels, output_fmt="NLC", return_prefix_tokens=True, intermediates_only=True
            )
        except (TypeError, UnboundLocalError) as error:  # timm's own, of some of its models
            raise _refused(where, f"it cannot tell its layers ({error})") from error
        states = [seen[0][0]]
        for layer in layers:
            parts = layer if isinstance(layer, tuple) else (layer, None)
            patches, prefix = parts[0], parts[1]
            states.append(patches if prefix is None else torch.cat([prefix, patches], dim=1))
        _compare(seen, states, last, where)
    return facts


def look_for_maps(encoder: TextEncoder) -> dict[int, tuple[nn.Module, int | None]]:
    """{k: (module, item)}: the innermost module of block k that returns its attention map."""
    ids, _ = _made_up(encoder)
    maps: dict[int, tuple[nn.Module, int | None]] = {}

    def look(block: int) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            for item, part in enumerate(output if isinstance(output, tuple) else ()):
                square = (ids.shape[1], ids.shape[1])
                if isinstance(part, Tensor) and part.ndim == 4 and part.shape[2:] == square:
                    maps.setdefault(block, (module, item))

        return hook

    handles = [
        part.register_forward_hook(look(k))
        for k, block in enumerate(encoder.blocks, start=1)
        for part in block.modules()
    ]
    try:
        with _quiet(encoder), encoder.showing_attention():
            encoder.run(input_ids=ids, attention_mask=torch.ones_like(ids))
    finally:
        for handle in handles:
            handle.remove()
    return maps


def _made_up(encoder: TextEncoder) -> tuple[Tensor, int]:
    """(2, T) token ids, and the id of padding; T is 6, or what there is room for."""
    config = encoder.model.config
    room = int(getattr(config, "max_position_embeddings", 0) or 512) - _OFFSET
    count = max(_PADDED + 1, min(_TOKENS, room))
    pad = getattr(config, "pad_token_id", None)
    words = [i for i in range(int(config.vocab_size)) if i != pad][-4 * _TOKENS :]
    rows = [[words[(3 * i + 5 * row) % len(words)] for i in range(count)] for row in range(2)]
    return torch.tensor(rows, device=next(encoder.model.parameters()).device), pad or 0


Seen = list[tuple[Tensor, Tensor]]
"""What entered every block, and what it gave."""


class _quiet:  # noqa: N801 -- used like a function
    """Evaluation mode without gradients; afterwards as before."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def __enter__(self) -> None:
        self.training = self.encoder.training
        self.encoder.eval()
        self.grad = torch.no_grad()
        self.grad.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.grad.__exit__(*error)
        self.encoder.train(self.training)


def _watched(
    encoder: Encoder, where: str, **inputs: Tensor
) -> tuple[Seen, Tensor, tuple[Tensor, ...] | None, Facts]:
    """What every block takes and gives, the end of the pass, the hidden states that it reports."""
    blocks = list(encoder.blocks)
    seen: Seen = []
    order: list[nn.Module] = []
    outputs: list[Any] = []
    early: set[nn.Module] = set()
    late: set[nn.Module] = set()

    def watch(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        order.append(module)
        outputs.append(output)
        seen.append((entering(args, kwargs), leaving(output)))

    def note(module: nn.Module, args: Any) -> None:
        (early if len(order) < len(blocks) else late).add(module)

    handles = [block.register_forward_hook(watch, with_kwargs=True) for block in set(blocks)]
    handles += [part.register_forward_pre_hook(note) for part in encoder.model.modules()]
    try:
        with watching_norms(encoder.model, blocks[-1]) as norms:
            last, states = encoder.run_with_states(**inputs)
    except Exception as error:  # of a class that we do not know, on inputs that we made up
        words = " ".join(str(error).split())[:160]
        why = f"it does not run on {' and '.join(inputs)} alone ({type(error).__name__}: {words})"
        raise _refused(where, why) from error
    finally:
        for handle in handles:
            handle.remove()
    if order != blocks:
        raise _refused(where, f"its {len(blocks)} blocks ran {len(order)} times, or not in order")
    rest = [part for output in outputs if isinstance(output, tuple) for part in output[1:]]
    facts = Facts(
        tupled=isinstance(outputs[0], tuple),
        resumable=not any(isinstance(part, Tensor) for part in rest),
        # What is never called may be read all the same (relative positions): it is no ending.
        ending=frozenset(late - early),
        final_norm=norms.final,
        normed=norms.within,
    )
    return seen, last, states, facts


def _compare(seen: Seen, states: Any, last: Tensor, where: str) -> None:
    """Layer k is what block k gives and, but for the last, what enters block k + 1."""
    depth = len(seen)
    if len(states) != depth + 1:
        raise _refused(where, f"it reports {len(states)} layers for {depth} blocks")
    for k, state in enumerate(states):
        given = seen[0][0] if k == 0 else seen[k - 1][1]
        # The last of the reported states may be after the final norm.
        ends = k == depth and not _far(state, last)
        if given.shape != state.shape or (_far(given, state) and not ends):
            raise _refused(where, f"what its block {k} gives is not what it calls layer {k}")
        if 0 < k < depth and _far(seen[k][0], state):
            raise _refused(where, f"something happens between its blocks {k} and {k + 1}")


def _far(a: Tensor, b: Tensor) -> bool:
    """Whether two differ by more than rounding; what is not finite is far from everything."""
    scale = float(b.abs().max())
    return not bool((a - b).abs().max() <= _TOLERANCE * max(scale, 1e-12))


def _refused(where: str, why: str) -> InputError:
    return InputError(
        f"its layers cannot be read truly: {why}",
        where=where,
        hint="Another encoder is needed: `fusionscope models` names some that work.",
    )
