"""Where a pair stands: curves against loops over the stored vectors, percentiles by counting."""

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes

from backend.errors import InputError
from backend.inference.reference import Reference
from backend.inference.standing import CURVES, standing
from backend.types import StreamSpec
from tests.inference.reference_pairs import (
    at,
    manifest_of,
    moved,
    ref,
    share_below,
    stored,
    trace_of,
    with_vectors,
    written,
)

PAIR = ("vision", "text")
SPECS = (StreamSpec.of("vision", "vision", 1, 6), StreamSpec.of("text", "text", 1, 6))


@pytest.fixture(scope="module")
def run(store_factory, tmp_path_factory):
    store = store_factory.make_store(tmp_path_factory.mktemp("standing"), ["late"], [0])
    return store.run("late-seed0")


@pytest.fixture(scope="module")
def reference(run):
    return Reference.of(run, "cls")


@pytest.fixture(scope="module")
def released(store_factory, tmp_path_factory):
    store = store_factory.make_released_store(tmp_path_factory.mktemp("released"))
    return {run_id.split("-")[2]: store.run(run_id) for run_id in store.runs()["run_id"]}


def vectors(run, site, pooling="cls"):
    return run.vectors(site.stream, site, pooling).astype(np.float64)


def written_run(store_factory, path, x, y):
    values = {(r, "mean"): (x if r.stream == "vision" else y) for s in SPECS for r in s.refs}
    return written(store_factory, path, manifest_of(store_factory, SPECS), values)


def test_rows_are_the_curves_in_order_a_row_a_site(run, reference):
    table = standing(reference, moved(run, 0, 0.3), PAIR)
    assert table["curve"].unique().tolist() == list(CURVES)
    sites = [r for spec in run.streams for r in spec.refs]
    for curve in CURVES[:-1]:
        rows = table[table["curve"].eq(curve)]
        assert [(r.stream, r.layer, r.site) for r in rows.itertuples()] == [
            (r.stream, r.layer, r.site) for r in sites
        ]
    assert at(table, ref("text 4.fusion"), curve="norm")["position"] == 3.5
    assert "similarity" not in standing(reference, moved(run, 0, 0.3))["curve"].tolist()


@pytest.mark.parametrize("row", [0, 21, 47])
def test_norms_and_steps_of_a_stored_pair_stand_where_counting_puts_them(run, reference, row):
    table = standing(reference, trace_of(run, stored(run, row)))
    others = [i for i in range(run.n) if i != row]
    for before, site in (("vision 1", "vision 2"), ("text 3", "text 4.fusion")):
        x, y = vectors(run, ref(before)), vectors(run, ref(site))
        norm = np.array([sum(v * v) ** 0.5 for v in y])
        step = np.array([sum((q - p) ** 2) ** 0.5 for p, q in zip(x, y, strict=True)])
        cosine = [p @ q / (p @ p * (q @ q)) ** 0.5 for p, q in zip(x, y, strict=True)]
        for curve, values in (
            ("norm", norm),
            ("step", step),
            ("angle", np.degrees(np.arccos(cosine))),
        ):
            cell = at(table, ref(site), curve=curve)
            assert cell["value"] == pytest.approx(values[row], rel=1e-5)
            assert cell["percentile"] == pytest.approx(share_below(values[others], values[row]))
            assert cell["p25"] == pytest.approx(np.percentile(values, 25), rel=1e-5)
            assert (cell["n"], cell["reason"]) == (run.n, "")


def test_a_new_pair_is_ranked_among_all(run, reference):
    trace = moved(run, 5, 0.5)
    cell = at(standing(reference, trace), ref("text 2"), curve="norm")
    norms = np.linalg.norm(vectors(run, ref("text 2")), axis=1)
    value = np.linalg.norm(trace.vectors[ref("text 2"), "cls"])
    assert cell["value"] == pytest.approx(value)
    assert cell["percentile"] == pytest.approx(share_below(norms, value))


def test_a_far_vector_is_above_everything(run, reference):
    trace = moved(run, 5, 0.1)
    key = ref("text 2"), "cls"
    table = standing(reference, with_vectors(trace, {key: trace.vectors[key] * 50}))
    for curve in ("norm", "step", "distance"):
        assert at(table, ref("text 2"), curve=curve)["percentile"] == 100


