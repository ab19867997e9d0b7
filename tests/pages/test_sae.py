"""The SAE page on a store with readings, and on one without."""

from __future__ import annotations

import base64
import io
import json
import math

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from backend.report.build import report
from backend.report.document import Points
from backend.sae.table import ALL, REST
from backend.store import kinds
from backend.study.language import LANGUAGE
from backend.study.mapping_reference import published_mapping
from backend.views.sae import outlined_thumbnail
from backend.views.state import ViewState
from tests.pages.harness import alts, charts, open_page

KINDS = [("text alone", ""), ("image", ""), ("image", "random adapter")]


def readings() -> pd.DataFrame:
    """FVU of text .2 everywhere, of image falling to it, of a random adapter never."""
    rows = []
    for layer, image in ((1, 0.9), (2, 0.5), (3, 0.2)):
        for tokens, control in KINDS:
            value = 0.2 if tokens == "text alone" else 0.9 if control else image
            for coordinates in (ALL, REST):
                told = value / 2 if coordinates == REST else value
                rows.append(("text", layer, tokens, control, coordinates, "fvu", told))
                rows.append(("text", layer, tokens, control, coordinates, "mse", told))
    rows.append(("text", 3, "image", "", ALL, "convergence_layer", 3.0))
    names = ["stream", "layer", "tokens", "control", "coordinates", "measure", "value"]
    frame = pd.DataFrame(rows, columns=names)
    return frame.assign(
        site="block", ci_low=frame["value"] - 0.01, ci_high=frame["value"] + 0.01,
        n=20, reason="", params="{}",
    )  # fmt: skip


