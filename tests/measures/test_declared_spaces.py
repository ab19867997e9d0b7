"""Which sites may be compared by direction: projections, and spaces that are declared as shared."""

from dataclasses import replace

import numpy as np
import pytest

from backend.measures import MEASURES, modality_gap
from backend.measures.suite.compute import measure_rows
from backend.measures.suite.layers import Layers
from backend.measures.suite.pairs import in_shared_space, shared_spaces
from backend.measures.suite.rows import tidy_frame
from backend.remarks import in_words
from backend.types import LayerRef, Meet, Site, StreamSpec


def stream(name, space="", site="", how="loss"):
    named = (Site(1, 4, site),) if site else ()
    meets = (Meet(1, how, "other", f"1.{site}"),) if site else ()
    return StreamSpec(name, name, (Site(0, 4), Site(1, 4), *named), meets, space=space)


def shared(a, b, *streams):
    return in_shared_space(a, b, spaces=shared_spaces(streams))


def test_streams_share_a_space_where_both_declare_the_same_one():
    image, text = LayerRef("image", 1), LayerRef("text", 1)
    assert shared(image, text, stream("image", "lm"), stream("text", "lm"))
    assert shared(image, LayerRef("text", 0), stream("image", "lm"), stream("text", "lm"))
    assert not shared(image, text, stream("image", "lm"), stream("text", "other"))
    assert not shared(image, text, stream("image", "lm"), stream("text"))
    assert not shared(image, text, stream("image"), stream("text"))


def test_what_a_norm_gives_shares_axes_with_its_namesakes_only():
    streams = stream("image", "lm", "norm", "joint"), stream("text", "lm", "norm", "joint")
    image, text = (LayerRef(name, 1, "norm") for name in ("image", "text"))
    assert shared(image, text, *streams)
    assert not shared(image, LayerRef("text", 1), *streams)


@pytest.mark.parametrize("site", ["pooled", "projected"])
def test_the_sites_that_a_loss_compares_share_a_space_whatever_they_are_called(site):
    streams = stream("vision", site=site), stream("text", site=site)
    vision, text = (LayerRef(name, 1, site) for name in ("vision", "text"))
    assert shared(vision, text, *streams)
    assert not shared(LayerRef("vision", 1), LayerRef("text", 1), *streams)


def test_a_pooled_vector_that_no_loss_compares_has_axes_of_its_own():
    streams = [replace(stream(name, site="pooled"), meets=()) for name in ("vision", "text")]
    assert not shared(LayerRef("vision", 1, "pooled"), LayerRef("text", 1, "pooled"), *streams)


def test_where_streams_merely_read_each_other_they_keep_axes_of_their_own():
    streams = [stream(name, site="fusion", how="co") for name in ("vision", "text")]
    assert not shared(LayerRef("vision", 1, "fusion"), LayerRef("text", 1, "fusion"), *streams)


def test_the_gap_of_a_declared_space_is_measured_and_that_of_no_space_says_why():
    rng = np.random.default_rng(0)
    arrays = {LayerRef(name, 0): rng.normal(size=(30, 4)) + 1 for name in ("vision", "text")}
    measure = MEASURES["modality_gap"]

    def cell(space):
        streams = [stream(name, space) for name in ("vision", "text")]
        layers = Layers(arrays, "cls", spaces=shared_spaces(streams))
        ((row),) = tidy_frame(measure_rows(measure, measure.arguments, layers)).itertuples()
        return row

    declared, undeclared = cell("clip"), cell("")
    assert declared.value == pytest.approx(float(modality_gap(*arrays.values())))
    assert np.isnan(undeclared.value)
    assert in_words(undeclared.reason).startswith("these are two spaces")
