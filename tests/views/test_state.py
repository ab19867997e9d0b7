import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.figures.training import QUANTITIES
from backend.measures.registry import one_layer, two_layers
from backend.types import LayerRef
from backend.views.choices import ALIGNING
from backend.views.provenance import settled
from backend.views.state import ViewState, read_ref, write_ref

names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)
labels = st.one_of(st.integers(0, 99).map(str), st.integers(1, 99).map(lambda k: f"{k}.fusion"))
refs = st.builds(LayerRef.parse, names, labels)
free = st.text(
    st.characters(min_codepoint=32, exclude_categories=("Cs",), exclude_characters="\x7f"),
    min_size=1,
    max_size=60,
)
states = st.builds(
    ViewState,
    runs=st.lists(names, max_size=5, unique=True).map(tuple),
    focus=st.none() | names,
    against=st.none() | names,
    seed=st.none() | st.integers(-5, 10**6),
    pair=st.none() | st.tuples(names, names).filter(lambda pair: pair[0] != pair[1]),
    stream=st.none() | names,
    layer=st.none() | labels,
    span=st.none() | st.tuples(labels, labels),
    model=st.none() | free,
    measure=st.sampled_from(list(two_layers())),
    estimator=st.sampled_from(["biased", "debiased"]),
    pooling=st.sampled_from([None, "cls", "mean", "text=mean;vision=cls"]),
    block=st.none() | names,
    cell=st.none() | st.tuples(refs, refs),
    sample=st.none() | free,
    colour=st.none() | free,
    split=st.booleans(),
    numbers=st.booleans(),
    above=st.booleans(),
    dataset=st.none() | free,
    task=st.none() | free,
    metric=st.none() | names,
    baseline=st.none() | free,
    published=st.booleans(),
    preset=st.sampled_from(["default", "thesis"]),
    played=st.sampled_from(QUANTITIES),
    dims=st.lists(st.sampled_from(list(one_layer())), max_size=3, unique=True).map(tuple),
)


@given(states)
def test_a_state_survives_the_url(state):
    parsed = ViewState.from_query(state.to_query())
    assert parsed.state == state
    assert parsed.line == ""


@given(
    st.dictionaries(
        st.sampled_from(list(ViewState().__dataclass_fields__)) | st.text(max_size=12),
        st.text(max_size=40),
        max_size=8,
    )
)
@settings(max_examples=300)
def test_no_query_makes_it_raise_and_what_it_ignores_it_says(query):
    parsed = ViewState.from_query(query)
    again = ViewState.from_query(parsed.state.to_query())
    assert again.state == parsed.state
    kept = set(parsed.state.to_query())
    unused = {key for key in query if not key.startswith("embed")} - kept
    explicit_defaults = {
        key
        for key in unused
        if key in ViewState().__dataclass_fields__
        and not ViewState.from_query({key: query[key]}).notes
    }
    assert bool(parsed.line) == bool(unused - explicit_defaults)
    assert "\n" not in parsed.line


def test_the_default_view_needs_no_query():
    assert ViewState().to_query() == {}


def test_a_state_reads_well_in_the_url():
    state = ViewState(
        runs=("late~macros~small", "none~macros~small"),
        layer="4.fusion",
        cell=(LayerRef("vision", 4), LayerRef("text", 6, "fusion")),
    )
    assert state.to_query() == {
        "runs": "late~macros~small,none~macros~small",
        "layer": "4.fusion",
        "cell": "vision:4~text:6.fusion",
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("layer", "four"),
        ("layer", "0.Fusion"),
        ("pair", "vision"),
        ("pair", "vision~vision"),
        ("pair", "vision~a~b"),
        ("layer", "-1"),
        ("pooling", "max"),
        ("estimator", "best"),
        ("measure", "magic"),
        ("seed", "1.5"),
        ("seed", "9" * 30),
        ("cell", "vision:4"),
        ("cell", "vision~text"),
        ("cell", "vis/ion:4~text:6"),
        ("runs", "../../etc/passwd"),
        ("runs", ",".join(f"r{i}" for i in range(200))),
        ("runs", ","),
        ("split", "yes"),
        ("published", "maybe"),
        ("played", "football"),
        ("sample", "x" * 9_000),
        ("sample", "a\x00b"),
        ("nonsense", "1"),
    ],
)
def test_a_broken_value_falls_back_to_the_default_and_is_named(key, value):
    parsed = ViewState.from_query({key: value, "stream": "text"})
    assert parsed.state == ViewState(stream="text")
    assert key in parsed.line and parsed.line.count("\n") == 0 and len(parsed.line) < 300


def test_streamlits_own_parameters_are_left_alone():
    assert ViewState.from_query({"embed": "true", "embed_options": "dark_theme"}).notes == ()


@given(refs)
def test_a_layer_survives_writing(ref):
    assert read_ref(write_ref(ref)) == ref


def test_a_pooling_of_two_streams_is_read_in_any_order_and_others_are_noted():
    read = ViewState.from_query({"pooling": "vision=cls;text=mean"})
    assert read.state.pooling == "text=mean;vision=cls" and not read.notes
    for text in ("vision=cls", "vision=cls;text=cls", "max", "a=cls;b=mean;c=cls"):
        read = ViewState.from_query({"pooling": text})
        assert read.state.pooling is None and read.line


@pytest.mark.parametrize("measure", ALIGNING)
def test_every_measure_that_a_page_offers_may_stand_in_an_address(measure):
    parsed = ViewState.from_query(ViewState(measure=measure).to_query())
    assert parsed.state.measure == measure and not parsed.notes


def test_settings_that_no_address_has_are_left_out_of_one():
    state = settled(ViewState(), (), {"reading": "sae-1", "estimator": "biased"})
    assert state == ViewState(estimator="biased")
