import numpy as np
import pandas as pd
import pytest

from backend.figures import probe_curves
from tests.figures.frames import LATE, NONE

NAN = float("nan")


def probe_frame(*series, seeds=(0, 1), chance=0.5):
    """One stream alone: 0.5 + 0.05 layer; both together 0.1 more; + 0.01 a seed."""
    rows = []
    for one in series:
        vision, text = one.streams
        places = [((spec.name, k), ("", -1)) for spec in one.streams for k in range(spec.depth + 1)]
        places += [
            (("vision", k), ("text", round(k * text.depth / vision.depth))) for k in range(7)
        ]
        for seed in seeds:
            for a, b in places:
                value = 0.5 + 0.05 * a[1] + 0.1 * bool(b[0]) + 0.01 * seed
                rows.append(
                    {
                        "series": one.key, "seed": seed, "measure": "linear_probe",
                        "stream_a": a[0], "layer_a": a[1], "site_a": "block",
                        "stream_b": b[0], "layer_b": b[1], "site_b": "block" if b[0] else "",
                        "pooling": "cls", "estimator": "joy", "value": value,
                        "ci_low": NAN, "ci_high": NAN, "null_mean": chance, "null_sd": NAN,
                        "p_value": NAN, "p_corrected": NAN, "n": 60, "reason": "",
                    }
                )  # fmt: skip
    return pd.DataFrame(rows)


def lines(figure):
    return [t for t in figure.data if t.mode == "lines+markers"]


def chance(figure):
    return [t for t in figure.data if (t.name or "").startswith("chance")]


@pytest.mark.parametrize(("stream", "depth"), [("vision", 6), ("text", 4)])
def test_a_stream_alone_is_drawn_over_its_own_layers_with_chance(stream, depth):
    figure = probe_curves(probe_frame(LATE), [LATE], stream, metric="AUROC")
    (line,) = lines(figure)
    assert list(line.x) == list(range(depth + 1))
    np.testing.assert_allclose(line.y, [0.505 + 0.05 * k for k in range(depth + 1)])
    (dotted,) = chance(figure)
    assert list(dotted.y) == [0.5, 0.5] and dotted.line.dash == "dot"
    assert figure.layout.yaxis.title.text == "linear probe, AUROC"
    assert figure.layout.yaxis.range == pytest.approx((-0.02, 1.02))


def test_both_streams_together_are_drawn_over_the_deeper_one():
    figure = probe_curves(probe_frame(LATE), [LATE], None, metric="AUROC")
    (line,) = lines(figure)
    assert list(line.x) == [0, 1, 2, 3, 4, 5, 6]
    np.testing.assert_allclose(line.y, [0.605 + 0.05 * k for k in range(7)])
    assert "vision layer 6 and text layer 4" in line.hovertext[-1]
    assert len(chance(figure)) == 1


def test_placements_are_overlaid_and_unknown_chance_is_not_drawn():
    frame = probe_frame(LATE, NONE, chance=NAN)
    for stream in ("vision", None):
        figure = probe_curves(frame, [LATE, NONE], stream, metric="macro-F1")
        assert [line.name for line in lines(figure)] == ["late", "none"]
        assert not chance(figure)


def test_without_rows_the_figure_is_empty_and_no_error():
    frame = probe_frame(LATE).iloc[:0]
    for stream in ("vision", None):
        assert not chance(probe_curves(frame, [LATE], stream, metric="AUROC"))
