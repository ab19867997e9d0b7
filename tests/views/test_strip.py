"""The sites of a stream as the layer strip shows them."""

from dataclasses import replace

from backend.types import Site, StreamSpec
from backend.views.strip import sites


def test_what_comes_after_a_fusion_layer_is_no_fusion():
    spec = StreamSpec.of("vision", "vision", 2, 8, [1, 2], reads="text")
    spec = replace(spec, sites=(*spec.sites, Site(2, 8, "norm")))
    shown = sites(spec, spec.refs)
    assert [one["title"] for one in shown] == [
        "vision layer 0",
        "vision layer 1.fusion (◆ fusion)",
        "vision layer 1 (◆ fusion)",
        "vision layer 2.fusion (◆ fusion)",
        "vision layer 2 (◆ fusion)",
        "vision layer 2.norm (after the final norm)",
    ]
    assert [one["short"] for one in shown] == ["0", "◆", "1", "◆", "2", "norm"]
    assert [one["fused"] for one in shown] == [False, True, True, True, True, False]
