"""What words and patches of a traced pair look at, and beside it what hiding them does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from backend.figures.looks import meter_bars, word_heat
from backend.figures.marks import Marks
from backend.figures.picture import Patches, headline, heat_marks, patch_mark, picture_figure
from backend.inference.values import Floats, MapKey
from backend.views import attention
from backend.views.attention import Choice, Looking
from backend.words import literal
from dashboard.chart import Point
from dashboard.trace.draw import draw, let_go
from dashboard.trace.hidden import show_agreement, show_patch_effects, show_word_effects
from dashboard.trace.meets import meet_now, meets_of, outlines, place_of
from dashboard.trace.side import Side, Steps

MOST_WORDS = 30
"""More words than that are not drawn by layer: those that get most are."""
_SCROLLED_WORDS = 80


@st.fragment
def show_looks(side: Side) -> None:
    """Attention between words and patches at the strip's layer, and the effect beside it."""
    looks = attention.looking(side.trace)
    if looks is None:
        why = side.trace.unsupported.get("attention", "")
        st.caption(literal(f"No words of this model meet patches of the picture. {why}".rstrip()))
        return
    patches = attention.patches(side.trace, looks.patches, side.traced.shown.size)
    choice = _choice(side, looks, patches)
    with st.grid(2, min_column_width=340):
        with st.container(border=True):
            _show_patches(side, looks, choice, patches)
        show_patch_effects(side)
        with st.container(border=True):
            _show_words(side, looks, choice, patches)
        show_agreement(side, looks, choice, "patches")
        with st.container(border=True):
            _show_meter(side, looks, choice)
        show_word_effects(side)
        show_agreement(side, looks, choice, "words")


def _choice(side: Side, looks: Looking, patches: Patches) -> Choice:
    """The controls: a word, a head, and whether special tokens count; a patch is clicked."""
    words = list(looks.captions)
    with st.container(height=180 if len(words) > _SCROLLED_WORDS else "content", border=False):
        word = st.pills(
            "Word" if looks.needs_word else "Word (none: all of them, averaged)",
            words,
            default=words[0] if looks.needs_word and words else None,
            format_func=lambda at: literal(looks.captions[at]),
            required=looks.needs_word,
            key=side.key("word"),
        )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        head = st.selectbox(
            "Head",
            [None, *range(looks.heads)],
            format_func=lambda at: "all heads, averaged" if at is None else str(at + 1),
            key=side.key("head"),
            width=200,
        )
        content = st.toggle(
            "Leave out CLS, BOS, separators and registers", True, key=side.key("content")
        )
    patch = st.session_state.get(side.key("patch"))
    return Choice(word, patch if patch in patches.tokens else None, head, content)


def _show_patches(side: Side, looks: Looking, choice: Choice, patches: Patches) -> None:
    """The picture: the redder a patch, the more of the word's attention it has."""
    who = "all words" if choice.word is None else looks.captions[choice.word]
    st.markdown(
        f"**Attention of {literal(who)}**"
        if not looks.needs_word
        else f"**Attention of each patch to {literal(who)}**"
    )
    shares = {
        key: attention.weights_over(side.trace, key, looks.patches, choice)[patches.tokens]
        for key in looks.to_patches
    }
    over = {key: heat_marks(patches.boxes, share) for key, share in shares.items()}
    chosen: Marks = ()
    if choice.patch is not None:
        chosen = patch_mark(patches.boxes[list(patches.tokens).index(choice.patch)])
    steps: Steps = {}
    for label, key in meets_of(side, looks.to_patches).items():
        if key is None:
            said = f"Nothing is looked at before {place_of(looks.to_patches[0])}."
            steps[label] = {"marks": (*headline(said), *chosen)}
        else:
            most = 100 * float(np.nan_to_num(shares[key]).max(initial=0.0))
            said = f"{place_of(key)}; reddest: {most:.1f} %"
            steps[label] = {"marks": (*over[key], *headline(said), *chosen)}
    side.part.rows[side.titled("attention")] = pd.concat(
        [
            pd.DataFrame(patches.boxes, columns=["left", "top", "right", "bottom"]).assign(
                stream=key.ref.stream, layer=key.ref.label, token=list(patches.tokens), share=share
            )
            for key, share in shares.items()
        ],
        ignore_index=True,
    )
    draw(
        side,
        "attention",
        picture_figure(side.traced.shown.webp, side.traced.shown.size, patches),
        alt=f"The picture with the attention of {who} over it. "
        + _most(meet_now(side, looks.to_patches), patches.hovers, shares),
        steps=steps,
        on_click=partial(_click, side.key("patch"), choice.patch),
    )
    st.caption("Click a patch to see its words; click it again for all patches.")


