"""`fusionscope trace`: what is printed and written of one pair, and what `serve` is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from backend.data.sample import Sample
from backend.inference.tracing import trace_batch
from backend.inference.values import Trace
from backend.models.registry import open_model
from backend.paths import shipped_demo
from backend.store import Store
from tests.command_line import Run, runner

RUN = "macros-late-s0"
TEXT = "best day <b>ever</b>"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setattr("backend.inference.memory.available_bytes", lambda: 2**32)
    return runner(monkeypatch, capsys)


@pytest.fixture(scope="module")
def checkpoint() -> Path:
    path = Store(shipped_demo()).run(RUN).checkpoint
    assert path is not None
    return path


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "my secret.png"
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="module")
def expected(checkpoint: Path, image: Path) -> Trace:
    with Image.open(image) as picture:
        sample = Sample(TEXT, (picture.convert("RGB"),))
    return trace_batch(open_model(str(checkpoint)), [sample])[0]


def test_every_site_has_its_norm_and_step(
    run: Run, checkpoint: Path, image: Path, expected: Trace
) -> None:
    code, out, err = run("trace", "--model", checkpoint, "--image", image, "--text", TEXT, "--json")
    assert code == 0, err
    told = json.loads(out)
    assert told["model"]["digest"] == expected.digest and told["reference"] is None
    assert set(told["seconds"]) == {"decoding", "loading", "running", "placing"}
    rows = {(row["stream"], row["layer"], row["site"]): row for row in told["sites"]}
    for spec in expected.streams:
        before = None
        for ref in spec.refs:
            row = rows.pop((ref.stream, ref.layer, ref.site))
            vector = expected.vectors[ref, "mean"].astype(float)
            assert row["norm"] == pytest.approx(np.sqrt((vector**2).sum()), rel=1e-4)
            if before is None:
                assert row["step"] is None and "first site" in row["reason"]
            else:
                step = np.sqrt(((vector - before) ** 2).sum())
                assert row["step"] == pytest.approx(step, rel=1e-3)
            before = vector
    assert not rows
    (irony,) = (output for output in told["outputs"] if output["task"] == "irony")
    assert sum(irony["probabilities"].values()) == pytest.approx(1)
    assert "vectors" not in told and all("vector" not in row for row in told["sites"])
    assert {row["name"] for row in told["attention"]} == {
        f"{a}-{k}.fusion-reads-{b}"
        for a, b in (("text", "vision"), ("vision", "text"))
        for k in (10, 11, 12)
    }


def test_the_table_shows_sites_by_stream_and_percentiles_of_a_reference(
    run: Run, image: Path
) -> None:
    words = ("trace", "--model", RUN, "--store", shipped_demo(), "--run", RUN)
    code, out, err = run(*words, "--image", image, "--text", TEXT, "--pooling", "cls")
    assert code == 0, err
    lines = [line.split() for line in out.splitlines()]
    assert ["reference", RUN] in lines
    heads = [line for line in lines if line[-4:] == ["norm", "%", "step", "%"]]
    assert [line[0] for line in heads] == ["vision", "text"]
    table = [line for line in lines if len(line) == 6 and line[1] == "cls"]
    assert [line[0] for line in table].count("10.fusion") == 2 and len(table) == 33
    run_of = Store(shipped_demo()).run(RUN)
    (last,) = (line for line in table[:17] if line[0] == "12")
    norms = np.linalg.norm(run_of.vectors("vision", 12, "cls").astype(float), axis=1)
    norm, percentile = float(last[2]), float(last[4])
    below = 100 * (norms < norm).mean()
    assert percentile == pytest.approx(below, abs=2)  # the norm is shown with three digits


def test_a_folder_has_vectors_maps_curves_and_where_they_come_from(
    run: Run, image: Path, expected: Trace, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    words = ("trace", "--model", RUN, "--store", shipped_demo(), "--run", RUN, "--out", folder)
    code, _, err = run(*words, "--image", image, "--text", TEXT)
    assert code == 0, err
    files = ["attention.npz", "curves.csv", "trace.json", "trace.parquet"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted([*files, "out"])
    rows = pq.read_table(folder / "trace.parquet").to_pylist()
    assert len(rows) == len(expected.vectors)
    stored = {(r["stream"], r["layer"], r["site"], r["pooling"]): r["vector"] for r in rows}
    for (ref, pooling), vector in expected.vectors.items():
        kept = stored[ref.stream, ref.layer, ref.site, pooling]
        np.testing.assert_allclose(kept, vector, rtol=1e-4, atol=1e-5)
    maps = np.load(folder / "attention.npz")
    assert len(maps.files) == len(expected.attention)
    for key, weights in expected.attention.items():
        name = f"{key.ref.stream}-{key.ref.label}-reads-{key.reads}"
        np.testing.assert_allclose(maps[name], weights, rtol=1e-3, atol=1e-5)
    curves = pd.read_csv(folder / "curves.csv")
    assert {"norm", "step", "angle", "distance", "similarity"} == set(curves["curve"])
    about = json.loads((folder / "trace.json").read_text())
    assert about["reference"] == RUN and about["picture"]["size"] == [64, 48]
    assert "secret" not in (folder / "trace.json").read_text()
    again = run(*words, "--image", image, "--text", TEXT)
    assert again[0] == 2 and "exists" in again[2]


WHAT_IF = ("--other-text", "worst day ever", "--blank", "--cut", "11")


def test_what_if_is_told_by_where_it_parts_and_what_the_model_predicts(
    run: Run, checkpoint: Path, image: Path, tmp_path: Path
) -> None:
    red = tmp_path / "red.png"
    Image.new("RGBA", (30, 20), (200, 0, 0, 90)).save(red)
    words = ("trace", "--model", checkpoint, "--image", image, "--text", TEXT, *WHAT_IF)
    folder = tmp_path / "out"
    code, out, err = run(*words, "--other-image", red, "--json", "--out", folder)
    assert code == 0, err
    told = json.loads(out)
    assert "another image: transparent parts on white" in told["notes"]
    parts = {name: one["parts_at"] for name, one in told["what_if"].items()}
    assert parts == {
        "another caption": {"vision": "10.fusion", "text": "0"},
        "another image": {"vision": "0", "text": "10.fusion"},
        "another caption and image": {"vision": "0", "text": "0"},
        "blank image": {"vision": "0", "text": "10.fusion"},
        "blank text": {"vision": "10.fusion", "text": "0"},
        "without fusion at 11": {"vision": "11.fusion", "text": "11.fusion"},
    }
    adapter = open_model(str(checkpoint))
    with Image.open(image) as picture:
        swapped = Sample("worst day ever", (picture.convert("RGB"),))
    expected = trace_batch(adapter, [swapped])[0]
    (irony,) = (one for one in expected.outputs if one.task == "irony")
    (shown,) = (
        output
        for output in told["what_if"]["another caption"]["outputs"]
        if output["task"] == "irony"
    )
    assert list(shown["probabilities"].values()) == pytest.approx(irony.probabilities, abs=1e-4)
    rows = pq.read_table(folder / "what_if.parquet").to_pylist()
    assert len(rows) == 6 * len(expected.vectors)
    vectors = {
        (row["stream"], row["layer"], row["site"], row["pooling"]): row["vector"]
        for row in rows
        if row["name"] == "another caption"
    }
    for (ref, pooling), vector in expected.vectors.items():
        kept = vectors[ref.stream, ref.layer, ref.site, pooling]
        np.testing.assert_allclose(kept, vector, rtol=1e-4, atol=1e-5)


def test_what_if_is_printed_in_a_line_each_or_refused_in_one(
    run: Run, checkpoint: Path, image: Path
) -> None:
    words = ("trace", "--model", checkpoint, "--image", image, "--text", TEXT)
    code, out, err = run(*words, "--cut", "all")
    assert code == 0, err
    line = "without fusion parts from the pair at vision 10.fusion and text 10.fusion; irony: "
    assert line in out
    for bad, problem in (("3", "at layer 3"), ("some", "'some' is no layer")):
        code, out, err = run(*words, "--cut", bad)
        assert code == 2 and problem in err and "Traceback" not in err


def test_what_is_missing_is_said(run: Run, checkpoint: Path, image: Path, tmp_path: Path) -> None:
    long = " ".join(["meme"] * 400)
    code, out, err = run("trace", "--model", checkpoint, "--image", image, "--text", long)
    assert code == 0
    assert "of the caption did not fit" in out
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    code, _, err = run("trace", "--model", checkpoint, "--image", tmp_path / "a.gif", "--text", "x")
    assert code == 0 and "2 frames" in err


def test_a_run_whose_checkpoint_was_not_kept_says_what_to_give(run: Run, image: Path) -> None:
    words = ("trace", "--model", "macros-late-s1", "--store", shipped_demo())
    code, _, err = run(*words, "--image", image, "--text", "x")
    assert code == 2 and err.count("\n") == 1
    assert "run macros-late-s1: its checkpoint was not kept (digest" in err
    assert "Give the checkpoint's directory as --model, and the run as --run." in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--image", "nowhere.png"), "nowhere.png: cannot be read"),
        (("--model", "./nowhere"), "model ./nowhere: no such directory"),
        (("--pooling", "max"), "--pooling: 'max' is not one of cls or mean"),
        (("--run", "a"), "--run: belongs to a store. Give --store, too."),
        (("--store", "nowhere"), "nowhere: store does not exist"),
        (("--store", shipped_demo(), "--run", "macros-late-s9"), "no run 'macros-late-s9'"),
        (("--store", shipped_demo(), "--run", "macros-late-s1"), "fusionscope capture"),
        (("--store", shipped_demo(), "--run", "macros-none-s0"), "another model"),
        (
            ("--store", shipped_demo(), "--model", RUN, "--revision", "x"),
            "--revision: a run has no revisions",
        ),
        (("--out", "."), ".: exists. Choose another folder for --out."),
        (("--device", "tpu"), "device 'tpu': no such device"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    run: Run, checkpoint: Path, image: Path, words: tuple[object, ...], message: str
) -> None:
    given = {"--model": checkpoint, "--image": image, "--text": "x"}
    given.update(zip(words[::2], words[1::2], strict=True))  # type: ignore[arg-type]
    code, out, err = run("trace", *(word for pair in given.items() for word in pair))
    last = err.strip().splitlines()[-1]
    assert (code, out) == (2, "") and last.startswith("fusionscope: ") and message in last


def test_a_file_that_is_no_picture_is_one_line_without_its_name(
    run: Run, checkpoint: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "private.svg"
    bad.write_text("<svg onload='alert(1)'/>")
    code, _, err = run("trace", "--model", checkpoint, "--image", bad, "--text", "x")
    assert code == 2 and err.count("\n") == 1 and "alert" not in err and "private" not in err


def test_serve_hands_the_named_models_on(
    run: Run, monkeypatch: pytest.MonkeyPatch, checkpoint: Path
) -> None:
    told: list[tuple[object, ...]] = []

    def serve(*given: object) -> int:
        told.append(given)
        return 0

    monkeypatch.setattr("backend.serve.serve", serve)
    words = ("serve", "--store", shipped_demo(), "--models", checkpoint.parent, "--hub", "a/b")
    words += ("--saes", checkpoint.parent)
    assert run(*words)[0] == 0
    folder = str(checkpoint.parent.resolve())
    assert told[0][-1] == ["--models", folder, "--hub", "a/b", "--saes", folder]
    assert run("serve", "--store", shipped_demo())[0] == 0 and told[1][-1] == []
    code, _, err = run("serve", "--store", shipped_demo(), "--models", "nowhere")
    assert code == 2 and "--models: " in err and "no such directory" in err
    code, _, err = run("serve", "--store", shipped_demo(), "--hub", "../x")
    assert code == 2 and "--hub: '../x' is no id of the hub" in err


def test_neither_the_command_nor_the_catalogue_nor_what_reads_maps_imports_torch() -> None:
    code = """
import sys
import backend.cli.trace, backend.inference.models, backend.inference.service
import backend.inference.attention, backend.views.attention
from backend.inference.models import Catalogue, Named
from backend.paths import shipped_demo
from backend.store import Store
assert Catalogue(Store(shipped_demo())).run("macros-late-s0").problem == ""
assert not {"torch", "timm", "transformers", "streamlit"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
