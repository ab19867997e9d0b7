"""What hiding each part of a traced pair does, and whether attention says the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import streamlit as st

from backend.figures.looks import agreement_curve, word_bars
from backend.figures.picture import effect_marks, headline, picture_figure
from backend.inference.effects import ClassProbability, Effects, Part, hiding
from backend.views import attention
from backend.views.attention import Choice, Looking
from backend.words import literal
from dashboard.trace import live
from dashboard.trace.draw import draw
from dashboard.trace.meets import meet_now, outlines
from dashboard.trace.side import Side


def show_patch_effects(side: Side) -> None:
    """The picture again: what hiding each patch does to the output."""
    with st.container(border=True):
        st.markdown("**Effect of each patch**")
        effects = side.traced.effects.get("patches")
        if effects is None:
            _offer(side, "patches", "Hide each patch and see what it does")
            return
        parts = attention.hidden_parts(effects, side.traced.shown.size)
        moved = attention.effects_in_words(effects)
        hovers = {
            row: f"{name}: {moved[row]}"
            for row, name in zip(parts.tokens, parts.hovers, strict=True)
        }
        top = attention.strongest(effects)
        most = float(np.abs(np.nan_to_num(effects.values)).max(initial=0.0))
        figure = picture_figure(
            side.traced.shown.webp,
            side.traced.shown.size,
            replace(parts, hovers=list(hovers.values())),
            marks=(
                *effect_marks(effects.regions, effects.values),
                *headline(f"strongest: {most:.3f}"),
            ),
        )
        said = "; ".join(hovers[row] for row in top)
        draw(
            side, "effect", figure,
            alt=f"The picture with the effect of each part over it. Strongest: {said}.",
        )  # fmt: skip
        _legend(effects)


def show_word_effects(side: Side) -> None:
    """What leaving out each word does to the output."""
    if all(tokens.kind != "span" for tokens in side.trace.tokens.values()):
        return
    with st.container(border=True):
        st.markdown("**Effect of each word**")
        effects = side.traced.effects.get("words")
        if effects is None:
            _offer(side, "words", "Leave out each word and see what it does")
            return
        moved = attention.effects_in_words(effects)
        said = "; ".join(f"{effects.words[at]}: {moved[at]}" for at in attention.strongest(effects))
        draw(
            side, "effect of words",
            word_bars(effects.words, effects.values.tolist(), title=_axis(effects)),
            alt=f"The effect of each word. Strongest: {said or 'none'}.",
        )  # fmt: skip
        _legend(effects)


def show_agreement(side: Side, looks: Looking, choice: Choice, part: Part) -> None:
    """The rank correlation of attention and effect, at the strip's meet and by meet."""
    effects = side.traced.effects.get(part)
    if effects is None:
        return
    with st.container(border=True):
        st.markdown(f"**Does attention say which {part} count?**")
        table = attention.agreements(side.trace, looks, effects, choice)
        if table.empty:
            st.caption(_why_not(looks, effects))
            return
        title = f"agreement of {part}"
        side.part.rows[side.titled(title)] = table
        keys = looks.to(effects.stream)
        row = table.iloc[keys.index(meet_now(side, keys) or keys[0])]
        value = f"{row['value']:.2f}" if row["value"] == row["value"] else row["reason"]
        said = (
            f"Rank correlation of attention and effect at {row['stream']} layer {row['label']}: "
            f"{value} (Spearman, n = {row['n']:,}). 1: what is looked at most counts most; 0: "
            "attention says nothing about what counts."
        )
        st.markdown(literal(said))
        draw(side, title, agreement_curve(table), alt=said, steps=outlines(side, keys, keys))


def _offer(side: Side, part: Part, label: str) -> None:
    """A button that has parts hidden, one after another."""
    st.caption("Attention is not explanation. Whether what is looked at counts, this tells:")
    asked = st.button(
        label,
        key=side.key(f"hide {part}"),
        on_click=live.ask_effects,
        args=(side.store, side.traced, part, hiding(side.trace, part)),
    )
    if asked:
        st.rerun()  # the page waits for the model outside of this fragment


def _legend(effects: Effects) -> None:
    what = literal(attention.target_in_words(effects.target))
    st.caption(
        f"Blue: without it {what} falls. Orange: it rises."
        if isinstance(effects.target, ClassProbability)
        else f"The stronger the blue, the further {what} moves without it."
    )


def _why_not(looks: Looking, effects: Effects) -> str:
    if effects.stream == looks.words:
        return "Click a patch: then how much each word looks at it is compared with the effect."
    if effects.stream == looks.patches:
        return "Choose a word: then how much each patch looks at it is compared with the effect."
    return literal(
        f"The stream {effects.stream} meets no picture: there is no attention to compare."
    )


def _axis(effects: Effects) -> str:
    if isinstance(effects.target, ClassProbability):
        return f"what {effects.target.label} loses without it"
    return "move of the vector, share of its length"