@pytest.mark.parametrize("k", [1, 10])
@pytest.mark.parametrize("row", [None, 8])
def test_distance_is_the_mean_to_the_nearest_without_the_pair_itself(run, reference, k, row):
    trace = moved(run, 8, 0.4) if row is None else trace_of(run, stored(run, row))
    site = ref("text 3")
    x, v = vectors(run, site), trace.vectors[site, "cls"].astype(float)

    def mean_nearest(of, without):
        apart = [sum((of - x[i]) ** 2) ** 0.5 for i in range(run.n) if i != without]
        return sum(sorted(apart)[:k]) / k

    own = [mean_nearest(x[i], i) for i in range(run.n)]
    value = mean_nearest(v, row)
    others = [d for i, d in enumerate(own) if i != row]
    cell = at(standing(reference, trace, k=k), site, curve="distance")
    assert cell["value"] == pytest.approx(value, rel=1e-5)
    assert cell["percentile"] == pytest.approx(share_below(others, value))
    assert cell["p95"] == pytest.approx(np.percentile(own, 95), rel=1e-5)


def test_a_counterfactual_of_a_stored_pair_leaves_that_pair_out(run, reference):
    swapped = {
        key: stored(run, 8 if key[0].stream == "vision" else 20)[key] for key in stored(run, 8)
    }
    trace, site = trace_of(run, swapped), ref("vision 2")
    x = vectors(run, site)
    apart = np.sort([np.linalg.norm(x[8] - x[i]) for i in range(run.n) if i != 8])
    named = standing(reference, trace, sample_id="macro-00008", k=3)
    assert at(named, site, curve="distance")["value"] == pytest.approx(apart[:3].mean(), rel=1e-5)
    unnamed = standing(reference, trace, k=3)
    among = (0 + apart[0] + apart[1]) / 3
    assert at(unnamed, site, curve="distance")["value"] == pytest.approx(among, rel=1e-5)


def test_similarity_is_the_cosine_after_the_map_of_the_other_half(run, reference):
    for a, b in (("vision 1", "text 1"), ("vision 4", "text 4")):
        x, y = vectors(run, ref(a)), vectors(run, ref(b))
        values, chance = np.empty(run.n), []
        for fit, held in (reference.halves, reference.halves[::-1]):
            p, q = x - x[fit].mean(axis=0), y - y[fit].mean(axis=0)
            p = p @ orthogonal_procrustes(p[fit], q[fit])[0]
            for i in held:
                for j in held:
                    cosine = p[i] @ q[j] / np.linalg.norm(p[i]) / np.linalg.norm(q[j])
                    if i == j:
                        values[i] = cosine
                    else:
                        chance.append(cosine)
        for row in range(0, run.n, 5):
            table = standing(reference, trace_of(run, stored(run, row)), PAIR)
            cell = at(table, ref(a), curve="similarity")
            others = np.delete(values, row)
            assert (cell["stream_b"], cell["layer_b"], cell["site_b"]) == (
                "text",
                int(b[-1]),
                "block",
            )
            assert cell["value"] == pytest.approx(values[row], abs=1e-5)
            assert cell["percentile"] == pytest.approx(share_below(others, values[row]))
            assert cell["p50"] == pytest.approx(np.median(values), abs=1e-5)
            assert cell["chance_p95"] == pytest.approx(np.percentile(chance, 95), abs=1e-5)
            expected = share_below(chance, values[row])
            assert cell["chance_percentile"] == pytest.approx(expected, abs=100 / len(chance))


def test_a_new_pair_is_read_with_the_first_map_and_a_named_one_with_the_one_that_has_not_seen_it(
    run, reference
):
    x, y = vectors(run, ref("vision 3")), vectors(run, ref("text 3"))
    trace = moved(run, 0, 0.2)

    def cosine(fit):
        p, q = x - x[fit].mean(axis=0), y - y[fit].mean(axis=0)
        turn = orthogonal_procrustes(p[fit], q[fit])[0]
        u = (trace.vectors[ref("vision 3"), "cls"] - x[fit].mean(axis=0)) @ turn
        v = trace.vectors[ref("text 3"), "cls"] - y[fit].mean(axis=0)
        return u @ v / np.linalg.norm(u) / np.linalg.norm(v)

    def value(**named):
        table = standing(reference, trace, PAIR, **named)
        return at(table, ref("vision 3"), curve="similarity")["value"]

    first, second = reference.halves
    assert value() == pytest.approx(cosine(first), abs=1e-5)
    assert value(sample_id=reference.ids[first[0]]) == pytest.approx(cosine(second), abs=1e-5)
    assert value(sample_id=reference.ids[second[0]]) == pytest.approx(cosine(first), abs=1e-5)


