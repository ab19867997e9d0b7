"""What a model believes of a traced pair: its own prediction, and each layer's probe or lens."""

from __future__ import annotations

from functools import lru_cache

import pandas as pd
import streamlit as st

from backend.errors import InputError
from backend.inference.beliefs import KeptProbe, beliefs, kept_probes
from backend.measures.suite.parts import is_current
from backend.store.commands import measure_command
from backend.store.kinds import PROBES
from backend.types import LayerRef
from backend.views import questions
from backend.views import trace as views
from backend.views.questions import RunAt
from backend.views.store_access import opened
from backend.words import literal
from dashboard.say import offer
from dashboard.trace.draw import tabulate
from dashboard.trace.side import Side

_RANKS = ("first", "second", "third", "fourth", "fifth")


def show_beliefs(side: Side) -> None:
    """What the model predicts of each trace; the kept probes and the logit lens of the pair."""
    _show_outputs(side)
    _show_next_words(side)
    if side.traced.offer.run_id:
        _show_probes(side)
    elif not side.trace.outputs and side.trace.next_words is None:
        st.caption("This model predicts nothing itself, and without a run it has no probes.")


@lru_cache(maxsize=4)
def _probes(run: RunAt) -> tuple[KeptProbe, ...]:
    """The probes of a run, read once for as long as none of its tables changes."""
    return kept_probes(opened(run.store).run(run.run_id))


def _show_outputs(side: Side) -> None:
    for at, output in enumerate(side.trace.outputs):
        order = output.probabilities.argsort()[::-1][:3]
        table = pd.DataFrame(
            [
                {
                    "pair": name,
                    **{
                        output.classes[
                            k
                        ]: f"{100 * float(trace.outputs[at].probabilities[k]):.0f} %"
                        for k in order
                    },
                }
                for name, trace in side.traces.items()
            ]
        )
        st.markdown(f"**The model itself: {literal(output.task)}**")
        tabulate(side, f"predictions of {output.task}", table)


def _show_next_words(side: Side) -> None:
    words = views.next_words(side.trace)
    if words.empty:
        return
    side.part.rows[side.titled("next words")] = words
    if words["stream"].iloc[0] == side.spec.name:
        words = words[words["layer"].isin([ref.label for ref in side.refs])]
    cells = words.assign(cell=[*map(_word, words["word"], words["probability"])])
    table = pd.DataFrame(
        {"layer": layer, **dict(zip(_RANKS, rows["cell"], strict=False))}
        for layer, rows in cells.groupby("layer", sort=False)
    )
    st.markdown(
        "**Next words**",
        help="The logit lens: what each layer's vector at the last position gives through the "
        "model's own final norm and unembedding. Early layers were not trained to be read so.",
    )
    tabulate(side, "next words by layer", table)


def _word(word: str, probability: float) -> str:
    """A word with its probability; one of blanks alone is seen by its quotes."""
    return f"{word if word.strip() else repr(word)} {100 * probability:.0f} %"


def _show_probes(side: Side) -> None:
    run_id, spec = side.traced.offer.run_id, side.spec
    run = opened(side.store.path).run(run_id)
    try:
        probes = _probes(questions.run_at(side.store, run_id))
        rows = beliefs(run, side.trace.vectors, probes)
    except InputError as error:
        st.caption(literal(str(error)))
        return
    if rows.empty and not run.manifest.tasks:
        st.caption("The samples of this run have no labels, so it has no probes.")
        return
    if rows.empty and not run.captured():
        st.caption("This run keeps neither probes nor the vectors that they are fitted on.")
        return
    if rows.empty and any(map(is_current, run.keys(PROBES))):
        st.caption("No probe could be fitted on this run's labels: too few samples a class.")
        return
    if rows.empty:
        command = measure_command(side.store.origin, [run_id])
        offer(side.store, "This run keeps no fitted probes.", "This makes them", [command])
        return
    side.part.rows[side.titled("beliefs")] = rows
    pooling = side.pooling if rows["pooling"].eq(side.pooling).any() else rows["pooling"].iloc[0]
    mine = rows[rows["stream"].eq(spec.name) & rows["pooling"].eq(pooling)]
    shown = {(ref.layer, ref.site) for ref in side.refs}
    mine = mine[[place in shown for place in zip(mine["layer"], mine["site"], strict=True)]]
    for task, table in mine.groupby("task", sort=False):
        top = table.groupby("class")["probability"].max().nlargest(4).index
        wide = table[table["class"].isin(list(top))].pivot_table(
            index="position", columns="class", values="probability", sort=False
        )
        places = table.drop_duplicates("position")[["layer", "site"]].itertuples(index=False)
        percent = wide.map(lambda value: f"{100 * value:.0f} %")
        percent.insert(0, "layer", [LayerRef(spec.name, int(k), str(s)).label for k, s in places])
        with st.expander(f"Probes of {literal(task)} by layer of {literal(spec.name)}"):
            tabulate(side, f"{spec.name} probes of {task}", percent.reset_index(drop=True))