def _show_words(side: Side, looks: Looking, choice: Choice, patches: Patches) -> None:
    """The words of the chosen patch at every meet; the strip's is outlined."""
    own = not looks.needs_patch
    name = "all patches"
    if choice.patch is not None:
        name = patches.hovers[list(patches.tokens).index(choice.patch)]
    st.markdown(f"**Words of {literal(name)}**")
    if looks.needs_patch and choice.patch is None:
        let_go(side, "words and meets")
        st.caption("Click a patch of the picture to see which words look at it.")
        return
    table = attention.word_table(side.trace, looks, choice, MOST_WORDS)
    if table.empty:
        let_go(side, "words and meets")
        st.caption("The text has no words.")
        return
    side.part.rows[side.titled("words and meets")] = table.rename_axis("word").reset_index()
    shares = {key: table[key.ref.label].to_numpy() for key in looks.to_words}
    draw(
        side,
        "words and meets",
        word_heat(table, x_title=f"{looks.to_words[0].ref.stream} layer"),
        alt=f"Words (rows) of {name} at every meet (columns). "
        + _most(meet_now(side, looks.to_words), list(table.index), shares),
        steps=outlines(side, looks.to_words, looks.to_words),
    )
    st.caption(
        "Of the attention of this patch, what goes to each word, in %."
        if own and choice.patch is not None
        else "Of the attention of all patches, averaged, what goes to each word, in %."
        if own
        else "Of the attention of each word, what goes to this patch, in %: patches read no words "
        "in this model."
    )
    if len(looks.captions) > len(table):
        st.caption(f"The {len(table)} of {len(looks.captions)} words that get most.")


def _show_meter(side: Side, looks: Looking, choice: Choice) -> None:
    """Where the attention goes at every meet."""
    st.markdown(
        "**Where attention goes**",
        help="Averaged over the words or patches that attend. What goes to CLS, BOS, separators "
        "and registers is about no word and no place.",
    )
    table = attention.meter(side.trace, looks, choice.head)
    side.part.rows[side.titled("where attention goes")] = table
    now = table.iloc[looks.keys.index(meet_now(side, looks.to_patches) or looks.to_patches[0])]
    draw(
        side,
        "where attention goes",
        meter_bars(table),
        alt=f"Shares of attention by meet. At {now['stream']} layer {now['label']}: "
        f"{100 * now['content']:.0f} % to words or patches, {100 * now['summary']:.0f} % to CLS, "
        f"{100 * now['special']:.0f} % to BOS, separators and registers, "
        f"{100 * now['own']:.0f} % to its own stream.",
        steps=outlines(side, looks.keys, looks.to_patches, looks.to_words),
    )


def _most(key: MapKey | None, names: Sequence[str], shares: Mapping[MapKey, Floats]) -> str:
    if key is None:
        return "Nothing is looked at before the first meet."
    return f"Most at {place_of(key)}: {attention.most_in_words(names, shares[key])}."


def _click(key: str, chosen: int | None, point: Point) -> None:
    """Choose the clicked patch; a second click lets it go."""
    token = point.get("customdata")
    st.session_state[key] = token if isinstance(token, int) and token != chosen else None
