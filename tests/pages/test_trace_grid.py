"""Two captions by two images on the Trace page: the demo's macro with the other face and mood."""

from tests.pages.harness import charts, open_trace, steps
from tests.pages.test_trace import words


def traced(at):
    next(button for button in at.button if button.label == "Trace").click()
    at.run()
    assert not at.exception and not at.error, words(at)
    return at


def test_four_pairs_make_a_grid_and_fewer_do_not(monkeypatch):
    at = open_trace(monkeypatch, layer="5")
    at.get_by_key("trace-other").set_value("such a lovely cup")
    at = traced(at)
    assert "trace-vision-grid" not in charts(at)
    at.get_by_key("trace-other-source").set_value("The other face")
    at.run()
    at = traced(at)
    moves, drawn = steps(at), charts(at)
    assert {"trace-vision-grid", "trace-vision-interaction", "trace-text-interaction"} <= set(drawn)
    assert moves["trace-vision-grid"]["10.fusion"]["frame"] == "10.fusion"
    assert len(drawn["trace-vision-grid"]["data"]) == 12
    for stream in ("vision", "text"):
        (line,) = moves[f"trace-{stream}-interaction"]["10.fusion"]["marks"]
        assert line["x0"] == line["x1"] == 9.5
    said = words(at).replace("\\", "").replace("\u2060", "")
    assert "more than picture plus text at vision 10.fusion and text 10.fusion" in said
    assert "irony: ironic has the largest interaction" in said
    shown = drawn["trace-vision-grid"]["layout"]["annotations"]
    assert shown[0]["text"] == "<b>this caption</b><br><b>this image</b>"
