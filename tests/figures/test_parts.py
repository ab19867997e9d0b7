import base64
import json

import numpy as np

from backend.figures.parts import Parts


def read(sent):
    """An array as plotly.js reads it."""
    if not isinstance(sent, dict):
        return sent
    values = np.frombuffer(base64.b64decode(sent["bdata"]), sent["dtype"])
    return values.reshape([int(n) for n in sent.get("shape", str(len(values))).split(",")])


def test_what_is_sent_is_the_figure_that_plotly_reads():
    arrays = {
        "x": np.array([0.5, np.nan, -2], np.float32),
        "y": np.arange(3),  # plotly.js reads no 64 bits: a list
        "customdata": np.arange(6.0).reshape(3, 2),
        "hovertext": ["NaN", "<b>", "ü"],
    }
    frame = {"name": "1", "data": [{"type": "scatter", "x": np.empty(0)}], "traces": [0]}
    layout = {"height": 100, "xaxis": {"range": [0.0, float("nan")]}}
    parts = Parts([{"type": "scatter", **arrays}], layout, [frame])
    sent = json.loads(parts.json)
    assert sent["data"][0]["x"]["dtype"] == "f4" and sent["data"][0]["y"] == [0, 1, 2]
    assert sent["layout"]["xaxis"]["range"] == [0.0, None] and parts.figure().layout.height == 100
    for name, value in arrays.items():
        np.testing.assert_array_equal(read(sent["data"][0][name]), value)
    assert sent["frames"] == [{"name": "1", "data": [{"type": "scatter", "x": []}], "traces": [0]}]
    theirs = json.loads(parts.figure().to_json())["data"][0]
    for name in ("x", "customdata", "hovertext"):
        assert theirs[name] == sent["data"][0][name], "as Plotly's own figures are sent"