def test_the_band_is_not_of_fitted_pairs(store_factory, tmp_path):
    # Unrelated sides of 6 dimensions: a map that is read on its own 20 pairs finds a similarity.
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(40, 6)), rng.normal(size=(40, 6))
    reference = Reference.of(written_run(store_factory, tmp_path, x, y), "mean")
    fit = reference.halves[0]
    p, q = x[fit] - x[fit].mean(axis=0), y[fit] - y[fit].mean(axis=0)
    p = p @ orthogonal_procrustes(p, q)[0]
    fitted = np.einsum("ij,ij->i", p, q) / np.linalg.norm(p, axis=1) / np.linalg.norm(q, axis=1)
    trace = moved(_run(tmp_path), 0, 0.5)
    cell = at(standing(reference, trace, PAIR), ref("vision 1"), curve="similarity")
    assert np.median(fitted) > 0.25
    assert abs(cell["p50"]) < 0.15
    assert abs(cell["p50"] - cell["chance_p50"]) < 0.15


def test_a_planted_map_is_recovered_and_mismatched_pairs_stay_at_chance(store_factory, tmp_path):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(60, 6))
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    y = 7 + 3 * x @ turn + 0.1 * rng.normal(size=(60, 6))
    run = written_run(store_factory, tmp_path, x, y)
    reference = Reference.of(run, "mean")
    fresh = 5 * rng.normal(size=6)
    right = {(ref("vision 1"), "mean"): fresh, (ref("text 1"), "mean"): 7 + 3 * fresh @ turn}
    wrong = right | {(ref("text 1"), "mean"): 7 - 3 * fresh @ turn}

    def cell(vectors):
        table = standing(reference, trace_of(run, vectors), PAIR)
        return at(table, ref("vision 1"), curve="similarity")

    assert cell(right)["value"] > 0.99
    assert cell(right)["p05"] > 0.98
    assert cell(right)["chance_percentile"] > 99
    assert abs(cell(right)["chance_p50"]) < 0.1
    assert cell(wrong)["value"] < -0.95
    assert cell(wrong)["chance_percentile"] < 1


def test_streams_of_other_width_and_depth_share_the_narrower_space(released):
    run = released["two"]
    reference = Reference.of(run, "cls")
    row = 11
    table = standing(reference, trace_of(run, stored(run, row)), PAIR)
    rows = table[table["curve"].eq("similarity")]
    labels = [(r.layer, r.site, r.layer_b, r.site_b, r.position) for r in rows.itertuples()]
    assert labels == [
        (0, "block", 0, "block", 0.0),
        (1, "block", 1, "block", 1.0),
        (2, "block", 2, "block", 2.0),
        (3, "block", 2, "block", 3.0),
        (4, "block", 3, "block", 4.0),
        (4, "norm", 3, "norm", pytest.approx(4 + 1 / 3)),
        (4, "projected", 3, "projected", pytest.approx(4 + 2 / 3)),
    ]
    x, y = vectors(run, ref("vision 3")), vectors(run, ref("text 2"))
    fit = reference.halves[1] if row in reference.halves[0] else reference.halves[0]
    p, q = x - x[fit].mean(axis=0), y - y[fit].mean(axis=0)
    padded = np.pad(q, [(0, 0), (0, 2)])
    turn = orthogonal_procrustes(padded[fit], p[fit])[0][:10]
    u, v = q[row] @ turn, p[row] @ turn.T @ turn
    expected = u @ v / np.linalg.norm(u) / np.linalg.norm(v)
    cell = at(table, ref("vision 3"), curve="similarity")
    assert cell["value"] == pytest.approx(expected, abs=1e-5)
    turned = standing(reference, trace_of(run, stored(run, row)), PAIR[::-1])
    cells = turned[turned["curve"].eq("similarity")]
    assert cells["position"].tolist() == rows["position"].tolist()
    assert np.allclose(cells["value"], rows["value"], atol=1e-6, equal_nan=True)