def features(sample_ids: np.ndarray) -> pd.DataFrame:
    """Two features of text at two layers, each with an example."""
    rows = []
    for layer in (1, 2):
        for rank, feature in ((1, 7), (2, 3)):
            rows.append(
                {
                    "stream": "text", "layer": layer, "site": "block", "tokens": "text alone",
                    "feature": feature, "rank": rank, "share": 0.1, "description": "a <b>thing</b>",
                    "sample_id": sample_ids[rank], "activation": 2.5, "word": "cup",
                    **dict.fromkeys(("left", "top", "right", "bottom"), math.nan),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def followed() -> pd.DataFrame:
    """Feature 7 of layer 2 over three layers, of which the last has no match."""
    rows = [
        {
            "stream": "text", "layer": 2, "site": "block", "feature": 7, "other_layer": layer,
            "other_feature": 40 + layer, "cosine": cosine, "chance": 0.3, "tokens": tokens,
            "activation": 0.5 * layer, "activation_low": 0.4 * layer,
            "activation_high": 0.6 * layer, "share": share, "share_low": share - 0.05,
            "share_high": share + 0.1,
        }
        for layer, cosine in ((1, 0.6), (2, 1.0), (3, 0.2))
        for tokens, share in (("text alone", 0.1), ("image", 0.4))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def numbers(sent: dict[str, str] | list[float]) -> list[float | None]:
    """The numbers of a trace as the browser gets them; None for a gap."""
    if isinstance(sent, dict):
        sent = np.frombuffer(base64.b64decode(sent["bdata"]), sent["dtype"]).tolist()
    return [None if value is None or math.isnan(value) else value for value in sent]


def shows_the_claim(at: AppTest) -> bool:
    """Whether a card says the layer of convergence, and that it judges nothing."""
    said = [text.value for text in at.markdown]
    heads = [head.value for head in at.subheader]
    return (
        "Vision becomes language inside the model" in heads
        and any("from layer 3 on" in text for text in said)
        and ":blue-badge[described]" in said
    )


@pytest.fixture
def visit(monkeypatch: pytest.MonkeyPatch):
    def go(store):
        return open_page(monkeypatch, store, "sae")

    return go


def test_curves_features_and_the_claim_are_shown(visit, tmp_path, store_factory) -> None:
    made = store_factory.make_store(tmp_path, placements=("late",), seeds=(0,), n=20, depth=4)
    run = made.run("late-seed0")
    run.add(kinds.SAE, readings(), "k")
    run.add(kinds.SAE_FEATURES, features(run.sample_ids()), "k")
    run.add(kinds.SAE_MATCHES, followed(), "k")
    at = visit(tmp_path)
    assert not at.exception and not at.error
    drawn = charts(at)
    lines = {trace["name"]: trace["y"] for trace in drawn["sae-fvu"]["data"]}
    assert set(lines) == {"text alone", "image"}
    assert "sae-published-mse" in drawn and "sae-published-fvu" not in drawn
    assert "Published" in alts(at)["sae-published-mse"]
    assert shows_the_claim(at)
    at.toggle(key="sae-controls").set_value(True)
    at.toggle(key="sae-rest").set_value(True).run()
    lines = {trace["name"] for trace in charts(at)["sae-fvu"]["data"]}
    assert "image, random adapter" in lines
    assert at.selectbox(key="sae-feature").options == ["7", "3"]
    assert any("cup" in text.value for text in at.caption)
    assert "sae-matches-share" not in charts(at), "none is kept of layer 1"
    at.select_slider(key="sae-layer").set_value(2).run()
    drawn = charts(at)
    lines = {trace["name"]: trace for trace in drawn["sae-matches-share"]["data"]}
    assert set(lines) == {"text alone", "image"}
    assert numbers(lines["image"]["x"]) == [1, 2, 3]
    assert numbers(lines["image"]["y"]) == [0.4, 0.4, None], "no match, no value"
    spread = lines["image"]["error_y"]
    ends = [numbers(spread[name])[:2] for name in ("arrayminus", "array")]
    assert ends == [pytest.approx([0.05, 0.05]), pytest.approx([0.1, 0.1])]
    best, chance = drawn["sae-matches-cosine"]["data"]
    assert shows_the_claim(at.switch_page("pages/study.py").run())
    assert numbers(best["y"]) == [0.6, 1.0, 0.2] and numbers(chance["y"]) == [0.3, 0.3, 0.3]
    at.session_state["study-downloads"] = True
    assert "language (CSV)" in {one.proto.label for one in at.run().get("download_button")}
    (section,) = report(str(tmp_path), ViewState(), ["study"]).sections
    assert any(getattr(one, "text", "") == LANGUAGE.title for one in section.items)
    lines = [line for one in section.items if isinstance(one, Points) for line in one.lines]
    assert "from layer 3 on (95 % interval 3 to 3) (20 samples)" in " ".join(lines)


def test_models_that_autoencoders_cannot_read_are_offered_no_command(
    visit, tmp_path, store_factory
) -> None:
    store_factory.make_store(tmp_path, placements=("late",), seeds=(0,), n=12, depth=4)
    at = visit(tmp_path)
    assert not at.exception and not any("read-saes" in code.value for code in at.code)
    assert any("None of the chosen runs" in info.value for info in at.info)


def test_a_patch_is_outlined_where_it_lies() -> None:
    out = io.BytesIO()
    Image.new("RGB", (40, 20), "white").save(out, "WEBP", lossless=True)
    made = outlined_thumbnail(out.getvalue(), (0.5, 0.0, 1.0, 0.5))
    with Image.open(io.BytesIO(made)) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    red = (pixels[..., 1] < 100).nonzero()
    assert (red[0].min(), red[0].max(), red[1].min(), red[1].max()) == (0, 9, 20, 39)


def test_published_curves_are_those_of_the_paper() -> None:
    mse = published_mapping("mse")
    first = mse[mse["tokens"].eq("image") & mse["layer"].eq(1)]["value"].item()
    last = mse[mse["tokens"].eq("text alone") & mse["layer"].eq(26)]["value"].item()
    assert (first, last, len(mse)) == (115.5, 30.8, 78)
    assert json.dumps(sorted(set(mse["tokens"]))) == '["image", "text after image", "text alone"]'
    with pytest.raises(ValueError, match="was not published"):
        published_mapping("fvu")
