"""A small trace as a file: real figures of made-up numbers, and text that would break out."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pandas as pd
from PIL import Image

from backend.figures.trace import layer_mark, path_map
from backend.report.trace import Cards, GivenPair, Panel, Plot, Remark, Rows, trace_html
from backend.types import StreamSpec
from backend.views import strip
from backend.views.provenance import Provenance
from backend.views.queries import Sample

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\n**b** مرحبا"
HALF = "\ud800"
"""Half a character, as a page may hand it over."""
SPEC = StreamSpec.of("vision", "image", 3, 4, (2,))
LABELS = [ref.label for ref in SPEC.refs]
POSITION = {"0": 0, "1": 1, "2.fusion": 1.5, "2": 2, "3": 3}
PATH = np.array([[0, 0], [1, 2], [2, 2], [3, 1], [4, 4]], dtype=np.float32)
PATCHES = ((0, "rgba(225, 29, 72, 0.25)"), (32, "rgba(225, 29, 72, 0.75)"))
NORM = [1.5, 2.5, 3.25, 4.5, 0.5]
NEAREST = {"0": "a", "1": "a", "2.fusion": "b", "2": "b", "3": "b"}
ANYWHERE = Provenance("2024-01-01T00:00:00Z", "small", (), (), {}, {"fusionscope": "1"})


def webp(colour: str = "red") -> bytes:
    """A picture of one colour."""
    out = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(out, "WEBP", lossless=True)
    return out.getvalue()


def panels() -> list[Panel]:
    """A map with frames, a curve with a line, the picture with patches, cards, a table, words."""
    reference = np.random.default_rng(0).normal(size=(len(LABELS), 6, 2)).astype(np.float32)
    way = path_map(LABELS, reference, list("abcdef"), {HOSTILE: PATH}, title="vision, UMAP")
    norm = {
        "data": [{"type": "scatter", "name": "pair", "x": list(POSITION.values()), "y": NORM}],
        "layout": {"height": 290, "shapes": [{"type": "rect", "x0": 1, "x1": 2, "y0": 0, "y1": 1}]},
    }
    source = f"data:image/webp;base64,{base64.b64encode(webp()).decode()}"
    place = {"x": 0, "y": 0, "sizex": 64, "sizey": 48, "xref": "x", "yref": "y"}
    picture = {
        "data": [{"type": "scatter", "x": [], "y": []}],
        "layout": {
            "height": 200,
            "images": [{"source": source, "layer": "below", **place}],
            "xaxis": {"range": [0, 64]},
            "yaxis": {"range": [48, 0]},
        },
    }
    patches = [
        {"type": "rect", "x0": left, "x1": left + 32, "y0": 0, "y1": 48, "fillcolor": colour}
        for left, colour in PATCHES
    ]
    samples = {
        name: Sample(name, "train", HOSTILE, (), webp("blue") if name == "a" else None, "no image")
        for name in "ab"
    }
    rows = {
        label: [{"title": "vision", "cards": [{"id": name, "note": "0.5", "fresh": name == "b"}]}]
        for label, name in NEAREST.items()
    }
    return [
        Plot("vision path", way.json, HOSTILE, {label: {"frame": label} for label in LABELS}),
        Plot(
            "vision norm",
            json.dumps(norm),
            "Norm by layer",
            {label: {"marks": layer_mark(at)} for label, at in POSITION.items()},
        ),
        Plot("looks", json.dumps(picture), "What is looked at", {"2": {"marks": patches}}),
        Cards("neighbours", samples, rows),
        Rows("beliefs", pd.DataFrame({"layer": ["0"], HOSTILE: ["81 %"]})),
        Remark("turn", HOSTILE),
    ]


def trace_file(at: str = "2") -> bytes:
    """The file, standing at a layer."""
    pair = GivenPair("", webp(), HOSTILE + HALF, "late, seed 0", "0123456789abcdef", ("A note.",))
    return trace_html([pair], strip.sites(SPEC, SPEC.refs), at, panels(), ANYWHERE)