def test_few_pairs_in_many_dimensions_are_warned_of(store_factory, tmp_path):
    rng = np.random.default_rng(2)
    run = written_run(store_factory, tmp_path, rng.normal(size=(10, 6)), rng.normal(size=(10, 6)))
    table = standing(Reference.of(run, "mean"), moved(run, 0, 0.5), PAIR, k=3)
    cell = at(table, ref("vision 1"), curve="similarity")
    assert "5 samples determine 4 of 6 directions" in cell["warning"]
    assert np.isfinite(cell["value"])


def test_a_constant_layer_has_a_norm_without_a_rank_and_nothing_else(run, reference):
    table = standing(reference, moved(run, 3, 0.2), PAIR)
    why = "layer 0 of vision is constant: the summary token does not depend on the image yet"
    norm = at(table, ref("vision 0"), curve="norm")
    assert np.isfinite(norm["value"]) and np.isnan(norm["percentile"])
    for curve in ("distance", "similarity"):
        cell = at(table, ref("vision 0"), curve=curve)
        assert np.isnan(cell["value"]) and np.isnan(cell["p50"]) and cell["n"] == 0
        assert cell["reason"] == why


def test_a_step_needs_the_site_before_in_the_same_width(released):
    run = released["three"]
    reference = Reference.of(run, "mean")
    trace = moved(run, 3, 0.2)
    table = standing(reference, trace)

    def reason(site, curve="step"):
        cell = at(table, ref(site), curve=curve)
        assert np.isnan(cell["value"]) == bool(cell["reason"])
        assert np.isnan(cell["p50"]) == bool(cell["reason"])
        return cell["reason"]

    assert reason("vision 0") == "layer 0 of vision is the first site"
    assert reason("vision 1") == ""
    assert (
        reason("vision 2", "angle") == "layer 1 of vision has 8 dimensions and layer 2 of vision 12"
    )
    assert reason("text 0") == "layer 0 of text is the first site"
    assert reason("text_decoder 2.cross") == ""

    without = {key: v for key, v in trace.vectors.items() if key[0] != ref("text 2")}
    table = standing(reference, trace_of(run, without))
    cell = at(table, ref("text 3"), curve="step")
    assert cell["reason"] == "layer 2 of text has no vectors of this pooling"
    assert np.isfinite(cell["p50"])


def test_streams_without_the_pooling_leave_similarity_undefined_with_a_reason(released):
    run = released["three"]
    table = standing(Reference.of(run, "cls"), moved(run, 3, 0.2), PAIR)
    rows = table[table["curve"].eq("similarity")]
    assert rows["reason"].iloc[:5].tolist() == [
        f"layer {k} of vision has no cls vectors" for k in range(5)
    ]
    assert np.isfinite(rows["value"].iloc[5])


def test_what_is_not_finite_is_undefined_where_it_is_read_and_nowhere_else(run, reference):
    trace = moved(run, 3, 0.2)
    broken = with_vectors(trace, {(ref("text 2"), "cls"): np.full(12, np.nan)})
    table = standing(reference, broken, PAIR)
    why = "layer 2 of text of the pair is not finite"
    undefined = table[table["reason"].eq(why)]
    assert [(r.curve, r.stream, r.layer) for r in undefined.itertuples()] == [
        ("norm", "text", 2),
        ("step", "text", 2),
        ("step", "text", 3),
        ("angle", "text", 2),
        ("angle", "text", 3),
        ("distance", "text", 2),
        ("similarity", "vision", 2),
    ]
    assert undefined["value"].isna().all() and undefined["percentile"].isna().all()
    assert at(table, ref("text 2"), curve="norm")["n"] == run.n


def test_what_cannot_be_asked_is_said_in_one_line(run, reference):
    trace = moved(run, 3, 0.2)
    for k in (0, 48, 51):
        with pytest.raises(InputError, match=rf"k: must lie in 1\.\.47, got {k}"):
            standing(reference, trace, k=k)
    with pytest.raises(InputError, match="has no stream 'audio'"):
        standing(reference, trace, ("vision", "audio"))
    with pytest.raises(InputError, match="needs two streams, got 'text' twice"):
        standing(reference, trace, ("text", "text"))


def _run(path):
    from backend.store import Store

    return Store(path).run("late-seed0")
